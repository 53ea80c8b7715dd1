"""The names of all projects of the upstream indexes, so that no upload takes one from all users by
accident or on purpose.

No name is ever asked for by itself, since that would disclose the names of private projects: the
whole list is fetched once a day and kept as a file of sorted hashes, 8 bytes each. Until it is
there, and where an upstream has no list, a list of much-used names that comes with pypid decides.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import timedelta
from functools import cache
from hashlib import blake2b
from importlib.resources import files
from itertools import accumulate, pairwise
from mmap import mmap
from pathlib import Path

from attrs import define, field
from twisted.logger import Logger

from pypid.core.configuration.choices import Mode
from pypid.core.errors import PypidError
from pypid.core.model import UpstreamEntry
from pypid.core.packaging.names import ProjectName
from pypid.flow import World, start
from pypid.flow.conditions import Periodic
from pypid.index.index import Index

DAY, HOUR = timedelta(days=1).total_seconds(), timedelta(hours=1).total_seconds()
WIDTH = 8
"""Bytes of a hash. Of a million names, one in ten billion others has the hash of one."""
LOOK = 5.0
"""Seconds between two looks whether a list is due."""
LEAST = 0.5
"""The smallest part of the former list that a new one may have: a shorter one is cut off."""

_log = Logger()


@define(eq=False)
class PublicNames:
    """The names of the upstreams of the default index and of all named upstreams, in files of the
    state folder.
    """

    index: Index
    folder: Path
    world: World
    _tried: dict[str, float] = field(factory=dict, init=False, repr=False)
    """When the list of an upstream was last asked for in vain."""
    _fetching: bool = field(default=False, init=False, repr=False)

    async def holds(self, name: ProjectName) -> bool:
        """Return whether an upstream has a project of this name, as far as its list is known."""
        return await self.world.blocking(self._holds, name)

    def _holds(self, name: ProjectName) -> bool:
        lists = [self._file(upstream) for upstream in ("", *self.index.upstreams)]
        found = [_has(file, name) for file in lists if file.exists()]
        return any(found) or (not found and name in popular_names())

    def _file(self, upstream: str) -> Path:
        return self.folder / f"upstream-names{'-' if upstream else ''}{upstream}"

    def periodic(self) -> Periodic:
        """Return the service that keeps the lists up to date."""
        return Periodic(self.world.clock, LOOK, self._look, "fetching the names of all projects")

    async def _look(self) -> None:
        """Begin to fetch what is due. A list takes minutes: the end of the server never waits."""
        if not self._fetching:
            self._fetching = True
            start(self._fetch())

    async def _fetch(self) -> None:
        try:
            await self.refresh()
        finally:
            self._fetching = False

    async def refresh(self) -> None:
        """Fetch the lists that are a day old. A failure is one line of the log: the list before
        stays, and it is tried again after an hour.
        """
        for upstream, index in {"": self.index, **self.index.upstreams}.items():
            if index.context.policy.mode is Mode.OFFLINE:
                continue
            file, now = self._file(upstream), self.world.now().timestamp()
            if abs(now - self._tried.get(upstream, 0.0)) < HOUR:
                continue
            if file.exists() and abs(now - file.stat().st_mtime) < DAY:
                continue
            try:
                names = await index.gate.names(())
                await self.world.thinking(_write, file, names, now)
            except (PypidError, OSError) as error:
                self._tried[upstream] = now
                _log.warn(
                    "cannot fetch the list of all upstream projects; names in it are known by the "
                    "list before, or by one that comes with pypid upstream={upstream} "
                    "error={error}",
                    upstream=upstream or "default",
                    error=str(error),
                )


@cache
def popular_names() -> frozenset[str]:
    """Return names of the public index's most used projects: a file of this package."""
    text = files("pypid.index.upstream").joinpath("popular_names.txt").read_text("ascii")
    return frozenset(text.split())


def _hash(name: str) -> bytes:
    return blake2b(name.encode(), digest_size=WIDTH).digest()


def _has(file: Path, name: ProjectName) -> bool:
    """Return whether the sorted hashes in the file have that of the name. Blocks briefly."""
    wanted = _hash(name)
    with file.open("rb") as opened:
        low, high = 0, os.fstat(opened.fileno()).st_size // WIDTH
        while low < high:
            middle = (low + high) // 2
            found = os.pread(opened.fileno(), WIDTH, middle * WIDTH)
            if found == wanted:
                return True
            low, high = (middle + 1, high) if found < wanted else (low, middle)
    return False


def _write(file: Path, names: Sequence[ProjectName], now: float) -> None:
    """Write the hashes of the names. Takes two seconds for 700,000; sorts a part at a time, so that
    other threads come round, in memory that goes back to the system. Raises `OSError` for a list
    that is much shorter than the one before.
    """
    size = len(names) * WIDTH
    if not size or (file.exists() and size < file.stat().st_size * LEAST):
        raise OSError(f"the list has {len(names)} names, many fewer than before")
    lengths = [0] * 256
    for name in names:
        lengths[_hash(name)[0]] += WIDTH
    ends = [0, *accumulate(lengths)]
    new = file.with_name(f"{file.name}.part")
    with mmap(-1, size) as hashes, new.open("wb") as written:
        for name in names:
            hashed = _hash(name)
            ends[hashed[0]] = (begin := ends[hashed[0]]) + WIDTH
            hashes[begin : begin + WIDTH] = hashed
        for begin, end in pairwise([0, *ends[:-1]]):
            hashes[begin:end] = b"".join(
                sorted(hashes[at : at + WIDTH] for at in range(begin, end, WIDTH))
            )
        # at once: after each short write this thread would have the interpreter again before the
        # reactor's thread wakes up
        written.write(hashes)
        written.flush()
        os.fsync(written.fileno())
    os.utime(new, (now, now))  # when it was fetched
    new.replace(file)


# The upstream that knows a project, for pages and commands about one project.


async def asked_source(index: Index, project: ProjectName) -> Index | None:
    """Return the first upstream with a listing or cached files of the project, of those that the
    index asks; if none has any, the first one; None if it asks none. Raises `StorageDown`.
    """
    chosen = index.upstreams_of(project)
    return await _knowing(chosen, project) or next(iter(chosen), None)


async def source_of(index: Index, project: ProjectName) -> Index:
    """Return the first upstream with a listing or cached files of the project: of those that the
    index asks, then of all. Raises `StorageDown`.
    """
    candidates = (*index.upstreams_of(project), *index.caches.values())
    return await _knowing(candidates, project) or candidates[0]


async def _knowing(sources: Iterable[Index], project: ProjectName) -> Index | None:
    for source in sources:
        entry = await source.listings.kept.entry(project)
        if entry.kept or (entry.listing is not None and entry.listing.files is not None):
            return source
    return None


async def entries_of(index: Index, project: ProjectName) -> AsyncIterator[UpstreamEntry]:
    """Yield the entry of the project in each upstream of this pypid. Raises `StorageDown`."""
    for cached in index.caches.values():
        yield await cached.listings.kept.entry(project)
