"""A whole pypid whose people can register and log in by a cookie: the real chain, guard and routes, over accounts in memory."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from argon2 import PasswordHasher
from attrs import define, evolve, field

from pypid.access.chain import Chain, Source
from pypid.access.config import ConfigPeople
from pypid.access.config import Settings as ConfigSettings
from pypid.access.passwords import WRONG, Verifier
from pypid.access.tokens import new_token
from pypid.core.errors import NameTaken, PeopleUnknown, Unauthenticated
from pypid.core.people import Account, Deed, Session, Standing, Token
from pypid.core.permissions import Credential, Identity, Rules
from pypid.core.registration import AccountSettings
from pypid.core.rights import Right
from pypid.ports import Accounts, Downloads
from pypid.web.registry import Configured, Registry
from tests.web.whole import HOST, RULES, Answer, Pypid, cheap_hashes, spelled

KEY = bytes(range(32))
_HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@define
class Book:
    """What of `Accounts` registering and sessions use, and the audit log. `away`: it cannot be asked."""

    verifier: Verifier
    accounts: dict[str, Account] = field(factory=dict)
    sessions: dict[str, Session] = field(factory=dict)
    held: dict[str, Token] = field(factory=dict)
    members: dict[str, frozenset[str]] = field(factory=dict)
    granted: list[Right] = field(factory=list)
    said: set[tuple[str, str]] = field(factory=set)
    deeds: list[Deed] = field(factory=list)
    away: bool = False

    def _there(self) -> None:
        if self.away:
            raise PeopleUnknown("the database")

    async def users(self) -> Sequence[Account]:
        self._there()
        return list(self.accounts.values())

    async def add_user(self, account: Account) -> None:
        self._there()
        if account.name in self.accounts:
            raise NameTaken(account.name)
        self.accounts[account.name] = account

    async def memberships(self) -> Mapping[str, frozenset[str]]:
        return self.members

    async def rights(self) -> Sequence[Right]:
        return self.granted

    async def tokens(self, user: str | None = None) -> Sequence[Token]:
        return [token for token in self.held.values() if user in (None, token.user)]

    async def token(self, digest: str) -> Token | None:
        return self.held.get(digest)

    def token_used(self, id: str, address: str) -> None:
        return None

    async def session(self, digest: str) -> Session | None:
        self._there()
        return self.sessions.get(digest)

    async def add_session(self, session: Session) -> None:
        self._there()
        self.sessions[session.digest] = session

    async def end_session(self, digest: str) -> None:
        self._there()
        self.sessions.pop(digest, None)

    async def once(self, kind: str, value: str, until: datetime) -> bool:
        self._there()
        fresh = (kind, value) not in self.said
        self.said.add((kind, value))
        return fresh

    async def note(self, deed: Deed) -> None:
        self.deeds.append(deed)

    # --- as a source of people ---

    async def check(self, credential: Credential) -> Identity | None:
        account = self.accounts.get(credential.user)
        if account is None:
            return None
        right = await self.verifier.check(credential.user, credential.password, account.hash)
        if not right or account.standing is not Standing.ACTIVE:
            raise Unauthenticated(WRONG)
        return Identity(account.name, admin=account.admin)

    async def find(self, user: str) -> Identity | None:
        account = self.accounts.get(user)
        return Identity(user, admin=account.admin) if account and account.standing is Standing.ACTIVE else None

    async def groups(self, user: str) -> frozenset[str]:
        return frozenset()


class Registering(Pypid):
    """A pypid where ``[access]`` says `people` of accounts."""

    def __init__(
        self, spool: Path, people: AccountSettings, *, rules: Rules = RULES, configured: Configured | None = None
    ) -> None:
        super().__init__(spool, rules=rules)
        verifier = Verifier(self.world)
        self.book = Book(verifier)
        users = ConfigPeople(ConfigSettings(users=cheap_hashes(), state=spool), self.world, verifier)
        sources = [Source(users), Source(self.book)]
        accounts = cast(Accounts, self.book)
        chain = Chain(sources, accounts, self.world, verifier, admins=["ada"], session_key=KEY)
        self.face.access = chain
        self.face.settings = evolve(self.face.settings, people=people)
        names = frozenset(cheap_hashes())
        said = configured or Configured(users=names, admins=frozenset({"ada"}), mentioned=names)

        async def hash_password(password: str) -> str:
            return _HASHER.hash(password)

        self.face.registry = Registry(
            accounts=accounts,
            journal=cast(Any, self.book),
            downloads=cast(Downloads, None),
            find=chain.find,
            hash_password=hash_password,
            new_token=lambda **said: new_token(self.world.random, **said),
            configured=lambda: said,
            session_key=KEY,
        )

    def say(
        self, method: str, path: str, document: object = None, *headers: tuple[str, str], user: str | None = None
    ) -> Answer:
        """A request with a JSON document, if any."""
        body = b"" if document is None else json.dumps(document).encode()
        return self.ask(method, path, *headers, body=body, user=user)

    def say_by_tls(self, method: str, path: str, document: object = None, *headers: tuple[str, str]) -> Answer:
        """The same, over a connection that was TLS."""
        connection = self.connect()
        connection.channel.isSecure = lambda: True  # type: ignore[method-assign]
        body = b"" if document is None else json.dumps(document).encode()
        connection.send(spelled(method, path, *headers, body=body))
        answer = connection.answer(method)
        assert answer is not None
        return answer


def cookie_of(answer: Answer) -> tuple[str, str]:
    """The header that a browser sends from then on."""
    said = answer["set-cookie"]
    assert said is not None, answer
    return ("Cookie", said.split(";")[0])


OURS = ("Origin", f"http://{HOST}")
