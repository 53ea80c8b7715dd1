"""The storage folder of `blobs.files` at the level of the operating system. All here blocks: call
it in a thread.

Below the root are the blobs, each at its key, and ``.pypid/tmp``: the drafts of writes under way.
That folder also tells a mounted root from a bare mount point: it is created once, at the start, and
never again, so nothing is ever written to, or reported missing from, a disk that is not mounted.
"""

# Paths are bytes here, as the system has them, and pathlib takes text only.
# ruff: noqa: PTH100, PTH102, PTH103, PTH105, PTH108, PTH112, PTH116

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

from attrs import evolve, field, frozen
from twisted.logger import Logger

from pypid.core.errors import CannotStart, Missing, StorageDown, StorageFull
from pypid.core.model import Blob

DRAFTS = (b".pypid", b"tmp")
PART = b".part"
ABANDONED = timedelta(hours=1)
"""Age after which a draft that no process has touched or holds was left by a crash.

On some network file systems a lock is invisible to other machines: where these write, too, a free
lock is not enough.
"""
MOST_DURABLE = 1 << 16
FILE_MODE = 0o640
FOLDER_MODE = 0o750
PROVISIONAL_MODE = FILE_MODE | stat.S_ISVTX
"""The mode of a provisional blob: the sticky bit has no other meaning for a file, and is synced
together with its bytes. Any other mode with that bit is not pypid's.
"""

_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EISDIR)
"""The errors for a path at which there can be no file."""
_FULL = (errno.ENOSPC, errno.EDQUOT)
_NOT_SUPPORTED = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)
_REASONS = {
    errno.ENOENT: "its folder is not there.",
    errno.EACCES: "it may not be accessed.",
    errno.EPERM: "it may not be accessed.",
    errno.EROFS: "it is read-only.",
    errno.EIO: "the disk reports errors.",
    errno.ESTALE: "the file server does not know it any more.",
    errno.ENOTDIR: "there is a file where a folder belongs.",
    errno.EISDIR: "there is a folder where a file belongs.",
    errno.ENAMETOOLONG: "a name is longer than its file system takes.",
    errno.EFBIG: "the file is larger than its file system takes.",
}
_log = Logger()


@contextmanager
def our_words(doing: str) -> Iterator[None]:
    """Translate the system's errors: the log gets all of it, the client a reason without a path."""
    try:
        yield
    except OSError as error:
        _log.error("{doing} in the storage failed: {error}", doing=doing, error=error)
        if error.errno in _FULL:
            raise StorageFull("storage") from error
        raise StorageDown(_REASONS.get(error.errno or 0, "the system refuses.")) from error


@contextmanager
def hung_up(descriptor: int) -> Iterator[int]:
    """Close the descriptor at the end."""
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@frozen
class DiskFolder:
    """The storage folder. `links`: its file system has hard links."""

    root: bytes
    links: bool
    _durable: set[tuple[bytes, int, int]] = field(factory=set, init=False, repr=False, eq=False)
    """Folders (path, device, inode) whose names this process has made durable."""

    def path(self, segments: tuple[bytes, ...]) -> bytes:
        """Return the path of the file with these segments."""
        return b"/".join((self.root, *segments))

    def draft(self, name: bytes) -> bytes:
        """Return the path of the draft of this name."""
        return self.path((*DRAFTS, name + PART))

    def must_be_there(self) -> None:
        """Raise `OSError` unless the root is the one that was opened at the start."""
        os.stat(self.path(DRAFTS))

    def absent(self, error: OSError, key: str) -> Missing:
        """Return `Missing`, if `error` says that there can be no file and the root is there; else
        raise the error to report.
        """
        if error.errno not in _ABSENT:
            raise error
        self.must_be_there()
        return Missing(key)

    def install(self, draft: bytes, segments: tuple[bytes, ...], replace: bool) -> None:
        """Move a synced draft to its key, atomically and durably. Raises `FileExistsError`; then
        the draft is still there.
        """
        target = self.path(segments)
        folders = [self.path(segments[:depth]) for depth in range(len(segments))]
        self.must_be_there()
        for folder in folders[1:]:
            with suppress(FileExistsError):
                os.mkdir(folder, FOLDER_MODE)
        self._put(draft, target, replace)
        self._sync(folders)

    def _put(self, draft: bytes, target: bytes, replace: bool) -> None:
        if not self.links:
            self._install_locked(draft, target, replace)
        elif replace:
            os.replace(draft, target)
        else:
            os.link(draft, target)

    def _sync(self, folders: list[bytes]) -> None:
        """Make the name of the file in the last of the folders durable, and the name of each folder
        in the one before it.

        This includes existing folders: another writer may have created them a moment ago without
        having synced them yet. Only the very folders that this process has synced itself are
        skipped.
        """
        sync_folder(folders[-1])
        for above, folder in zip(reversed(folders[:-1]), reversed(folders[1:]), strict=True):
            found = os.stat(folder)
            this = (folder, found.st_dev, found.st_ino)
            if this not in self._durable:
                sync_folder(above)
                if len(self._durable) >= MOST_DURABLE:
                    self._durable.clear()
                self._durable.add(this)

    def _install_locked(self, draft: bytes, target: bytes, replace: bool) -> None:
        """Install on a file system without hard links (vfat, exfat, some network shares): check,
        then rename, one writer at a time.

        The lock is shared by all pypids, and freed by a crash. Reserving the name with an empty
        file (O_EXCL) would show readers half a blob, and leave it there after a crash;
        RENAME_NOREPLACE needs ctypes, and file systems without links often lack it too.
        """
        with hung_up(
            os.open(
                self.path((*DRAFTS, b"lock")),
                os.O_RDWR | os.O_CREAT | os.O_CLOEXEC,
                0o600,
            )
        ) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not replace and os.path.lexists(target):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
            os.replace(draft, target)


def sync_folder(folder: bytes) -> None:
    """Make changes of names in `folder` survive a power cut, where the file system can."""
    with hung_up(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as descriptor:
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in _NOT_SUPPORTED:
                raise


def hold(descriptor: int) -> bool:
    """Lock an open draft as belonging to a living process; return whether that succeeded."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def blob(key: str, found: os.stat_result) -> Blob:
    """Return the file as a listed blob."""
    etag = f"{found.st_ino:x}-{found.st_size:x}-{found.st_mtime_ns:x}"
    return Blob(
        key=key,
        size=found.st_size,
        modified=_time(found.st_mtime_ns),
        etag=etag,
        provisional=stat.S_IMODE(found.st_mode) == PROVISIONAL_MODE,
        linked=_time(found.st_ctime_ns) if found.st_nlink > 1 else None,
    )


def _time(nanoseconds: int) -> datetime:
    try:
        return datetime.fromtimestamp(nanoseconds / 1e9, UTC)
    except (OverflowError, ValueError, OSError):  # a year that datetime does not support
        return datetime.fromtimestamp(0, UTC)


def prepare(
    root: str,
    create: bool,
    probe: bytes,
    now: datetime,
    *,
    exclusive: bool = False,
) -> DiskFolder:
    """Return the storage folder, ready for use: the drafts' folder created, hard links probed,
    drafts of crashes removed. Raises `CannotStart`.

    `exclusive`: no other machine writes to it, so each draft that no process holds was left by a
    crash, however young.
    """
    path = os.path.abspath(os.fsencode(root))
    try:
        if create:
            os.makedirs(path, FOLDER_MODE, exist_ok=True)
        elif not os.path.isdir(path):
            raise CannotStart(
                f"The storage folder {root} is not there: mount it, make it, or correct [storage] "
                "path."
            )
        disk = DiskFolder(path, links=True)
        os.makedirs(disk.path(DRAFTS), 0o700, exist_ok=True)
        sync_folder(path)
        disk = evolve(disk, links=_has_links(disk, probe, root))
        _sweep(disk, now, timedelta(0) if exclusive else ABANDONED)
    except OSError as error:
        raise CannotStart(
            f"The storage folder {root} cannot be used: {error.strerror}. The user that runs "
            f"pypid needs to read and write it."
        ) from error
    return disk


def _has_links(disk: DiskFolder, probe: bytes, root: str) -> bool:
    one, other = disk.draft(probe), disk.draft(probe + b"-link")
    try:
        os.close(os.open(one, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        _log.warn(
            "the storage folder is read-only: its files are served, and uploads are refused until "
            "it is mounted for writing: folder={folder}",
            folder=root,
        )
        return True  # as most file systems do; where it is wrong, writes fail and replace nothing
    try:
        os.link(one, other)
    except OSError:
        return False
    else:
        os.unlink(other)
        return True
    finally:
        os.unlink(one)


def _sweep(disk: DiskFolder, now: datetime, abandoned: timedelta) -> None:
    with os.scandir(disk.path(DRAFTS)) as entries:
        drafts = [entry.path for entry in entries if entry.name.endswith(PART)]
    for draft in drafts:
        with (
            suppress(OSError),
            hung_up(
                os.open(draft, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            ) as descriptor,
        ):
            found = os.fstat(descriptor)
            untouched = now.timestamp() - max(found.st_mtime, found.st_ctime)
            is_old = not abandoned or untouched > abandoned.total_seconds()
            if stat.S_ISREG(found.st_mode) and is_old and hold(descriptor):
                os.unlink(draft)
                _log.info(
                    "Removed the rest of a write that a crash cut off, {size} bytes",
                    size=found.st_size,
                )
