"""The indexes of the configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import field, frozen

from pypid.flow import World
from pypid.ports import Upstream
from pypid.reaching.connecting import Connections, connections
from pypid.reaching.trust import Trust
from pypid.upstream.asking import Asker
from pypid.upstream.origin import Base
from pypid.upstream.pages import Reading
from pypid.upstream.several import Several
from pypid.upstream.simple import SimpleUpstream

IDLE = 32
"""Connections to one host that wait for the next question; installers ask for fifty pages and files at a time."""
IDLE_TIME = 30
"""Seconds that they wait."""
CERTIFICATES = "[upstream] ca_certificates"
"""Where authorities are named beside the system's."""


@frozen
class Settings:
    """`urls`: bases of Simple APIs, at least one, perhaps with ``user:password@``. `timeout`: seconds of silence."""

    urls: Sequence[str] = field(repr=False)
    timeout: float = 10.0


def connected(reactor: Any, trust: Trust, timeout: float) -> Connections:
    """How other indexes are reached; all questions are harmless, and asked again where a connection was closed meanwhile."""
    return connections(reactor, trust, timeout, idle=IDLE, idle_time=IDLE_TIME, again=True)


def open(settings: Settings, world: World, identity: str, reached: Connections) -> Upstream:
    """The other indexes. `identity` is ours in the chain of pypids (`core.via.identity`)."""
    asker = Asker(reached.agent, world.clock, identity, settings.timeout, world.counts)
    reading = Reading(world.thinking)
    indexes = [SimpleUpstream(Base.parse(url), asker, world, reading) for url in settings.urls]
    return indexes[0] if len(indexes) == 1 else Several(indexes, world.thinking)
