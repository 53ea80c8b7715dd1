"""The indexes of the configuration."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import field, frozen

from pypid.flow import World
from pypid.ports import Upstream
from pypid.upstream.asking import Asker
from pypid.upstream.connecting import Connections
from pypid.upstream.origin import Base
from pypid.upstream.pages import Reading
from pypid.upstream.several import Several
from pypid.upstream.simple import SimpleUpstream


@frozen
class Settings:
    """`urls`: bases of Simple APIs, at least one, perhaps with ``user:password@``. `timeout`: seconds of silence."""

    urls: Sequence[str] = field(repr=False)
    timeout: float = 10.0


def open(settings: Settings, world: World, identity: str, reached: Connections) -> Upstream:
    """The other indexes. `identity` is ours in the chain of pypids (`core.via.identity`)."""
    asker = Asker(reached.agent, world.clock, identity, settings.timeout)
    reading = Reading(world.thinking)
    indexes = [SimpleUpstream(Base.parse(url), asker, world, reading) for url in settings.urls]
    return indexes[0] if len(indexes) == 1 else Several(indexes, world.thinking)
