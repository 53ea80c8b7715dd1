"""The catalog in memory: lines of JSON (`catalog.lines`), one for each project of ours, and one for each of theirs.

A million files are some hundred megabytes so, where objects would be several times that; a project is decoded when it is
asked for, and the last few stay decoded.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from attrs import evolve, frozen

from pypid.catalog.lines import Lines, Loaded, Moment
from pypid.core.heard import dump_heard, load_heard
from pypid.core.model import Heard, Presence, Project, Status, Summary
from pypid.core.names import ProjectName
from pypid.core.records import dump_project, load_head, load_project
from pypid.flow import World
from pypid.ports import Catalog

V = TypeVar("V")

DECODED = 256
"""How many projects stay decoded: those whose pages are rendered again and again while they are published to."""


@frozen
class MemorySettings:
    """`serial`: the number to go on from, where an earlier catalog's must not come again."""

    serial: int = 0


class MemoryCatalog:
    """A `Catalog` that is two tables of lines."""

    def __init__(self, serial: int = 0) -> None:
        self._serial = serial
        self._ours = Lines()
        self._theirs = Lines()
        self._decoded: _Decoded[Project] = _Decoded(self._ours, load_project)
        self._heard: _Decoded[Heard] = _Decoded(self._theirs, load_heard)
        self._complete = False
        self._keeping: tuple[Sequence[Summary], Sequence[Summary]] = ((), ())
        """The heads of theirs, and those of them of which files are kept."""

    async def ours(self, name: ProjectName) -> Project | Presence:
        held = self._decoded.get(name)
        if held is not None:
            return held
        return Presence.ABSENT if self._complete else Presence.UNKNOWN

    async def names(self) -> Sequence[Summary]:
        return self._ours.summaries()

    async def edit(
        self, name: ProjectName, change: Callable[[Project | None], Project | None], *, mark: str | None = None
    ) -> Project | None:
        old = self._decoded.get(name)
        new = change(old)
        if new is not None and new.name != name:
            raise ValueError(f"an edit of {name} made {new.name} of it")
        if _same(old, new):
            if old is not None and mark is not None and mark != await self.mark(name):
                self._ours.put(_head(old), dump_project(old, mark))
            return old
        self._serial += 1
        if new is None:
            self._ours.take_out(name)
            self._decoded.forget(name)
            return None
        new = evolve(new, serial=self._serial)
        self._ours.put(_head(new), dump_project(new, mark))
        self._decoded.keep(name, new)
        return new

    async def mark(self, name: ProjectName) -> str | None:
        line = self._ours.get(name)
        return None if line is None else load_head(line).mark

    async def theirs(self, name: ProjectName) -> Heard:
        return self._heard.get(name) or Heard(name=name)

    async def edit_theirs(self, name: ProjectName, change: Callable[[Heard], Heard]) -> Heard:
        old = self._heard.get(name) or Heard(name=name)
        new = change(old)
        if new.name != name:
            raise ValueError(f"an edit of {name} made {new.name} of it")
        if new == old:
            return old
        if _seen(new) != _seen(old):
            self._serial += 1
            new = evolve(new, serial=self._serial)
        if new.said is None and not new.kept:
            if self._theirs.get(name) is not None:
                self._theirs.take_out(name)
            self._heard.forget(name)
            return new
        self._theirs.put(_their_head(new), dump_heard(new))
        self._heard.keep(name, new)
        return new

    async def their_names(self) -> Sequence[ProjectName]:
        return [summary.name for summary in await self.their_summaries()]

    async def their_summaries(self) -> Sequence[Summary]:
        heads = self._theirs.summaries()
        if heads is not self._keeping[0]:
            self._keeping = (heads, tuple(summary for summary in heads if summary.kept))
        return self._keeping[1]

    async def serial(self) -> int:
        return self._serial

    async def complete(self) -> None:
        self._complete = True

    async def is_complete(self) -> bool:
        return self._complete

    # --- for snapshots ---

    def moment(self, versions: Sequence[int] | None) -> Moment:
        """Our projects now; see `Lines.moment`."""
        return self._ours.moment(self._serial, versions)

    def fill(self, loaded: Loaded) -> None:
        """Begin with the projects of a snapshot. Raises `ValueError` where something is held already."""
        self._fill(self._ours, loaded)

    @property
    def heard(self) -> TheirLines:
        """What is known of theirs, for a snapshot of its own."""
        return TheirLines(
            lambda versions: self._theirs.moment(self._serial, versions), lambda loaded: self._fill(self._theirs, loaded)
        )

    def _fill(self, lines: Lines, loaded: Loaded) -> None:
        lines.fill(loaded)
        self._serial = max(self._serial, loaded.serial)


@frozen
class TheirLines:
    """The other half of a catalog in memory; see `catalog.lines.Shelved`."""

    moment: Callable[[Sequence[int] | None], Moment]
    fill: Callable[[Loaded], None]


class _Decoded(Generic[V]):
    """The projects of a table that were asked for last."""

    def __init__(self, lines: Lines, load: Callable[[bytes], V]) -> None:
        self._lines = lines
        self._load = load
        self._held: OrderedDict[ProjectName, V] = OrderedDict()

    def get(self, name: ProjectName) -> V | None:
        held = self._held.get(name)
        if held is not None:
            self._held.move_to_end(name)
            return held
        line = self._lines.get(name)
        return None if line is None else self.keep(name, self._load(line))

    def keep(self, name: ProjectName, value: V) -> V:
        self._held[name] = value
        self._held.move_to_end(name)
        if len(self._held) > DECODED:
            self._held.popitem(last=False)
        return value

    def forget(self, name: ProjectName) -> None:
        self._held.pop(name, None)


def _head(project: Project) -> Summary:
    return Summary(project.name, project.serial, project.status)


def _their_head(heard: Heard) -> Summary:
    status = Status.ACTIVE if heard.said is None else heard.said.status
    return Summary(heard.name, heard.serial, status, kept=bool(heard.kept))


def _same(old: Project | None, new: Project | None) -> bool:
    """Whether nothing changes; the serial is ours to set, so it does not count."""
    if old is None or new is None:
        return old is new
    return evolve(new, serial=old.serial) == old


def _seen(heard: Heard) -> object:
    """What of it can be seen: not when it was asked, and not what it is revalidated with."""
    said = heard.said
    return heard.kept, said and (said.files, said.status, said.status_reason)


async def open(settings: MemorySettings, world: World) -> MemoryCatalog:
    """A new, empty catalog."""
    return MemoryCatalog(settings.serial)


_: type[Catalog] = MemoryCatalog
