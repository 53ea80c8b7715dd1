"""Gives a pypid in memory what a real one has beside: accounts, audit log and downloads in sqlite,
and rights in force.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

from argon2 import PasswordHasher
from attrs import define, evolve
from twisted.internet.defer import Deferred

from pypid.access.accounts import SqlAccounts, SqlPeople
from pypid.access.chain import AccessChain, Source
from pypid.access.config import ConfigPeople, UsersSettings
from pypid.access.passwords import Verifier
from pypid.access.tokens import new_token
from pypid.core.accounts.rights import AuditEntry, grants_of, owners_of
from pypid.core.errors import BadRequest, PeopleUnknown
from pypid.core.permissions import Credential, Identity, Rules
from pypid.database.database import Database
from pypid.database.logs import SqlDownloads, SqlJournal
from pypid.database.places import SqliteFile
from pypid.flow import at_once, start
from pypid.ports import People
from pypid.web.app.app import Configured, Registry
from tests.web.full_app import Pypid, cheap_hashes

T = TypeVar("T")

_HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
KEY = bytes(range(32))


@define(eq=False)
class Directory:
    """A source of people that knows dora, in the group ``staff``; `away`: it cannot be asked."""

    away: bool = False

    async def check(self, credential: Credential) -> Identity | None:
        """Every password is right."""
        return await self.find(credential.user)

    async def find(self, user: str) -> Identity | None:
        if self.away:
            raise PeopleUnknown("the directory")
        return Identity(user, frozenset({"staff"})) if user == "dora" else None

    async def groups(self, user: str) -> frozenset[str]:
        if self.away:
            raise PeopleUnknown("the directory")
        return frozenset()


_: type[People] = Directory


class Peopled:
    """What was given. The people of `whole.PASSWORDS` stand in the configuration, ada is an
    administrator by it.

    `sql`: whether accounts can log in. `durable`: as in a real one, which takes time. `folder` is
    not there yet.
    """

    def __init__(
        self,
        pypid: Pypid,
        folder: Path,
        *,
        configured: Configured | None = None,
        sql: bool = True,
        directory: bool = False,
        durable: bool = False,
    ) -> None:
        folder.mkdir()
        self.pypid = pypid
        world, clock = pypid.world, pypid.clock
        self._file = SqliteFile(folder / "accounts.db", of_record=durable)
        database = Database(self._file, at_once, clock)
        self.accounts, self.journal = SqlAccounts(database, world), SqlJournal(database)
        self.downloads = SqlDownloads(
            Database(SqliteFile(folder / "downloads.db", of_record=False), at_once, clock), world
        )
        have(self.accounts.current.open())
        names = frozenset(cheap_hashes())
        self.configured = configured or Configured()
        self.configured = evolve(
            self.configured,
            users=names | self.configured.users,
            admins=frozenset({"ada"}) | self.configured.admins,
            mentioned=names | self.configured.mentioned,
            accounts_log_in=sql,
        )
        verifier = Verifier(world)
        users = ConfigPeople(UsersSettings(users=cheap_hashes(), state=folder), world, verifier)
        self.directory = Directory()
        sources = [
            Source(users, name="config"),
            Source(SqlPeople(self.accounts, verifier, world), name="sql"),
        ][: 2 if sql else 1]
        sources += [Source(self.directory, name="ldap")] if directory else []
        self.chain = AccessChain(
            sources,
            self.accounts,
            world,
            verifier,
            admins=self.configured.admins,
            session_key=lambda: KEY,
        )
        self.defaults = pypid.app.rules
        self.accounts.current.on_change.append(lambda _: self._apply())
        pypid.app.access = self.chain
        pypid.app.registry = self.registry = Registry(
            accounts=self.accounts,
            journal=self.journal,
            downloads=self.downloads,
            find=self.chain.find,
            hash_password=_hash,
            new_token=lambda **said: new_token(world.random, **said),
            configured=lambda: self.configured,
            session_key=KEY,
        )
        self._apply()

    def other_node(self) -> SqlAccounts:
        """The accounts as another node has them, which does not know what changes here."""
        return SqlAccounts(Database(self._file, at_once, self.pypid.clock), self.pypid.world)

    def _apply(self) -> None:
        rights = (*self.configured.rights, *self.accounts.current.known.rights)
        owners = owners_of(self.accounts.current.known.owners)
        rules = evolve(self.defaults, projects=grants_of(rights), owners=owners)
        if rules != self.pypid.app.rules:
            self.pypid.app.rules = rules
        self.pypid.app.auth_generation.bump()
        self.chain.forget_all()

    @property
    def rules(self) -> Rules:
        """Those in force."""
        return self.pypid.app.rules

    def deeds(self, **asked: Any) -> Sequence[AuditEntry]:
        """The audit log, the oldest first."""
        return have(self.journal.entries(**asked))[::-1]

    def done(self, **asked: Any) -> list[tuple[str, str, str]]:
        """Who did what to what, the oldest first."""
        return [(deed.who, deed.what, deed.subject) for deed in self.deeds(**asked)]


async def _hash(password: str) -> str:
    if not password or len(password) > 4096:
        raise BadRequest("This cannot be a password.")
    return _HASHER.hash(password)


def have(coroutine: Coroutine[Any, Any, T]) -> T:
    """What it returns, or raises, without waiting for anything."""
    results: list[T] = []
    failures: list[BaseException] = []
    done: Deferred[T] = start(coroutine)
    done.addCallbacks(results.append, lambda failure: failures.append(failure.value))
    if failures:
        raise failures[0]
    return results[0]
