"""Authentication by a password, a token or a session, with several sources of users (decision
0013).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from math import ceil
from typing import Protocol

from attrs import evolve, frozen
from twisted.internet.task import deferLater

from pypid.access.cached_source import CachedPeople
from pypid.access.counted_source import login_counted
from pypid.access.passwords import WRONG, Verifier, is_usable
from pypid.access.throttle import Throttle
from pypid.access.tokens import token_digest
from pypid.core.accounts.entries import SESSION_USER, TOKEN_USER, Session, Token
from pypid.core.accounts.owners import account_id
from pypid.core.accounts.sessions import digest_of
from pypid.core.errors import PeopleUnknown, Unauthenticated
from pypid.core.permissions import Credential, Identity, is_account_name
from pypid.flow import World
from pypid.flow.signals import Provider
from pypid.flow.single_flight import Flights
from pypid.ports import Access, People

WRONG_TOKEN = "The token is wrong, has expired or was revoked. Make a new one."
"""The error for every invalid token, whatever the reason."""
TOKEN_OF_A_USER = (
    f"The user name or the password is wrong. The password looks like a token: the user name of "
    f"every token is {TOKEN_USER}."
)
ENDED = "The session has ended. Log in again."
FLOOR = 0.25
"""Seconds: where a source is asked over a network, a refusal takes this long, or a multiple of it.

So the response time does not reveal which source refused.
"""
LONGEST_NAME = 200
LONGEST_SECRET = 200


class CredentialStore(Protocol):
    """The part of `Accounts` that looks up tokens and sessions."""

    async def token(self, digest: str) -> Token | None:
        """Return the token of this digest, or None (see `Accounts.token`)."""

    def token_used(self, id: str, address: str) -> None:
        """Record a use of the token (see `Accounts.token_used`)."""

    async def session(self, digest: str) -> Session | None:
        """Return the session of this digest, or None (see `Accounts.session`)."""


@frozen(eq=False)
class Source:
    """A source of users. `local`: it verifies hashes in memory itself; else it queries a
    directory.

    Answers of a directory are cached for a minute, and a right password is believed for
    `believed` seconds.
    """

    people: People
    local: bool = True
    believed: float = 0.0
    name: str = ""
    """The name of the source in ``[access] backend``; empty: its users cannot own projects."""


class AccessChain:
    """The daemon's `Access`, which queries the sources in order: the first that has the user
    decides.

    An unavailable source is never skipped: the next one might accept a user whom it would have
    refused. `admins` are those of ``[access] admins``, whichever source has them.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        accounts: CredentialStore | None,
        world: World,
        verifier: Verifier,
        *,
        admins: Iterable[str] = (),
        session_key: Callable[[], bytes] | None = None,
        throttle: Throttle | None = None,
        watch: Callable[[], Callable[[], Awaitable[bool]]] | None = None,
    ) -> None:
        """`accounts` hold the tokens and sessions (None: there are none). `session_key` returns the
        key for `core.accounts.sessions.digest_of`.

        `watch` is called before each lookup; it returns a check that is awaited before a refusal is
        raised and counted. The check reads the accounts, and returns whether they have changed
        since the call. So a token that another node has just issued is not refused here.
        """
        self.sources: tuple[Source, ...] = tuple(sources)
        self.admins: frozenset[str] = frozenset(admins)
        self.accounts = accounts
        self.watch = watch or (lambda: _has_not_changed)
        self._world = world
        self._verifier = verifier
        self.session_key = session_key or Provider(partial(world.random, 32))
        self._throttle = throttle or Throttle(world)
        self._attempts: Flights[bytes, Identity] = Flights()
        self._cached_sources: dict[Source, CachedPeople] = {}

    async def identify(self, credential: Credential) -> Identity:
        """Return the identity that the credential proves (see `Access.identify`), and count the
        login.
        """
        return await login_counted(self._world.counts, credential, self._identified(credential))

    async def _identified(self, credential: Credential) -> Identity:
        if credential.user == TOKEN_USER:
            return await self._by_token(credential)
        if credential.user == SESSION_USER:
            return await self._by_session(credential.password)
        return await self._by_password(credential)

    async def find(self, user: str) -> Identity | None:
        """Return the user's identity without any proof, or None if no such user may log in. Raises
        `PeopleUnknown`.

        A change in a directory may go unseen for a minute.
        """
        if not is_account_name(user, LONGEST_NAME):
            return None
        for source in self.sources:
            found = _only(user, await self._people(source).find(user))
            if found is not None:
                return await self._whole(found, source)
        return None

    def use_admins(self, admins: Iterable[str]) -> None:
        """Replace the administrators, and drop everything cached about users."""
        self.admins = frozenset(admins)
        self.forget_all()

    def forget(self, user: str) -> None:
        """Drop everything cached about the user, after a change."""
        for slow in self._cached_sources.values():
            slow.forget(user)

    def forget_all(self) -> None:
        """Drop everything cached about all users, after a change that may concern any of them."""
        self._cached_sources = {}

    def must_wait(self, address: str) -> bool:
        """Return whether an address has to wait after wrong passwords."""
        return self._throttle.must_wait(address)

    # --- passwords --------------------------------------------------------------------------------

    async def _by_password(self, credential: Credential) -> Identity:
        try:
            return await self._by_name_and_password(credential)
        except Unauthenticated:
            if token_digest(credential.password) is None:
                raise
            raise Unauthenticated(TOKEN_OF_A_USER) from None

    async def _by_name_and_password(self, credential: Credential) -> Identity:
        if not is_account_name(credential.user, LONGEST_NAME) or not is_usable(credential.password):
            raise Unauthenticated(WRONG)  # reveals nothing: the answer is the same for every user
        if self._throttle.is_proven(credential):
            return await self._authenticate_proven(credential)
        # a client that requests fifty pages at once sends its password fifty times: that is one
        # attempt
        key = self._throttle.fingerprint(credential.user, credential.password, credential.address)
        return await self._attempts.single(key, partial(self._attempt, credential))

    async def _authenticate_proven(self, credential: Credential) -> Identity:
        try:
            who = await self._authenticate(credential)
        except Unauthenticated:
            self._throttle.disprove(credential)
            raise
        self._throttle.prove(credential)
        return who

    async def _attempt(self, credential: Credential) -> Identity:
        attempt = self._throttle.begin(credential)
        try:
            who = await self._authenticate(credential)
        except Unauthenticated:
            raise
        except BaseException:
            self._throttle.take_back(attempt)
            raise
        self._throttle.succeeded(attempt, credential)
        return who

    async def _authenticate(self, credential: Credential) -> Identity:
        began, has_changed = self._world.clock.seconds(), self.watch()
        try:
            try:
                return await self._find_by_password(credential)
            except Unauthenticated:
                if not await has_changed():
                    raise
            return await self._find_by_password(credential)
        except Unauthenticated:
            await self._until_the_floor(began)
            raise

    async def _find_by_password(self, credential: Credential) -> Identity:
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
        """Do the work of a verification, so that an unknown user takes as long as a wrong
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
            owner = None if token.as_user is None else await self.find(token.as_user)
            return Identity(
                token.user,
                frozenset() if owner is None else owner.groups,
                scope=token.scope,
                publisher=True,
                token=token.id,
                account="" if owner is None else owner.account,
                as_user=None if owner is None else owner.user,
                until=token.expires,
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
        has_changed, digest = self.watch(), digest_of(secret, self.session_key())
        who = await self._logged_in(self.accounts, digest)
        if who is None and await has_changed():
            who = await self._logged_in(self.accounts, digest)
        if who is None:
            raise Unauthenticated(ENDED)
        return who

    async def _logged_in(self, accounts: CredentialStore, digest: str) -> Identity | None:
        session = await accounts.session(digest)
        if session is None or self._world.now() >= session.expires:
            return None
        user = await self.find(session.user)
        return None if user is None else evolve(user, until=session.expires)

    # --- several sources --------------------------------------------------------------------------

    async def _whole(self, found: Identity, source: Source) -> Identity:
        """Return the identity with the groups that the other sources add, and as an administrator
        if the configuration says so.
        """
        user = found.user or ""
        admin = found.admin or user in self.admins
        groups = found.groups
        for other in self.sources:
            if other is not source:
                groups |= await self._groups_of(other, user, admin=admin)
        account = found.account or (account_id(source.name, user) if source.name else "")
        return Identity(user, groups, admin, account=account)

    async def _groups_of(self, source: Source, user: str, *, admin: bool) -> frozenset[str]:
        try:
            return await self._people(source).groups(user)
        except PeopleUnknown:
            if not admin:
                raise
            return (
                frozenset()
            )  # an outage of a database or a directory must not lock administrators out

    def _people(self, source: Source) -> People:
        if source.local:
            return source.people
        if source not in self._cached_sources:
            self._cached_sources[source] = CachedPeople(
                source.people, self._world, self._throttle.fingerprint, source.believed
            )
        return self._cached_sources[source]


async def _has_not_changed() -> bool:
    return False


def _only(user: str, found: Identity | None) -> Identity | None:
    """Return what a source found, if it is exactly this user: another spelling could bypass the
    sources before it.
    """
    return found if found is not None and found.user == user else None


_: type[Access] = AccessChain
