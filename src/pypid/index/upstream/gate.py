"""The only module that sends requests to upstream: checks each time that the name may be disclosed,
and tracks whether upstream responds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from attrs import define

from pypid.core.errors import BadListing, NotThere, NotYetKnown, UpstreamDown
from pypid.core.model import Listing, Presence, Project, Span
from pypid.core.packaging.names import ProjectName
from pypid.core.policy import Policy, UnknownOwner, silence
from pypid.core.simple_api.via import refuse_loop
from pypid.http_client.circuit_breaker import CircuitBreaker
from pypid.index.upstream.file_hosts import FileHostBreakers
from pypid.ports import Body, Upstream

T = TypeVar("T")

Ours = Callable[[ProjectName], Awaitable[Project | Presence]]
"""Returns the local project of a name, according to the storage now (`IndexContext.ours_now`)."""


async def _never() -> bool:
    return False


@define(eq=False)
class UpstreamGate:
    """An `Upstream` that is only asked for names that may be disclosed.

    Just before each request the storage is asked whether the name is local: what another process
    published a moment ago is not in this catalog yet (unknown is not absent). While a shared
    catalog is `away`, no name is disclosed that was not before (`NotYetKnown`). Everything raises
    `UnknownOwner` for a name that must not go upstream, `StorageDown` if that cannot be determined,
    `Loop` for a request that has passed through here before, and what `Upstream` raises.

    Only requests to the index itself count for its circuit breaker (`breaker`). Failures of files
    count for their host and their URL (`hosts`).
    """

    upstream: Upstream
    policy: Policy
    identity: str
    ours: Ours
    breaker: CircuitBreaker
    hosts: FileHostBreakers
    away: Callable[[], Awaitable[bool]] = _never

    async def project(
        self, name: ProjectName, known: Listing | None, via: Sequence[str]
    ) -> Listing:
        """Return the current upstream listing of the project."""
        await self.check(name, via)
        if known is None and await self.away():
            raise NotYetKnown(name)
        return await self._noted(self.upstream.project(name, known, via))

    async def fetch(
        self,
        name: ProjectName,
        url: str,
        span: Span | None,
        via: Sequence[str],
        *,
        verified: bool = True,
    ) -> Body:
        """Return the bytes of a file of the project, or of a sidecar (`Upstream.fetch`)."""
        await self.check(name, via)
        return await self.hosts.fetch(
            url, lambda: self.upstream.fetch(url, span, via, verified=verified)
        )

    async def listed_project(self, name: ProjectName) -> Listing:
        """Return the current listing of a project that is in upstream's own list of projects, for a
        comparison with files in the storage. The caller has checked the policy.

        Files without a record make `project` refuse the name: it may be private.
        """
        return await self._noted(self.upstream.project(name, None, ()))

    async def names(self, via: Sequence[str]) -> Sequence[ProjectName]:
        """Return all upstream projects."""
        refuse_loop(via, self.identity)
        return await self._noted(self.upstream.names(via))

    def refuse_loop(self, via: Sequence[str]) -> None:
        """Raise `Loop` if the request has passed through here before. Call this before waiting for
        a fetch that the request itself may be the cause of.
        """
        refuse_loop(via, self.identity)

    async def check(self, name: ProjectName, via: Sequence[str]) -> None:
        """Raise unless the name may be disclosed now."""
        refuse_loop(via, self.identity)
        why = silence(self.policy, name, await self.ours(name))
        if why is not None:
            raise UnknownOwner(name, why)

    async def _noted(self, question: Awaitable[T]) -> T:
        try:
            answer = await question
        except UpstreamDown as error:
            self.breaker.failed(error)
            raise
        except (BadListing, NotThere):
            self.breaker.answered()
            raise
        self.breaker.answered()
        return answer
