"""Lists of files, read."""

import io
from datetime import UTC, datetime

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.export.list_source import (
    LONGEST_LINE,
    BadPackageList,
    PackageListEntry,
    lines_of,
    moment_of,
    read_json,
    read_names,
)
from tests.export.lists import HASH, names, objects

QUICK = settings(max_examples=200, deadline=None, database=None)


class NamesTests(SynchronousTestCase):
    """--package-list."""

    def test_names(self) -> None:
        """Each line is a name; ends of lines of other systems, and lines that are empty, do no
        harm.
        """
        read = read_names([b"spam-1.0.tar.gz\r\n", b"\n", b"  \n", b"eggs-2.0.tar.gz"], "x")
        self.assertEqual(
            {name: list(files) for name, files in read.projects.items()},
            {
                "spam": ["spam-1.0.tar.gz"],
                "eggs": ["eggs-2.0.tar.gz"],
            },
        )
        self.assertEqual((read.notes, read.left_out), ([], 0))

    def test_left_out(self) -> None:
        """A name that is none is left out, and said with its line."""
        read = names("spam-1.0.tar.gz", "../../etc/passwd", "<script>")
        self.assertEqual((list(read.projects), read.left_out), (["spam"], 2))
        self.assertIn("line 2: '../../etc/passwd' is not", read.notes[0])
        self.assertTrue(read.notes[0].endswith("It is left out."))

    def test_no_text(self) -> None:
        """A list in no UTF-8 is refused, with its lines."""
        with self.assertRaises(BadPackageList) as refused:
            read_names([b"spam-1.0.tar.gz\n", b"sp\xe4m-1.0.tar.gz\n"], "files.txt")
        self.assertIn(
            "files.txt is no list of files; nothing was written:\n  line 2: it is no UTF-8.",
            str(refused.exception),
        )

    def test_huge_line(self) -> None:
        """A line without an end is never read whole."""
        lines = list(lines_of(io.BytesIO(b"x" * (3 * LONGEST_LINE) + b"\nspam-1.0.tar.gz\n")))
        self.assertLessEqual(max(map(len, lines)), LONGEST_LINE + 1)
        with self.assertRaises(BadPackageList):
            read_names(lines, "x")

    @QUICK
    @given(st.lists(st.binary(max_size=60)))
    def test_anything(self, lines: list[bytes]) -> None:
        """Whatever the bytes are, they are read or refused."""
        for read in (read_names, read_json):
            try:
                read([line + b"\n" for line in lines], "x")
            except BadPackageList as refused:
                self.assertTrue(refused.problem)


class JsonTests(SynchronousTestCase):
    """--package-list-json."""

    def test_keys(self) -> None:
        """All keys of dumb-pypi are understood, and null is what is not known."""
        entry = {
            "filename": "spam-1.0.tar.gz",
            "hash": HASH,
            "requires_dist": ["eggs>1"],
            "requires_python": ">=3.9",
            "upload_timestamp": 1512539924,
            "uploaded_by": "alice",
            "yanked_reason": "bad",
            "core_metadata": "true",
        }
        self.assertEqual(
            objects(entry).projects["spam"]["spam-1.0.tar.gz"], ("1.0", PackageListEntry(**entry))
        )
        empty = {**dict.fromkeys(entry), "filename": "spam-1.0.tar.gz"}
        self.assertEqual(
            objects(empty).projects["spam"]["spam-1.0.tar.gz"],
            ("1.0", PackageListEntry("spam-1.0.tar.gz")),
        )

    def test_unknown_key(self) -> None:
        """A key that nobody knows is said once, and the file is taken."""
        read = objects(
            {"filename": "a-1.0.tar.gz", "colour": "red"},
            {"filename": "b-1.0.tar.gz", "colour": "red"},
        )
        self.assertEqual((sorted(read.projects), read.left_out), (["a", "b"], 0))
        [note] = read.notes
        self.assertIn("line 1: Object contains unknown field `colour`", note)

    def test_refused(self) -> None:
        """A line that is no such object spoils the list: it may be cut off."""
        for line in (
            *(
                b'{"filename": "spam-1.0.tar',
                b"[]",
                b"null",
                b'"spam-1.0.tar.gz"',
                b"{}",
                b"spam-1.0.tar.gz",
                b"\xff",
                b"[" * 9999,
            ),
            *(
                b'{"filename": 5}',
                b'{"filename": "a-1.0.zip", "upload_timestamp": "now"}',
                b'{"filename": "a-1.0.zip", "hash": 1}',
            ),
        ):
            with self.subTest(line=line[:30]), self.assertRaises(BadPackageList) as refused:
                read_json([b'{"filename": "spam-1.0.tar.gz"}\n', line + b"\n"], "x")
            self.assertIn("line 2: ", str(refused.exception))

    @QUICK
    @given(
        st.builds(
            PackageListEntry,
            st.just("spam-1.0.tar.gz"),
            requires_python=st.none() | st.text(max_size=20),
            uploaded_by=st.none() | st.text(max_size=20),
            yanked_reason=st.none() | st.text(max_size=20),
            upload_timestamp=st.none() | st.integers(-(10**9), 10**10),
            core_metadata=st.sampled_from([None, True, False, "true", HASH]),
        )
    )
    def test_round_trip(self, listed: PackageListEntry) -> None:
        """What is written in JSON is read as it was."""
        read = read_json([msgspec.json.encode(listed) + b"\n"], "x")
        self.assertEqual(read.projects["spam"]["spam-1.0.tar.gz"], ("1.0", listed))


class MomentTests(SynchronousTestCase):
    def test_moment(self) -> None:
        """Seconds since 1970 are a time of UTC; fractions and negative ones, too."""
        self.assertEqual(moment_of(1512539924), datetime(2017, 12, 6, 5, 58, 44, tzinfo=UTC))
        self.assertEqual(moment_of(-0.5), datetime(1969, 12, 31, 23, 59, 59, 500000, tzinfo=UTC))
        for bad in (1e20, float("nan"), float("inf"), -1e15):
            with self.assertRaises(ValueError):
                moment_of(bad)
