"""Who somebody is: by a password, a token or a session, out of several sources of people (decision
0013).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from math import ceil
from typing import Protocol

from attrs import evolve, frozen
from twisted.internet.task import deferLater

from pypid.access.cached_source import SlowPeople
from pypid.access.counted_source import login_counted
from pypid.access.passwords import WRONG, Verifier, is_usable
from pypid.access.throttle import Throttle
from pypid.access.tokens import token_digest
from pypid.core.accounts.entries import SESSION_USER, TOKEN_USER, Session, Token
from pypid.core.accounts.sessions import digest_of
from pypid.core.errors import PeopleUnknown, Unauthenticated
from pypid.core.permissions import Credential, Identity, account_name
from pypid.flow import Flights, World
from pypid.ports import Access, People

WRONG_TOKEN = "The token is wrong, has expired or was revoked. Make a new one."
"""What every token gets by which nobody is anybody."""
TOKEN_OF_A_USER = (
    f"The user name or the password is wrong. The password looks like a token: the user name of "
    f"every token is {TOKEN_USER}."
)
ENDED = "The session has ended. Log in again."
FLOOR = 0.25
"""Seconds: where others are asked over a network, a refusal comes after so many, or after twice as
many, and so on.

By its time nobody can tell then who refused.
"""
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
    """A source of people. `local`: it knows them by hashes in memory, which it verifies itself;
    else it asks others.

    What the others said of somebody is kept for a minute, and a right password believed for
    `believed` seconds.
    """

    people: People
    local: bool = True
    believed: float = 0.0


class AccessChain:
    """The daemon's `Access`. Asks the sources one after the other: the first that knows somebody
    decides.

    A source that cannot be asked is never skipped: whom it would have refused the next one might
    let in. `admins` are those of ``[access] admins``, whichever source knows them; replace it, or
    `sources`, on a change, and call `forget_all`.
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
        """`accounts` hold the tokens and sessions; None: there are none. `session_key`: that of
        `core.accounts.sessions.digest_of`.
        """
        self.sources: tuple[Source, ...] = tuple(sources)
        self.admins: frozenset[str] = frozenset(admins)
        self.accounts = accounts
        self.watch: Callable[[], Callable[[], Awaitable[bool]]] = lambda: _never
        """Comes before each question. What it returns comes before a refusal, and before that is
        counted as one: it looks at the accounts, and says whether they are others than when it was
        made. A token that another node has just given, and whose client sends it here, is no wrong
        one.
        """
        self._world = world
        self._verifier = verifier
        self.session_key = world.random(32) if session_key is None else session_key
        self._throttle = throttle or Throttle(world)
        self._attempts: Flights[bytes, Identity] = Flights()
        self._slow: dict[Source, SlowPeople] = {}

    async def identify(self, credential: Credential) -> Identity:
        """As `Access.identify`."""
        return await login_counted(self._world.counts, credential, self._identified(credential))

    async def _identified(self, credential: Credential) -> Identity:
        if credential.user == TOKEN_USER:
            return await self._by_token(credential)
        if credential.user == SESSION_USER:
            return await self._by_session(credential.password)
        return await self._by_password(credential)

    async def find(self, user: str) -> Identity | None:
        """Who the user is, without any proof; None for nobody who may log in. Raises
        `PeopleUnknown`.

        A change in a directory or a remote service may go unseen for a minute.
        """
        if not _is_a_name(user):
            return None
        for source in self.sources:
            found = _only(user, await self._people(source).find(user))
            if found is not None:
                return await self._whole(found, source)
        return None

    def forget(self, user: str) -> None:
        """Something about the user has changed."""
        self._throttle.forget(user)
        for slow in self._slow.values():
            slow.forget(user)

    def forget_all(self) -> None:
        """Something has changed that may be about everybody."""
        self._throttle.forget_all()
        self._slow = {}

    # --- passwords --------------------------------------------------------------------------------

    async def _by_password(self, credential: Credential) -> Identity:
        try:
            return await self._by_name_and_password(credential)
        except Unauthenticated:
            if token_digest(credential.password) is None:
                raise
            raise Unauthenticated(TOKEN_OF_A_USER) from None

    async def _by_name_and_password(self, credential: Credential) -> Identity:
        if not _is_a_name(credential.user) or not is_usable(credential.password):
            raise Unauthenticated(
                WRONG
            )  # costs nothing and tells nothing: so it is whoever is asked
        if self._throttle.is_proven(credential):
            return await self._ask_again(credential)
        # a client that asks for fifty pages at once sends its password fifty times: that is one
        # attempt
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
        began, has_changed = self._world.clock.seconds(), self.watch()
        try:
            try:
                return await self._found(credential)
            except Unauthenticated:
                if not await has_changed():
                    raise
            return await self._found(credential)
        except Unauthenticated:
            await self._until_the_floor(began)
            raise

    async def _found(self, credential: Credential) -> Identity:
        for source in self.sources:
            found = await self._check(source, credential)
            if found is not None:
                return await self._whole(found, source)
        await self._decoy(credential)
        raise Unauthenticated(WRONG)

    async def _check(self, source: Source, credential: Credential) -> Identity | None:
        try:
            return _only(credential.user, await self._people(source).check(credential))
        except Unauthenticated:
            if not source.local:
                await self._decoy(credential)
            raise

    async def _decoy(self, credential: Credential) -> None:
        """Do the work of a verification: whoever nobody knows shall take as long as a wrong
        password.
        """
        await self._verifier.check(credential.user, credential.password, None)

    async def _until_the_floor(self, began: float) -> None:
        if all(source.local for source in self.sources):
            return
        clock = self._world.clock
        took = clock.seconds() - began
        await deferLater(clock, max(1, ceil(took / FLOOR)) * FLOOR - took)

    # --- tokens and sessions ----------------------------------------------------------------------

    async def _by_token(self, credential: Credential) -> Identity:
        has_changed = self.watch()
        who = await self._bearer(credential.password)
        if who is None and await has_changed():
            who = await self._bearer(credential.password)
        if who is None or self.accounts is None:
            self._throttle.wrong_token(credential.address)
            raise Unauthenticated(WRONG_TOKEN)
        self.accounts.token_used(who.token or "", credential.address)
        return who

    async def _bearer(self, secret: str) -> Identity | None:
        found = await self._token(secret)
        return None if found is None else await self._bearer_of(found)

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
            return Identity(
                token.user, scope=token.scope, publisher=True, token=token.id, until=token.expires
            )
        user = await self.find(token.user)
        return (
            None
            if user is None
            else evolve(user, scope=token.scope, token=token.id, until=token.expires)
        )

    async def _by_session(self, secret: str) -> Identity:
        if self.accounts is None or len(secret) > LONGEST_SECRET or not secret.isascii():
            raise Unauthenticated(ENDED)
        has_changed, digest = self.watch(), digest_of(secret, self.session_key)
        who = await self._logged_in(self.accounts, digest)
        if who is None and await has_changed():
            who = await self._logged_in(self.accounts, digest)
        if who is None:
            raise Unauthenticated(ENDED)
        return who

    async def _logged_in(self, accounts: Papers, digest: str) -> Identity | None:
        session = await accounts.session(digest)
        if session is None or self._world.now() >= session.expires:
            return None
        user = await self.find(session.user)
        return None if user is None else evolve(user, until=session.expires)

    # --- several sources --------------------------------------------------------------------------

    async def _whole(self, found: Identity, source: Source) -> Identity:
        """With the groups that the other sources put them into, and as an administrator if the
        configuration says so.
        """
        user = found.user or ""
        admin = found.admin or user in self.admins
        groups = found.groups
        for other in self.sources:
            if other is not source:
                groups |= await self._groups_of(other, user, admin=admin)
        return Identity(user, groups, admin)

    async def _groups_of(self, source: Source, user: str, *, admin: bool) -> frozenset[str]:
        try:
            return await self._people(source).groups(user)
        except PeopleUnknown:
            if not admin:
                raise
            return (
                frozenset()
            )  # an administrator is not locked out by a database or a directory that is away

    def _people(self, source: Source) -> People:
        if source.local:
            return source.people
        if source not in self._slow:
            self._slow[source] = SlowPeople(
                source.people, self._world, self._throttle.fingerprint, source.believed
            )
        return self._slow[source]


async def _never() -> bool:
    return False


def _only(user: str, found: Identity | None) -> Identity | None:
    """What a source found, if it is this user: under another spelling somebody would get past the
    sources before it.
    """
    return found if found is not None and found.user == user else None


def _is_a_name(user: str) -> bool:
    try:
        return len(account_name(user)) <= LONGEST_NAME
    except ValueError:
        return False


_: type[Access] = AccessChain
