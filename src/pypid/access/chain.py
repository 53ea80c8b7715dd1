"""Who somebody is: by a password, a token or a session, out of several sources of people."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from math import ceil
from typing import Any, Generic, Protocol, TypeVar

from attrs import evolve, frozen
from twisted.internet.task import deferLater

from pypid.access.passwords import WRONG, Verifier, is_usable
from pypid.access.throttle import Throttle
from pypid.access.tokens import token_digest
from pypid.core.errors import PeopleUnknown, Unauthenticated
from pypid.core.people import SESSION_USER, TOKEN_USER, Session, Token
from pypid.core.permissions import Credential, Identity, account_name
from pypid.core.recent import Recent
from pypid.core.sessions import digest_of
from pypid.flow import Flights, World
from pypid.ports import Access, People

T = TypeVar("T")

WRONG_TOKEN = "The token is wrong, has expired or was revoked. Make a new one."
"""What every token gets by which nobody is anybody."""
ENDED = "The session has ended. Log in again."
FLOOR = 0.25
"""Seconds: where others are asked over a network, a refusal comes after so many, or after twice as many, and so on.

By its time nobody can tell then who refused.
"""
KEPT = 60.0
"""Seconds for which it is kept what such a source said of somebody without a password."""
MOST = 16384
"""Of what is kept; what was not used for longest goes first."""
LONGEST_NAME = 200
LONGEST_SECRET = 200


class Papers(Protocol):
    """What `Accounts` know of tokens and sessions."""

    async def token(self, digest: str) -> Token | None:
        """As `Accounts.token`."""

    def token_used(self, id: str, address: str) -> None:
        """As `Accounts.token_used`."""

    async def session(self, digest: str) -> Session | None:
        """As `Accounts.session`."""


@frozen(eq=False)
class Source:
    """A source of people. `local`: it knows them by hashes in memory, which it verifies itself; else it asks others."""

    people: People
    local: bool = True


class Chain:
    """The daemon's `Access`. Asks the sources one after the other: the first that knows somebody decides.

    A source that cannot be asked is never skipped: whom it would have refused the next one might let in. `admins` are those of
    ``[access] admins``, whichever source knows them; replace it, or `sources`, on a change, and call `forget_all`.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        accounts: Papers | None,
        world: World,
        verifier: Verifier,
        *,
        admins: Iterable[str] = (),
        session_key: bytes | None = None,
        throttle: Throttle | None = None,
    ) -> None:
        """`accounts` hold the tokens and sessions; None: there are none. `session_key`: that of `core.sessions.digest_of`."""
        self.sources: tuple[Source, ...] = tuple(sources)
        self.admins: frozenset[str] = frozenset(admins)
        self.accounts = accounts
        self._world = world
        self._verifier = verifier
        self._session_key = world.random(32) if session_key is None else session_key
        self._throttle = throttle or Throttle(world)
        self._attempts: Flights[bytes, Identity] = Flights()
        self._said: _Kept[Identity | None] = _Kept(world)
        self._groups: _Kept[frozenset[str]] = _Kept(world)

    async def identify(self, credential: Credential) -> Identity:
        """As `Access.identify`."""
        if credential.user == TOKEN_USER:
            return await self._by_token(credential)
        if credential.user == SESSION_USER:
            return await self._by_session(credential.password)
        return await self._by_password(credential)

    async def find(self, user: str) -> Identity | None:
        """Who the user is, without any proof; None for nobody who may log in. Raises `PeopleUnknown`.

        A change in a directory or a remote service may go unseen for a minute.
        """
        if not _is_a_name(user):
            return None
        for source in self.sources:
            found = await self._find(source, user)
            if found is not None:
                return await self._whole(found, source)
        return None

    def forget(self, user: str) -> None:
        """Something about the user has changed."""
        self._throttle.forget(user)
        self._said.forget(user)
        self._groups.forget(user)

    def forget_all(self) -> None:
        """Something has changed that may be about everybody."""
        self._throttle.forget_all()
        self._said.forget_all()
        self._groups.forget_all()

    # --- passwords ----------------------------------------------------------------------------------------------

    async def _by_password(self, credential: Credential) -> Identity:
        if not _is_a_name(credential.user) or not is_usable(credential.password):
            raise Unauthenticated(WRONG)  # costs nothing and tells nothing: so it is whoever is asked
        if self._throttle.is_proven(credential):
            return await self._ask_again(credential)
        # a client that asks for fifty pages at once sends its password fifty times: that is one attempt
        key = self._throttle.fingerprint(credential.user, credential.password, credential.address)
        return await self._attempts.single(key, partial(self._attempt, credential))

    async def _ask_again(self, credential: Credential) -> Identity:
        try:
            who = await self._ask(credential)
        except Unauthenticated:
            self._throttle.forget(credential.user)
            raise
        self._throttle.prove(credential)
        return who

    async def _attempt(self, credential: Credential) -> Identity:
        attempt = self._throttle.begin(credential)
        try:
            who = await self._ask(credential)
        except Unauthenticated:
            raise
        except BaseException:
            self._throttle.take_back(attempt)
            raise
        self._throttle.succeeded(attempt, credential)
        return who

    async def _ask(self, credential: Credential) -> Identity:
        began = self._world.clock.seconds()
        try:
            for source in self.sources:
                found = await self._check(source, credential)
                if found is not None:
                    return await self._whole(found, source)
            await self._decoy(credential)
            raise Unauthenticated(WRONG)
        except Unauthenticated:
            await self._until_the_floor(began)
            raise

    async def _check(self, source: Source, credential: Credential) -> Identity | None:
        try:
            return _only(credential.user, await source.people.check(credential))
        except Unauthenticated:
            if not source.local:
                await self._decoy(credential)
            raise

    async def _decoy(self, credential: Credential) -> None:
        """Do the work of a verification: whoever nobody knows shall take as long as a wrong password."""
        await self._verifier.check(credential.user, credential.password, None)

    async def _until_the_floor(self, began: float) -> None:
        if all(source.local for source in self.sources):
            return
        clock = self._world.clock
        took = clock.seconds() - began
        await deferLater(clock, max(1, ceil(took / FLOOR)) * FLOOR - took)

    # --- tokens and sessions ------------------------------------------------------------------------------------

    async def _by_token(self, credential: Credential) -> Identity:
        found = await self._token(credential.password)
        who = None if found is None else await self._bearer_of(found)
        if found is None or who is None or self.accounts is None:
            self._throttle.wrong_token(credential.address)
            raise Unauthenticated(WRONG_TOKEN)
        self.accounts.token_used(found.id, credential.address)
        return who

    async def _token(self, secret: str) -> Token | None:
        digest = token_digest(secret)
        if digest is None or self.accounts is None:
            return None
        token = await self.accounts.token(digest)
        if token is None or token.revoked is not None:
            return None
        return token if token.expires is None or self._world.now() < token.expires else None

    async def _bearer_of(self, token: Token) -> Identity | None:
        if token.publisher:
            return Identity(token.user, scope=token.scope, publisher=True, token=token.id)
        user = await self.find(token.user)
        return None if user is None else evolve(user, scope=token.scope, token=token.id)

    async def _by_session(self, secret: str) -> Identity:
        if self.accounts is None or len(secret) > LONGEST_SECRET or not secret.isascii():
            raise Unauthenticated(ENDED)
        session = await self.accounts.session(digest_of(secret, self._session_key))
        user = None
        if session is not None and self._world.now() < session.expires:
            user = await self.find(session.user)
        if user is None:
            raise Unauthenticated(ENDED)
        return user

    # --- several sources ----------------------------------------------------------------------------------------

    async def _whole(self, found: Identity, source: Source) -> Identity:
        """With the groups that the other sources put them into, and as an administrator if the configuration says so."""
        user = found.user or ""
        admin = found.admin or user in self.admins
        groups = found.groups
        for other in self.sources:
            if other is not source:
                groups |= await self._groups_of(other, user, admin=admin)
        return Identity(user, groups, admin)

    async def _find(self, source: Source, user: str) -> Identity | None:
        if source.local:
            return _only(user, await source.people.find(user))
        return _only(user, await self._said.get(source, user, source.people.find))

    async def _groups_of(self, source: Source, user: str, *, admin: bool) -> frozenset[str]:
        try:
            if source.local:
                return await source.people.groups(user)
            return await self._groups.get(source, user, source.people.groups)
        except PeopleUnknown:
            if not admin:
                raise
            return frozenset()  # an administrator is not locked out by a database or a directory that is away


class _Kept(Generic[T]):
    """What slow sources said of people, for `KEPT` seconds; those who ask at once are told together."""

    def __init__(self, world: World) -> None:
        self._clock = world.clock
        self._held: Recent[str, dict[Source, tuple[T, float]]] = Recent(MOST, MOST)
        self._asking: Flights[tuple[Source, str, object], T] = Flights()
        self._epoch = object()
        """Another one after each `forget`: what was asked before is kept no more."""

    async def get(self, source: Source, user: str, ask: Callable[[str], Coroutine[Any, Any, T]]) -> T:
        """What it says of the user."""
        held = self._held.get(user) or {}
        if source in held and self._clock.seconds() < held[source][1]:
            return held[source][0]
        epoch = self._epoch
        said = await self._asking.single((source, user, epoch), partial(ask, user))
        if epoch is self._epoch:
            fresh = {source: (said, self._clock.seconds() + KEPT)}
            self._held.put(user, {**(self._held.get(user) or {}), **fresh})
        return said

    def forget(self, user: str) -> None:
        """It is to be asked again."""
        self._epoch = object()
        self._held.forget(user)

    def forget_all(self) -> None:
        """All are."""
        self._epoch = object()
        self._held = Recent(MOST, MOST)


def _only(user: str, found: Identity | None) -> Identity | None:
    """What a source found, if it is this user: under another spelling somebody would get past the sources before it."""
    return found if found is not None and found.user == user else None


def _is_a_name(user: str) -> bool:
    try:
        return len(account_name(user)) <= LONGEST_NAME
    except ValueError:
        return False


_: type[Access] = Chain
