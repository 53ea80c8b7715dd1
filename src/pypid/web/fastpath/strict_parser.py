"""A strict parser of requests that leaves no ambiguity. Anything unusual is left to twisted.web.

A block is what follows the version in the request line: its end, the header fields, and the empty
line behind them. Sources: RFC 9112, sections 2 to 6.
"""

from __future__ import annotations

import re

from attrs import field, frozen

from pypid.web.http.proxies import HOST

LONGEST = 8192
"""Maximum bytes of a request; twisted.web reads twice as many."""
MOST_FIELDS = 64

_LINE = re.compile(rb"(?:GET|HEAD) /[A-Za-z0-9._~!$&'()*+,;=:@%/-]*(?:\?format=[A-Za-z0-9.+/%-]*)?")
"""Request lines that may be cached. Other queries than this one might contain a secret."""
_FIELD = re.compile(
    rb"([A-Za-z0-9!#$%&'*+.^_`|~-]+): ?"
    rb"((?:[\x21-\x7e\x80-\xff](?:[\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?)"
)

_REFUSED = frozenset(
    {
        b"content-length",
        b"expect",
        b"http2-settings",
        b"if-match",
        b"if-modified-since",
        b"if-none-match",
        b"if-range",
        b"if-unmodified-since",
        b"range",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"x-request-id",
    }
)
_CREDENTIALS = frozenset({b"authorization", b"cookie", b"proxy-authorization"})
_OF_NO_MATTER = _CREDENTIALS | {
    b"accept-language",
    b"cache-control",
    b"connection",
    b"pragma",
    b"referer",
    b"user-agent",
    b"x-forwarded-for",
}
"""Fields that no response depends on, except through the client's identity."""
_PUBLIC = frozenset(
    {
        b"accept",
        b"accept-encoding",
        b"accept-language",
        b"cache-control",
        b"connection",
        b"host",
        b"pragma",
        b"user-agent",
        b"via",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-proto",
    }
)
"""Fields that hold no secret; a block of these alone may be stored as it is."""
_TAG = re.compile(rb'\*|(?:W/)?"[\x21\x23-\x7e]*"(?:, ?(?:W/)?"[\x21\x23-\x7e]*")*')


@frozen
class Block:
    """The header fields of a request. `kind`: those that a response may depend on, besides the
    client's identity.
    """

    kind: tuple[tuple[bytes, bytes], ...] = field(repr=False)
    agent: str
    credential: bool
    """Whether it contains credentials."""
    public: bool
    """Whether nothing in it can be a secret."""
    forwarded: bool
    """Whether a proxy states the client's address in it."""


def read_line(line: bytes) -> bool:
    """Return whether the response to a request of this line (without its version) may be cached."""
    return _LINE.fullmatch(line) is not None


def read_block(block: bytes) -> Block | None:
    """Return the parsed block; None if it is unusual, or requests what no cached response
    contains.
    """
    if len(block) > LONGEST or not block.startswith(b"\r\n") or not block.endswith(b"\r\n\r\n"):
        return None
    lines = block[2:-4].split(b"\r\n")
    fields: dict[bytes, bytes] = {}
    for line in lines:
        match = _FIELD.fullmatch(line)
        if match is None:
            return None
        name = match[1].lower()
        if name in fields or name in _REFUSED:
            return None
        fields[name] = match[2]
    host = fields.get(b"host")
    if host is None or len(fields) > MOST_FIELDS or HOST.fullmatch(host.decode("latin-1")) is None:
        return None
    if fields.get(b"connection", b"keep-alive").lower() != b"keep-alive":
        return None
    return Block(
        kind=tuple(
            sorted((name, value) for name, value in fields.items() if name not in _OF_NO_MATTER)
        ),
        agent=fields.get(b"user-agent", b"").decode("latin-1"),
        credential=not _CREDENTIALS.isdisjoint(fields),
        public=_PUBLIC.issuperset(fields),
        forwarded=b"x-forwarded-for" in fields,
    )


def cut(block: bytes) -> tuple[bytes, bytes | None]:
    """Return the block without its If-None-Match, and the value of that; None if there is none, or
    it is spelled unusually.
    """
    start = block.find(b"\r\nIf-None-Match: ")
    if start < 0:
        start = block.find(b"\r\nif-none-match: ")
        if start < 0:
            return block, None
    stop = block.find(b"\r\n", start + 17)
    if stop < 0 or not block.endswith(
        b"\r\n\r\n"
    ):  # else what is cut might be behind the empty line
        return block, None
    return block[:start] + block[stop:], block[start + 17 : stop]


def is_tags(value: bytes) -> bool:
    """Return whether this is a plain list of entity tags, or ``*``."""
    return len(value) <= 1024 and _TAG.fullmatch(value) is not None
