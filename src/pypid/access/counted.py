"""A source of people that is asked over a network: counted is what it is asked, how long that takes, and what comes of it."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

from attrs import field, frozen
from twisted.internet.defer import CancelledError

from pypid.core.errors import PeopleUnknown, Unauthenticated
from pypid.core.permissions import Credential, Identity
from pypid.flow import World
from pypid.metrics.families import PEOPLE, PEOPLE_SECONDS
from pypid.ports import People

T = TypeVar("T")


@frozen
class CountedPeople:
    """A `People` in front of another one; `source` is what it is called in the metrics."""

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
        began, outcome = self._world.clock.seconds(), "failed"
        try:
            answer = await question
            outcome = "unknown" if answer is None else "ok"
            return answer
        except Unauthenticated:
            outcome = "refused"
            raise
        except PeopleUnknown:
            outcome = "down"
            raise
        except CancelledError:
            outcome = "cancelled"
            raise
        finally:
            counts = self._world.counts
            counts.add(PEOPLE, (self.source, outcome))
            counts.observe(PEOPLE_SECONDS, (self.source,), max(0.0, self._world.clock.seconds() - began))


_: type[People] = CountedPeople
