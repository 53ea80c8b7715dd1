"""Opening the configured upstream indexes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from attrs import define, frozen

from pypid.core.configuration.choices import Mode
from pypid.core.configuration.keys import PUBLIC_INDEX
from pypid.core.configuration.parse import Config
from pypid.core.configuration.value_kinds import without_userinfo
from pypid.core.errors import CannotStart
from pypid.core.model import Listing, Span
from pypid.core.packaging.names import ProjectName
from pypid.daemon.state import StatePaths
from pypid.flow import World
from pypid.ports import Body, Upstream
from pypid.upstream.nothing import Nothing


@frozen
class Reached:
    """The upstream indexes, and the function that closes their connections."""

    upstream: Upstream
    close: Callable[[], Awaitable[object]]


def reach(config: Config, places: StatePaths, world: World, reactor: Any, identity: str) -> Reached:
    """Return the upstream indexes; none, if pypid is offline. `identity` is this index's
    (`core.simple_api.via`). Raises `CannotStart`; blocks.
    """
    wanted = config.upstream
    if wanted.mode is Mode.OFFLINE:
        return Reached(Nothing(), _nothing_to_close)
    authorities = _authorities(places.authorities)

    def make() -> Reached:
        from pypid.http_client.trust import Trust
        from pypid.upstream import indexes

        urls = wanted.url or (PUBLIC_INDEX,)
        settings = indexes.UpstreamSourceSettings(
            urls, wanted.timeout.total_seconds(), wanted.file_hosts
        )
        reached = indexes.connected(reactor, Trust(authorities), settings)
        return Reached(indexes.open(settings, world, identity, reached), reached.close)

    late = Late(make)
    return Reached(late, late.close)


def indexes_of(config: Config) -> tuple[str, ...]:
    """Return the URLs of the configured indexes for display, without user names and passwords."""
    return tuple(without_userinfo(url) for url in config.upstream.url or (PUBLIC_INDEX,))


def _authorities(file: Path | None) -> Any:
    if file is None:
        return ()
    from pypid.http_client.trust import certificates
    from pypid.upstream.indexes import CERTIFICATES

    try:
        return certificates(file.read_bytes(), CERTIFICATES)
    except OSError as error:
        raise CannotStart(
            f"[upstream] ca_certificates cannot be read: {file}: {error.strerror}."
        ) from None


@define(eq=False)
class Late:
    """Upstream indexes that are opened at the first request: a start, and a page of a local
    project, do not need them.
    """

    _make: Callable[[], Reached]
    _made: Reached | None = None

    def _opened(self) -> Reached:
        if self._made is None:
            self._made = self._make()
        return self._made

    async def project(
        self, name: ProjectName, known: Listing | None, via: Sequence[str]
    ) -> Listing:
        """Return the upstream listing; see `Upstream.project`."""
        return await self._opened().upstream.project(name, known, via)

    async def names(self, via: Sequence[str]) -> Sequence[ProjectName]:
        """Return the upstream project names; see `Upstream.names`."""
        return await self._opened().upstream.names(via)

    async def fetch(
        self, url: str, span: Span | None, via: Sequence[str], *, verified: bool = True
    ) -> Body:
        """Return the bytes of an upstream file; see `Upstream.fetch`."""
        return await self._opened().upstream.fetch(url, span, via, verified=verified)

    async def close(self) -> None:
        """Close the connections, if there are any."""
        if self._made is not None:
            await self._made.close()


_: type[Upstream] = Late


async def _nothing_to_close() -> None:
    """Do nothing: there are no connections."""
