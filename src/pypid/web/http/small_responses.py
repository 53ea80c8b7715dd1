"""Small responses that are made for one request, as plain text and JSON; reading of small JSON
requests.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from pypid.core.errors import BadRequest
from pypid.web.http.request import Request
from pypid.web.http.request_body import read_small
from pypid.web.http.response_body import write
from pypid.web.http.responses import set_head

T = TypeVar("T")

LARGEST = 64 << 10
"""Maximum size in bytes of a JSON document in a request."""


def send(request: Request, status: int, content_type: str, body: bytes) -> None:
    """Answer with these bytes, which no cache stores."""
    head = (
        (b"Content-Type", content_type.encode("ascii")),
        (b"Content-Length", b"%d" % len(body)),
        (b"Cache-Control", b"no-store"),
        (b"X-Content-Type-Options", b"nosniff"),
    )
    set_head(request, status, head)
    write(request, body)


def send_plain(request: Request, status: int, text: str) -> None:
    """Answer with plain text."""
    send(request, status, "text/plain; charset=utf-8", text.encode())


def send_json(request: Request, document: Any, status: int = 200) -> None:
    """Answer with a JSON document."""
    send(request, status, "application/json", msgspec.json.encode(document))


async def read_json(request: Request, kind: type[T], *, largest: int = LARGEST) -> T:
    """Return the JSON document in the request; an empty body is an empty object. Raises
    `BadRequest`, `TooLarge`.
    """
    data = await read_small(request.body, largest)
    try:
        return msgspec.json.decode(data or b"{}", type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"The JSON document is not what is expected here: {error}") from None
