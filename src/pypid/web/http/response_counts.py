"""Counting of responses for the metrics: those of routes one by one, those of the fast path in
batches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from pypid.metrics.counts import Counts
from pypid.metrics.families import BROKEN_OFF, FAST_PATH, RECEIVED, REQUEST_SECONDS, REQUESTS, SENT
from pypid.web.http.access_log import SharedLogFields
from pypid.web.http.request import Request

NONE, OTHER = "none", "other"
_METHODS = {
    name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")
}


def kind_of(request: Request) -> tuple[str, str, str]:
    """Return the route (`NONE` if there is none), the method (`OTHER` for one that has no route
    anyway) and the status.
    """
    return request.rule or NONE, _METHODS.get(request.method, OTHER), str(request.code)


def count_answer(counts: Counts, request: Request, now: float) -> None:
    """Count a route's response that is complete or was broken off."""
    kind = route, method, _ = kind_of(request)
    counts.add(REQUESTS, kind)
    counts.observe(REQUEST_SECONDS, (route, method), max(0.0, now - request.begun_at))
    if request.sentLength:
        counts.add(SENT, (), request.sentLength)
    if not request.over:
        counts.add(BROKEN_OFF, (route,))


def count_received(counts: Counts, size: int) -> None:
    """Count the bytes of a piece of a request's body."""
    counts.add(RECEIVED, (), size)


def count_refused(counts: Counts, size: int, status: str = "400") -> None:
    """Count a request that was refused by the connection, and answered with a body of `size`
    bytes.
    """
    counts.add(REQUESTS, (NONE, OTHER, status))
    counts.add(SENT, (), size)


def count_short(counts: Counts, answers: Iterable[SharedLogFields]) -> None:
    """Count responses that the fast path sent at once."""
    kinds: dict[tuple[str, str, str], int] = {}
    size = 0
    for log_fields, times in Counter(answers).items():
        kinds[log_fields.kind] = kinds.get(log_fields.kind, 0) + times
        size += log_fields.size * times
    for kind, times in kinds.items():
        counts.add(REQUESTS, kind, times)
        counts.add(FAST_PATH, (), times)
        counts.observe(REQUEST_SECONDS, kind[:2], 0.0, times)
    counts.add(SENT, (), size)


def count_long(counts: Counts, log_fields: SharedLogFields, size: int, seconds: float) -> None:
    """Count a response that the fast path sent at the client's pace, or `size` bytes of it."""
    counts.add(REQUESTS, log_fields.kind)
    counts.add(FAST_PATH)
    counts.observe(REQUEST_SECONDS, log_fields.kind[:2], max(0.0, seconds))
    counts.add(SENT, (), size)
    if size < log_fields.size:
        counts.add(BROKEN_OFF, log_fields.kind[:1])
