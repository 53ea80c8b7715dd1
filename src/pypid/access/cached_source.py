"""A cache for sources of users that are asked over a network, so that not each request waits."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Generic, TypeVar

from attrs import frozen

from pypid.core.lru import Recent
from pypid.core.permissions import Credential, Identity
from pypid.flow import Flights, World
from pypid.ports import People

T = TypeVar("T")

KEPT = 60.0
"""Seconds for which a user's identity and groups are cached where no password was shown."""
MOST = 16384
"""Maximum number of users in each cache; the least recently used are dropped first."""


@frozen
class _Right:
    """A password that was right, as a keyed hash."""

    proof: bytes
    until: float
    who: Identity


class SlowPeople:
    """A `People` that caches the answers of `people`. Wrong passwords are not cached."""

    def __init__(
        self, people: People, world: World, fingerprint: Callable[..., bytes], believed: float
    ) -> None:
        """A right password is believed for `believed` seconds (0: not at all); `fingerprint` is a
        keyed hash of texts.
        """
        self._people = people
        self._clock = world.clock
        self._fingerprint = fingerprint
        self._believed = believed
        self._right: Recent[str, _Right] = Recent(MOST, MOST)
        self._epoch = object()
        """Replaced at each `forget`: an answer to a question asked before it is not cached after
        it.
        """
        self._found: _Said[Identity | None] = _Said(world)
        self._groups: _Said[frozenset[str]] = _Said(world)

    async def check(self, credential: Credential) -> Identity | None:
        """Return the identity that the credential proves, from the cache if the password was right
        lately (see `People.check`).
        """
        if self._believed <= 0:
            return await self._people.check(credential)
        proof = self._fingerprint(credential.user, credential.password)
        right = self._right.get(credential.user)
        if right is not None and right.proof == proof and self._clock.seconds() < right.until:
            return right.who
        epoch = self._epoch
        who = await self._people.check(credential)
        if who is not None and epoch is self._epoch:
            self._right.put(
                credential.user, _Right(proof, self._clock.seconds() + self._believed, who)
            )
        return who

    async def find(self, user: str) -> Identity | None:
        """Return the user's identity, cached for `KEPT` seconds (see `People.find`)."""
        return await self._found.get(user, self._people.find)

    async def groups(self, user: str) -> frozenset[str]:
        """Return the user's groups, cached for `KEPT` seconds (see `People.groups`)."""
        return await self._groups.get(user, self._people.groups)

    def forget(self, user: str) -> None:
        """Drop the cached answers about the user."""
        self._epoch = object()
        self._right.forget(user)
        self._found.forget(user)
        self._groups.forget(user)


class _Said(Generic[T]):
    """A cache of answers about users; simultaneous questions about one user share one answer."""

    def __init__(self, world: World) -> None:
        self._clock = world.clock
        self._kept: Recent[str, tuple[T, float]] = Recent(MOST, MOST)
        self._asking: Flights[tuple[str, object], T] = Flights()
        self._epoch = object()

    async def get(self, user: str, ask: Callable[[str], Coroutine[Any, Any, T]]) -> T:
        """Return the answer about the user, from the cache or by `ask`."""
        kept = self._kept.get(user)
        if kept is not None and self._clock.seconds() < kept[1]:
            return kept[0]
        epoch = self._epoch
        said = await self._asking.single((user, epoch), partial(ask, user))
        if epoch is self._epoch:
            self._kept.put(user, (said, self._clock.seconds() + KEPT))
        return said

    def forget(self, user: str) -> None:
        """Drop the cached answer about the user."""
        self._epoch = object()
        self._kept.forget(user)


_: type[People] = SlowPeople
