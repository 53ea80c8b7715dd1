"""The index as of a moment: the rules of today, over what was there then (`core.history`)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime

from attrs import define, field, frozen
from msgspec import UNSET

from pypid.core.errors import Exists, Unreadable
from pypid.core.globs import matches
from pypid.core.history import Spans, Then, spans, view_then, was_any
from pypid.core.layout import RECORDING, STORAGE_IDENTITY
from pypid.core.model import Project, Summary
from pypid.core.names import ProjectName
from pypid.core.policy import may_show_theirs
from pypid.core.records import Recording, StorageIdentity, dump
from pypid.flow import BytesBody
from pypid.index import truth
from pypid.index.asking import Asked
from pypid.index.index import Index
from pypid.index.parts import Pace

FEW = 1000
"""Files that are looked at in the reactor thread: in some milliseconds."""


@frozen
class ThenSeen:
    """What was to be seen of a project. `edition` tells it from what is told of another moment, or after another change."""

    then: Then
    edition: Hashable

    @property
    def attested(self) -> bool:
        """Whether any of its files has a provenance object here."""
        return any(file.attested for file in self.then.project.files)


async def then_of(index: Index, name: ProjectName, asked: Asked, recorded: datetime | None = None) -> ThenSeen:
    """What was to be seen of the project before `asked.before`.

    There is one if there is one now, whether or not it had files then: a name that is ours must not be looked for elsewhere.
    Raises as `Index.view`. `recorded`: see `Recorded`.
    """
    assert asked.before is not None
    seen = await index.seen(name, asked)
    what = (index.policy, seen.ours, seen.theirs, index.world.now(), name, asked.before, recorded)
    if _files_of(seen.ours, seen.theirs and seen.theirs.said) <= FEW:
        then = view_then(*what)
    else:
        then = await index.world.thinking(view_then, *what)
    return ThenSeen(then, (seen.view.edition, asked.before, recorded))


def _files_of(*sides: object) -> int:
    return sum(len(getattr(side, "files", None) or ()) for side in sides)


@define(eq=False)
class Recorded:
    """Since when changes of files of ours are noted in this storage, where that is not for ever."""

    _known: tuple[datetime | None] | None = field(default=None, init=False)

    async def since(self, index: Index) -> datetime | None:
        """It is asked of the storage once. In one that is older than this is noted, it is written down that we begin now.

        None: nobody knows. Raises `StorageDown`.
        """
        if self._known is None:
            self._known = (await self._read(index),)
        return self._known[0]

    async def _read(self, index: Index) -> datetime | None:
        with suppress(Unreadable):
            identity = await truth.read_document(index.blobs, StorageIdentity, STORAGE_IDENTITY)
            if identity is None:  # in tests
                return None
            if identity.recorded is not UNSET:
                return identity.recorded
            begun = Recording(index.world.now())
            with suppress(Exists):
                await index.blobs.write(RECORDING, BytesBody(dump(begun)))
            found = await truth.read_document(index.blobs, Recording, RECORDING)
            return found.since if found is not None else begun.since
        return None


@define(eq=False)
class Spanned:
    """When each project had any files: looked up once for each change of it, and not for each moment."""

    index: Index
    _known: dict[ProjectName, tuple[Summary, str, Spans]] = field(factory=dict, init=False, repr=False)

    async def names(self, names: Sequence[Summary], before: datetime) -> Sequence[Summary]:
        """Those of the `names` (all that are stored) of which a file that is stored now was there."""
        epoch, pace = self.index.catalog.epoch, Pace(self.index.world)
        known: dict[ProjectName, tuple[Summary, str, Spans]] = {}
        for summary in names:
            held = self._known.get(summary.name)
            # of one that is blended the summary says nothing of theirs
            if held is None or held[:2] != (summary, epoch) or matches(summary.name, self.index.policy.blend):
                held = (summary, epoch, await self._spans(summary.name))
                await pace.keep()
            known[summary.name] = held
        self._known = known
        return await self.index.world.thinking(_there, known, before)

    async def _spans(self, name: ProjectName) -> Spans:
        ours = await self.index.catalog.ours(name)
        shown = may_show_theirs(self.index.policy, name, ours)
        return spans(ours if isinstance(ours, Project) else None, await self.index.catalog.theirs(name) if shown else None)


def _there(known: Mapping[ProjectName, tuple[Summary, str, Spans]], before: datetime) -> Sequence[Summary]:
    return [summary for summary, _, its in known.values() if was_any(its, before)]
