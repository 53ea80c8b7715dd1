"""The storage folder of `blobs.files` as the operating system sees it. All here blocks: call it in
a thread.

Below the root lie the blobs, each at its key, and ``.pypid/tmp``: the drafts of what is being
written. That folder is also how a root that is there is told from the bare mount point of one that
is not: it is made once, at the start, and never again, so nothing is ever written to, or reported
missing from, a disk that is not mounted.

Another program may look at the folder and must not see some of the blobs (`DiskFolder.veiled`).
Their files end in ``.meta``, and all else is the same: above this they have the keys that they
would have anyhow, in the same order.
"""

# Paths are bytes here, as the system has them, and pathlib takes text only.
# ruff: noqa: PTH100, PTH102, PTH103, PTH105, PTH106, PTH108, PTH112, PTH116

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

from attrs import evolve, field, frozen
from twisted.logger import Logger

from pypid.core.errors import CannotStart, Missing, StorageDown, StorageFull
from pypid.core.model import Blob

DRAFTS = (b".pypid", b"tmp")
PART = b".part"
VEIL = b".meta"
"""What pypicloud passes over."""
ABANDONED = timedelta(hours=1)
"""A draft that no process has touched for so long, and none holds, is a crash's.

On some network file systems a lock does not show to other machines: where these write, too, a free
lock is not enough.
"""
MOST_DURABLE = 1 << 16
TRIES = 5
"""How often a folder is made that somebody else removes."""
FILE_MODE = 0o640
FOLDER_MODE = 0o750

_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EISDIR)
"""What the system says where no file can be."""
_FULL = (errno.ENOSPC, errno.EDQUOT)
_NOT_SUPPORTED = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)
_REASONS = {
    errno.ENOENT: "its folder is not there.",
    errno.EACCES: "it may not be accessed.",
    errno.EPERM: "it may not be accessed.",
    errno.EROFS: "it is read-only.",
    errno.EIO: "the disk reports errors.",
    errno.ESTALE: "the file server does not know it any more.",
    errno.ENOTDIR: "a file lies where a folder belongs.",
    errno.EISDIR: "a folder lies where a file belongs.",
    errno.ENAMETOOLONG: "a name is longer than its file system takes.",
    errno.EFBIG: "the file is larger than its file system takes.",
}
_log = Logger()


@contextmanager
def our_words(doing: str) -> Iterator[None]:
    """The system's errors as ours: the log gets all of it, the client a reason without a path."""
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
    """The storage folder. `links`: its file system has hard links. `veiled`: whether others must
    not see a key's file.
    """

    root: bytes
    links: bool
    veiled: Callable[[str], bool] | None = field(default=None, eq=False)
    _durable: set[tuple[bytes, int, int]] = field(factory=set, init=False, repr=False, eq=False)
    """Folders (path, device, inode) whose names this process has made durable."""

    def path(self, parts: tuple[bytes, ...]) -> bytes:
        """Where a key's parts lead."""
        return b"/".join((self.root, *parts))

    def parts(self, key: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """The parts of the path of the key's file."""
        if self.veiled is not None and self.veiled(b"/".join(key).decode()):
            return (*key[:-1], key[-1] + VEIL)
        return key

    def key_of(self, folder: bytes, name: bytes) -> bytes | None:
        """The last part of the key of a file of this name, in the folder of the key `folder`; None
        where it has none.
        """
        if self.veiled is None:
            return name
        plain = name.removesuffix(VEIL)
        if plain != name and plain and self.veiled((folder + plain).decode()):
            return plain
        return None if self.veiled((folder + name).decode()) else name

    def draft(self, name: bytes) -> bytes:
        """Where the draft of this name lies."""
        return self.path((*DRAFTS, name + PART + self._veil))

    @property
    def _veil(self) -> bytes:
        return b"" if self.veiled is None else VEIL

    def prune(self, parts: tuple[bytes, ...]) -> None:
        """Remove the folders of a file that has gone, as far as they are empty: of a program that
        others go on with, they are what is left of a project. (Whoever writes into one at that
        moment makes it again, see `install`.)
        """
        if self.veiled is None or parts[0] == DRAFTS[0]:
            return
        for depth in range(len(parts) - 1, 0, -1):
            folder = self.path(parts[:depth])
            try:
                os.rmdir(folder)
            except OSError:
                return
            self._durable.difference_update(
                [known for known in self._durable if known[0] == folder]
            )
            sync_folder(self.path(parts[: depth - 1]))

    def must_be_there(self) -> None:
        """Raise `OSError` unless the root is the one that was opened at the start."""
        os.stat(self.path(DRAFTS))

    def absent(self, error: OSError, key: str) -> Missing:
        """`Missing`, if `error` says that no file can be there and the root is; else raises the
        error to report.
        """
        if error.errno not in _ABSENT:
            raise error
        self.must_be_there()
        return Missing(key)

    def install(self, draft: bytes, parts: tuple[bytes, ...], replace: bool) -> None:
        """Give a synced draft its key, in one step and durably. Raises `FileExistsError`, then the
        draft is still there.
        """
        target = self.path(parts)
        folders = [self.path(parts[:depth]) for depth in range(len(parts))]
        self.must_be_there()
        for tries in range(TRIES):
            try:
                for folder in folders[1:]:
                    with suppress(FileExistsError):
                        os.mkdir(folder, FOLDER_MODE)
                self._put(draft, target, replace)
                break
            except FileNotFoundError:  # the folder was empty, and somebody removed it just now
                if self.veiled is None or tries == TRIES - 1 or not os.path.lexists(draft):
                    raise
        self._sync(folders)

    def _put(self, draft: bytes, target: bytes, replace: bool) -> None:
        if not self.links:
            self._install_locked(draft, target, replace)
        elif replace:
            os.replace(draft, target)
        else:
            os.link(draft, target)

    def _sync(self, folders: list[bytes]) -> None:
        """Make the name that was given in the last of the folders durable, and those of the
        folders, each in the one before it.

        Also of folders that were there: another writer may have made them a moment ago and not come
        to syncing them. Only what this process has synced itself it need not sync again, as long as
        it is that very folder.
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
        """Where there are no hard links (vfat, exfat, some network shares): look, then rename, one
        writer at a time.

        The lock is every pypid's, and a crash frees it. Reserving the name with an empty file
        (O_EXCL) would show readers half a blob, and leave it there after a crash; RENAME_NOREPLACE
        needs ctypes, and those very file systems that lack links often lack it too.
        """
        with hung_up(
            os.open(
                self.path((*DRAFTS, b"lock" + self._veil)),
                os.O_RDWR | os.O_CREAT | os.O_CLOEXEC,
                0o600,
            )
        ) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not replace and os.path.lexists(target):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
            os.replace(draft, target)


def sync_folder(folder: bytes) -> None:
    """Make what was created, renamed or removed in `folder` survive a power cut, where the file
    system can.
    """
    with hung_up(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as descriptor:
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in _NOT_SUPPORTED:
                raise


def hold(descriptor: int) -> bool:
    """Mark an open draft as a living process's; whether that could be done."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def blob(key: str, found: os.stat_result) -> Blob:
    """What a listing says of this file."""
    etag = f"{found.st_ino:x}-{found.st_size:x}-{found.st_mtime_ns:x}"
    try:
        modified = datetime.fromtimestamp(found.st_mtime_ns / 1e9, UTC)
    except (OverflowError, ValueError, OSError):  # a year that datetime does not have
        modified = datetime.fromtimestamp(0, UTC)
    return Blob(key=key, size=found.st_size, modified=modified, etag=etag)


def prepare(
    root: str,
    create: bool,
    probe: bytes,
    now: datetime,
    veiled: Callable[[str], bool] | None = None,
    *,
    exclusive: bool = False,
) -> DiskFolder:
    """The storage folder, ready: drafts' folder made, hard links tried, a crash's drafts swept.
    Raises `CannotStart`.

    `exclusive`: no other machine writes to it, so each draft that no process holds is a crash's,
    however young.
    """
    path = os.path.abspath(os.fsencode(root))
    try:
        if create:
            os.makedirs(path, FOLDER_MODE, exist_ok=True)
        elif not os.path.isdir(path):
            raise CannotStart(
                f"The storage folder {root} is not there: mount it, make it, or correct "
                f"[storage] "
                f"path."
            )
        disk = DiskFolder(path, links=True, veiled=veiled)
        os.makedirs(disk.path(DRAFTS), 0o700, exist_ok=True)
        sync_folder(path)
        disk = evolve(disk, links=_has_links(disk, probe))
        _sweep(disk, now, timedelta(0) if exclusive else ABANDONED)
    except OSError as error:
        raise CannotStart(
            f"The storage folder {root} cannot be used: {error.strerror}. The user that runs "
            f"pypid needs to read and write it."
        ) from error
    return disk


def _has_links(disk: DiskFolder, probe: bytes) -> bool:
    one, other = disk.draft(probe), disk.draft(probe + b"-link")
    os.close(os.open(one, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
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
        drafts = [entry.path for entry in entries if entry.name.removesuffix(VEIL).endswith(PART)]
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
