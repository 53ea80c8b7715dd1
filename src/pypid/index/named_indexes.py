"""The named indexes of one pypid: those of the configuration, and those that users created.

Each is an `Index` over its part of the storage and of the catalog. It is made at its first use, and
takes little memory: an index without projects of its own shares all views of its bases.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from collections.abc import Set as AbstractSet

from attrs import define, evolve, field
from twisted.logger import Logger

from pypid.core.errors import (
    BadRequest,
    Busy,
    ChangedElsewhere,
    IndexInUse,
    IndexNotEmpty,
    NameTaken,
    NoSuchIndex,
    Unreadable,
)
from pypid.core.indexes import (
    MOST_PLACES,
    IndexDocument,
    IndexSettings,
    check_indexes,
    circle_of,
    document_of,
    is_index_name,
    places_of,
    settings_of_document,
    users_of,
)
from pypid.core.packaging.names import ProjectName
from pypid.core.permissions import NOBODY
from pypid.core.records.layout import decision_key
from pypid.flow.signals import Signal
from pypid.flow.single_flight import Locks
from pypid.index.all_indexes import FOLDER, AllIndexes
from pypid.index.context import is_stored
from pypid.index.decisions import DecisionFolder, Decisions
from pypid.index.index import Index
from pypid.index.private_names import PrivateNames
from pypid.index.progress import Tell

_log = Logger()

Cleaner = Callable[[str], Awaitable[object]]
CHANGES = 5
"""How often a change is made again if other processes change the same index."""
NOT_EMPTY = "To delete it with all its files, use --force."


def closed_index(name: str) -> IndexSettings:
    """Return the settings of an index whose document cannot be read: only administrators may use
    it, and can set it again. Without these settings, its projects would be taken from other
    indexes.
    """
    return IndexSettings(name=name, bases=(), read=NOBODY, write=NOBODY, delete=NOBODY)


def _settings(name: str, document: IndexDocument) -> IndexSettings:
    try:
        settings = settings_of_document(document)
    except Unreadable as error:
        _log.error("{error}; only administrators may use the index", error=error)
        return closed_index(name)
    if document.stage:
        _log.warn(
            "the stage {name} is a named index now, in which only administrators publish", name=name
        )
    return settings if settings.name == name else closed_index(name)


@define(eq=False)
class NamedIndexes:
    """Creates, changes and deletes named indexes, and finds them by name."""

    all: AllIndexes = field(repr=False)
    configured: Mapping[str, IndexSettings] = field(repr=False)
    """The indexes of the configuration, which cannot be changed here."""
    decisions: Decisions = field(repr=False)
    """Stores the indexes that users create."""
    changed: Signal[[]] = field(factory=Signal, init=False, repr=False)
    """Emitted after `settings` were replaced."""
    _folder: DecisionFolder[IndexDocument] = field(init=False, repr=False)
    _parsed: dict[str, tuple[IndexDocument, IndexSettings]] = field(
        factory=dict, init=False, repr=False
    )
    """The documents of the storage, and their settings, by name."""
    _cleaners: list[Cleaner] = field(factory=list, init=False, repr=False)
    _locks: Locks[str] = field(factory=Locks, init=False, repr=False)
    """Held while an index of this name is created, changed or deleted."""

    def __attrs_post_init__(self) -> None:
        self._folder = self.decisions.folder(FOLDER, IndexDocument)
        self._folder.changed.connect(self._apply)
        self.all.wait_for(self.read)
        self._apply()

    @property
    def default(self) -> Index:
        """The default index."""
        return self.all.default

    @property
    def names(self) -> PrivateNames:
        """The names that are local in named indexes."""
        return self.all.names

    @property
    def settings(self) -> Mapping[str, IndexSettings]:
        """All named indexes by name. Replaced as a whole."""
        return self.all.settings

    def get(self, name: str) -> Index | None:
        """Return the named index; None if it does not exist."""
        return self.all.find(name) if name in self.settings else None

    async def indexes_with(self, name: ProjectName) -> AbstractSet[str]:
        """Return the named indexes in which the name is local, as far as this process knows."""
        return await self.names.indexes_with(name)

    async def read(self) -> None:
        """Wait until all indexes and private names are known. Raises `StorageDown`."""
        if not self.decisions.is_read:
            await self.decisions.refresh()
        await self.names.read()

    async def compare_new(self, configured: Mapping[str, IndexSettings]) -> None:
        """Compare each new index with its part of the storage. Files that a former index of the
        same name has left then hide those of the bases at once. Raises `StorageDown`.
        """
        for name in configured:
            if name not in self.settings:
                await self.all.make(name).maintenance.compare_part()

    def configure(self, configured: Mapping[str, IndexSettings]) -> None:
        """Replace the indexes of the configuration, after `compare_new`."""
        if configured != self.configured:
            self.configured = configured
            self._apply()

    def on_removed(self, cleaner: Cleaner) -> None:
        """Call `cleaner` with the name of each index that was deleted, and again before an index of
        that name is created: it removes what is stored elsewhere for the index.
        """
        self._cleaners.append(cleaner)

    async def _clean(self, name: str) -> None:
        for cleaner in self._cleaners:
            await cleaner(name)

    async def create(self, settings: IndexSettings) -> None:
        """Create the index: durable, and in force in all workers of this machine, when this
        returns. Raises `NameTaken`, `BadRequest`, `StorageDown`, `StorageFull`.
        """
        name = settings.name
        async with self._locks.hold(name):
            await self._read_changes()
            self._refuse(name)
            if name in self.settings:
                raise NameTaken(name, "there is an index of this name")
            part = self.all.make(name).maintenance
            if await part.has_files() or await self.names.names_of(name):
                raise IndexNotEmpty(
                    name,
                    "They belong to a former index of this name. Remove them first: pypid index "
                    f"delete {name} --force",
                )
            await part.compare_part()  # another process may have listed projects of a former index
            if not await self._is_free(name):  # another process was faster, and may have owners
                raise NameTaken(name, "there is an index of this name")
            await self._clean(name)
            await self._put(settings, replace=False)

    async def change(
        self, name: str, edit: Callable[[IndexSettings], IndexSettings]
    ) -> IndexSettings:
        """Replace the settings of an index by what `edit` makes of them; return them. It is called
        again if another process has changed them meanwhile. Raises what `edit` raises, `Busy` and
        `NoSuchIndex`; otherwise as `create`.
        """
        async with self._locks.hold(name):
            for _ in range(CHANGES):
                await self._read_changes()
                before = self._refuse(name)
                if before is None:
                    raise NoSuchIndex(name)
                wanted = evolve(edit(before), created=before.created, created_by=before.created_by)
                await self._put(wanted, replace=True)
                if self._is_stored(wanted):
                    return wanted
            raise Busy("Other processes change this index at the same time.", 1)

    async def _read_changes(self) -> None:
        """Read what other processes have changed. Raises `StorageDown`."""
        if self.decisions.others_write:
            await self.decisions.refresh()

    def _is_stored(self, settings: IndexSettings) -> bool:
        """Return whether no other process has replaced these settings since they were written."""
        return self._folder.all.get(settings.name) == document_of(settings)

    async def delete(self, name: str, *, force: bool = False, tell: Tell | None = None) -> int:
        """Delete an index that is no base of another one, with all its objects in the storage;
        return the number of removed objects. `force`: also an index with files, and the files that
        an interrupted deletion has left. `tell` is notified of the progress.

        Raises `NoSuchIndex`, `IndexInUse`, `IndexNotEmpty`, `ChangedElsewhere`, `StorageDown`.
        """
        if not is_index_name(name):
            raise NoSuchIndex(name)
        async with self._locks.hold(name):
            return await self._delete(name, tell, force=force)

    async def _delete(self, name: str, tell: Tell | None, *, force: bool) -> int:
        found = self._refuse(name)
        index = self.all.make(name)
        has_stored = await index.maintenance.has_files()
        if found is None:
            is_unfinished = has_stored or await self.names.names_of(name)
            if not (force and is_unfinished):
                raise NoSuchIndex(name)
        users = users_of(name, self.settings.values())
        if users:
            raise IndexInUse(name, users)
        if has_stored and not force:
            raise IndexNotEmpty(name, NOT_EMPTY)
        removed = 0
        if force:
            removed = await self._delete_all(index, tell)
        else:
            await self._delete_empty(index, found)
        if name not in self.settings:  # another process may have created an index of this name
            await self._clean(name)
            # last: `create` refuses a name that has private names
            await self.names.release_all(name, lambda: self._is_free(name))
        return removed

    async def _is_free(self, name: str) -> bool:
        """Return whether the storage has no index of this name now."""
        return not await is_stored(self.names.blobs, decision_key(FOLDER, name))

    async def _delete_all(self, index: Index, tell: Tell | None) -> int:
        """Delete an index with all files, also those that are being published now."""
        await self._folder.delete(index.name)  # first: nothing is published to it from now on
        await index.context.places.until_released()
        await index.catalog.local.edit_all({})  # then it has what other nodes have listed before
        return await index.maintenance.remove_all(tell)

    async def _delete_empty(self, index: Index, settings: IndexSettings | None) -> None:
        """Delete an empty index. The index stays if a file is published to it meanwhile."""
        for summary in await index.catalog.local.summaries():
            await index.release_name(summary.name)
        await self._folder.delete(index.name)
        if settings is not None and await index.maintenance.has_files():
            await self._folder.put(index.name, document_of(settings))
            raise IndexNotEmpty(index.name, NOT_EMPTY)

    def _refuse(self, name: str) -> IndexSettings | None:
        """Return the index to change, or None. Raises `ChangedElsewhere` for one that the
        configuration has.
        """
        found = self.settings.get(name)
        if name in self.configured:
            raise ChangedElsewhere(
                f"the index {name!r}",
                f"change [index:{name}] in the configuration, and run `pypid reload`",
            )
        return found

    async def _put(self, settings: IndexSettings, *, replace: bool) -> None:
        before = {*check_indexes(self.settings.values(), self.all.only)}
        now = {**self.settings, settings.name: settings}
        for problem in check_indexes(now.values(), self.all.only):
            if problem.index == settings.name or problem not in before:
                raise BadRequest(f"{problem}.")
        await self._folder.put(settings.name, document_of(settings), replace=replace)

    def _settings_of(self, stored: Mapping[str, IndexDocument]) -> Mapping[str, IndexSettings]:
        """Return the settings of all stored indexes; only new documents are parsed."""
        before, self._parsed = self._parsed, {}
        for name, document in stored.items():
            known = before.get(name)
            if known is not None and known[0] is document:
                self._parsed[name] = known
            elif is_index_name(name):
                self._parsed[name] = (document, _settings(name, document))
        return {name: settings for name, (_, settings) in self._parsed.items()}

    def _apply(self) -> None:
        """Put the indexes in force that the configuration and the storage define now."""
        stored = self._folder.all
        unreadable = self._folder.unreadable
        found = {name: closed_index(name) for name in unreadable if is_index_name(name)}
        found |= self._settings_of(stored)
        found |= self.configured
        for problem in check_indexes(found.values(), self.all.only):
            _log.error("{problem}. Projects that it may contain are not served.", problem=problem)
        # two nodes may have changed bases at the same time
        places = places_of(found)
        for name in [n for n in found if places[n] > MOST_PLACES or circle_of(n, found)]:
            found[name] = evolve(found[name], bases=())
        self.all.replace(found)
        self.changed.emit()
