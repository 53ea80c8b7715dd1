"""Where files of a list belong, by their names alone."""

from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.utils import canonicalize_name
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.errors import BadFilename
from pypid.core.packaging.names import project_and_version
from pypid.export.options import fits, release_path
from pypid.export.page_names import places

QUICK = settings(max_examples=300, deadline=None, database=None)
WORDS = st.sampled_from(
    [
        "spam",
        "Spam",
        "foo.bar",
        "a_b",
        "1",
        "1.0",
        "2.0b1",
        "py3",
        "none",
        "any",
        "x86_64",
        "",
        "dev",
        "..",
    ]
)
ENDINGS = st.sampled_from(
    [".whl", ".tar.gz", ".tgz", ".zip", ".tar.bz2", ".egg", ".exe", "", ".gz"]
)
NAMES = st.builds(
    lambda words, ending: "-".join(words) + ending, st.lists(WORDS, max_size=7), ENDINGS
)


def where(filename: str) -> list[tuple[str, str]]:
    return [(place.project, place.version) for place in places(filename)]


class PlaceTests(SynchronousTestCase):
    def test_plain(self) -> None:
        """Wheels and sdists stand on the page of their project, in its normalised spelling."""
        self.assertEqual(where("spam-1.0-py3-none-any.whl"), [("spam", "1.0")])
        self.assertEqual(where("Spam.Egg_s-1.00.tar.gz"), [("spam-egg-s", "1.0")])
        self.assertEqual(where("spam-1!2.0.tar.gz"), [("spam", "1!2.0")])

    def test_dashes(self) -> None:
        """The name of an sdist may have dashes: its version begins at the first part, but one, with
        a dot and a digit.
        """
        self.assertEqual(where("python-dateutil-2.8.2.tar.gz"), [("python-dateutil", "2.8.2")])
        self.assertEqual(where("aspen-0.8-2.tar.gz"), [("aspen", "0.8.post2")])
        self.assertEqual(where("kafka-python-1.0-alpha.tar.gz"), [("kafka-python", "1.0a0")])

    def test_guess_cannot_be(self) -> None:
        """Where that is no version, the specification's rule counts: the version is what follows
        the last dash.
        """
        self.assertEqual(where("foo-2.0-bar-1.5.tar.gz"), [("foo-2-0-bar", "1.5")])
        self.assertEqual(where("spam-1.0-py2.7.egg"), [("spam", "1.0")])
        self.assertEqual(where("spam-1.0.tar.xz"), [("spam", "1.0")])

    def test_two_places(self) -> None:
        """An sdist of python-foo with version 1 stands where dumb-pypi has it, and where installers
        look for it.
        """
        self.assertEqual(where("python-foo-1.tar.gz"), [("python-foo-1", ""), ("python-foo", "1")])

    def test_wrong_version(self) -> None:
        """Of foo-1.0.tgz the version is 1.0, whatever dumb-pypi makes of it (1)."""
        self.assertEqual(where("foo-1.0.tgz"), [("foo", "1.0")])

    def test_no_version(self) -> None:
        """A file without a version stands on a page, as with dumb-pypi; no installer takes it."""
        self.assertEqual(where("spam.tar.gz"), [("spam", "")])

    def test_odd_wheel(self) -> None:
        """A wheel that the specification refuses for its name alone stands where
        dumb-pypi has it.
        """
        self.assertEqual(where("foo__x-1.0-py3-none-any.whl"), [("foo-x", "1.0")])

    def test_refused(self) -> None:
        """What is no file name, or of no project, has no place, and the reason is said."""
        for filename in (
            *(
                "../spam-1.0.tar.gz",
                "/spam-1.0.tar.gz",
                "a/b-1.0.tar.gz",
                "a\\b-1.0.tar.gz",
                "a..b-1.0.tar.gz",
                "..",
            ),
            *(
                "spam-1.0\x00.tar.gz",
                "spam-1.0\n.tar.gz",
                "<b>-1.0.tar.gz",
                "späm-1.0.tar.gz",
                "",
                " ",
                "-1.0.tar.gz",
            ),
            *(
                "_foo-1.0.tar.gz",
                "noext",
                "spam-1.0-py3-none-any.whl.metadata",
                "spam-1.0.tar.gz.asc",
                "spam-x.whl",
            ),
            *("s" * 260 + "-1.0.tar.gz", "s" * 210 + "-1.0.tar.gz", f"spam-{'9' * 5000}.0.tar.gz"),
        ):
            with self.subTest(filename=filename[:40]), self.assertRaises(BadFilename):
                places(filename)

    @QUICK
    @given(NAMES | st.text(max_size=40))
    def test_never_outside(self, filename: str) -> None:
        """Whatever a name is, it is refused, or all its pages are at plain paths of a tree."""
        try:
            found = places(filename)
        except BadFilename:
            return
        self.assertTrue(found)
        for place in found:
            self.assertEqual(place.project, canonicalize_name(place.project))
            path = release_path(place.project, place.version)
            self.assertTrue(path is None or fits(path), path)

    @QUICK
    @given(NAMES)
    def test_superset(self, filename: str) -> None:
        """What the specifications can read stands at the project that they read, or where dumb-pypi
        reads a version, too.
        """
        try:
            project, version = project_and_version(filename)
        except BadFilename:
            return
        if ".." in filename:
            return
        found = places(filename)
        told = [(place.project, place.version) for place in found]
        self.assertTrue(
            (project, version) in told or (found[0].version and found[0].project != project),
            (told, filename),
        )
