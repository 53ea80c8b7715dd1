"""Opening the other indexes that are configured."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from attrs import frozen

from pypid.core.choices import Mode
from pypid.core.config import Config
from pypid.core.errors import CannotStart
from pypid.core.settings import PUBLIC_INDEX
from pypid.flow import World
from pypid.ports import Upstream
from pypid.reaching.trust import Trust, certificates
from pypid.state import Where
from pypid.upstream import opening
from pypid.upstream.nothing import Nothing


@frozen
class Reached:
    """The other indexes, and what ends the connections to them at the end."""

    upstream: Upstream
    close: Callable[[], Awaitable[object]]


def reach(config: Config, places: Where, world: World, reactor: Any, identity: str) -> Reached:
    """The other indexes; nobody, if pypid is offline. `identity` is ours (`core.via`). Raises `CannotStart`; blocks."""
    wanted = config.upstream
    if wanted.mode is Mode.OFFLINE:
        return Reached(Nothing(), _nothing_to_close)
    timeout = wanted.timeout.total_seconds()
    reached = opening.connected(reactor, Trust(_authorities(places.authorities)), timeout)
    settings = opening.Settings(wanted.url or (PUBLIC_INDEX,), timeout)
    return Reached(opening.open(settings, world, identity, reached), reached.close)


def _authorities(file: Path | None) -> Any:
    if file is None:
        return ()
    try:
        return certificates(file.read_bytes(), opening.CERTIFICATES)
    except OSError as error:
        raise CannotStart(f"[upstream] ca_certificates cannot be read: {file}: {error.strerror}.") from None


async def _nothing_to_close() -> None:
    """There are no connections."""
