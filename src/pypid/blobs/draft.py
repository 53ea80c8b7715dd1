"""A write under way in the storage folder: a draft file that becomes the blob atomically, or is
discarded.
"""

# Paths are bytes here, as the system has them, and pathlib takes text only.
# ruff: noqa: PTH108, PTH112

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from threading import Lock
from typing import BinaryIO

from pypid.blobs.disk import FILE_MODE, DiskFolder, hold, our_words
from pypid.core.errors import Exists, StorageDown

_NOT_LINKABLE = (errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOTSUP)
_NOT_CLONEABLE = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EBADF)


class DraftFile:
    """One write. Its methods block; call them in threads.

    The caller that waits for such a thread may be cancelled while the thread continues: the lock
    makes `discard` wait for it, so that no descriptor is closed (and reused for another file)
    during a write, and a step after `discard` writes nothing.
    """

    def __init__(
        self,
        disk: DiskFolder,
        key: str,
        segments: tuple[bytes, ...],
        name: bytes,
        replace: bool,
        mode: int = FILE_MODE,
    ) -> None:
        self._disk = disk
        self._key = key
        self._segments = segments
        self._path = disk.draft(name)
        self._replace = replace
        self._mode = mode
        self._lock = Lock()
        self._descriptor: int | None = None
        self._made = False
        self._discarded = False

    def add(self, pieces: Sequence[bytes]) -> None:
        """Append the pieces. Raises `Exists` early if the key is taken, `StorageFull`,
        `StorageDown`.
        """
        with self._lock, our_words("Writing"):
            self._append(pieces)

    def commit(self, pieces: Sequence[bytes]) -> os.stat_result:
        """Append the last pieces and install the blob durably. Raises what `add` raises."""
        with self._lock, our_words("Writing"):
            descriptor = self._append(pieces)
            os.fsync(descriptor)
            found = os.fstat(descriptor)
            self._install()
            self._let_go()
            return found

    def adopt(self, file: BinaryIO, path: str, size: int) -> os.stat_result | None:
        """Make the file itself the blob, without copying; return None if that is impossible
        (another file system, another file).
        """
        if not self._disk.links:
            return None
        with self._lock, our_words("Linking"):
            descriptor = file.fileno()
            found = os.fstat(descriptor)
            if not self._is_all_of(found, path, size):
                return None
            self._must_be_free()
            hold(descriptor)
            try:
                os.link(path, self._path)
            except OSError as error:
                if error.errno in (
                    errno.EXDEV,
                    errno.EPERM,
                    errno.EACCES,
                    errno.EMLINK,
                    errno.ENOENT,
                ):
                    self._disk.must_be_there()
                    return None
                raise
            self._made = True
            self._set_mode(descriptor)
            os.fsync(descriptor)
            found = os.fstat(descriptor)
            self._install()
            self._let_go()
            return found

    def link(self, source: bytes, key: str) -> os.stat_result | None:
        """Make a second name of the file at `source`, which is the blob `key`, this blob; return
        None if that is impossible. Raises `Missing`.
        """
        with self._lock, our_words("Linking"):
            try:
                found = os.lstat(source)
            except OSError as error:
                raise self._disk.absent(error, key) from None
            is_linkable = stat.S_ISREG(found.st_mode) and not found.st_mode & stat.S_ISVTX
            if self._discarded or not self._disk.links or not is_linkable:
                return None
            self._must_be_free()
            try:
                os.link(source, self._path)
            except OSError as error:
                if error.errno in _NOT_LINKABLE:
                    return None
                raise
            self._made = True
            linked = os.lstat(self._path)
            self._install()
            self._let_go()
            return linked

    def clone(self, source: int, position: int, size: int) -> int | None:
        """Have the system append `size` bytes of the open file `source` from `position` on; return
        how many it did, or None if it cannot. File systems that share blocks copy nothing.
        """
        with self._lock, our_words("Copying"):
            descriptor = self._opened()
            try:
                return os.copy_file_range(source, descriptor, size, position)
            except OSError as error:
                if error.errno in _NOT_CLONEABLE:
                    return None
                raise

    def discard(self) -> None:
        """Remove the draft of a failed write."""
        with self._lock:
            self._discarded = True
            self._let_go()

    def _append(self, pieces: Sequence[bytes]) -> int:
        descriptor = self._opened()
        for piece in pieces:
            rest = memoryview(piece)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        return descriptor

    def _opened(self) -> int:
        if self._discarded:
            raise StorageDown("the write was given up.")
        if self._descriptor is None:
            self._must_be_free()
            self._descriptor = os.open(
                self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE
            )
            self._made = True
            self._set_mode(self._descriptor)
            hold(self._descriptor)
        return self._descriptor

    def _set_mode(self, descriptor: int) -> None:
        """Set the mode regardless of the umask: a linked file and a copied one get the same."""
        try:
            os.fchmod(descriptor, self._mode)
        except OSError:  # some systems refuse the sticky bit; then there is no mark
            os.fchmod(descriptor, FILE_MODE)

    def _must_be_free(self) -> None:
        """Fail early, before a large body is copied; `_install` decides."""
        target = self._disk.path(self._segments)
        if os.path.isdir(target):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), target)
        if not self._replace and os.path.lexists(target):
            raise Exists(self._key)

    def _is_all_of(self, found: os.stat_result, path: str, size: int) -> bool:
        if self._discarded or not stat.S_ISREG(found.st_mode) or found.st_size != size:
            return False
        try:
            named = os.lstat(path)
        except OSError:
            return False
        return (named.st_dev, named.st_ino) == (found.st_dev, found.st_ino)

    def _install(self) -> None:
        try:
            self._disk.install(self._path, self._segments, self._replace)
        except FileExistsError:
            raise Exists(self._key) from None

    def _let_go(self) -> None:
        """Close and remove the draft; if that fails, the sweep at the next start finds it."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            with suppress(OSError):
                os.close(descriptor)
        if self._made:
            self._made = False
            with suppress(OSError):
                os.unlink(self._path)
