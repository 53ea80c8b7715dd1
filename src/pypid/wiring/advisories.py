"""The wiring of `[advisories]`: their sources, and the services that keep them up to date."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from attrs import frozen
from twisted.application.service import Service

from pypid.advisories.service import Advisories
from pypid.core.configuration.choices import BlockedAdvisories
from pypid.core.configuration.keys import PUBLIC_ADVISORIES
from pypid.core.configuration.parse import Config
from pypid.core.configuration.values import without_userinfo
from pypid.core.restrictions import RestrictionsInForce
from pypid.daemon.state import StatePaths
from pypid.flow import World
from pypid.flow.coroutines import import_late
from pypid.flow.derived import Provider
from pypid.wiring.platform import Platform
from pypid.wiring.upstreams import authorities_of

if TYPE_CHECKING:  # not needed without a source, nor by a start
    from pypid.advisories.sources import AdvisorySource, FetchedAdvisories
    from pypid.http_client.connections import HttpConnections
    from pypid.wiring.findings import ConfigFinding

_HTTP_IMPORTS = "pypid.advisories.sources", "pypid.http_client.connections", "twisted.web.client"
_TIMEOUT = 30.0
"""Seconds that a connection to the source may take."""


def source_of(config: Config) -> str | None:
    """Return the path or the address of `[advisories] source`."""
    source = config.advisories.source
    return PUBLIC_ADVISORIES if source == "osv" else source


def open_advisories(
    config: Config, paths: StatePaths, world: World, restrictions: RestrictionsInForce
) -> Advisories:
    """Return the advisories that this machine has from earlier; none without `[advisories]`. Blocks
    while it reads them, so that malware is hidden before anything is served.
    """
    wanted = config.advisories
    if wanted.source is None and wanted.own is None:
        return Advisories(world)
    source = without_userinfo(source_of(config) or wanted.own or "")
    advisories = Advisories(
        world, paths.state, source=source, block=wanted.block, restrictions=restrictions
    )
    advisories.read_now()
    return advisories


def advisory_services(
    config: Config, paths: StatePaths, advisories: Advisories, platform: Platform
) -> list[Service]:
    """Return the service that follows the database, and in the first process also reads the
    sources; none without `[advisories]`.
    """
    if not advisories.is_configured or not platform.serves_clients:
        return []
    from pypid.advisories.refresh import (
        AdvisoryLoader,
        AdvisoryRefresh,
        AdvisoryService,
        AdvisorySources,
    )

    refresh = None
    if platform.is_first:
        wanted = config.advisories
        own = None if wanted.own is None else _local(wanted.own, paths, platform.world)
        text = source_of(config)
        source = None if text is None else _source(text, config, paths, platform)
        # hashed, since a URL may have a password
        names = blake2b(f"{text}\n{wanted.own}".encode(), digest_size=16).hexdigest()
        sources = AdvisorySources(source, own, names)
        refresh = AdvisoryRefresh(advisories, sources, AdvisoryLoader(advisories.database))
    interval = config.advisories.refresh.total_seconds()
    return [AdvisoryService(platform.world.clock, advisories, refresh, interval)]


def advisory_findings(config: Config, paths: StatePaths) -> Iterator[ConfigFinding]:
    """Yield warnings about `[advisories]`: a source may be away for a while. Blocks."""
    from pypid.wiring.findings import ConfigFinding, exists

    wanted = config.advisories
    for key, text in (("source", source_of(config)), ("own", wanted.own)):
        path = paths.ini.parent / (text or "")
        if text is not None and "://" not in text and not exists(path):
            message = (
                f"there is no {path}, or its folder cannot be entered; pypid reads it as soon as "
                "it is there"
            )
            yield ConfigFinding("advisories", key, message, is_warning=True)
    if BlockedAdvisories.NOTHING in wanted.block and len(wanted.block) > 1:
        message = "nothing is hidden, since the value contains the word nothing; remove a word"
        yield ConfigFinding("advisories", "block", message, is_warning=True)


def _source(text: str, config: Config, paths: StatePaths, platform: Platform) -> AdvisorySource:
    world = platform.world
    if text.startswith(("http://", "https://")):
        make = partial(_over_http, text, paths, world, platform.reactor)
        return LateSource(world, Provider(make), _HTTP_IMPORTS)
    return _local(text, paths, world)


def _local(text: str, paths: StatePaths, world: World) -> AdvisorySource:
    from pypid.advisories.sources import LocalSource

    return LocalSource(paths.ini.parent / text, paths.state, world)


def _over_http(url: str, paths: StatePaths, world: World, reactor: Any) -> AdvisorySource:
    from pypid.advisories.sources import HttpSource
    from pypid.http_client.connections import Trust, connections

    trust = Trust(authorities_of(paths.authorities))
    reached: HttpConnections = connections(reactor, trust, _TIMEOUT, idle=1, idle_time=5)
    return HttpSource(url, paths.state, world, reached)


@frozen(eq=False)
class LateSource:
    """A source whose modules a start does not need; a thread imports them at the first use."""

    _world: World
    _provider: Provider[AdvisorySource]
    _imports: tuple[str, ...]

    async def fetch(self, known: str) -> FetchedAdvisories | None:
        """Return what the source has, as `AdvisorySource.fetch` does."""
        if self._provider.made is None:
            await self._world.blocking(import_late, *self._imports)
        return await self._provider().fetch(known)
