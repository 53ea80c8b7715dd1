"""Caches for sources of users that are reached over a network, so that not each request waits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Hashable, Mapping
from functools import partial
from typing import Any, Generic, TypeVar

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime

from pypid.core.accounts.rights import SESSION_USER, TOKEN_USER
from pypid.core.caches import Recent
from pypid.core.errors import PeopleUnknown, TooManyAttempts, Unauthenticated
from pypid.core.permissions import Credential, Identity
from pypid.flow import World
from pypid.flow.derived import Flights
from pypid.metrics.counts import LOGINS, PEOPLE, PEOPLE_SECONDS, Counts
from pypid.ports import People

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

KEPT = 60.0
"""Seconds for which a user's identity and groups are cached where no password was shown."""
MOST = 16384
"""Maximum number of users in each cache; the least recently used are dropped first."""


@frozen
class CachedAnswer(Generic[T]):
    """A cached answer, which may be None."""

    answer: T
    until: float


@define(eq=False)
class AnswerCache(Generic[K, T]):
    """A cache that holds answers for `lifetime` seconds (0: not at all), the `most` that were used
    last.
    """

    clock: IReactorTime
    lifetime: float
    most: int
    _answers: Recent[K, CachedAnswer[T]] = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._answers = Recent(self.most, self.most)

    def get(self, key: K) -> CachedAnswer[T] | None:
        """Return the cached answer, or None if there is none or it has expired."""
        cached = self._answers.get(key)
        if cached is not None and cached.until <= self.clock.seconds():
            self._answers.forget(key)
            return None
        return cached

    def put(self, key: K, answer: T) -> None:
        """Cache an answer, from now on."""
        if self.lifetime > 0:
            self._answers.put(key, CachedAnswer(answer, self.clock.seconds() + self.lifetime))

    def forget(self, key: K) -> None:
        """Drop the answer, if there is one."""
        self._answers.forget(key)


class CachedPeople:
    """A `People` that caches the answers of `people`. Wrong passwords are not cached."""

    def __init__(
        self, people: People, world: World, fingerprint: Callable[..., bytes], believed: float
    ) -> None:
        """A right password is believed for `believed` seconds (0: not at all); `fingerprint` is a
        keyed hash of texts.
        """
        self._people = people
        self._fingerprint = fingerprint
        self._right: AnswerCache[str, tuple[bytes, Identity]] = AnswerCache(
            world.clock, believed, MOST
        )
        """Fingerprints of passwords that were right."""
        self._found: AnswerCache[str, Identity | None] = AnswerCache(world.clock, KEPT, MOST)
        self._groups: AnswerCache[str, frozenset[str]] = AnswerCache(world.clock, KEPT, MOST)
        self._flights: Flights[Hashable, Any] = Flights()
        self._generation = object()
        """Replaced at each `forget`: an answer to a request sent before it is not cached after it.
        """

    async def check(self, credential: Credential) -> Identity | None:
        """Return the identity that the credential proves, from the cache if the password was right
        lately (see `People.check`).
        """
        user = credential.user
        proof = self._fingerprint(user, credential.password)
        right = self._right.get(user)
        if right is not None and right.answer[0] == proof:
            return right.answer[1]
        generation = self._generation
        identity = await self._people.check(credential)
        if identity is not None and generation is self._generation:
            self._right.put(user, (proof, identity))
        return identity

    async def find(self, user: str) -> Identity | None:
        """Return the user's identity, cached for `KEPT` seconds (see `People.find`)."""
        return await self._shared(user, self._found, self._people.find)

    async def groups(self, user: str) -> frozenset[str]:
        """Return the user's groups, cached for `KEPT` seconds (see `People.groups`)."""
        return await self._shared(user, self._groups, self._people.groups)

    async def _shared(
        self,
        user: str,
        answers: AnswerCache[str, T],
        request: Callable[[str], Coroutine[Any, Any, T]],
    ) -> T:
        """Return the answer about the user, from the cache or by `request`, which simultaneous
        callers share.
        """
        cached = answers.get(user)
        if cached is not None:
            return cached.answer
        generation = self._generation
        flight = (user, answers, generation)
        answer: T = await self._flights.single(flight, partial(request, user))
        if generation is self._generation:
            answers.put(user, answer)
        return answer

    def forget(self, user: str) -> None:
        """Drop the cached answers about the user."""
        self._generation = object()
        self._right.forget(user)
        self._found.forget(user)
        self._groups.forget(user)


# Metrics of logins, and of sources of users that are asked over a network.

_SOURCE_OUTCOMES = {Unauthenticated: "refused", PeopleUnknown: "down", CancelledError: "cancelled"}
_LOGIN_OUTCOMES = {
    Unauthenticated: "refused",
    TooManyAttempts: "throttled",
    PeopleUnknown: "unknown",
}
_KINDS = {TOKEN_USER: "token", SESSION_USER: "session"}


@frozen
class CountedPeople:
    """A `People` in front of another one that counts its answers; `source` is its name in the
    metrics.
    """

    behind: People
    source: str
    _world: World = field(repr=False)

    async def check(self, credential: Credential) -> Identity | None:
        return await self._counted(self.behind.check(credential))

    async def find(self, user: str) -> Identity | None:
        return await self._counted(self.behind.find(user))

    async def groups(self, user: str) -> frozenset[str]:
        return await self._counted(self.behind.groups(user))

    async def _counted(self, question: Awaitable[T]) -> T:
        began, outcome = self._world.clock.seconds(), "ok"
        try:
            answer = await question
            if answer is None:
                outcome = "unknown"
            return answer
        except BaseException as error:
            outcome = _outcome(error, _SOURCE_OUTCOMES)
            raise
        finally:
            counts = self._world.counts
            counts.add(PEOPLE, (self.source, outcome))
            counts.observe(
                PEOPLE_SECONDS, (self.source,), max(0.0, self._world.clock.seconds() - began)
            )


def _outcome(error: BaseException, outcomes: Mapping[type[Exception], str]) -> str:
    return next((word for kind, word in outcomes.items() if isinstance(error, kind)), "failed")


async def login_counted(
    counts: Counts, credential: Credential, identifying: Awaitable[Identity]
) -> Identity:
    """Return the identity, and count the login by its kind and outcome. An outage is not counted as
    a refused password.
    """
    outcome = "ok"
    try:
        return await identifying
    except BaseException as error:
        outcome = _outcome(error, _LOGIN_OUTCOMES)
        raise
    finally:
        counts.add(LOGINS, (_KINDS.get(credential.user, "password"), outcome))
