"""Everything that identifies users and decides what they may do: sources, accounts, rules in force,
audit log.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import Factory, define, evolve, field
from twisted.internet.defer import DeferredSemaphore
from twisted.logger import Logger

from pypid.access import config as config_people
from pypid.access.chain import AccessChain
from pypid.access.closed import ClosedAccess
from pypid.access.first_admin import note_moved, read_admin
from pypid.access.outdated_sessions import OutdatedSessions
from pypid.access.passwords import hash_password
from pypid.access.sql.current_accounts import POLL
from pypid.access.sql.people import SqlPeople
from pypid.access.sql.place import Server
from pypid.access.sql.state import AccountsState
from pypid.access.tokens import new_token
from pypid.core.accounts.entries import AuditEntry
from pypid.core.accounts.owners import owners_of
from pypid.core.accounts.rights import Right
from pypid.core.claims import EVERY_NAME, NO_NAMES, Claims
from pypid.core.configuration.parse import Config
from pypid.core.errors import Busy, PeopleUnknown, PypidError, StorageDown, StorageFull
from pypid.core.permissions import Rules, cut_off
from pypid.daemon.known_accounts import KnownAccounts
from pypid.daemon.other_nodes import NoOtherNodes, OtherNodes
from pypid.daemon.rules_in_force import (
    InForce,
    account_settings,
    configured_by,
    in_force,
    is_administered,
    people_of,
)
from pypid.daemon.state import StatePaths
from pypid.daemon.stores import Stores
from pypid.flow import World
from pypid.flow.periodic import PeriodicJobs
from pypid.flow.reserve import REFILL
from pypid.flow.signals import Provider, Signals
from pypid.web.app.auth_generation import FAR, LEASE, AuthGeneration
from pypid.web.app.registry import AccessState, Configured, Registry

if TYPE_CHECKING:  # imported where they are configured
    from pypid.access.oidc.token_exchange import TrustedPublishing
    from pypid.http_client.connections import HttpConnections

_log = Logger()

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
    people: config_people.ConfigPeople
    sql_people: SqlPeople
    reactor: Any = field(repr=False)
    outdated: OutdatedSessions
    access: ClosedAccess
    claims: Claims
    signals: Signals
    session_key: Provider[bytes] = field(repr=False)
    known_accounts: KnownAccounts
    nodes: OtherNodes = field(factory=NoOtherNodes, repr=False)
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
        self.add_job(POLL, accounts.poll, "looking at the accounts database")
        self.add_job(AGE, self._look_at_age, "checking how old the rights are")
        self.add_job(AGE, self._compare, "comparing the rights with the storage")
        self.add_job(TEND, accounts.tend, "tending the accounts")
        self.add_job(RETRY, self.stores.journal.retry, "writing the audit log")
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

    async def _inherit(self, url: str) -> None:
        """Import pypicloud's users, once. Raises `CannotStart`."""
        from pypid.access.sql.pypicloud_import import inherit

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
            from pypid.access.oidc import token_exchange

            issuers = token_exchange.connected(self.reactor)
            self.connections.append(issuers)
            self.publishers = token_exchange.open(
                config.issuers, self.stores.accounts, self.stores.journal, self.world, issuers
            )
        else:
            from pypid.access.oidc import token_exchange

            self.publishers.trust(token_exchange.trusted_by(config.issuers))

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
        return AccessState(
            rules=self._rules,
            account_settings=account_settings(self.config),
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
