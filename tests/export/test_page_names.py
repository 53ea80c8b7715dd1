"""Where files of a list belong, by their names alone."""

from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.utils import canonicalize_name
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.errors import BadFilename
from pypid.core.packaging.names import project_and_version
from pypid.export.list_source import places
from pypid.export.tree import fits, release_path

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
