"""The upstream indexes of the configuration: opening them, and asking several in their order, where
the first that has a name wins.

If the first one is down, the search ends for every name. A later one matters only for names that
the earlier ones do not have: it has a circuit breaker of its own, and its failures are marked
`secondary`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import evolve, field, frozen

from pypid.core.errors import BadListing, UpstreamDown
from pypid.core.model import Listing, Span
from pypid.core.packaging.name_sets import in_order
from pypid.core.packaging.names import ProjectName
from pypid.core.simple_api.packing import at_once as all_at_once
from pypid.flow import Blocking, World, at_once
from pypid.http_client.circuit_breaker import CircuitBreaker
from pypid.http_client.connections import HttpConnections, connections
from pypid.http_client.trust import Trust
from pypid.ports import Body, Upstream
from pypid.upstream.client import UpstreamClient
from pypid.upstream.hosts import FileHosts
from pypid.upstream.origin import Base
from pypid.upstream.pages import PageReader
from pypid.upstream.simple import SimpleUpstream

IDLE = 64
"""Idle connections kept per host; installers request fifty pages and files at a time."""
IDLE_TIME = 30
"""Seconds for which they are kept."""


@frozen
class UpstreamSourceSettings:
    """Settings of the upstream indexes. `urls`: bases of Simple APIs, at least one, perhaps with
    ``user:password@``. `timeout`: seconds of silence.

    `file_hosts`: hosts of files in addition to the indexes' own (`FileHosts`).
    """

    urls: Sequence[str] = field(repr=False)
    timeout: float = 10.0
    file_hosts: Sequence[str] = ()
    section: str = "upstream"
    """The section of the configuration that errors name."""

    @property
    def hosts(self) -> FileHosts:
        """The trusted hosts, which may have any address."""
        return FileHosts.of(self.urls, self.file_hosts)


def connected(reactor: Any, trust: Trust, settings: UpstreamSourceSettings) -> HttpConnections:
    """Return the connections to upstream indexes; all requests are idempotent, and repeated if a
    connection was closed meanwhile.
    """
    return connections(
        reactor,
        trust,
        settings.timeout,
        idle=IDLE,
        idle_time=IDLE_TIME,
        retry=True,
        is_trusted_host=settings.hosts.holds,
    )


def open(
    settings: UpstreamSourceSettings, world: World, identity: str, reached: HttpConnections
) -> Upstream:
    """Return the upstream indexes. `identity` is this pypid's in the chain of pypids
    (`core.simple_api.via.identity`).
    """
    asker = UpstreamClient(
        reached.agent,
        world.clock,
        identity,
        settings.timeout,
        settings.hosts,
        world.counts,
        settings.section,
    )
    reading = PageReader(world.thinking)
    indexes = [SimpleUpstream(Base.parse(url), asker, world, reading) for url in settings.urls]
    if len(indexes) == 1:
        return indexes[0]
    breakers = [
        CircuitBreaker(world, f"the upstream index {index.base.url}") for index in indexes[1:]
    ]
    return Several(indexes, breakers, world.thinking)


@frozen
class Several:
    """An upstream of at least one index.

    An index that is down ends the search: the name may be its own, and taking it from a later one
    would allow dependency confusion whenever an index is down. The remembered listing is served
    meanwhile.
    """

    indexes: Sequence[SimpleUpstream]
    _breakers: Sequence[CircuitBreaker]
    """One for each index but the first, whose breaker the caller has (`UpstreamGate.breaker`)."""
    _thinking: Blocking = at_once
    """Runs the merging of long lists."""

    async def project(
        self, name: ProjectName, known: Listing | None, via: Sequence[str]
    ) -> Listing:
        """Return the listing of the first index that has the project; if none has it, that of the
        first.
        """
        first = await self.indexes[0].project(name, known, via)
        if first.files is not None:
            return first
        for index, breaker in zip(self.indexes[1:], self._breakers, strict=True):
            listing = await _ask_secondary(index, breaker, name, known, via)
            if listing.files is not None:
                return listing
        return first

    async def names(self, via: Sequence[str]) -> Sequence[ProjectName]:
        """Return the names of all, in order, each once. Raises `UpstreamDown` if one is down: a
        partial list is useless.
        """
        lists = [await self.indexes[0].names(via)]
        for index in self.indexes[1:]:
            try:
                lists.append(await index.names(via))
            except UpstreamDown as error:
                raise evolve(error, secondary=True) from error
        return (
            lists[0]
            if len(lists) == 1
            else await self._thinking(lambda: all_at_once(in_order(lists)))
        )

    async def fetch(
        self, url: str, span: Span | None, via: Sequence[str], *, verified: bool = True
    ) -> Body:
        """Return the file, requested with the configured user of the URL's origin, if there is
        one.
        """
        here = [index for index in self.indexes if index.is_at(url)]
        nearest = max(here, key=lambda index: _common(index.base.url, url), default=self.indexes[0])
        return await nearest.fetch(url, span, via, verified=verified)


_: type[Upstream] = Several


async def _ask_secondary(
    index: SimpleUpstream,
    breaker: CircuitBreaker,
    name: ProjectName,
    known: Listing | None,
    via: Sequence[str],
) -> Listing:
    try:
        breaker.refuse_unless_probe()
    except UpstreamDown as error:
        raise evolve(error, secondary=True) from None
    try:
        listing = await index.project(name, known, via)
    except UpstreamDown as error:
        breaker.failed(error)
        raise evolve(error, secondary=True) from error
    except BadListing:
        breaker.answered()
        raise
    breaker.answered()
    return listing


def _common(one: str, other: str) -> int:
    """Return the length of the common prefix."""
    return next(
        (count for count, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]),
        len(one),
    )
