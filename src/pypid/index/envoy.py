"""The only one who talks to other indexes: sees to it, each time, that they may hear the name; knows whether they answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from attrs import define, field
from twisted.logger import Logger

from pypid.core.errors import BadListing, NotThere, NotYetKnown, UpstreamDown
from pypid.core.model import Presence, Project, Remembered, Span
from pypid.core.names import ProjectName
from pypid.core.policy import Policy, Untold, silence
from pypid.core.via import refuse_loop
from pypid.ports import Body, Upstream

T = TypeVar("T")
_log = Logger()

FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=5), timedelta(seconds=60)
"""For so long nobody is asked after a failure that tells that the other index is away; doubled each time."""
STRIKES = 3
"""Failures of any other kind, one after the other, that tell the same."""

Ours = Callable[[ProjectName], Awaitable[Project | Presence]]
"""What is ours of a name, as the storage itself says now (`Parts.ours_now`)."""


@define(eq=False)
class Outage:
    """Whether the other index can be reached, as far as its last answers tell."""

    now: Callable[[], datetime]
    error: UpstreamDown | None = field(default=None, init=False)
    """What it failed with, while it is down."""
    since: datetime | None = field(default=None, init=False)
    """Since when it is down, as far as was noticed."""
    _strikes: int = field(default=0, init=False)
    _pause: timedelta = field(default=FIRST_PAUSE, init=False)
    _again: datetime | None = field(default=None, init=False)

    @property
    def is_down(self) -> bool:
        """Whether it was away the last time that it was asked."""
        return self.error is not None

    def may_probe(self) -> bool:
        """While it is down: whether it is time to ask again. Whoever is told so asks; everybody else is told no meanwhile."""
        now = self.now()
        if self._again is not None and now < self._again:
            return False
        self._again = now + self._pause
        return True

    def answered(self) -> None:
        """It has said something."""
        if self.error is not None:
            _log.info("the upstream index can be reached again")
        self.error, self.since, self._again = None, None, None
        self._strikes, self._pause = 0, FIRST_PAUSE

    def failed(self, error: UpstreamDown) -> None:
        """It was asked, and did not answer."""
        self._strikes += 1
        if not error.unreachable and self._strikes < STRIKES:
            return
        if self.error is None:
            self.since = self.now()
            _log.warn("the upstream index is away, only what is stored is served until it answers again: {error}", error=error)
        else:
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
        self.error = error
        self._again = self.now() + self._pause


async def _never() -> bool:
    return False


@define(eq=False)
class Envoy:
    """An `Upstream` that is asked by name, and only what may be told.

    Just before each question the storage is asked whether the name is ours: what another process published a moment ago
    is not in our catalog yet (unknown is not absent). While a shared catalog is `away` no name is told that was not told
    before (`NotYetKnown`). Everything raises `Untold` for a name that must not go upstream, `StorageDown` where that cannot
    be found out, `Loop` for a request that was here before, and what `Upstream` raises.
    """

    upstream: Upstream
    policy: Policy
    identity: str
    ours: Ours
    outage: Outage
    away: Callable[[], Awaitable[bool]] = _never

    async def project(self, name: ProjectName, known: Remembered | None, via: Sequence[str]) -> Remembered:
        """What they say of the project now."""
        await self.make_sure(name, via)
        if known is None and await self.away():
            raise NotYetKnown(name)
        return await self._noted(self.upstream.project(name, known, via))

    async def fetch(self, name: ProjectName, url: str, span: Span | None, via: Sequence[str]) -> Body:
        """The bytes of a file of the project, or of what lies beside it."""
        await self.make_sure(name, via)
        return await self._noted(self.upstream.fetch(url, span, via))

    async def names(self, via: Sequence[str]) -> Sequence[ProjectName]:
        """All projects that they have."""
        refuse_loop(via, self.identity)
        return await self._noted(self.upstream.names(via))

    def refuse_loop(self, via: Sequence[str]) -> None:
        """Raise `Loop` if the request was here before. To be called before it waits for what it may itself be the cause of."""
        refuse_loop(via, self.identity)

    async def make_sure(self, name: ProjectName, via: Sequence[str]) -> None:
        """Raise unless the name may be told, now."""
        refuse_loop(via, self.identity)
        why = silence(self.policy, name, await self.ours(name))
        if why is not None:
            raise Untold(name, why)

    async def _noted(self, question: Awaitable[T]) -> T:
        try:
            answer = await question
        except UpstreamDown as error:
            self.outage.failed(error)
            raise
        except (BadListing, NotThere):
            self.outage.answered()
            raise
        self.outage.answered()
        return answer
