"""Responses that report events as they happen: as server-sent events or as lines of JSON."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import msgspec

from pypid.core.errors import PypidError
from pypid.web.http.headers import qualities
from pypid.web.http.request import Request
from pypid.web.http.response_body import write
from pypid.web.http.responses import header_of, set_head
from pypid.web.http.small_responses import send_json

T = TypeVar("T")

Say = Callable[[str, Mapping[str, Any]], None]
"""Sends one event: its kind, and its document."""

EVENTS, LINES = "text/event-stream", "application/x-ndjson"


def stream_of(request: Request) -> str | None:
    """Return the kind of stream that the request accepts; None if it accepts one document at
    the end.
    """
    preferences = qualities(header_of(request, "accept") or "")
    wanted = max((EVENTS, LINES), key=lambda kind: preferences.get(kind, 0.0))
    return wanted if preferences.get(wanted, 0.0) > 0 else None


def _say(request: Request, kind: str, event: str, document: Mapping[str, Any]) -> None:
    """Send one event, unless the client has disconnected."""
    if request.channel is None:
        return
    if kind == EVENTS:
        write(request, b"event: %s\ndata: %s\n\n" % (event.encode(), msgspec.json.encode(document)))
    else:
        write(request, msgspec.json.encode({"event": event, **document}) + b"\n")


async def run_streamed(
    request: Request,
    run: Callable[[Callable[[str], None] | None], Awaitable[T]],
    document: Callable[[T], Mapping[str, Any]],
) -> None:
    """Answer with the document of the result; a client that wants a stream receives the lines of
    the progress meanwhile.
    """

    def tell(say: Say | None) -> Awaitable[T]:
        return run(None if say is None else lambda line: say("progress", {"said": line}))

    await run_with_events(request, tell, document)


async def run_with_events(
    request: Request,
    run: Callable[[Say | None], Awaitable[T]],
    document: Callable[[T], Mapping[str, Any]],
) -> None:
    """Answer with the document of the result; a client that wants a stream receives the events
    that `run` says meanwhile. It is complete after ``result`` or ``error``.
    """
    kind = stream_of(request)
    if kind is None:
        return send_json(request, document(await run(None)))
    head = (
        (b"Content-Type", kind.encode()),
        (b"Cache-Control", b"no-store"),
        (b"X-Content-Type-Options", b"nosniff"),
        (b"X-Accel-Buffering", b"no"),  # nginx would hold it back until the end
    )
    set_head(request, 200, head)
    say = partial(_say, request, kind)
    try:
        result = await run(say)
    except PypidError as error:
        return say("error", {"error": True, "message": str(error)})
    return say("result", document(result))
