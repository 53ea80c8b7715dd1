"""An export target that is a folder on disk."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from itertools import count
from pathlib import Path
from secrets import token_hex
from types import MappingProxyType
from typing import Any, BinaryIO

from twisted.internet.defer import DeferredLock

from pypid.core.errors import BadRequest, Busy
from pypid.core.export_request import overlap
from pypid.core.packaging.names import ProjectName
from pypid.export.options import FOLDERS, MANIFEST, normal, owner_of
from pypid.export.targets import Copy, ExportPlace, Stamp, check_manifest
from pypid.export.tree import JSON_PAGE, PAGE, TreeFolder, WrittenPage, put_all
from pypid.flow import World
from pypid.ports import Body

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
        state: bytes | None = await self._run(self._recall)
        return state

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
        found: Mapping[ProjectName, bool] = await self._run(self._projects)
        return found

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
        done: Sequence[tuple[int, int]] = await self._run(self._put, groups)
        return done

    def _put(self, groups: Sequence[Sequence[WrittenPage]]) -> Sequence[tuple[int, int]]:
        self._must_be_apart()
        return [put_all(self._folder, pages) for pages in groups]

    async def of(self, names: Iterable[ProjectName]) -> Mapping[ProjectName, Sequence[str]]:
        found: Mapping[ProjectName, Sequence[str]] = await self._run(self._of, tuple(names))
        return found

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
        lacking: Sequence[Copy] = await self._run(
            lambda: [copy for copy in copies if not self._has(copy)]
        )
        return lacking

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
        gone: int = await self._run(self._remove, paths)
        return gone

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

    async def _run(self, call: Any, *arguments: Any) -> Any:
        return await self._turn.run(self._world.blocking, call, *arguments)


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


_: type[ExportPlace] = FolderPlace
