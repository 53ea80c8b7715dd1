"""Metrics of logins, and of sources of users that are asked over a network."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

from attrs import field, frozen
from twisted.internet.defer import CancelledError

from pypid.core.accounts.entries import SESSION_USER, TOKEN_USER
from pypid.core.errors import PeopleUnknown, TooManyAttempts, Unauthenticated
from pypid.core.permissions import Credential, Identity
from pypid.flow import World
from pypid.metrics.counts import Counts
from pypid.metrics.families import LOGINS, PEOPLE, PEOPLE_SECONDS
from pypid.ports import People

T = TypeVar("T")
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
            counts.observe(
                PEOPLE_SECONDS, (self.source,), max(0.0, self._world.clock.seconds() - began)
            )


_: type[People] = CountedPeople


async def login_counted(
    counts: Counts, credential: Credential, identifying: Awaitable[Identity]
) -> Identity:
    """Return the identity, and count the login by its kind and outcome. An outage is not counted as
    a refused password.
    """
    outcome = "failed"
    try:
        who = await identifying
        outcome = "ok"
    except Unauthenticated:
        outcome = "refused"
        raise
    except TooManyAttempts:
        outcome = "throttled"
        raise
    except PeopleUnknown:
        outcome = "unknown"
        raise
    finally:
        counts.add(LOGINS, (_KINDS.get(credential.user, "password"), outcome))
    return who
