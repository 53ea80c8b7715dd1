"""Small responses that are made for one request, as plain text and JSON; reading of small JSON
requests.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Any, Literal, TypeVar, get_args, get_origin

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
        problem = f"The JSON document is not what is expected here: {error}"
        words = _words_of(kind, str(error))
        raise BadRequest(f"{problem}: one of {', '.join(words)}" if words else problem) from None


def _words_of(kind: type, problem: str) -> Sequence[str]:
    """Return the words that a field may have, if the problem is that it has another one."""
    found, _, path = problem.partition(" - at `$.")
    if not found.startswith("Invalid enum value") or not issubclass(kind, msgspec.Struct):
        return ()
    name = path.rstrip("`")
    types = [each.type for each in msgspec.structs.fields(kind) if each.encode_name == name]
    return [str(word) for each in types for word in _words_in(each)]


def _words_in(hint: Any) -> Iterator[Any]:
    if get_origin(hint) is Literal:
        yield from get_args(hint)
    elif isinstance(hint, type) and issubclass(hint, Enum):
        yield from (each.value for each in hint)
    else:
        for part in get_args(hint):
            yield from _words_in(part)
