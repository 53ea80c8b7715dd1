"""Listing the storage folder in the order of keys. All here blocks: call it in a thread."""

# Paths are bytes here, as the system has them, and pathlib takes text only.
# ruff: noqa: PTH116

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator

from attrs import frozen

from pypid.blobs.disk import DRAFTS, DiskFolder, blob
from pypid.blobs.keys import segments
from pypid.core.model import Blob

_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
_NOT_OURS = (b"/".join(DRAFTS) + b"/", b"lost+found/")
"""Drafts; and what ext4 creates at the root of a disk, which only root may read."""


@frozen
class _Folder:
    """A folder being listed: its key with a trailing ``/`` (or empty), its device and inode, and
    the remaining names.
    """

    key: bytes
    identity: tuple[int, int]
    names: Iterator[bytes]


def walk(disk: DiskFolder, prefix: str) -> Iterator[Blob]:
    """Yield every file whose key begins with `prefix`, in the order of the keys' bytes. Raises
    `OSError`.

    Holds the names of one folder on each level. Symbolic links are followed, except to a folder
    that contains them. Names that are not UTF-8 are not keys.
    """
    disk.must_be_there()
    base, slash, rest = prefix.rpartition("/")
    if not slash or segments(base) is not None:
        above = [_folder(disk, (base + slash).encode(), rest.encode(errors="surrogatepass"), [])]
        while above:
            folder = above[-1]
            name = next(folder.names, None)
            if name is None:
                above.pop()
            elif name.endswith(b"/"):
                above.append(_folder(disk, folder.key + name, b"", above))
            else:
                found = _file(disk, folder.key + name)
                if found is not None:
                    yield blob((folder.key + name).decode(), found)
    disk.must_be_there()  # unmounted meanwhile? Then all this was no listing


def _folder(disk: DiskFolder, key: bytes, beginning: bytes, above: list[_Folder]) -> _Folder:
    if key.startswith(_NOT_OURS):
        return _Folder(key, (0, 0), iter(()))
    path = disk.root + b"/" + key
    try:
        found = os.stat(path)
        identity = (found.st_dev, found.st_ino)
        if any(folder.identity == identity for folder in above):
            return _Folder(key, identity, iter(()))
        return _Folder(key, identity, iter(_names(path, beginning)))
    except OSError as error:
        if error.errno not in _GONE:
            raise
        return _Folder(key, (0, 0), iter(()))


def _names(path: bytes, beginning: bytes) -> list[bytes]:
    """Return the names that are keys, those of folders with a ``/``: in this order, files and
    folders are sorted as their full keys are.
    """
    with os.scandir(path) as entries:
        texts = (entry for entry in entries if _is_text(entry.name))
        names = [entry.name + b"/" if _is_folder(entry) else entry.name for entry in texts]
    return sorted(name for name in names if name.startswith(beginning))


def _is_folder(entry: os.DirEntry[bytes]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno in _GONE:
            return False
        raise


def _is_text(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def _file(disk: DiskFolder, key: bytes) -> os.stat_result | None:
    try:
        found = os.stat(disk.root + b"/" + key)
    except OSError as error:
        if error.errno in _GONE:
            return None
        raise
    return found if stat.S_ISREG(found.st_mode) else None
