"""Names of projects, and what file names say."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.utils import canonicalize_name
from packaging.version import Version
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.errors import BadFilename, BadName
from pypid.core.packaging.names import (
    LONGEST_FILENAME,
    LONGEST_NAME,
    Packagetype,
    parse_filename,
    project_and_version,
    project_name,
    version_key,
)

VALID = st.from_regex(r"\A[A-Za-z0-9]([A-Za-z0-9._-]{0,20}[A-Za-z0-9])?\Z")


class ProjectNameTests(SynchronousTestCase):
    """`project_name`."""

    @settings(max_examples=75, deadline=None, database=None)
    @given(VALID)
    def test_normalised(self, text: str) -> None:
        """A valid name becomes what packaging makes of it, and normalising that again changes
        nothing.
        """
        name = project_name(text)
        self.assertEqual(name, canonicalize_name(text))
        self.assertEqual(project_name(name), name)

    @settings(max_examples=100, deadline=None, database=None)
    @given(st.text(max_size=30))
    def test_anything(self, text: str) -> None:
        """Any text is a name by the specification's expression, or is refused with a text that says
        what is allowed.
        """
        valid = re.match(
            r"([A-Z0-9]|[A-Z0-9][A-Z0-9._-]*[A-Z0-9])\Z", text, re.IGNORECASE | re.ASCII
        )
        try:
            name = project_name(text)
        except BadName as error:
            self.assertIsNone(valid)
            self.assertIn("letters, digits", str(error))
        else:
            self.assertIsNotNone(valid)
            self.assertRegex(name, r"\A[a-z0-9]+(-[a-z0-9]+)*\Z")

    def test_refused(self) -> None:
        """What could leave a folder, end a line, or look like a letter of ours is no name."""
        for text in (
            "",
            "-x",
            "x-",
            "..",
            ".",
            "a/b",
            "a\\b",
            "a\0b",
            "a\n",
            "\u017f",
            "K\u212a",
            "a" * (LONGEST_NAME + 1),
            "x y",
        ):
            with self.assertRaises(BadName, msg=repr(text)):
                project_name(text)


class FilenameTests(SynchronousTestCase):
    """`parse_filename`."""

    def test_wheel(self) -> None:
        """A wheel's name gives project, version, Python and tags."""
        parsed = parse_filename(
            "Spam_Eggs-1.0+cu118-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"
        )
        self.assertEqual((parsed.project, parsed.version), ("spam-eggs", "1.0+cu118"))
        self.assertEqual((parsed.packagetype, parsed.python_version), (Packagetype.WHEEL, "cp311"))
        self.assertEqual(len(parsed.tags), 2)

    def test_refused(self) -> None:
        """What no installer takes, and what is no plain file name, is refused with the reason."""
        for filename in (
            "",
            "spam",
            "spam.exe",
            "spam-1.0.rpm",
            "spam-1.0.whl",
            "spam-one.tar.gz",
            "../spam-1.0.tar.gz",
            "a/spam-1.0.tar.gz",
            "spam-1.0.tar.gz\0",
            "spam-1.0.tar.gz\n",
            ".spam-1.0.tar.gz",
            "sp\u00e4m-1.0.tar.gz",
            "spam-1.0-py3-none.whl",
            "s" * LONGEST_FILENAME + "-1.0.tar.gz",
        ):
            with self.assertRaises(BadFilename, msg=repr(filename)):
                parse_filename(filename)

    @settings(max_examples=100, deadline=None, database=None)
    @given(
        st.text(max_size=40)
        | st.from_regex(r"\A[a-z-]{1,9}-[0-9.a-z!+-]{1,9}(\.tar\.gz|\.whl|\.egg|\.zip)\Z")
    )
    def test_anything(self, text: str) -> None:
        """Any text is a file name that can be a key of ours, or is refused; nothing
        else is raised.
        """
        try:
            parsed = parse_filename(text)
        except BadFilename:
            return
        self.assertEqual(parsed.filename, text)
        self.assertNotIn("/", text)
        self.assertEqual(project_name(parsed.project), parsed.project)
        Version(parsed.version)


class ProjectAndVersionTests(SynchronousTestCase):
    """`project_and_version`."""

    @settings(max_examples=60, deadline=None, database=None)
    @given(
        st.text(max_size=40)
        | st.text(alphabet="a1A-._+! ", max_size=30).map("{}.whl".format)
        | st.from_regex(r"\A[a-zA-Z._-]{1,9}-[0-9.a-z!+_-]{1,9}(\.tar\.gz|\.whl|\.egg|\.zip)\Z")
        | st.from_regex(
            r"\A[a-z._]{1,5}-[0-9.a-z]{1,6}(-[0-9a-z]{1,2})?-[a-z0-9.]{1,6}-[a-z_.]{1,5}-[a-z_.-]{1,5}\.whl\Z"
        )
    )
    def test_same_as_all_of_it(self, filename: str) -> None:
        """It says what `parse_filename` says, and refuses what that refuses."""
        try:
            parsed = parse_filename(filename)
        except BadFilename:
            self.assertRaises(BadFilename, project_and_version, filename)
        else:
            self.assertEqual(project_and_version(filename), (parsed.project, parsed.version))

    def test_long(self) -> None:
        """The longest names are judged as `parse_filename` does."""
        for name in ("a" * 250, "a" * 201, "a" * 195):
            filename = f"{name}-1.0.tar.gz"
            if len(filename) > 220 or len(name) > 200:
                self.assertRaises(BadFilename, project_and_version, filename)
            else:
                self.assertEqual(project_and_version(filename), (name, "1.0"))


class VersionTests(SynchronousTestCase):
    """Versions, ordered and compared."""

    def test_order(self) -> None:
        """Versions are in PEP 440's order; texts that are none come first."""
        ordered = [
            "weird",
            "1.0.dev1",
            "1.0a1",
            "1.0rc1",
            "1.0",
            "1.0+local",
            "1.0.post1",
            "2",
            "10",
            "1!0",
        ]
        mixed = ordered[5:] + ordered[:5]
        self.assertEqual(sorted(mixed, key=version_key), ordered)
