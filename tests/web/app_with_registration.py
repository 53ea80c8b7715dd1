"""A whole pypid whose people can register and log in by a cookie: the real chain, guard, routes and
accounts database.
"""

from __future__ import annotations

import json
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from argon2 import PasswordHasher
from attrs import evolve
from twisted.internet.defer import Deferred

from pypid.access.accounts import SqlAccounts, SqlPeople
from pypid.access.chain import AccessChain, Source
from pypid.access.config import ConfigPeople, UsersSettings
from pypid.access.passwords import Verifier
from pypid.access.tokens import new_token
from pypid.core.accounts.rights import AuditEntry
from pypid.core.accounts.sessions import AccountSettings
from pypid.core.permissions import Rules
from pypid.database.database import Database
from pypid.database.logs import SqlDownloads, SqlJournal
from pypid.database.places import SqliteFile
from pypid.flow import at_once, start
from pypid.web.app.app import Configured, Registry
from tests.web.full_app import HOST, RULES, Answer, Pypid, cheap_hashes, spelled

T = TypeVar("T")

KEY = bytes(range(32))
OURS = ("Origin", f"http://{HOST}")
_HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


class Registering(Pypid):
    """A pypid where ``[access]`` says `people` of accounts. `spool` is a folder that is not there
    yet.
    """

    def __init__(
        self,
        spool: Path,
        people: AccountSettings,
        *,
        rules: Rules = RULES,
        configured: Configured | None = None,
    ) -> None:
        super().__init__(spool, rules=rules)
        verifier = Verifier(self.world)
        self.path = spool / "accounts.db"
        self.database = Database(SqliteFile(self.path), at_once, self.clock)
        self.accounts = SqlAccounts(self.database, self.world)
        self.journal = SqlJournal(self.database)
        now(self.accounts.current.open())
        users = ConfigPeople(UsersSettings(users=cheap_hashes(), state=spool), self.world, verifier)
        sources = [Source(users), Source(SqlPeople(self.accounts, verifier, self.world))]
        chain = AccessChain(
            sources, self.accounts, self.world, verifier, admins=["ada"], session_key=lambda: KEY
        )
        self.app.access = chain
        self.app.settings = evolve(self.app.settings, people=people)
        names = frozenset(cheap_hashes())
        said = configured or Configured(users=names, admins=frozenset({"ada"}), mentioned=names)

        async def hash_password(password: str) -> str:
            return _HASHER.hash(password)

        self.app.registry = Registry(
            accounts=self.accounts,
            journal=self.journal,
            downloads=SqlDownloads(self.database, self.world),
            find=chain.find,
            hash_password=hash_password,
            new_token=lambda **said: new_token(self.world.random, **said),
            configured=lambda: said,
            session_key=KEY,
        )

    def deeds(self) -> Sequence[AuditEntry]:
        """The audit log, the oldest first."""
        return now(self.journal.entries())[::-1]

    def say(
        self,
        method: str,
        path: str,
        document: object = None,
        *headers: tuple[str, str],
        user: str | None = None,
    ) -> Answer:
        """A request with a JSON document, if any."""
        return self.ask(method, path, *headers, body=_written(document), user=user)

    def say_by_tls(
        self, method: str, path: str, document: object = None, *headers: tuple[str, str]
    ) -> Answer:
        """The same, over a connection that was TLS."""
        connection = self.connect()
        cast(Any, connection.channel).isSecure = lambda: True
        connection.send(spelled(method, path, *headers, body=_written(document)))
        answer = connection.answer(method)
        assert answer is not None
        return answer


def now(coroutine: Coroutine[Any, Any, T]) -> T:
    """What it returns, or raises, without waiting for anything."""
    results: list[T] = []
    failures: list[BaseException] = []
    done: Deferred[T] = start(coroutine)
    done.addCallbacks(results.append, lambda failure: failures.append(failure.value))
    if failures:
        raise failures[0]
    return results[0]


def cookie_of(answer: Answer) -> tuple[str, str]:
    """The header that a browser sends from then on."""
    said = answer["set-cookie"]
    assert said is not None, answer
    return ("Cookie", said.split(";")[0])


def _written(document: object) -> bytes:
    return b"" if document is None else json.dumps(document).encode()
