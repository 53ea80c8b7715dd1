"""The shared catalog in a Redis, for several machines. `open` returns the `Engine`."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from pypid.catalog.engine import Engine
from pypid.catalog.redis.place import place_of
from pypid.core.errors import CannotStart
from pypid.core.installation import install_hint
from pypid.flow import World

NEEDS = ("txredisapi", "hiredis")


def open(url: str, world: World, reactor: Any) -> Engine:
    """Return the engine at `[catalog] url`; it connects when it is used. `reactor` makes
    connections, and has the world's clock.

    Raises `CannotStart` for an invalid URL, and if the Redis client libraries are not installed.
    """
    place = place_of(url)
    if not all(map(find_spec, NEEDS)):
        raise CannotStart(
            "[catalog] backend = redis needs txredisapi and hiredis. " + install_hint("redis")
        )

    from pypid.catalog.redis.engine import RedisEngine

    return RedisEngine(place, world, reactor)
