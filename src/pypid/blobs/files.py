"""Blobs as files below one folder: the key is the path, so that administrators and other programs
can find files there.

A write goes to a draft below ``.pypid/tmp`` on the same file system, is synced, and gets its name
atomically: by a hard link, which fails if the name is taken, or by a rename over it. A crash leaves
a draft, never half a blob. Several processes (also on several machines, over NFS) may use one
folder.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from attrs import evolve, field, frozen
from twisted.logger import Logger

from pypid.blobs.keys import must_be_key, pieces, segments
from pypid.core.errors import CannotStart, Exists, Missing, StorageDown, StorageFull
from pypid.core.model import Blob, SignedUrl, Span
from pypid.flow import BytesBody, FileBody, World
from pypid.flow.spool import BATCH, FILE, SMALL, Reserve
from pypid.ports import Body

# The storage folder at the level of the operating system. All here blocks: call
# it in a thread.
#
# Below the root are the blobs, each at its key, and ``.pypid/tmp``: the drafts of writes under
# way. That folder also tells a mounted root from a bare mount point: it is created once, at the
# start, and never again, so nothing is ever written to, or reported missing from, a disk that is
# not mounted.

# Paths are bytes here, as the system has them, and pathlib takes text only.
# ruff: noqa: PTH100, PTH101, PTH102, PTH103, PTH105, PTH108, PTH112, PTH116, PTH120


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


# A write under way in the storage folder: a draft file that becomes the blob atomically, or is
# discarded.

_NOT_LINKABLE = (
    errno.EXDEV,
    errno.EPERM,
    errno.EACCES,
    errno.EMLINK,
    errno.ENOTSUP,
    errno.ENOENT,
)


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
            if not self._has_linked(os.fsencode(path)):
                return None
            self._set_mode(descriptor)
            os.fsync(descriptor)
            found = os.fstat(descriptor)
            self._install()
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
            if not self._has_linked(source):
                return None
            linked = os.lstat(self._path)
            self._install()
            return linked

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

    def _has_linked(self, source: bytes) -> bool:
        """Make the draft a second name of the file; return whether that is possible."""
        try:
            os.link(source, self._path)
        except OSError as error:
            if error.errno not in _NOT_LINKABLE:
                raise
            self._disk.must_be_there()
            return False
        self._made = True
        return True

    def _install(self) -> None:
        try:
            self._disk.install(self._path, self._segments, self._replace)
        except FileExistsError:
            raise Exists(self._key) from None
        self._let_go()

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


# Listing the storage folder in the order of keys. All here blocks: call it in a thread.

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


LISTED = 500
"""Blobs listed per call in a thread."""


@frozen
class FilesSettings:
    """Settings of the folder. `root`: its path. `create`: create it if it is missing (else it may
    be a disk that is not mounted). `exclusive`: no other machine writes to the folder.
    """

    root: str
    create: bool = False
    reserve: bool = False
    """Whether space is reserved for small documents, so that files can be deleted, yanked and
    closed on a full disk.
    """
    exclusive: bool = False


def _ignore(position: int) -> None:
    """Do nothing with the progress of a copy."""


class FilesBlobs:
    """A `Blobs` in a folder. Made by `open`.

    Files are created with mode 0640 and folders with 0750. Empty folders stay: removing one
    races with a write into it.
    """

    def __init__(self, disk: DiskFolder, world: World, reserve: Reserve | None = None) -> None:
        self._disk = disk
        self._reserve = reserve
        self._has_given = False
        """Whether the reserve gave up some of its space: deletions refill it first."""
        self._blocking = world.blocking
        self._random = world.random

    async def read(self, key: str, span: Span | None = None) -> Body:
        if span is not None and not 0 <= span.start <= span.stop:
            raise ValueError(f"{span} is not a span")
        return await self._blocking(self._opened, key, span)

    async def write(self, key: str, body: Body, *, replace: bool = False) -> Blob:
        return await self._write(key, body, replace, FILE_MODE)

    async def write_provisional(self, key: str, body: Body, *, replace: bool = False) -> Blob:
        return await self._write(key, body, replace, PROVISIONAL_MODE)

    async def confirm(self, key: str) -> None:
        await self._blocking(self._confirmed, key)

    async def _write(self, key: str, body: Body, replace: bool, mode: int) -> Blob:
        async with aclosing(body):
            while True:
                draft = self._draft(key, replace, mode)
                try:
                    return blob(key, await self._take(body, draft))
                except Exception as error:
                    await self._blocking(draft.discard)
                    if not isinstance(error, StorageFull) or not await self._make_room(body):
                        raise

    def _draft(self, key: str, replace: bool, mode: int = FILE_MODE) -> DraftFile:
        """Return a new write. Raises `ValueError`."""
        where = must_be_key(key)
        if where[: len(DRAFTS)] == DRAFTS:
            raise ValueError(f"{key!r} is where drafts lie")
        name = self._random(16).hex().encode()
        return DraftFile(self._disk, key, where, name, replace, mode)

    async def duplicate(
        self,
        source: str,
        target: str,
        *,
        replace: bool = False,
        tell: Callable[[int], object] | None = None,
    ) -> Blob:
        draft = self._draft(target, replace)
        try:
            linked = await self._blocking(lambda: draft.link(self._path(source), source))
            if linked is None:  # another file system, or one without links
                body = await self._blocking(self._opened, source, None)
                async with aclosing(body):
                    linked = await self._append(body, draft, tell or _ignore)
            return blob(target, linked)
        except Exception:
            await self._blocking(draft.discard)
            raise

    async def _make_room(self, body: Body) -> bool:
        """Return whether the reserve freed space for a record, a mark or a status. (Package files
        get none of it.)
        """
        if self._reserve is None or not isinstance(body, BytesBody) or len(body.data) > SMALL:
            return False
        self._has_given = True
        return await self._blocking(self._reserve.release)

    async def delete(self, key: str) -> None:
        await self._blocking(self._removed, key)

    async def stat(self, key: str) -> Blob:
        return await self._blocking(self._found, key)

    async def list(self, prefix: str = "") -> AsyncGenerator[Blob]:
        walking = walk(self._disk, prefix)
        while batch := await self._blocking(_next, walking):
            for found in batch:
                yield found

    async def link(
        self, key: str, lifetime: timedelta, filename: str | None = None
    ) -> SignedUrl | None:
        return None

    async def _take(self, body: Body, draft: DraftFile) -> os.stat_result:
        """Write all of `body` to the draft and install it: a small body takes one call in a thread,
        a spool too.
        """
        if isinstance(body, FileBody) and body.path is not None and body.span.start == 0:
            linked = await self._blocking(draft.adopt, body.file, body.path, body.span.stop)
            if linked is not None:
                return linked
        return await self._append(body, draft)

    async def _append(
        self, body: Body, draft: DraftFile, tell: Callable[[int], object] = _ignore
    ) -> os.stat_result:
        """Append all of `body` to the draft and install it."""
        held: list[bytes] = []
        size, position = 0, body.span.start if isinstance(body, FileBody) else 0
        async with aclosing(pieces(body)) as source:
            async for piece in source:
                held.append(piece)
                size += len(piece)
                if size >= BATCH:
                    await self._blocking(draft.add, held)
                    position += size
                    held, size = [], 0
                    tell(position)
        return await self._blocking(draft.commit, held)

    def _path(self, key: str) -> bytes:
        """Return the path of `key`. Raises `Missing` for an invalid key, or one of a draft."""
        where = segments(key)
        if where is None or where[: len(DRAFTS)] == DRAFTS:
            self._disk.must_be_there()
            raise Missing(key)
        return self._disk.path(where)

    def _opened(self, key: str, span: Span | None) -> FileBody:
        with our_words("Reading"):
            try:
                # O_NONBLOCK: opening a stray FIFO must not block the thread for ever
                descriptor = os.open(self._path(key), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            except OSError as error:
                raise self._disk.absent(error, key) from None
            try:
                found = os.fstat(descriptor)
                if not stat.S_ISREG(found.st_mode) or (
                    span is not None and span.stop > found.st_size
                ):
                    raise Missing(key)
                file = os.fdopen(descriptor, "rb")
            except BaseException:
                os.close(descriptor)
                raise
            return FileBody(file, span or Span(0, found.st_size), self._blocking)

    def _found(self, key: str) -> Blob:
        with our_words("Looking"):
            try:
                found = os.stat(self._path(key))
            except OSError as error:
                raise self._disk.absent(error, key) from None
            if not stat.S_ISREG(found.st_mode):
                raise Missing(key)
            return blob(key, found)

    def _confirmed(self, key: str) -> None:
        with our_words("Confirming"):
            try:
                os.chmod(self._path(key), FILE_MODE)
            except OSError as error:
                self._disk.absent(error, key)
            except Missing:
                return

    def _removed(self, key: str) -> None:
        with our_words("Deleting"):
            try:
                path = self._path(key)
                os.unlink(path)
                sync_folder(os.path.dirname(path))
                if self._has_given and self._reserve is not None:
                    self._reserve.fill()
            except OSError as error:
                self._disk.absent(error, key)
            except Missing:
                return


def _next(walking: Iterator[Blob]) -> list[Blob]:
    with our_words("Listing"):
        return list(islice(walking, LISTED))


async def open(settings: FilesSettings, world: World) -> FilesBlobs:
    """Return the store in the folder, after removing what crashes left.

    Raises `CannotStart` if the folder is missing (and not to be created) or cannot be written.
    """
    probe = world.random(16).hex().encode()
    made = partial(prepare, exclusive=settings.exclusive)
    disk = await world.blocking(made, settings.root, settings.create, probe, world.now())
    reserve = None
    if settings.reserve:
        reserve = Reserve(Path(os.fsdecode(disk.path((*DRAFTS, FILE.encode())))))
        await world.blocking(reserve.fill)
    return FilesBlobs(disk, world, reserve)
