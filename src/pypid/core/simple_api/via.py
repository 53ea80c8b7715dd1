"""The chain of pypids that a request has passed through, in ``Via`` (RFC 9110, 7.6.3), to detect
loops.

Each process has a random identity, chosen at its start. A process that finds its own in a request
is in a proxy loop.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Sequence

from pypid.core.errors import Loop

LONGEST_CHAIN = 16
"""Maximum number of pypids between a client and the last index; more is a loop through a proxy that
drops or changes the identity.
"""
_HOP = re.compile(
    r"\s*(?:[A-Za-z0-9!#$%&'*+.^_`|~-]+/)?[A-Za-z0-9.]+\s+"
    r"(?P<by>pypid-[A-Za-z0-9-]{1,64})(?=[\s,()]|\Z)"
)
"""A hop that is a pypid, and so may be part of a loop: other proxies, and whatever a client writes,
are not passed on.
"""


def identity(chance: bytes) -> str:
    """Return the identity of a process, from some unpredictable bytes."""
    return f"pypid-{chance.hex()}"


def read_via(values: Iterable[str]) -> tuple[str, ...]:
    """Return the pypids in the ``Via`` headers, first to last, at most the last `LONGEST_CHAIN`;
    everything else is dropped.
    """
    hops = (hop for value in values for hop in value[:8192].split(","))
    return tuple(
        deque((match["by"] for match in map(_HOP.match, hops) if match), maxlen=LONGEST_CHAIN)
    )


def write_via(via: Sequence[str], own: str) -> str:
    """Return the ``Via`` header of a request that is passed on from here."""
    return ", ".join(f"1.1 {by}" for by in (*via, own))


def refuse_loop(via: Sequence[str], own: str) -> None:
    """Raise `Loop` if the request has passed through here before.

    Call this before the request waits for anything that it could be the cause of: a flight under
    way for the same page would wait for itself.
    """
    if own in via or len(via) >= LONGEST_CHAIN:
        raise Loop()
