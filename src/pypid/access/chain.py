"""Authentication by a password, a token or a session, with several sources of users (decision
0013).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from math import ceil

from attrs import define, evolve, field, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from pypid.access.accounts import SqlAccounts
from pypid.access.cached_source import AnswerCache, CachedPeople, login_counted
from pypid.access.passwords import WRONG, Verifier, is_usable, keyed_hash
from pypid.access.tokens import token_digest
from pypid.core.accounts.rights import SESSION_USER, TOKEN_USER, account_id
from pypid.core.accounts.sessions import digest_of, place_of
from pypid.core.caches import Recent
from pypid.core.errors import PeopleUnknown, TooManyAttempts, Unauthenticated
from pypid.core.permissions import Credential, Identity, is_account_name
from pypid.flow import World
from pypid.flow.derived import Flights, Provider
from pypid.ports import People

# A throttle for wrong passwords: a client that goes on guessing has to wait, longer each time,
# without affecting other clients.
#
# An attempt is counted when it begins, and uncounted if it was not wrong: so a burst of guesses at
# once gets no further than the same guesses one after the other. A password that was right shortly
# before is not delayed at that address, unless many guesses come from there: otherwise a refusal
# would tell a wrong guess from the right one.

FREE = 5
"""Wrong passwords of one user from one address before there is any wait."""
LONGEST = 900.0
"""Seconds of the longest wait; it begins with one, and doubles."""
FORGOTTEN = 3600.0
"""Seconds without an attempt after which the count of a user at this address starts over."""
REFUSED = 20
"""Attempts without waiting, after which the wait doubles, and a proof at this address ends."""
BURST = 100
"""Wrong passwords from one address, whatever the users; and of one user, from all addresses where
the user has never logged in.
"""
EACH = 5.0
"""Seconds after which one more is allowed there."""
PROVEN = 300.0
"""Seconds for which a right password is known to have been right."""
MOST = 16384
"""Maximum number of entries of each kind; the least recently used are dropped first."""
_WORTH_A_LINE = 64.0


@define
class _Pair:
    """The results of one user's passwords from one address."""

    failures: int = 0
    until: float = 0.0
    """Until when the next attempt has to wait."""
    last: float = 0.0
    refused: int = 0
    """Attempts that did not wait."""

    def is_forgotten(self, now: float) -> bool:
        return now - max(self.last, self.until) > FORGOTTEN

    def add_failure(self, now: float) -> None:
        self.failures, self.last = self.failures + 1, now

    def wait(self, until: float) -> None:
        self.until = until

    def refuse(self) -> bool:
        """Count an attempt that did not wait; return whether it is one of many."""
        self.refused += 1
        return self.refused % REFUSED == 0

    def take_back(self, until: float) -> None:
        self.failures = max(0, self.failures - 1)
        if self.until == until:  # else a later attempt has made it longer
            self.until = 0.0


@define
class _Level:
    """A leaky bucket: `filled` at the time `at`, and `EACH` seconds take one out."""

    filled: float = 0.0
    at: float = 0.0
    is_logged: bool = False

    def now(self, now: float) -> float:
        self.at = min(self.at, now)  # the clock may have been set back
        return max(0.0, self.filled - (now - self.at) / EACH)

    def add(self, now: float, amount: float) -> None:
        self.is_logged = self.is_logged and self.now(now) > 0
        self.filled, self.at = max(0.0, self.now(now) + amount), now

    def should_log(self) -> bool:
        """Return whether it is over for the first time since it was empty."""
        was_logged, self.is_logged = self.is_logged, True
        return not was_logged


@frozen
class Attempt:
    """An attempt that has begun. It counts as wrong, unless it is taken back or was right."""

    levels: tuple[tuple[str, str], ...] = ()
    """Where it is counted; empty: nowhere."""
    pair: bytes = b""
    until: float = field(default=0.0, eq=False)
    """Until when this attempt made the next one wait."""


class Throttle:
    """Counts wrong passwords for each user at each address, and for each address; and wrong tokens
    for each address.

    An address is an IPv4 address or the /64 of an IPv6 address, which is the least that one
    customer has. Clients without an address (the control socket) are not counted.
    """

    _log = Logger()

    def __init__(self, world: World, *, most: int = MOST) -> None:
        """`most` entries of each kind are kept."""
        self._clock: IReactorTime = world.clock
        self._key = world.random(32)
        self._pairs: Recent[bytes, _Pair] = Recent(most, most)
        self._levels: Recent[tuple[str, str], _Level] = Recent(most, most)
        self._known: Recent[bytes, bool] = Recent(most, most)
        """Users at the addresses where they have logged in."""
        self._waiting: Recent[str, float] = Recent(most, most)
        """Until when addresses have to wait."""
        self._proven: AnswerCache[bytes, bytes] = AnswerCache(self._clock, PROVEN, most)

    def fingerprint(self, *texts: str) -> bytes:
        """Return a keyed hash of the texts, which is stored in place of them."""
        return keyed_hash(self._key, *texts)

    # --- passwords --------------------------------------------------------------------------------

    def is_proven(self, credential: Credential) -> bool:
        """Return whether the same user and password were right shortly before from this address:
        then nothing delays them.
        """
        proof = self._proven.get(self._pair_of(credential))
        return proof is not None and proof.answer == self._proof(credential)

    def prove(self, credential: Credential) -> None:
        """Note that the credential is right: it is proven for `PROVEN` seconds at its address."""
        self._proven.put(self._pair_of(credential), self._proof(credential))

    def disprove(self, credential: Credential) -> None:
        """Note that the credential is not right any more."""
        self._proven.forget(self._pair_of(credential))

    def must_wait(self, address: str) -> bool:
        """Return whether too many wrong passwords have come from the address just now."""
        until = self._waiting.get(place_of(address))
        return until is not None and self._clock.seconds() < until

    def _proof(self, credential: Credential) -> bytes:
        return self.fingerprint(credential.user, credential.password)

    def _pair_of(self, credential: Credential) -> bytes:
        # a directory may take "Ada" and "ada" for the same user: another spelling must not give
        # more attempts
        return self.fingerprint(credential.user.casefold(), place_of(credential.address))

    def begin(self, credential: Credential) -> Attempt:
        """Count an attempt. Raises `TooManyAttempts` if it is too early for another one."""
        place = place_of(credential.address)
        if not place:
            return Attempt()
        now, key = self._clock.seconds(), self._pair_of(credential)
        pair = self._pairs.get(key)
        if pair is None or pair.is_forgotten(now):
            pair = _Pair()
        if now < pair.until:
            raise self._refusal(pair, key, place, now)
        levels = [("password", place)]
        if not self._known.get(key):
            levels.append(("user", self.fingerprint(credential.user.casefold()).hex()))
        for what, of in levels:
            self._fill(what, of, now)
        self._delay(pair, place, now)
        self._pairs.put(key, pair)
        return Attempt(tuple(levels), key, pair.until)

    def _refusal(self, pair: _Pair, key: bytes, place: str, now: float) -> TooManyAttempts:
        if pair.refuse():
            self._proven.forget(key)
            self._delay(pair, place, now)
        pair.wait(min(pair.until, now + LONGEST))  # the clock may have been set back
        return _too_many(pair.until - now)

    def _delay(self, pair: _Pair, place: str, now: float) -> None:
        """Count an attempt, and make the next one wait."""
        pair.add_failure(now)
        if pair.failures >= FREE:
            pair.wait(max(pair.until, now + self._pause(pair.failures - FREE, place)))
            self._waiting.put(place, pair.until)

    def take_back(self, attempt: Attempt) -> None:
        """Uncount an attempt that was neither right nor wrong, since the source was unavailable."""
        for what, of in attempt.levels:
            self._empty(what, of)
        pair = self._pairs.get(attempt.pair)
        if pair is not None:
            pair.take_back(attempt.until)

    def succeeded(self, attempt: Attempt, credential: Credential) -> None:
        """Note that the attempt was right: the credential is proven, and the count of the user at
        this address starts over, unless guesses come from there at the same time.
        """
        self.prove(credential)
        self.take_back(attempt)  # by one only: otherwise logins to an attacker's own account
        # would allow more guesses
        pair = self._pairs.get(attempt.pair)
        if pair is not None and pair.refused < REFUSED:
            self._pairs.forget(attempt.pair)
        if attempt.levels:
            self._known.put(attempt.pair, True)

    # --- tokens -----------------------------------------------------------------------------------

    def wrong_token(self, address: str) -> None:
        """Count an invalid token. Raises `TooManyAttempts` if there were too many from this
        address.
        """
        place = place_of(address)
        if place:
            self._fill("token", place, self._clock.seconds())

    # --- counting ---------------------------------------------------------------------------------

    def _fill(self, what: str, of: str, now: float) -> None:
        level = self._levels.get((what, of)) or _Level(at=now)
        over = level.now(now) + 1 - BURST
        if over > 1e-9:
            if level.should_log():
                # not the user's name: it may be a password, typed into the wrong field
                self._log.warn(
                    "many wrong passwords or tokens, further ones have to wait: source={source}",
                    source="all addresses, for one user" if what == "user" else of,
                )
            raise _too_many(over * EACH)
        level.add(now, 1)
        self._levels.put((what, of), level)

    def _empty(self, what: str, of: str) -> None:
        level = self._levels.get((what, of))
        if level is not None:
            level.add(self._clock.seconds(), -1)

    def _pause(self, doublings: int, place: str) -> float:
        pause = min(2.0 ** min(doublings, 30), LONGEST)
        if pause == _WORTH_A_LINE:
            # not the user's name: it may be a password, typed into the wrong field
            self._log.warn(
                (
                    "many wrong passwords for one user, each further attempt is delayed "
                    "longer: address={place}"
                ),
                place=place,
            )
        return pause


def _too_many(seconds: float) -> TooManyAttempts:
    wait = max(1, ceil(seconds - 0.001))  # 2.7 - 1.7 is a little more than 1
    return TooManyAttempts(
        f"Too many attempts with a wrong password or token. Wait {wait} s before you try again.",
        wait,
    )


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
        accounts: SqlAccounts,
        world: World,
        verifier: Verifier,
        *,
        admins: Iterable[str] = (),
        session_key: Callable[[], bytes] | None = None,
        watch: Callable[[], Callable[[], Awaitable[bool]]] | None = None,
    ) -> None:
        """`accounts` hold the tokens and sessions. `session_key` returns the
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
        self._throttle = Throttle(world)
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
        if who is None:
            self._throttle.wrong_token(credential.address)
            raise Unauthenticated(WRONG_TOKEN)
        self.accounts.token_used(who.token or "", credential.address)
        return who

    async def _bearer(self, secret: str) -> Identity | None:
        digest = token_digest(secret)
        token = None if digest is None else await self.accounts.token(digest)
        if token is None:
            return None
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
        if len(secret) > LONGEST_SECRET or not secret.isascii():
            raise Unauthenticated(ENDED)
        has_changed, digest = self.watch(), digest_of(secret, self.session_key())
        who = await self._logged_in(digest)
        if who is None and await has_changed():
            who = await self._logged_in(digest)
        if who is None:
            raise Unauthenticated(ENDED)
        return who

    async def _logged_in(self, digest: str) -> Identity | None:
        session = await self.accounts.session(digest)
        user = None if session is None else await self.find(session.user)
        return None if user is None or session is None else evolve(user, until=session.expires)

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
