"""Dumps of the catalog in memory: a folder of JSON that a start reads instead of the whole storage.

``<shard>-<hash>.jsonl``
    A header line, then the projects' lines as the catalog holds them. Named after its content, so
    never changed. The dump of upstream projects has format 2: a long line ends with the two numbers
    ``packed``, the lengths of its listed files, compressed (deflate), and of the whole line; the
    compressed files follow it.
``manifest.json``
    Written last, and replaced atomically: it *is* the dump. It names the shards with their
    SHA-256, the catalog's serial, and the identity of the storage that all this was read from.

Shard files that no manifest names are left over from a write that failed, or from the dump before:
they are removed. A damaged shard is ignored: its projects are read from the storage, as all
projects are if the manifest is damaged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from attrs import frozen
from twisted.internet.defer import DeferredLock
from twisted.logger import Logger

from pypid.catalog.dump_folder import FORMATS, DumpFolder, Manifest, StoredShard, read_shards
from pypid.catalog.lines import DumpedLine, DumpedLines, Line, LinesState, Loaded, no_shards
from pypid.core.errors import Unreadable
from pypid.core.model import Status, Summary
from pypid.core.packaging.names import ProjectName
from pypid.core.records.documents import FORMAT
from pypid.core.summaries import MutableSummaries
from pypid.flow import World, shielded

_STATUS = {status.value: status for status in Status}


@frozen
class Ignored:
    """The reason why nothing can be loaded; `reason` follows "The catalog dump is ignored: ".
    `usual`: nothing is wrong.
    """

    reason: str
    usual: bool = False


class CatalogDump:
    """A folder that is kept up to date with a catalog. `identity` is that of the storage
    (`records.StorageIdentity`). An `optional` dump is not written before the catalog has entries.
    """

    _log = Logger()

    def __init__(
        self,
        catalog: DumpedLines,
        folder: str,
        identity: str,
        world: World,
        format: int = FORMAT,
        *,
        optional: bool = False,
    ) -> None:
        self._catalog = catalog
        self._folder = DumpFolder(folder, format)
        self._identity = identity
        self._blocking = world.blocking
        self._optional = optional
        self._turn = DeferredLock()
        self._written: LinesState | None = None
        self._shards: Mapping[int, StoredShard] = {}
        self.is_whole = False
        """Whether the last dump was loaded completely, or is optional and was never written."""

    async def load(self) -> Loaded | Ignored:
        """Fill the (still empty) catalog from the folder; if that fails, return why."""
        found = await self._blocking(read_dump, self._folder, self._identity, self._catalog.adopt)
        if isinstance(found, Ignored):
            self.is_whole = found.usual and self._optional
            return found
        self._catalog.fill(found.loaded)
        moment = self._catalog.state(
            None
        )  # its serial may be ahead of the dump's, which need not be written
        versions = tuple(
            -1 if number in found.damaged else version
            for number, version in enumerate(moment.versions)
        )
        self._written = LinesState(moment.serial, versions, {})
        self._shards = found.shards
        self.is_whole = not found.damaged
        for error in list(found.damaged.values())[:1]:
            self._log.warn(
                (
                    "{count} of {shards} files of the catalog dump are damaged; their "
                    "projects are read from the storage: {error}"
                ),
                count=len(found.damaged),
                shards=len(found.damaged) + len(found.shards),
                error=error,
            )
        return found.loaded

    async def write(self) -> bool:
        """Write what changed since the last time; return whether everything is written now.

        The dump shows the catalog at the start of the write, which follows one that is under way.
        An error of the system (a full disk) is logged, and the dump before stays; the next call
        tries again. Goes on to its end if it is cancelled.
        """
        return await shielded(self._write_in_turn())

    async def _write_in_turn(self) -> bool:
        await self._turn.acquire()
        try:
            return await self._write()
        finally:
            self._turn.release()

    async def _write(self) -> bool:
        written = self._written
        moment = self._catalog.state(None if written is None else written.versions)
        if written is not None and written.serial == moment.serial and not moment.lines:
            return True
        is_empty = written is None and not any(moment.lines.values())
        if self._optional and is_empty and not await self._blocking(self._folder.exists):
            return True
        try:
            shards = await self._blocking(self._folder.store, self._identity, moment, self._shards)
        except OSError as error:
            self._log.error(
                "The catalog dump could not be written; the previous one is kept: {error}",
                error=error,
            )
            return False
        self._written = LinesState(moment.serial, moment.versions, {})
        self._shards = shards
        return True


@frozen
class FoundDump:
    """The result of reading: the projects of all `shards` except those that are `damaged`."""

    loaded: Loaded
    shards: Mapping[int, StoredShard]
    damaged: Mapping[int, Unreadable]


def read_dump(
    folder: DumpFolder, identity: str, adopt: Callable[[DumpedLine], Line]
) -> FoundDump | Ignored:
    """Return the dump in `folder`, if it can be read and is of this storage; `adopt` returns the
    form in which a line is held. Never raises; blocks.
    """
    try:
        manifest = folder.manifest()
        if manifest is None:
            return Ignored("there is none yet.", usual=True)
        if manifest.format not in FORMATS:
            return Ignored(
                f"it has format {manifest.format}, and this version of pypid reads format "
                f"{max(FORMATS)} at most."
            )
        if manifest.identity != identity:
            return Ignored("it belongs to another storage.")
        found = _sound_shards(folder, manifest, adopt)
        return (
            found
            if found.shards or not found.damaged
            else Ignored(f"{next(iter(found.damaged.values()))}.")
        )
    except Unreadable as error:
        return Ignored(f"{error}.")
    except Exception as error:  # no error in a dump may prevent a start
        return Ignored(f"it cannot be read: {error!r}.")


def _sound_shards(
    folder: DumpFolder, manifest: Manifest, adopt: Callable[[DumpedLine], Line]
) -> FoundDump:
    shards = no_shards()
    heads: dict[ProjectName, Summary] = {}
    sound, damaged = manifest.by_number(), dict[int, Unreadable]()
    for number, projects in read_shards(folder, dict(sound), adopt):
        if isinstance(projects, Unreadable):
            damaged[number] = projects
            del sound[number]
            continue
        shard = shards[number]
        for head, line in projects:
            # The digest proves that pypid wrote this line, and it writes normalised names only.
            name = ProjectName(head.name)
            shard[name] = line
            heads[name] = Summary(name, head.serial, _STATUS[head.status], head.keeps, head.gone)
    return FoundDump(Loaded(manifest.serial, shards, MutableSummaries(heads)), sound, damaged)
