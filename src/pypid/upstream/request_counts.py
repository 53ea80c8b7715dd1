"""Metrics of requests to upstream indexes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from twisted.internet.defer import CancelledError

from pypid.core.errors import BadListing, Loop, NotThere, UpstreamDown
from pypid.flow import World
from pypid.metrics.families import UPSTREAM, UPSTREAM_SECONDS

T = TypeVar("T")


async def counted(
    world: World,
    operation: str,
    question: Awaitable[T],
    outcome_of: Callable[[T], str] = lambda answer: "ok",
) -> T:
    """Await the request and record it under `operation`, with the outcome that `outcome_of` returns
    for its result.
    """
    began, outcome = world.clock.seconds(), "failed"
    try:
        answer = await question
        outcome = outcome_of(answer)
    except BaseException as error:
        outcome = _fault(error)
        raise
    finally:
        world.counts.add(UPSTREAM, (operation, outcome))
        world.counts.observe(
            UPSTREAM_SECONDS, (operation,), max(0.0, world.clock.seconds() - began)
        )
    return answer


def _fault(error: BaseException) -> str:
    match error:
        case NotThere():
            return "missing"
        case UpstreamDown(timed_out=True):
            return "timeout"
        case UpstreamDown():
            return "down"
        case BadListing():
            return "bad_page"
        case Loop():
            return "loop"
        case CancelledError():
            return "cancelled"
        case _:
            return "failed"
