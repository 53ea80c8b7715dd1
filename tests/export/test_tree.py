"""Trees on disk: what is there stays, what changes is replaced whole, and nothing is written
outside.
"""

import os
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.export.tree import TreeFolder, WrittenPage, fits, put_all


def put(folder: TreeFolder, path: str, body: bytes) -> bool:
    """Whether one page was written."""
    return put_all(folder, [WrittenPage(path, body)]) == (1, 0)


HOSTILE = [
    "",
    "/",
    "..",
    "../x",
    "a/../../x",
    "/etc/passwd",
    "a//b",
    "a/./b",
    ".hidden",
    "a/.git/x",
    "a\0b",
    "a/b/",
    "a\n",
]


class FolderTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = Path(self.mktemp()).absolute()
        self.root.mkdir()
        self.folder = TreeFolder(str(self.root))

    def files(self) -> list[str]:
        return sorted(
            str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file()
        )

    def test_put(self) -> None:
        """What differs is written, and only that: a file that is the same keeps its time and its
        inode.
        """
        self.assertTrue(put(self.folder, "a/b/page", b"one"))
        before = (self.root / "a/b/page").stat()
        self.assertFalse(put(self.folder, "a/b/page", b"one"))
        self.assertEqual((self.root / "a/b/page").stat(), before)
        self.assertTrue(put(self.folder, "a/b/page", b"two"))
        self.assertEqual((self.root / "a/b/page").read_bytes(), b"two")
        self.assertEqual(self.files(), ["a/b/page"])

    def test_whole(self) -> None:
        """Who has opened a page reads it to its end, whole, while it is replaced."""
        self.folder.write("page", b"one" * 100)
        with (self.root / "page").open("rb") as reader:
            self.assertEqual(reader.read(3), b"one")
            self.folder.write("page", b"two")
            self.assertEqual(reader.read(), b"one" * 99)

    def test_failure(self) -> None:
        """A write that fails leaves what was there, and nothing half written beside it."""
        self.folder.write("page", b"one")

        def full(handle: int, body: bytes) -> int:
            raise OSError(28, "No space left on device")

        self.patch(os, "write", full)
        with self.assertRaises(OSError):
            self.folder.write("page", b"two")
        self.assertEqual(((self.root / "page").read_bytes(), self.files()), (b"one", ["page"]))

    def test_link(self) -> None:
        """A symbolic link in the place of a page is replaced, and not written through."""
        outside = self.root.parent / "outside"
        outside.write_bytes(b"secret")
        (self.root / "page").symlink_to(outside)
        put(self.folder, "page", b"new")
        self.assertEqual(
            (outside.read_bytes(), (self.root / "page").is_symlink()), (b"secret", False)
        )

    def test_no_file(self) -> None:
        """A pipe is replaced, and nobody waits for what comes out of it; a folder is in the way,
        and nothing is left open.
        """
        os.mkfifo(self.root / "page")
        self.assertTrue(put(self.folder, "page", b"new"))
        self.assertEqual((self.root / "page").read_bytes(), b"new")
        (self.root / "other").mkdir()
        opened = Path("/proc/self/fd")
        before = len([*opened.iterdir()])
        for _ in range(3):
            self.assertRaises(IsADirectoryError, put, self.folder, "other", b"new")
        self.assertEqual(len([*opened.iterdir()]), before)
        self.assertEqual(self.files(), ["page"])

    def test_hostile(self) -> None:
        """No path that leads elsewhere is taken, for nothing."""
        for path in HOSTILE:
            with self.subTest(path=path):
                for deed in (self.folder.have, self.folder.remove):
                    self.assertRaises(ValueError, deed, path)
                self.assertRaises(ValueError, self.folder.write, path, b"")

    @settings(max_examples=200, deadline=None, database=None)
    @given(st.text(alphabet="./a\0\\\n~-", max_size=12))
    def test_inside(self, path: str) -> None:
        """Whatever is a path leads to a place inside."""
        if fits(path):
            where = os.path.normpath(os.path.join("/tree", path))  # noqa: PTH118
            self.assertEqual(where, f"/tree/{path}")

    def test_remove(self) -> None:
        """What is removed is gone, with the folders that are empty then; once more is no error."""
        for path in ("a/b/one", "a/c/two"):
            self.folder.write(path, b"")
        self.folder.remove("a/b/one")
        self.assertEqual(sorted(path.name for path in self.root.rglob("*")), ["a", "c", "two"])
        self.folder.remove("a/b/one")
        self.folder.remove("a/c/two")
        self.assertEqual(list(self.root.iterdir()), [])
        self.folder.write("a/c/two", b"again")
