"""Everything that identifies users and decides what they may do: sources, accounts, rules in force,
audit log.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import Factory, define, evolve, field, frozen
from twisted.internet.defer import DeferredSemaphore
from twisted.logger import Logger

from pypid.access.accounts import POLL, CurrentAccounts, SqlAccounts, SqlPeople
from pypid.access.chain import AccessChain
from pypid.access.config import (
    ClosedAccess,
    ConfigPeople,
    UsersSettings,
    note_moved,
    read_admin,
)
from pypid.access.passwords import hash_password
from pypid.access.sessions import OutdatedSessions
from pypid.access.tokens import new_token
from pypid.core.accounts.rights import (
    Account,
    AccountStatus,
    AuditEntry,
    OwnerKey,
    ProjectOwner,
    Right,
    Whom,
    claimed,
    grants_of,
    owners_of,
    project_pattern,
)
from pypid.core.accounts.sessions import AccountSettings
from pypid.core.accounts.trusted_publishers import users_of
from pypid.core.configuration.parse import Config
from pypid.core.errors import (
    MOST_NAMED,
    BadName,
    Busy,
    CannotStart,
    Exists,
    PeopleUnknown,
    PypidError,
    StorageDown,
    StorageFull,
    Unreadable,
)
from pypid.core.indexes import DEFAULT
from pypid.core.packaging.names import NameSet, ProjectName, ProjectPattern, project_name
from pypid.core.permissions import Action, Rules, cut_off
from pypid.core.policy import EVERY_NAME, NO_NAMES, Claims
from pypid.core.records.documents import KnownAccountsDocument, NotedOwner, dump
from pypid.core.records.layout import ACCOUNTS_KNOWN, CLOSED, OWNERS
from pypid.daemon.state import StatePaths
from pypid.database.account_state import AccountsState
from pypid.database.database import Database
from pypid.database.logs import AT_ONCE as ENTRIES
from pypid.database.logs import SqlDownloads, SqlJournal
from pypid.database.places import Place, Server, SqliteFile, place_of
from pypid.flow import BytesBody, World
from pypid.flow.conditions import PeriodicJobs
from pypid.flow.derived import Provider, Signals
from pypid.flow.spool import FILE, REFILL, Reserve
from pypid.flow.world import Threads
from pypid.index.progress import all_of
from pypid.index.store.records import read_document
from pypid.jobs.backup.records import ACCOUNTS, JOURNAL
from pypid.ports import Blobs
from pypid.web.app.app import AccessState, Configured, Registry
from pypid.web.app.rate_limit import FAR, LEASE, AuthGeneration

if TYPE_CHECKING:
    from pypid.access.oidc import TrustedPublishing
    from pypid.http_client.connections import HttpConnections


# The notes in the storage which accounts belong to it, and which projects they closed: without
# their rights, these would be open.
#
# The accounts database has a random id, and the storage a document that names it. Both are written
# before the first user, group, right, owner or token, the database first: then a crash between the
# two leaves nothing that a start would miss.
#
# The accounts may be a copy that is older than a right. So ``.pypid/closed/<project or glob>`` is
# written before the first right on it, and removed before an administrator opens it: what it names
# and has no right was closed by a right that is lost. ``.pypid/owners/<index>/<project>`` names
# the owner: it is written after a claim, before the first file, and removed before the owner is. A
# project that has it and no owner lost the owner.

_log = Logger()

T = TypeVar("T")

AT_ONCE = 16
"""Small objects that are written at the same time."""


@define(eq=False)
class KnownAccounts:
    """The notes in `blobs` on the `accounts`. `place`: where the one on the id is stored, for
    display.
    """

    blobs: Blobs
    accounts: SqlAccounts
    journal: SqlJournal
    place: str
    world: World
    _rights: Sequence[Right] | None = field(default=None, init=False, repr=False)
    """The rights that `compare` saw last."""
    _owners: Mapping[OwnerKey, ProjectOwner] | None = field(default=None, init=False, repr=False)
    """The owners that `compare` saw last."""

    async def check(self) -> None:
        """Open the accounts, which have to be those of the storage. A note that is missing is
        written. Raises `CannotStart`, `StorageDown`.
        """
        current, is_noted = self.accounts.current, await self._read()
        await self.accounts.current.open()
        if not is_noted and not current.known.is_empty and await self._try_to_note():
            _log.info("noted which accounts belong to this storage: {place}", place=self.place)

    async def _try_to_note(
        self, closed: Collection[ProjectPattern] = (), owned: Collection[OwnerKey] = ()
    ) -> bool:
        """Write the notes that are missing; return whether that is done."""
        try:
            await self.note(closed)
            await all_of([partial(self.note_owner, each) for each in owned], AT_ONCE)
        except (StorageDown, StorageFull, PeopleUnknown) as error:
            _log.warn(
                "cannot note which accounts belong to this storage; the next change of them, or "
                "start, tries again: {error}",
                error=error,
            )
            return False
        return True

    @property
    def are_compared(self) -> bool:
        """Whether no project is open whose right is lost."""
        return self._rights is not None and self._owners is not None

    async def compare(self) -> None:
        """Close the projects that the storage knows as closed and that have no right, and give
        those that have no owner back to the one that it names; note what it does not know. Does
        nothing unless it is the first time or a project has lost its rights or its owner. Raises
        `StorageDown`, `StorageFull`, `PeopleUnknown`.
        """
        await self._compare_rights()
        await self._compare_owners()

    async def _compare_rights(self) -> None:
        rights, before = self.accounts.current.state().rights, self._rights
        if rights is before:
            return
        named, named_before = ({each.project for each in those} for those in (rights, before or ()))
        if before is None or named_before - named:
            noted = await self._noted(CLOSED, project_pattern)
            await self._close(noted - named)
            if named - noted:
                await self._try_to_note(named - noted)
        self._rights = rights

    async def _noted(self, prefix: str, parse: Callable[[str], T]) -> set[T]:
        """Return what the keys below the prefix name."""
        found = set()
        async with aclosing(self.blobs.list(prefix)) as listing:
            async for blob in listing:
                with suppress(BadName, ValueError):  # not pypid's
                    found.add(parse(blob.key.removeprefix(prefix)))
        return found

    async def _close(self, lost: Collection[ProjectPattern]) -> None:
        """Leave to administrators the projects whose rights are lost."""
        closed = await self.accounts.close_projects(lost) if lost else ()
        if not closed:
            return
        _log.warn(
            "Only administrators can use these projects now: their rights are not in the accounts, "
            "which seem to be an older copy: {names}{more}. Grant the rights again (`pypid right "
            "grant`), or open a project to all (`pypid right revoke PROJECT admins`).",
            names=" ".join(closed[:MOST_NAMED]),
            more=f" and {len(closed) - MOST_NAMED} more" if closed[MOST_NAMED:] else "",
        )
        now, details = self.world.now(), {"whom": "admins", "right": "rw"}
        entries = [
            AuditEntry(when=now, who="pypid", what="right grant", subject=each, details=details)
            for each in closed
        ]
        await all_of([partial(self.journal.note, each) for each in entries], ENTRIES)

    async def _compare_owners(self) -> None:
        owners, before = self.accounts.current.state().owners, self._owners
        if owners is before:
            return
        if before is None or before.keys() - owners.keys():
            noted = await self._noted(OWNERS, _owned_project)
            await self._give_back(noted - owners.keys())
            if (missing := owners.keys() - noted) and await self._try_to_note(owned=missing):
                _log.info(
                    "noted the owners of {count} projects in the storage; if the accounts are an "
                    "older copy, owners of before this start may be missing",
                    count=len(missing),
                )
        self._owners = owners

    async def _give_back(self, lost: Collection[OwnerKey]) -> None:
        """Make the accounts that the storage names the owners of projects that lost theirs."""
        owners: dict[OwnerKey, ProjectOwner] = {}

        async def read(key: OwnerKey) -> None:
            found = await read_document(self.blobs, NotedOwner, _owner_note(key))
            if found is not None:  # else it was removed meanwhile
                owners[key] = ProjectOwner(found.account, self.world.now(), found.is_claimed)

        await all_of([partial(read, each) for each in lost], AT_ONCE)
        if not owners:
            return
        await self.accounts.give_back(owners)
        _log.warn(
            "Gave these projects back to their owners. The accounts, which seem to be an older "
            "copy, do not name them: {names}{more}. Set another owner: `pypid project set-owner`.",
            names=" ".join(sorted(name for _, name in owners)[:MOST_NAMED]),
            more=f" and {len(owners) - MOST_NAMED} more" if len(owners) > MOST_NAMED else "",
        )
        for (index, name), owner in owners.items():
            details = {"user": owner.user}
            entry = AuditEntry(
                when=owner.since,
                who="pypid",
                what="project set-owner",
                subject=name,
                details=details,
                index=index,
            )
            await self.journal.note(entry)

    async def note(self, closing: Collection[ProjectPattern] = ()) -> None:
        """Write the note on the id unless it is known to be there, and one on each project of
        `closing`. Raises `StorageDown`, `StorageFull`, `PeopleUnknown`, also if it names other
        accounts by now.
        """
        if not self.accounts.current.is_required:
            await self._identify()
        await all_of([partial(self._mark, each) for each in closing], AT_ONCE)

    async def _mark(self, project: ProjectPattern) -> None:
        with suppress(Exists):
            await self.blobs.write(f"{CLOSED}{project}", BytesBody(project.encode()))

    async def forget(self, project: ProjectPattern) -> None:
        """Remove the note that the project is closed. Raises `StorageDown`."""
        await self.blobs.delete(f"{CLOSED}{project}")

    async def forget_owners(self, projects: Collection[OwnerKey]) -> None:
        """Remove the notes who owns the projects. Raises `StorageDown`."""
        await all_of([partial(self.blobs.delete, _owner_note(each)) for each in projects], AT_ONCE)

    async def note_owner(self, project: OwnerKey) -> None:
        """Note who owns the project. Raises `StorageDown`, `StorageFull`, `PeopleUnknown`."""
        owner = self.accounts.current.state().owners.get(project)
        if owner is not None:
            body = BytesBody(dump(NotedOwner(owner.account, owner.is_claimed)))
            await self.blobs.write(_owner_note(project), body, replace=True)

    async def _identify(self) -> None:
        current = self.accounts.current
        id = await current.identify(int.from_bytes(self.world.random(8)) >> 1)
        with suppress(Exists):
            await self.blobs.write(ACCOUNTS_KNOWN, BytesBody(dump(KnownAccountsDocument(id))))
        await self._read()  # another node may have been faster, with another database
        await current.refresh()

    async def _read(self) -> bool:
        """Require the accounts that the note names; return whether there is one."""
        try:
            found = await read_document(self.blobs, KnownAccountsDocument, ACCOUNTS_KNOWN)
        except Unreadable as error:
            raise CannotStart(f"{error}. {_way_out(self.place)}") from None
        if found is not None:
            self.accounts.current.require(found.accounts, self._advice())
        return found is not None

    def _advice(self) -> str:
        place = self.accounts.current.database.place
        name = "the database of [database] url" if isinstance(place, Server) else str(place.path)
        return (
            f"{name} does not have the users, groups, rights and tokens that belong to this "
            "storage. Without them it is unknown who may use which project. If this is another "
            "database than before, correct [database] url or [server] state; if they are lost, "
            "restore them from a backup. "
            f"{_way_out(self.place)}"
        )


def _owned_project(key: str) -> OwnerKey:
    index, _, name = key.partition("/")
    return "" if index == DEFAULT else index, project_name(name)


def _owner_note(key: OwnerKey) -> str:
    return f"{OWNERS}{key[0] or DEFAULT}/{key[1]}"


def _way_out(note: str) -> str:
    return (
        f"To go on with the accounts that are there now, or with none: remove {note}; projects "
        "that lost their rights are then left to administrators"
    )


# The databases of users, of the audit log and of downloads.

DOWNLOADS = "downloads.db"
THREADS = 4
"""Threads for the accounts database."""


@frozen(kw_only=True)
class Stores:
    """The databases of users and of their actions."""

    threads: Threads
    databases: tuple[Database, ...]
    reserve: Reserve
    accounts: SqlAccounts
    journal: SqlJournal
    downloads: SqlDownloads


def accounts_place(config: Config, paths: StatePaths) -> Place:
    """Return where the accounts database is. Raises `CannotStart` for a URL that cannot be used."""
    return place_of(config.database.url, paths.state / ACCOUNTS)


def open_stores(config: Config, paths: StatePaths, world: World, reactor: Any) -> Stores:
    """Return the stores, not yet opened. Raises `CannotStart` for a URL that cannot be used."""
    threads = Threads(reactor, "accounts", THREADS)
    place = accounts_place(config, paths)
    reserve = Reserve(paths.state / FILE)
    database = Database(place, threads, world.clock, reserve)
    logged = passing = database
    if not isinstance(database.place, Server):  # what grows with each request has its own file
        logged = Database(SqliteFile(paths.state / JOURNAL), threads, world.clock, reserve=reserve)
        passing = Database(
            SqliteFile(paths.state / DOWNLOADS, of_record=False), threads, world.clock
        )
    return Stores(
        threads=threads,
        reserve=reserve,
        databases=tuple(dict.fromkeys((database, logged, passing))),
        accounts=SqlAccounts(database, world),
        journal=SqlJournal(logged),
        downloads=SqlDownloads(passing, world),
    )


# What a configuration says of users: who may log in, the rules in force, and the names it uses.


def people_of(config: Config, paths: StatePaths) -> UsersSettings:
    """Return the settings of ``[users]`` and ``[groups]``."""
    groups = {name: frozenset(members) for name, members in config.groups.items()}
    return UsersSettings(users=config.users, state=paths.state, groups=groups)


def rules_of(config: Config, rights: Iterable[Right] = ()) -> Rules:
    """Return the rules in force, with the `rights` of the accounts database in addition to
    ``[projects]``; without owners of projects.
    """
    access = config.access
    return Rules(
        read=access.read,
        write=access.write,
        overwrite=access.overwrite,
        delete=access.delete,
        delete_needs=Action[access.delete_needs.name],
        fetch=access.cache_update,
        collect=access.collect,
        metrics=config.server.metrics,
        projects=grants_of([*config.projects.values(), *rights]),
        ownership=access.owners,
    )


def configured_by(config: Config, first: Account | None) -> Configured:
    """Return the users that the configuration names, the admin of the `first` run among them."""
    access, rights = config.access, tuple(config.projects.values())
    hashes = {**config.users, **({} if first is None else {first.name: first.hash})}
    users = frozenset(hashes)
    lists = (
        *(
            access.read,
            access.write,
            access.cache_update,
            access.collect,
            access.overwrite,
            access.delete,
        ),
        config.server.metrics,
        *(who for each in config.indexes.values() for who in (each.read, each.write, each.delete)),
    )
    mentioned = (
        set(users)
        | set(access.admins)
        | {name for principals in lists if principals is not None for name in principals.users}
    )
    mentioned.update(*config.groups.values())
    mentioned.update(right.name for right in rights if right.whom is Whom.USER)
    for name, issuer in config.issuers.items():
        mentioned.update(users_of(name, issuer.url, issuer.allow))
    return Configured(
        users=users,
        groups=frozenset(config.groups),
        members={name: frozenset(members) for name, members in config.groups.items()},
        hashes=hashes,
        admins=frozenset(access.admins) | (users - set(config.users)),
        first_admin=first,
        rights=rights,
        mentioned=frozenset(mentioned),
    )


def is_administered(config: Config, accounts: Iterable[Account]) -> bool:
    """Return whether a user of the configuration or of these accounts may administer the index."""
    able = [account for account in accounts if account.status is AccountStatus.ACTIVE]
    there = {*config.users, *(account.name for account in able)}
    return any(account.admin for account in able) or not there.isdisjoint(config.access.admins)


@frozen
class InForce:
    """The rules, and the names that are local by them (`policy.Claims`)."""

    rules: Rules
    claims: NameSet


def in_force(config: Config, rights: Iterable[Right]) -> InForce:
    """Return the rules and the names. Takes a tenth of a second for ten thousand rights."""
    rules = rules_of(config, rights)
    claims = claimed(rules.projects)
    return InForce(rules, evolve(claims, names=claims.names | _published_by_workflows(config)))


def _published_by_workflows(config: Config) -> frozenset[ProjectName]:
    """Return the projects that an issuer's workflows may publish by name: local before the first
    upload.
    """
    found = set()
    for issuer in config.issuers.values():
        for line in issuer.allow:
            try:
                found.add(project_name(line.split()[0]))
            except (BadName, IndexError):  # a glob
                continue
    return frozenset(found)


# Changes of the accounts that other nodes make: how they are noticed, and read in time.


class OtherNodes:
    """The other nodes that use the same accounts: none here, see `daemon.shared_catalog`."""

    def reported_until(self) -> float:
        """Return until when, on the clock, other nodes would have reported a change."""
        return float("inf")

    def has_missed(self) -> bool:
        """Return whether other nodes reported a change that cannot be read yet: a project may be
        private by now, or a name local. No client is admitted meanwhile, since public access is
        defined in the accounts, too.
        """
        return False


def read_changes(
    current: CurrentAccounts, nodes: OtherNodes, world: World
) -> Coroutine[Any, Any, None] | None:
    """Return a reading of the accounts, if other nodes may have changed them since the last one."""
    if world.clock.seconds() < nodes.reported_until():
        return None

    async def read() -> None:
        try:
            await current.refresh()
        except PeopleUnknown:  # administrators of the configuration still get in
            current.distrust()

    return read()


def watch(current: CurrentAccounts) -> Callable[[], Awaitable[bool]]:
    """Return a check whether the accounts have changed since now; False where they cannot be
    read.
    """
    known = current.known

    async def has_changed() -> bool:
        try:
            await current.refresh()
        except PeopleUnknown:
            return False
        return current.known is not known

    return has_changed


AGE, TEND, RETRY, FLUSH, SWEEP = 0.2, 60.0, 5.0, 1.0, 3600.0
"""Seconds between two looks at the rights and their age, two writes of token uses, of audit entries
and of downloads, and two removals of old downloads.
"""
MANY = 500
"""The number of rights that are made into rules in the reactor thread: that takes some
milliseconds.
"""
HASHING = 2
"""The number of new passwords that are hashed at once."""
MOST_HASHING = 64
_ONCE_MORE = (
    "A pypid has used this storage before. If it had taken pypicloud's people over, what it knew "
    "of them since is lost, and removed users can log in again: look at `pypid user list`, and "
    "keep the state folder ({state})."
)


@define(slots=False, eq=False)
class Identities(PeriodicJobs):
    """The identities of users, and the rules in force. Await `open` before admitting clients, and
    `end` after the last one.

    `greet` creates the first run's admin (see `welcome`). `is_first`: no pypid has used the storage
    before, as far as is known.
    """

    config: Config
    paths: StatePaths
    world: World
    stores: Stores
    chain: AccessChain
    people: ConfigPeople
    sql_people: SqlPeople
    reactor: Any = field(repr=False)
    outdated: OutdatedSessions
    access: ClosedAccess
    claims: Claims
    signals: Signals
    session_key: Provider[bytes] = field(repr=False)
    known_accounts: KnownAccounts
    nodes: OtherNodes = field(factory=OtherNodes, repr=False)
    greet: Callable[[], object] | None = field(default=None, repr=False)
    is_first: bool = True
    generation: AuthGeneration = field(
        default=Factory(lambda self: AuthGeneration(self.chain.must_wait), takes_self=True),
        init=False,
    )
    """The generation of the identities that may be cached."""
    publishers: TrustedPublishing | None = field(default=None, init=False)
    """Set once an issuer is configured."""
    connections: list[HttpConnections] = field(factory=list, init=False)
    """The network connections to close at the end."""
    _registry: Registry | None = field(default=None, init=False, repr=False)
    _was_known: bool = field(default=True, init=False)
    _in_force: InForce = field(factory=lambda: InForce(Rules(), NO_NAMES), init=False, repr=False)
    _rules: Rules = field(factory=Rules, init=False, repr=False)
    """The rules of `_in_force`, or what is left of them while this node is cut off."""
    _is_stale: bool = field(default=False, init=False)
    _made_of: tuple[object, object, object] = field(
        default=(None, None, None), init=False, repr=False
    )
    """What the rules were made of: the configuration, the rights and owners of the database."""
    _configured: Configured = field(factory=Configured, init=False, repr=False)
    _hashing: DeferredSemaphore = field(
        factory=lambda: DeferredSemaphore(HASHING), init=False, repr=False
    )
    _is_open: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        super().__init__(self.world.clock)
        accounts, downloads = self.stores.accounts, self.stores.downloads
        accounts.current.on_change.append(self._accounts_changed)
        accounts.current.on_contact.append(self._renew)
        self.signals.catalog_confirmed.connect(self._renew)
        self.add_job(POLL, accounts.current.poll, "looking at the accounts database")
        self.add_job(AGE, self._look_at_age, "checking how old the rights are")
        self.add_job(AGE, self._compare, "comparing the rights with the storage")
        self.add_job(TEND, accounts.tend, "tending the accounts")
        self.add_job(RETRY, self.stores.journal.flush, "writing the audit log")
        self.add_job(
            RETRY, self.outdated.end, "ending sessions of who has a new password in the file"
        )
        self.add_job(FLUSH, downloads.flush_when_quiet, "writing down downloads")
        self.add_job(SWEEP, downloads.sweep, "forgetting old downloads")
        self.add_job(REFILL, self._refill, "filling the reserve of disk space")

    async def _refill(self) -> None:
        await self.world.blocking(self.stores.reserve.fill)

    # --- the start ---

    async def open(self) -> None:
        """Read all records below `state`, which exists by now. Raises `CannotStart`,
        `Unreadable`.
        """
        self._registry = self._make_registry(await self.world.blocking(self.session_key))
        self.signals.rights_changed.emit()
        await self._refill()
        await self.known_accounts.check()
        known = self.known_accounts
        self.stores.accounts.before_change(
            known.note, known.forget, known.forget_owners, known.note_owner
        )
        if self.config.inherits is not None:
            await self._inherit(self.config.inherits)
        with suppress(PeopleUnknown):  # no user is let in until `_compare` succeeds
            await self.known_accounts.compare()
        await self.use(self.config)
        self._is_open = True
        self._announce()

    async def welcome(self) -> None:
        """Create the admin of a first run, and print the password; pypicloud's users may have
        one. Await it after `open`, once pypid listens. Raises `CannotStart`.
        """
        if self.greet is not None and (
            self.config.inherits is None
            or not is_administered(self.config, self.stores.accounts.current.known.users)
        ):
            await self.world.blocking(self.greet)
            await self.use(self.config)

    async def begin(self) -> None:
        """Open, and welcome: the rest of a late start."""
        await self.open()
        await self.welcome()

    async def _inherit(self, url: str) -> None:
        """Import pypicloud's users, once. Raises `CannotStart`."""
        from pypid.access.pypicloud import inherit

        folders = (self.paths.ini.parent, Path().absolute())
        first = await self.world.blocking(read_admin, self.paths.state)
        asked_first = {*self.config.users, *((first.user,) if first is not None else ())}
        taken = await inherit(self.stores.accounts, url, folders, self.world, asked_first)
        if taken is not None:
            if not self.is_first:
                _log.warn(_ONCE_MORE, state=str(self.paths.state))
            deed = AuditEntry(
                when=self.world.now(),
                who="pypid",
                what="user import",
                subject="pypicloud",
                details=taken,
            )
            await self.stores.journal.note(deed)

    def _make_registry(self, key: bytes) -> Registry:
        return Registry(
            accounts=self.stores.accounts,
            journal=self.stores.journal,
            downloads=self.stores.downloads,
            find=self.chain.find,
            hash_password=self._hash,
            new_token=partial(new_token, self.world.random),
            configured=lambda: self._configured,
            session_key=key,
        )

    async def _hash(self, password: str) -> str:
        if len(self._hashing.waiting) >= MOST_HASHING:
            raise Busy("Too many passwords are being set at once.", retry_after=2)
        hashed: str = await self._hashing.run(self.world.blocking, hash_password, password)
        return hashed

    # --- rules in force ---

    async def use(self, config: Config) -> None:
        """Apply the users and rules of this configuration. Raises `Unreadable`, and then nothing
        changes.
        """
        await self.people.reload(people_of(config, self.paths))
        self.people.leave_first(self.stores.accounts.current.known.accounts)
        record = await self.world.blocking(read_admin, self.paths.state)
        self.config = config
        self._configure()
        self.chain.use_admins(config.access.admins)
        self._trust(config)
        await self._make_rules()
        self._announce()
        first = {} if record is None else {record.user: record.hash}  # also once it has moved
        await self.outdated.use({**first, **config.users})

    def _configure(self) -> None:
        first = self.people.first
        found = configured_by(self.config, None if first is None else first.account)
        self._configured = evolve(found, accounts_log_in=self._accounts_log_in)

    def _trust(self, config: Config) -> None:
        """Apply the issuers of trusted publishing that are configured now."""
        if self.publishers is None:
            if not config.issuers:
                return
            from pypid.access import oidc
            from pypid.http_client.connections import Trust, connections

            issuers = connections(self.reactor, Trust(), 10.0, idle=2, idle_time=30)
            self.connections.append(issuers)
            self.publishers = oidc.open(
                config.issuers, self.stores.accounts, self.stores.journal, self.world, issuers
            )
        else:
            self.publishers.trust(config.issuers)

    async def _accounts_changed(self, state: AccountsState) -> None:
        """Apply a change of the accounts database; it is in force once this has ended."""
        if state.rights is not self._made_of[1] or state.owners is not self._made_of[2]:
            await self._make_rules()
        moved = self.people.leave_first(state.accounts)
        if moved is not None:
            self._configure()
        self._announce()
        if moved is not None:
            await self.world.blocking(note_moved, self.paths.state, moved)

    @property
    def _accounts_log_in(self) -> bool:
        """Whether users of the accounts database may log in, by the configuration of the start."""
        return any(source.people is self.sql_people for source in self.chain.sources)

    async def _make_rules(self) -> None:
        """Make the rules; many of them off the reactor thread (ten thousand take a tenth of a
        second).
        """
        current = self.stores.accounts.current
        made: tuple[Config, Sequence[Right]] | None = None
        found, known = self._in_force, self._made_of
        while (
            made is None or made[0] is not self.config or made[1] is not current.known.rights
        ):  # changed meanwhile
            config, rights = made = self.config, current.known.rights
            if config is known[0] and rights is known[1]:
                continue
            many = len(rights) + len(config.projects) > MANY
            found = (
                await self.world.thinking(in_force, config, rights)
                if many
                else in_force(config, rights)
            )
        owners = current.known.owners
        self._in_force = evolve(found, rules=evolve(found.rules, owners=owners_of(owners)))
        self._made_of = *made, owners

    def _announce(self) -> None:
        """Put the rules in force, and drop all identities that were cached before."""
        # until a server has answered once it is unknown what is hidden, and which names are local
        # by a right there
        self._was_known = self._are_known()
        is_certain = self._is_open and self._was_known
        self._is_stale, rules = self._are_stale(), self._in_force.rules
        self._rules = cut_off(rules) if self._is_stale else rules
        self.claims.replace(self._in_force.claims if is_certain else EVERY_NAME)
        self.generation.bump()
        self.generation.renew(self._until(), lease=self._lease())
        self.signals.rights_changed.emit()

    @property
    def state(self) -> AccessState:
        """The rules in force, and the accounts."""
        access = self.config.access
        return AccessState(
            rules=self._rules,
            account_settings=AccountSettings(
                registration=access.registration,
                captcha=access.captcha,
                session_lifetime=access.session_lifetime,
            ),
            closed=self._why_closed(),
            registry=self._registry,
            publishers=self.publishers,
        )

    def _why_closed(self) -> PypidError | None:
        """Return why only administrators are let in; None if all users are."""
        if not self._is_open:
            return StorageDown("the accounts are still being fetched from it.", retry_after=5)
        return None if self._was_known else PeopleUnknown("the accounts database")

    def _renew(self) -> None:
        """Handle an answer, or a failure, of the accounts database or of the shared catalog."""
        found = self._are_known(), self._are_stale()
        if self._is_open and found != (self._was_known, self._is_stale):
            self._announce()
        self.generation.renew(self._until())

    async def _look_at_age(self) -> None:
        """Notice that the last answer is too old: a server that does not answer reports nothing."""
        self._renew()

    async def _compare(self) -> None:
        """Close what lost its rights: a server may be restored from a copy while this runs."""
        with suppress(PeopleUnknown, StorageDown, StorageFull):
            if self._is_open:
                await self.known_accounts.compare()

    def _are_stale(self) -> bool:
        """Whether another node may have changed the rights, and this one cannot read them."""
        current = self.stores.accounts.current
        is_shared = isinstance(current.database.place, Server)
        return is_shared and self.world.clock.seconds() > current.until

    def _until(self) -> float:
        return min(self.stores.accounts.current.until, self.nodes.reported_until())

    def _lease(self) -> float:
        elsewhere = isinstance(self.stores.accounts.current.database.place, Server)
        return FAR if elsewhere or not all(source.local for source in self.chain.sources) else LEASE

    @property
    def can_be_asked(self) -> bool:
        """Whether the accounts can identify users now: not while their server is unavailable, or
        their file is damaged.
        """
        try:
            self.stores.accounts.current.state()
        except PeopleUnknown:
            return False
        return self._is_open

    def _are_known(self) -> bool:
        current = self.stores.accounts.current
        is_read = current.is_open or not isinstance(current.database.place, Server)
        return is_read and self.known_accounts.are_compared and not self.nodes.has_missed()

    # --- the end ---

    async def end(self) -> None:
        """Write what is only in memory, and release everything."""
        try:
            await self.sql_people.close()
            await self.stores.accounts.close()
            await self.stores.journal.close()
            await self.stores.downloads.close()
            for reached in self.connections:
                await reached.close()
        finally:
            for database in self.stores.databases:
                await database.close()
            self.stores.threads.stop()
