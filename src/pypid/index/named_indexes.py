"""All indexes of one pypid: the default one, the named ones of the configuration and of users, and
the names that are private in any.

Each named index is an `Index` over its part of the storage and of the catalog. It is made at its
first use, and takes little memory: an index without projects of its own shares all views of its
bases.
"""

from __future__ import annotations

from collections.abc import (
    Awaitable,
    Callable,
    Collection,
    Hashable,
    Iterable,
    Mapping,
    Sequence,
)
from collections.abc import Set as AbstractSet
from contextlib import aclosing, suppress
from datetime import datetime, timedelta
from functools import partial
from types import MappingProxyType

from attrs import Factory, define, evolve, field, frozen
from twisted.logger import Logger

from pypid.blobs.store import Store, part
from pypid.core.configuration.choices import Mode
from pypid.core.cooldown import Cooldown
from pypid.core.errors import (
    BadRequest,
    Busy,
    ChangedElsewhere,
    IndexInUse,
    ListIncomplete,
    NameTaken,
    NoSuchIndex,
    StorageDown,
    Unreadable,
    shortened,
)
from pypid.core.indexes import (
    DEFAULT,
    MOST_PLACES,
    IndexDocument,
    IndexSettings,
    check_indexes,
    check_takes_files,
    circle_of,
    document_of,
    is_index_name,
    mixes,
    places_of,
    settings_of_document,
    users_of,
)
from pypid.core.model import Presence, Project, Summary
from pypid.core.packaging.names import ProjectName
from pypid.core.permissions import NOBODY
from pypid.core.policy import PUBLIC, Policy, UpstreamChoice
from pypid.core.records.layout import (
    INDEX_NAMES,
    INDEXES,
    UPSTREAMS,
    ObjectKind,
    decision_key,
    is_document,
    place,
)
from pypid.core.summaries import Run, in_runs, name_of
from pypid.flow import BytesBody
from pypid.flow.derived import Flights, Locks, SameObjects, Signal
from pypid.index.context import is_stored
from pypid.index.decisions import DecisionFolder, Decisions
from pypid.index.index import Index, OtherIndexes
from pypid.index.store.records import read_document
from pypid.ports import Blobs, Bucket, Catalog, Upstream
from pypid.upstream.nothing import Nothing

# The names that are local in named indexes. They are private everywhere: no index of this pypid
# sends them upstream.
#
# ``.pypid/index-names/<project>/<index>`` is written before the first record of a project in a
# named index, so that one listing of the storage proves that a name is not private, even if the
# catalog is incomplete.

_Marked = dict[ProjectName, frozenset[str]]
_PROJECT = f"/{ObjectKind.PROJECT.value}"


def marker_key(name: ProjectName, index: str) -> str:
    """Return the key that says that the name is local in the index."""
    return f"{INDEX_NAMES}{name}/{index}"


@define(eq=False)
class PrivateNames:
    """The names that are local in named indexes, for the default index (`context.NamesElsewhere`).

    `settings` returns those of all named indexes, which are replaced as a whole. `others_write`:
    other processes may publish in the same storage.
    """

    blobs: Blobs
    catalog: Catalog
    settings: Callable[[], Mapping[str, IndexSettings]] = field(repr=False)
    others_write: bool = False
    _marked: _Marked | None = field(default=None, init=False, repr=False)
    """The indexes of each name by the markers; None before they were read."""
    _reading: Flights[str, _Marked] = field(factory=Flights, init=False, repr=False)
    _changes: int = field(default=0, init=False)
    """The number of changes of `_marked`."""
    _compared: object = field(default=None, init=False, repr=False)
    """The settings with which `names` has compared `_marked`."""
    _names: tuple[Hashable, frozenset[ProjectName]] | None = field(
        default=None, init=False, repr=False
    )
    """The private names, and the values from which they were computed."""
    _of_runs: tuple[object, dict[int, tuple[Run, frozenset[ProjectName]]]] | None = field(
        default=None, init=False, repr=False
    )
    """`allow_mixed` of all indexes that have it, and the private names of each run of the lists."""

    async def known(self, name: ProjectName) -> Presence:
        """Return whether the name is private, as far as this process knows."""
        return self._presence(name, await self.indexes_with(name))

    async def indexes_with(self, name: ProjectName) -> AbstractSet[str]:
        """Return the named indexes in which the name is local, as far as this process knows."""
        marked = (await self._markers()).get(name, frozenset())
        if self.others_write and marked - self.settings().keys():
            await self._forget_deleted((name,), f"{name}/")
            marked = (await self._markers()).get(name, frozenset())
        listed = await self.catalog.indexes_with(name)
        if listed is not None and self.others_write:
            # another process may have released it; the catalog knows the indexes that exist
            marked = marked - self.settings().keys()
        return marked | (listed or frozenset())

    async def proven(self, name: ProjectName) -> Presence:
        """Return whether the name is private, by the storage now if other processes write there
        (`context.NamesElsewhere`).
        """
        known = await self.known(name)
        if known is Presence.ELSEWHERE or not self.others_write:
            return known
        return self._presence(name, (await self._read(f"{INDEX_NAMES}{name}/")).get(name, ()))

    def _presence(self, name: ProjectName, indexes: Iterable[str]) -> Presence:
        """Return the presence of a name that is local in these indexes. It is not private in an
        index that mixes its files with those of upstream.
        """
        settings = self.settings()
        is_private = any(
            index not in settings or not mixes(settings[index], name) for index in indexes
        )
        return Presence.ELSEWHERE if is_private else Presence.ABSENT

    async def names(self) -> frozenset[ProjectName]:
        """Return all private names, as far as this process knows; the same object until they
        change (`context.NamesElsewhere`).
        """
        marked, settings = await self._markers(), self.settings()
        if self.others_write and self._compared is not settings:
            self._compared, existing = settings, frozenset(settings)
            if names := [name for name, held in marked.items() if not held <= existing]:
                await self._forget_deleted(names, "")
        lists = await self.catalog.index_lists()
        basis = SameObjects((marked, lists, settings, self.catalog.was_complete))
        if self._names is None or self._names[0] != (basis, self._changes):
            found = self._private(marked, lists)
            if self._names is not None and self._names[1] == found:
                found = self._names[1]
            self._names = ((basis, self._changes), found)
        return self._names[1]

    def _private(
        self, marked: _Marked, lists: Mapping[str, Sequence[Summary]]
    ) -> frozenset[ProjectName]:
        settings, before = self.settings(), self._of_runs
        mixing = {name: each.allow_mixed for name, each in settings.items() if each.allow_mixed}
        if before is None or before[0] != mixing:
            before = mixing, {}
        made = {
            id(run): before[1].get(id(run)) or (run, self._private_of_run(index, run))
            for index, listed in lists.items()
            for run in in_runs(listed).runs
        }
        self._of_runs = mixing, made
        # another process may have released it; the catalog knows the indexes that exist
        is_known = self.others_write and self.catalog.was_complete
        known = frozenset(settings) if is_known else frozenset[str]()
        if known or mixing:
            by_marker = frozenset(
                name
                for name, indexes in marked.items()
                if not indexes <= known
                and self._presence(name, indexes - known) is Presence.ELSEWHERE
            )
        else:
            by_marker = frozenset(marked)
        return by_marker.union(*(names for _, names in made.values()))

    def _private_of_run(self, index: str, run: Run) -> frozenset[ProjectName]:
        return frozenset(
            each.name for each in run if self._presence(each.name, (index,)) is Presence.ELSEWHERE
        )

    async def _forget_deleted(self, names: Collection[ProjectName], prefix: str) -> None:
        """Forget the marks of these names, below `prefix`, in deleted indexes from which another
        process has removed them.
        """
        with suppress(StorageDown):
            stored = await self._read(INDEX_NAMES + prefix)
            marked = await self._markers()
            for name in names:
                deleted = marked.get(name, frozenset()) - self.settings().keys()
                for index in deleted - stored.get(name, frozenset()):
                    self._unmark(marked, name, index)

    async def names_of(self, index: str) -> frozenset[ProjectName]:
        """Return the names that are marked as local in the index, by the storage now."""
        marked = await self._read(INDEX_NAMES)
        return frozenset(name for name, indexes in marked.items() if index in indexes)

    async def listed_indexes(self) -> frozenset[str]:
        """Return the indexes of which the catalog lists projects, also deleted ones."""
        return frozenset(await self.catalog.index_lists())

    async def read(self) -> None:
        """Read the markers, if they were not read yet. Raises `StorageDown`."""
        await self._markers()

    async def _markers(self) -> _Marked:
        if self._marked is None:
            self._marked = await self._reading.single("", lambda: self._read(INDEX_NAMES))
        return self._marked

    async def _read(self, prefix: str) -> _Marked:
        found: _Marked = {}
        async with aclosing(self.blobs.list(prefix)) as listing:
            async for blob in listing:
                name, _, index = blob.key.removeprefix(INDEX_NAMES).partition("/")
                key = ProjectName(name)
                found[key] = found.get(key, frozenset()) | {index}
        return found

    # --- changes ---

    async def mark(self, name: ProjectName, index: str) -> None:
        """Record durably that the name becomes local in the index."""
        marked = await self._markers()
        if index in marked.get(name, ()) and not self.others_write:
            return
        await self.blobs.write(marker_key(name, index), BytesBody(b""), replace=True)
        marked[name] = marked.get(name, frozenset()) | {index}
        self._changes += 1

    async def release(self, name: ProjectName, index: str) -> None:
        """Record that the index no longer has a project of this name."""
        await self.blobs.delete(marker_key(name, index))
        self._unmark(await self._markers(), name, index)

    def _unmark(self, marked: _Marked, name: ProjectName, index: str) -> None:
        left = marked.pop(name, frozenset()) - {index}
        if left:
            marked[name] = left
        self._changes += 1

    async def release_all(
        self, index: str, is_deleted: Callable[[], Awaitable[bool]] | None = None
    ) -> None:
        """Record that the index no longer has any projects. Ends once `is_deleted` denies that: a
        new index of this name may have projects of the same names.
        """
        for name in await self.names_of(index):
            if is_deleted is not None and not await is_deleted():
                return
            await self.release(name, index)


@define(eq=False)
class LocalNames:
    """The names that are local in any index, for a named upstream (`context.NamesElsewhere`)."""

    indexes: OtherIndexes
    _names: tuple[SameObjects, frozenset[ProjectName]] = field(
        default=(SameObjects(), frozenset()), init=False, repr=False
    )
    """The names, and the values from which they were computed."""

    async def known(self, name: ProjectName) -> Presence:
        """Return whether the name is local, as far as this process knows."""
        default = self.indexes.find("")
        if default is None:  # it is not made yet
            return Presence.UNKNOWN
        return _elsewhere(await default.context.local_project(name))

    async def names(self) -> frozenset[ProjectName]:
        """Return these names, as far as this process knows; the same object until they change."""
        default = self.indexes.find("")
        if default is None:
            raise ListIncomplete()
        others = default.context.names_elsewhere
        elsewhere = frozenset[ProjectName]() if others is None else await others.names()
        ours = await default.own_lists.held_local()
        basis = SameObjects((elsewhere, ours))
        if self._names[0] != basis:
            found = elsewhere.union(map(name_of, ours))
            self._names = (basis, self._names[1] if self._names[1] == found else found)
        return self._names[1]

    async def proven(self, name: ProjectName) -> Presence:
        """Return whether the name is local, by the storage now."""
        default = self.indexes.find("")
        if default is None:
            return Presence.UNKNOWN
        return _elsewhere(await default.context.ours_now(name))


def _elsewhere(found: Project | Presence) -> Presence:
    return Presence.ELSEWHERE if isinstance(found, Project) else found


def marked(part: Store, names: PrivateNames, index: str) -> Store:
    """Return the part of the storage of a named index, which marks a name as local before the first
    document that makes it so.
    """

    async def announce(key: str) -> None:
        placed = place(key) if is_document(key) or key.endswith(_PROJECT) else None
        if placed is not None:
            await names.mark(placed.project, index)

    return evolve(part, announce=announce)


# All indexes and upstreams of one pypid by name. Each is an `Index` over its part of the storage
# and of the catalog, made from the default index.

FOLDER = "indexes"
"""The folder of the documents of named indexes in the storage."""


@frozen
class NamedUpstream:
    """The client and the settings of an `[upstream:NAME]`."""

    upstream: Upstream
    policy: Policy
    ttl: timedelta
    timeout: timedelta


def _named_index(indexes: Indexes, name: str) -> Index:
    """Return the index of this name: a part of the storage and of the catalog of the default one,
    without an upstream of its own.
    """
    default, prefix = indexes.default, f"{INDEXES}{name}/"
    whole = default.context
    settings, announced = indexes.settings.get(name), whole.announced
    created = None if settings is None else settings.created
    context = evolve(
        whole,
        name=name,
        prefix=prefix,
        blobs=marked(part(whole.blobs, prefix), indexes.names, name),
        catalog=indexes.catalog.of(index=name),
        policy=evolve(whole.policy, mode=Mode.OFFLINE, cooldown=Cooldown(), only=()),
        describing=None,
        provisional=None if whole.provisional is None else part(whole.provisional, prefix),
        announced=None if announced is None else lambda place: announced(prefix + place),
        names_elsewhere=None,
        released=partial(indexes.names.release, index=name),
        refuse_if_closed=partial(indexes.check_takes_files, name, created),
        refuse_if_closed_elsewhere=partial(indexes.check_still_takes_files, name, created),
    )
    return evolve(
        default,
        context=context,
        source=evolve(default.source, upstream=Nothing(), trust=None),
        bucket=_part_of_bucket(default, prefix),
        choice=UpstreamChoice((), {}),
    )


def _named_upstream(indexes: Indexes, name: str, settings: NamedUpstream) -> Index:
    """Return the index of `[upstream:NAME]`: a part of the storage and of the catalog of the
    default one, without local projects. No name that is local in any index goes there.
    """
    default, prefix = indexes.default, f"{UPSTREAMS}{name}/"
    context = evolve(
        default.context,
        name=name,
        prefix=prefix,
        blobs=part(default.context.blobs, prefix),
        catalog=indexes.catalog.of(source=name),
        policy=settings.policy,
        describing=None,
        provisional=None,
        announced=None,
        names_elsewhere=LocalNames(indexes),
    )
    source = evolve(
        default.source,
        upstream=settings.upstream,
        ttl=settings.ttl,
        timeout=settings.timeout,
    )
    return evolve(
        default,
        context=context,
        source=source,
        bucket=_part_of_bucket(default, prefix),
        choice=UpstreamChoice(),
    )


def _part_of_bucket(default: Index, prefix: str) -> Callable[[], Awaitable[Bucket]] | None:
    bucket = default.bucket
    if bucket is None:
        return None

    async def opened() -> Bucket:
        return (await bucket()).below(prefix)

    return opened


_log = Logger()

CHANGES = 5
"""How often a change is made again if other processes change the same index."""
NOT_EMPTY = "To delete it with all its files, use --force."


def _not_empty(name: str, advice: str) -> IndexInUse:
    return IndexInUse(f"The storage has files of the index {shortened(name)!r}. {advice}")


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


async def _nothing(index: str) -> None:
    """Do nothing: all that is stored for an index is below its prefix."""


@define(eq=False)
class Indexes:
    """All indexes and upstreams of one pypid, by name: creates, changes and deletes named indexes.
    Made before the default index, which `join` adds. `others_write`: other processes may publish in
    the same storage.
    """

    catalog: Catalog = field(repr=False)
    decisions: Decisions = field(repr=False)
    """Stores the indexes that users create."""
    configured: Mapping[str, IndexSettings] = field(factory=dict, repr=False)
    """The indexes of the configuration, which cannot be changed here."""
    only: Mapping[str, tuple[str, ...]] = field(factory=dict)
    """The names and globs of each `[upstream:NAME]`."""
    others_write: bool = False
    clean: Callable[[str], Awaitable[object]] = field(default=_nothing, repr=False)
    """Called with the name of each index that was deleted, and again before an index of that name
    is created: it removes what is stored elsewhere for the index.
    """
    names: PrivateNames = field(
        default=Factory(
            lambda self: PrivateNames(
                self.decisions.blobs, self.catalog, lambda: self.settings, self.others_write
            ),
            takes_self=True,
        ),
        init=False,
        repr=False,
    )
    """The names that are local in named indexes."""
    upstreams: dict[str, Index] = field(factory=dict, init=False, repr=False)
    """The indexes of all `[upstream:NAME]`, which `join` adds."""
    settings: Mapping[str, IndexSettings] = field(
        default=MappingProxyType({}), init=False, repr=False
    )
    """The named indexes. Replaced as a whole."""
    changed: Signal[[]] = field(factory=Signal, init=False, repr=False)
    """Emitted after `settings` were replaced."""
    _default: Index | None = field(default=None, init=False, repr=False)
    _made: dict[str, Index] = field(factory=dict, init=False, repr=False)
    _folder: DecisionFolder[IndexDocument] = field(
        default=Factory(lambda self: self.decisions.folder(FOLDER, IndexDocument), takes_self=True),
        init=False,
        repr=False,
    )
    _parsed: dict[str, tuple[IndexDocument, IndexSettings]] = field(
        factory=dict, init=False, repr=False
    )
    """The documents of the storage, and their settings, by name."""
    _locks: Locks[str] = field(factory=Locks, init=False, repr=False)
    """Held while an index of this name is created, changed or deleted."""

    def __attrs_post_init__(self) -> None:
        self._folder.changed.connect(self._apply)
        self._apply()

    def join(self, default: Index, upstreams: Mapping[str, NamedUpstream]) -> None:
        """Add the default index and the named upstreams."""
        self._default = default
        self.upstreams.update(
            (name, _named_upstream(self, name, settings)) for name, settings in upstreams.items()
        )

    @property
    def default(self) -> Index:
        """The default index; only after `join`."""
        assert self._default is not None
        return self._default

    @property
    def made(self) -> Sequence[Index]:
        """The named indexes and upstreams that were used."""
        return (*self._made.values(), *self.upstreams.values())

    async def named_parts(self, *, former: bool = False) -> Sequence[Index]:
        """Return all named indexes and upstreams, once they are known; with `former` also deleted
        indexes of which the catalog still lists projects. Raises `StorageDown`.
        """
        await self.read()
        found = [self.find(name) for name in (*self.settings, *self.upstreams)]
        listed = await self.names.listed_indexes() if former else frozenset()
        deleted = [self.make(name) for name in sorted(listed - self.settings.keys())]
        return [*(index for index in found if index is not None), *deleted]

    def is_asked(self, upstream: str, project: ProjectName) -> bool:
        """Return whether any index asks this upstream (empty: `[upstream]`) for the project."""
        chosen = {each.upstreams for each in self.settings.values() if each.upstreams is not None}
        choices = [UpstreamChoice.of(names, self.only) for names in chosen]
        if self._default is not None:
            choices.append(self._default.choice)
        return any((upstream or PUBLIC) in each.upstreams_of(project) for each in choices)

    def check_takes_files(self, name: str, created: datetime | None) -> None:
        """Raise what `core.indexes.check_takes_files` raises for the named index; `Busy` if it was
        not created at this time.
        """
        self._check(name, created, self.settings.get(name))

    def _check(self, name: str, created: datetime | None, now: IndexSettings | None) -> None:
        if now is not None and now.created != created:
            raise Busy(f"The index {name!r} was deleted and created again meanwhile.", 1)
        check_takes_files(name, now, self.default.context.world.now())

    async def check_still_takes_files(
        self, name: str, created: datetime | None, project: ProjectName
    ) -> None:
        """Raise the same by the settings in the storage, where other processes may have closed or
        deleted the index; `Busy` if it was not created at this time. The project is not private in
        an index that was deleted, unless other files of it are stored there. Raises `StorageDown`,
        `Unreadable`.
        """
        known = self.settings.get(name)
        if not self.others_write or (known is not None and known.configured):
            return
        document = await read_document(
            self.decisions.blobs, IndexDocument, decision_key(FOLDER, name)
        )
        now = None if document is None else settings_of_document(document)
        if now is None and await self._count_files(name, project) <= 1:  # this upload's own
            # the deletion may have released the name before it was marked
            await self.names.release(project, name)
        self._check(name, created, now)

    async def _count_files(self, name: str, project: ProjectName) -> int:
        """Return the number of files of the project that the storage has in the named index."""
        folder = part(self.decisions.blobs, f"{INDEXES}{name}/")
        async with aclosing(folder.list(f"{project}/")) as listing:
            places = [place(blob.key) async for blob in listing]
        return len({each.filename for each in places if each is not None and each.filename})

    def find(self, name: str) -> Index | None:
        """Return the index, or the upstream, of this name; "" and ``default``: the default one."""
        if name in ("", DEFAULT):
            return self._default
        if name in self.settings:
            return self.make(name)
        return self.upstreams.get(name)

    def make(self, name: str) -> Index:
        """Return the named index, even if it does not exist or was deleted."""
        if name not in self._made:
            made = _named_index(self, name)
            if name not in self.settings:
                return made
            self._made[name] = made
        return self._made[name]

    def get(self, name: str) -> Index | None:
        """Return the named index; None if it does not exist."""
        return self.make(name) if name in self.settings else None

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
                await self.make(name).maintenance.compare_part()

    def configure(self, configured: Mapping[str, IndexSettings]) -> None:
        """Replace the indexes of the configuration, after `compare_new`."""
        if configured != self.configured:
            self.configured = configured
            self._apply()

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
            part = self.make(name).maintenance
            if await part.has_files() or await self.names.names_of(name):
                raise _not_empty(
                    name,
                    "They belong to a former index of this name. Remove them first: pypid index "
                    f"delete {name} --force",
                )
            await part.compare_part()  # another process may have listed projects of a former index
            if not await self._is_free(name):  # another process was faster, and may have owners
                raise NameTaken(name, "there is an index of this name")
            await self.clean(name)
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

    async def delete(self, name: str, *, force: bool = False) -> int:
        """Delete an index that is no base of another one, with all its objects in the storage;
        return the number of removed objects. `force`: also an index with files, and the files that
        an interrupted deletion has left.

        Raises `NoSuchIndex`, `IndexInUse`, `ChangedElsewhere`, `StorageDown`.
        """
        if not is_index_name(name):
            raise NoSuchIndex(name)
        async with self._locks.hold(name):
            return await self._delete(name, force=force)

    async def _delete(self, name: str, *, force: bool) -> int:
        found = self._refuse(name)
        index = self.make(name)
        has_stored = await index.maintenance.has_files()
        if found is None:
            is_unfinished = has_stored or await self.names.names_of(name)
            if not (force and is_unfinished):
                raise NoSuchIndex(name)
        users = users_of(name, self.settings.values())
        if users:
            raise IndexInUse(
                f"The index {shortened(name)!r} is a base of {', '.join(users)}. Change `bases` "
                "there, or delete these indexes first."
            )
        if has_stored and not force:
            raise _not_empty(name, NOT_EMPTY)
        removed = 0
        if force:
            removed = await self._delete_all(index)
        else:
            await self._delete_empty(index, found)
        if name not in self.settings:  # another process may have created an index of this name
            await self.clean(name)
            # last: `create` refuses a name that has private names
            await self.names.release_all(name, lambda: self._is_free(name))
        return removed

    async def _is_free(self, name: str) -> bool:
        """Return whether the storage has no index of this name now."""
        return not await is_stored(self.decisions.blobs, decision_key(FOLDER, name))

    async def _delete_all(self, index: Index) -> int:
        """Delete an index with all files, also those that are being published now."""
        await self._folder.delete(index.name)  # first: nothing is published to it from now on
        await index.context.places.until_released()
        await index.catalog.local.edit_all({})  # then it has what other nodes have listed before
        return await index.maintenance.remove_all()

    async def _delete_empty(self, index: Index, settings: IndexSettings | None) -> None:
        """Delete an empty index. The index stays if a file is published to it meanwhile."""
        for summary in await index.catalog.local.summaries():
            await index.manager.release_name(summary.name)
        await self._folder.delete(index.name)
        if settings is not None and await index.maintenance.has_files():
            await self._folder.put(index.name, document_of(settings))
            raise _not_empty(index.name, NOT_EMPTY)

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
        before = {*check_indexes(self.settings.values(), self.only)}
        now = {**self.settings, settings.name: settings}
        for problem in check_indexes(now.values(), self.only):
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
        for problem in check_indexes(found.values(), self.only):
            _log.error("{problem}. Projects that it may contain are not served.", problem=problem)
        # two nodes may have changed bases at the same time
        places = places_of(found)
        for name in [n for n in found if places[n] > MOST_PLACES or circle_of(n, found)]:
            found[name] = evolve(found[name], bases=())
        self._made = {
            name: each
            for name, each in self._made.items()
            if name in found and found[name].created == self.settings[name].created
        }
        self.settings = MappingProxyType(found)
        self.changed.emit()
