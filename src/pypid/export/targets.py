"""The interface of an export target. Everything but the copying of files is quick."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from enum import Enum
from hashlib import sha256
from itertools import count
from pathlib import Path
from secrets import token_hex
from types import MappingProxyType
from typing import Any, BinaryIO, Protocol, TypeVar

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, DeferredList, DeferredLock

from pypid.core.errors import BadRequest, Busy, PypidError
from pypid.core.export_request import overlap
from pypid.core.model import File
from pypid.core.packaging.names import ProjectName
from pypid.export.tree import (
    FOLDERS,
    JSON_PAGE,
    MANIFEST,
    PAGE,
    TreeFolder,
    WrittenPage,
    file_path,
    normal,
    owner_of,
    provenance_path,
    put_all,
)
from pypid.flow import Blocking, World
from pypid.ports import Body

T = TypeVar("T")
FORMAT = 1
LAST = 1 << 31
"""Seconds since 1970: all file systems can store dates before this. Some change later dates, and
the file would look as if it had changed.
"""


class FilePiece(Enum):
    """The parts of a file that are copied."""

    BYTES = ""
    METADATA = ".metadata"
    PROVENANCE = "provenance"


@frozen
class Copy:
    """A part of a file, and the `path` where it is to be stored."""

    path: str
    piece: FilePiece
    file: File = field(repr=False)

    @property
    def size(self) -> int | None:
        """Its size in bytes, if known."""
        return self.file.size if self.piece is FilePiece.BYTES else None

    @property
    def stamp(self) -> int:
        """Nanoseconds since 1970 as the copy's modification time: when the file was uploaded, or
        else a number from its hash that tells it from other bytes.
        """
        uploaded = self.file.uploaded
        if uploaded is not None and 0 <= (seconds := uploaded.timestamp()) < LAST:
            return round(seconds * 1_000_000) * 1000
        return int((self.file.sha256 or "0")[:7], 16) * 1_000_000_000


def copies_of(file: File) -> list[Copy]:
    """Return the copies of a file; its sidecar files come first."""
    path = file_path(file)
    found = [Copy(path, FilePiece.BYTES, file)]
    if file.metadata_sha256 or file.metadata_offered:
        found.insert(0, Copy(path + ".metadata", FilePiece.METADATA, file))
    where = provenance_path(file) if file.attested else None
    if where is not None:
        found.insert(0, Copy(where, FilePiece.PROVENANCE, file))
    return found


@frozen
class Stamp:
    """The contents of the manifest: the identity of the index, and whose view the tree shows."""

    index: str
    audience: str

    def text(self) -> bytes:
        """Return the manifest as bytes."""
        return (
            json.dumps({"format": FORMAT, "index": self.index, "audience": self.audience}).encode()
            + b"\n"
        )


class ExportPlace(Protocol):
    """Where a tree is written. Paths are relative, with ``/``. Every method raises `OSError` or
    `StorageDown` when the place is unreachable.
    """

    compressed: bool
    """Whether gzip copies of pages are of use there."""

    async def claim(self, stamp: Stamp, *, clears: bool) -> None:
        """Mark the place as this tree's, and read what is there.

        Raises `Busy` if another export has the place, `BadRequest` if it holds another index or
        files of other programs, or, without `clears`, another user's view: what may no longer be
        seen would stay there.
        """

    async def recall(self) -> bytes | None:
        """Return what the last run gave to `remember`; None if it did not end, or if there is no
        room for it. From now on it is void.
        """

    async def remember(self, state: bytes) -> None:
        """Store the state of the tree."""

    async def projects(self) -> Mapping[ProjectName, bool]:
        """Return the projects of which there may be files; the value: whether their pages for
        installers exist.
        """

    async def put(self, groups: Sequence[Sequence[WrittenPage]]) -> Sequence[tuple[int, int]]:
        """Write the pages of each group in order; return how many of it were written, and how many
        were unchanged.
        """

    async def of(self, names: Iterable[ProjectName]) -> Mapping[ProjectName, Sequence[str]]:
        """Return the paths that an export wrote, of each project."""

    async def lacks(self, copies: Sequence[Copy]) -> Sequence[Copy]:
        """Return the copies that are missing."""

    async def copy(self, copy: Copy, body: Body) -> None:
        """Write the copy, whole or not at all; closes the body, and raises what it raises."""

    async def remove(self, paths: Sequence[str]) -> int:
        """Remove the paths; return how many were removed."""

    async def settle(self) -> None:
        """Return when everything written survives a loss of power."""

    async def close(self) -> None:
        """Release the underlying resource."""


def check_manifest(
    manifest: bytes | None, is_empty: bool, stamp: Stamp, where: str, *, clears: bool
) -> None:
    """Raise `BadRequest` if a place belongs to another tree or holds other files.

    `manifest`: its contents, or None.
    """
    if manifest is None:
        if not is_empty:
            raise BadRequest(
                f"{where} holds files that no pypid has written (there is no {MANIFEST}): take an "
                "empty one, so that no files of other programs are replaced."
            )
        return
    try:
        document: Any = json.loads(manifest)
        index, audience, format = document["index"], document["audience"], document["format"]
    except (ValueError, LookupError, TypeError):
        raise BadRequest(
            f"{where}/{MANIFEST} cannot be read. Take another place, or remove all that is in "
            f"this one."
        ) from None
    if format != FORMAT or index != stamp.index:
        raise BadRequest(
            f"{where} holds the export of another index. Take another place, or remove all that is "
            "in this one."
        )
    if audience != stamp.audience and not clears:
        raise BadRequest(
            f"{where} holds what {audience} may see, and what {stamp.audience} may not see would "
            "stay there: take another place, or let what is gone be removed (--delete)."
        )


async def all_of(jobs: Iterable[Deferred[T]]) -> list[T]:
    """Return the results of all jobs once all have ended; raises the error of the first that
    failed.
    """
    ended: list[tuple[bool, Any]] = await DeferredList(jobs, consumeErrors=True)
    for went_well, result in ended:
        if not went_well:
            raise result.value
    return [result for _, result in ended]


@define(slots=False, repr=False)
class Damaged(
    PypidError,
    template=(
        "the content of {filename!r} is damaged in the storage: run `pypid storage check --hashes`."
    ),
):
    """Raised when the bytes read are not those that were published."""

    filename: str


@define
class VerifiedBody:
    """The body of a file that raises `Damaged` at its end if its bytes are not those that were
    published.
    """

    body: Body
    file: File
    blocking: Blocking

    @property
    def size(self) -> int | None:
        return self.body.size

    async def __aiter__(self) -> AsyncIterator[bytes]:
        hashed, wanted = sha256(), self.file.sha256
        async for piece in self.body:
            if wanted is not None:
                await self.blocking(hashed.update, piece)
            yield piece
        if wanted is not None and hashed.hexdigest() != wanted:
            raise Damaged(self.file.filename)

    async def aclose(self) -> None:
        await self.body.aclose()


# An export target that is a folder on disk.

TEMPORARY = ".pypid-incoming"
"""The folder, inside that of the tree, of files that are being copied."""
STATE = ".pypid-export-state.json"
"""The file with the state of the tree (`export.tree_state`), at its root."""


class FolderPlace:
    """An export target that is a folder on disk, created if missing."""

    def __init__(
        self,
        root: str,
        world: World,
        apart: Mapping[str, str] = MappingProxyType({}),
        *,
        compressed: bool = True,
    ) -> None:
        """`apart`: folders, and what each is, that the tree must not overlap, not even through a
        symbolic link.
        """
        self.compressed = compressed
        self.root = root
        self._apart = {os.path.realpath(folder): what for folder, what in apart.items()}
        self._folder = TreeFolder(root)
        self._world = world
        self._turn = DeferredLock()  # removing an empty folder and writing into it must not overlap
        self._temporary = f"{root}/{TEMPORARY}"
        self._mine, self._names = token_hex(8), count()
        self._lock: int | None = None

    async def claim(self, stamp: Stamp, *, clears: bool) -> None:
        await self._run(self._claim, stamp, clears)

    def _must_be_apart(self) -> None:
        """Raise `BadRequest` if the tree overlaps a folder of `apart`: files that are served
        through a link must not be removed at its target.
        """
        for word in ("", *sorted({folder.partition("/")[0] for folder in FOLDERS})):
            where = f"{self.root}/{word}".rstrip("/")
            real = os.path.realpath(where)
            for folder, what in self._apart.items():
                if overlap(real, folder):
                    raise BadRequest(
                        f"{where} is in, or around, the {what} folder, {folder}: take a folder of "
                        "its own."
                    )

    def _claim(self, stamp: Stamp, clears: bool) -> None:
        self._must_be_apart()
        os.makedirs(self.root, exist_ok=True)
        self._lock_root()
        manifest = f"{self.root}/{MANIFEST}"
        try:
            with open(manifest, "rb") as file:
                held = file.read(1 << 16)
        except FileNotFoundError:
            held = None
        with os.scandir(self.root) as entries:
            is_empty = all(
                entry.name.startswith(".") or entry.name == "lost+found" for entry in entries
            )
        check_manifest(held, is_empty, stamp, self.root, clears=clears)
        if held != stamp.text():
            replace_file(manifest, stamp.text(), 0o666)
        self._folder = TreeFolder(self.root)
        shutil.rmtree(self._temporary, ignore_errors=True)  # the half-copied files of a killed run

    def _lock_root(self) -> None:
        """Keep other processes out until `close`. Raises `Busy`."""
        if self._lock is not None:
            return
        self._lock = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy(f"Another export is being written into {self.root}.", 10) from None
        except OSError:  # some network file systems have no locks
            pass

    async def recall(self) -> bytes | None:
        return await self._run(self._recall)

    def _recall(self) -> bytes | None:
        path = Path(self.root, STATE)
        with suppress(FileNotFoundError):
            state = path.read_bytes()
            replace_file(str(path), b"")
            return state
        return None

    async def remember(self, state: bytes) -> None:
        await self._run(replace_file, f"{self.root}/{STATE}", state)

    async def projects(self) -> Mapping[ProjectName, bool]:
        return await self._run(self._projects)

    def _projects(self) -> Mapping[ProjectName, bool]:
        names = set[str]()
        for folder in (folder.format("") for folder in FOLDERS):
            with suppress(FileNotFoundError, NotADirectoryError):
                names.update(os.listdir(f"{self.root}/{folder}"))
        simple = f"{self.root}/simple"
        return {
            name: all(os.path.isfile(f"{simple}/{name}/{page}") for page in (PAGE, JSON_PAGE))
            for name in map(normal, names)
            if name is not None
        }

    async def put(self, groups: Sequence[Sequence[WrittenPage]]) -> Sequence[tuple[int, int]]:
        return await self._run(self._put, groups)

    def _put(self, groups: Sequence[Sequence[WrittenPage]]) -> Sequence[tuple[int, int]]:
        self._must_be_apart()
        return [put_all(self._folder, pages) for pages in groups]

    async def of(self, names: Iterable[ProjectName]) -> Mapping[ProjectName, Sequence[str]]:
        return await self._run(self._of, tuple(names))

    def _of(self, names: Sequence[ProjectName]) -> Mapping[ProjectName, Sequence[str]]:
        self._must_be_apart()
        return {name: list(self._paths_of(name)) for name in names}

    def _paths_of(self, name: ProjectName) -> Iterator[str]:
        """Yield the paths that an export wrote for the project."""
        for pattern in FOLDERS:
            under = pattern.format(name)
            if not self._folder.is_link(under):  # not made by an export
                yield from (path for path in self._folder.list(under) if owner_of(path) == name)

    async def lacks(self, copies: Sequence[Copy]) -> Sequence[Copy]:
        return await self._run(lambda: [copy for copy in copies if not self._has(copy)])

    def _has(self, copy: Copy) -> bool:
        try:
            found = os.stat(f"{self.root}/{copy.path}", follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return False
        there = found.st_mtime_ns
        is_dated = there == copy.stamp or (
            there % 10**9 == 0 and there // 10**9 == copy.stamp // 10**9
        )
        return is_dated and copy.size in (None, found.st_size)

    async def copy(self, copy: Copy, body: Body) -> None:
        blocking = self._world.blocking
        async with aclosing(body):
            file = await blocking(self._opened)
            with file:
                try:
                    async for piece in body:
                        await blocking(_append, file, piece)
                    await self._run(self._land, file, copy)
                except BaseException:
                    with suppress(OSError):
                        os.unlink(file.name)
                    raise

    def _opened(self) -> BinaryIO:
        os.makedirs(self._temporary, exist_ok=True)
        return open(f"{self._temporary}/{self._mine}.{next(self._names)}", "xb", buffering=0)

    def _land(self, file: BinaryIO, copy: Copy) -> None:
        os.close(os.dup(file.fileno()))  # network file systems report a full disk only here
        os.utime(file.fileno(), ns=(copy.stamp, copy.stamp))
        where = f"{self.root}/{copy.path}"
        os.makedirs(os.path.dirname(where), exist_ok=True)
        os.rename(file.name, where)

    async def remove(self, paths: Sequence[str]) -> int:
        return await self._run(self._remove, paths)

    def _remove(self, paths: Sequence[str]) -> int:
        for path in paths:
            self._folder.remove(path)
        return len(paths)

    async def settle(self) -> None:
        await self._world.blocking(self._folder.settle)

    async def close(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def _run(self, call: Callable[..., T], *arguments: Any) -> T:
        result: T = await self._turn.run(self._world.blocking, call, *arguments)
        return result


def replace_file(path: str, data: bytes, mode: int = 0o600) -> None:
    """Replace the file atomically and durably."""

    def opener(path: str, flags: int) -> int:
        return os.open(path, flags | os.O_NOFOLLOW, mode)

    with open(f"{path}.new", "wb", opener=opener) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    Path(f"{path}.new").rename(path)


def _append(file: BinaryIO, piece: bytes) -> None:
    rest = memoryview(piece)
    while rest:
        rest = rest[file.write(rest) :]
