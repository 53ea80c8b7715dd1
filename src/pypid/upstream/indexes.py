"""Opening the upstream indexes of the configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import field, frozen

from pypid.flow import World
from pypid.http_client.circuit_breaker import CircuitBreaker
from pypid.http_client.connections import HttpConnections, connections
from pypid.http_client.trust import Trust
from pypid.ports import Upstream
from pypid.upstream.client import UpstreamClient
from pypid.upstream.hosts import FileHosts
from pypid.upstream.origin import Base
from pypid.upstream.pages import PageReader
from pypid.upstream.several import Several
from pypid.upstream.simple import SimpleUpstream

IDLE = 32
"""Idle connections kept per host; installers request fifty pages and files at a time."""
IDLE_TIME = 30
"""Seconds for which they are kept."""
CERTIFICATES = "[upstream] ca_certificates"
"""The setting that names authorities in addition to the system's."""


@frozen
class UpstreamSourceSettings:
    """Settings of the upstream indexes. `urls`: bases of Simple APIs, at least one, perhaps with
    ``user:password@``. `timeout`: seconds of silence.

    `file_hosts`: hosts of files in addition to the indexes' own (`FileHosts`).
    """

    urls: Sequence[str] = field(repr=False)
    timeout: float = 10.0
    file_hosts: Sequence[str] = ()

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
        again=True,
        may_be_anywhere=settings.hosts.holds,
    )


def open(
    settings: UpstreamSourceSettings, world: World, identity: str, reached: HttpConnections
) -> Upstream:
    """Return the upstream indexes. `identity` is this pypid's in the chain of pypids
    (`core.simple_api.via.identity`).
    """
    asker = UpstreamClient(
        reached.agent, world.clock, identity, settings.timeout, settings.hosts, world.counts
    )
    reading = PageReader(world.thinking)
    indexes = [SimpleUpstream(Base.parse(url), asker, world, reading) for url in settings.urls]
    if len(indexes) == 1:
        return indexes[0]
    breakers = [
        CircuitBreaker(world, f"the upstream index {index.base.url}") for index in indexes[1:]
    ]
    return Several(indexes, breakers, world.thinking)
