"""A source of people that is asked over a network: what it said is kept for a short while, so that
not each request waits.
"""

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
"""Seconds for which it is kept who somebody is, and what their groups are, if nobody has shown a
password.
"""
MOST = 16384
"""People of whom something is kept; who was not seen for longest goes first."""


@frozen
class _Right:
    """A password that was right, as a keyed hash."""

    proof: bytes
    until: float
    who: Identity


class SlowPeople:
    """`people`, asked at most once in a while about each of them. Wrong passwords are asked about
    each time.
    """

    def __init__(
        self, people: People, world: World, fingerprint: Callable[..., bytes], believed: float
    ) -> None:
        """A right password is believed for `believed` seconds (0: not at all); `fingerprint`: a
        keyed hash of texts.
        """
        self._people = people
        self._clock = world.clock
        self._fingerprint = fingerprint
        self._believed = believed
        self._right: Recent[str, _Right] = Recent(MOST, MOST)
        self._epoch = object()
        """Another one after each `forget`: what was asked before it is not kept after it."""
        self._found: _Said[Identity | None] = _Said(world)
        self._groups: _Said[frozenset[str]] = _Said(world)

    async def check(self, credential: Credential) -> Identity | None:
        """As `People.check`."""
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
        """As `People.find`."""
        return await self._found.get(user, self._people.find)

    async def groups(self, user: str) -> frozenset[str]:
        """As `People.groups`."""
        return await self._groups.get(user, self._people.groups)

    def forget(self, user: str) -> None:
        """The next one who asks about the user is told what is so then."""
        self._epoch = object()
        self._right.forget(user)
        self._found.forget(user)
        self._groups.forget(user)


class _Said(Generic[T]):
    """What was said of people; those who ask at once are told together."""

    def __init__(self, world: World) -> None:
        self._clock = world.clock
        self._kept: Recent[str, tuple[T, float]] = Recent(MOST, MOST)
        self._asking: Flights[tuple[str, object], T] = Flights()
        self._epoch = object()

    async def get(self, user: str, ask: Callable[[str], Coroutine[Any, Any, T]]) -> T:
        """What is said of the user."""
        kept = self._kept.get(user)
        if kept is not None and self._clock.seconds() < kept[1]:
            return kept[0]
        epoch = self._epoch
        said = await self._asking.single((user, epoch), partial(ask, user))
        if epoch is self._epoch:
            self._kept.put(user, (said, self._clock.seconds() + KEPT))
        return said

    def forget(self, user: str) -> None:
        """Ask again."""
        self._epoch = object()
        self._kept.forget(user)


_: type[People] = SlowPeople
