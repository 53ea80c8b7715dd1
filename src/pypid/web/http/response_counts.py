"""What is counted of each answer: the routes' one by one, the front door's in batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pypid.metrics.counts import Counts
from pypid.metrics.families import BROKEN_OFF, FRONT_DOOR, RECEIVED, REQUEST_SECONDS, REQUESTS, SENT

if TYPE_CHECKING:
    from pypid.web.http.access_log import SharedLogFields
    from pypid.web.http.request import Request

NONE, OTHER = "none", "other"
_METHODS = {
    name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")
}


def kind_of(request: Request) -> tuple[str, str, str]:
    """The route (`NONE` where there is none), the method (`OTHER` for what has no route anyway) and
    the status.
    """
    return request.rule or NONE, _METHODS.get(request.method, OTHER), str(request.code)


def count_answer(counts: Counts, request: Request, now: float) -> None:
    """A route's answer has come to its end, or broke off."""
    kind = route, method, _ = kind_of(request)
    counts.add(REQUESTS, kind)
    counts.observe(REQUEST_SECONDS, (route, method), max(0.0, now - request.begun_at))
    if request.sentLength:
        counts.add(SENT, (), request.sentLength)
    if not request.over:
        counts.add(BROKEN_OFF, (route,))


def count_received(counts: Counts, size: int) -> None:
    """So many bytes of a request's body came."""
    counts.add(RECEIVED, (), size)


def count_refused(counts: Counts, size: int, status: str = "400") -> None:
    """What came got no further than the connection, and was answered with a body
    of `size` bytes.
    """
    counts.add(REQUESTS, (NONE, OTHER, status))
    counts.add(SENT, (), size)


def count_short(counts: Counts, answers: Iterable[SharedLogFields]) -> None:
    """The front door gave these, at once."""
    kinds: dict[tuple[str, str, str], int] = {}
    size = 0
    for said, times in Counter(answers).items():
        kinds[said.kind] = kinds.get(said.kind, 0) + times
        size += said.size * times
    for kind, times in kinds.items():
        counts.add(REQUESTS, kind, times)
        counts.add(FRONT_DOOR, (), times)
        counts.observe(REQUEST_SECONDS, kind[:2], 0.0, times)
    counts.add(SENT, (), size)


def count_long(counts: Counts, said: SharedLogFields, size: int, seconds: float) -> None:
    """The front door gave this at the client's pace, or `size` bytes of it."""
    counts.add(REQUESTS, said.kind)
    counts.add(FRONT_DOOR)
    counts.observe(REQUEST_SECONDS, said.kind[:2], max(0.0, seconds))
    counts.add(SENT, (), size)
    if size < said.size:
        counts.add(BROKEN_OFF, said.kind[:1])
