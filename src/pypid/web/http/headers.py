"""The header fields of responses, as pairs: one list for the routes and for the fast path.

Conditional requests (RFC 9110, sections 8.8 and 13): entity tags, dates, and whether the client
already has the response; no request header makes them raise.

Cross-origin resource sharing (`[server] cors`): only responses that everyone may read are shared.
It is off by default: otherwise any web page that a user opens inside a company's network could read
the company's index.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from enum import Enum
from functools import lru_cache

from attrs import frozen
from twisted.web.http import Request

from pypid.core.model import File, RenderedPage
from pypid.core.packaging.listed_names import is_mutable
from pypid.web.http.negotiation import Encoding

_TAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_GAP = re.compile(r"[ \t,]*")
_COMMA = re.compile(r"[ \t]*(?:,[ \t,]*|\Z)")


@frozen
class EntityTag:
    """An entity tag; `opaque` is without its quotes."""

    opaque: str
    weak: bool = False


class ConditionalVerdict(Enum):
    """The result of a request's conditions, as an HTTP status."""

    SEND = 200
    NOT_MODIFIED = 304
    FAILED = 412


@frozen
class Validators:
    """What can be compared: the strong entity tag as it is sent (with its quotes), and the time of
    the last change.
    """

    etag: str | None = None
    modified: datetime | None = None


def entity_tags(header: str) -> tuple[EntityTag, ...]:
    """Return the tags of a list such as ``"a", W/"b"``; reading stops at the first element that is
    not a tag.
    """
    tags: list[EntityTag] = []
    start = _GAP.match(header)
    position = start.end() if start else 0
    while match := _TAG.match(header, position):
        comma = _COMMA.match(header, match.end())
        if comma is None:
            break
        tags.append(EntityTag(match[2], weak=match[1] is not None))
        position = comma.end()
    return tuple(tags)


def http_date(moment: datetime) -> str:
    """Return `moment` (aware) as an HTTP date: ``Sun, 06 Nov 1994 08:49:37 GMT``."""
    return format_datetime(moment.astimezone(UTC), usegmt=True)


def parse_http_date(text: str) -> datetime | None:
    """Return the time that an HTTP date names (all three forms), aware, UTC; None if it is
    invalid.
    """
    try:
        moment = parsedate_to_datetime(text.strip())
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def names(header: str, etag: str | None, *, weakly: bool) -> bool:
    """Return whether the list in `header` (or ``*``) names the strong `etag`; weak tags in the list
    match only if `weakly`.
    """
    if header.strip() == "*":
        return True
    if etag is None:
        return False
    return any(
        f'"{tag.opaque}"' == etag and (weakly or not tag.weak) for tag in entity_tags(header)
    )


def judge(headers: Mapping[str, str], validators: Validators) -> ConditionalVerdict:
    """Evaluate the conditions of a GET or HEAD, in the order of RFC 9110, section 13.2.2.

    `headers` are those of the request, by lower-case name, several of one name joined by commas.
    Range and If-Range are not evaluated here (`ranges`).
    """
    if (match := headers.get("if-match")) is not None:
        if not names(match, validators.etag, weakly=False):
            return ConditionalVerdict.FAILED
    elif (since := headers.get("if-unmodified-since")) is not None and _changed(
        validators.modified, since
    ) is True:
        return ConditionalVerdict.FAILED
    if (none_match := headers.get("if-none-match")) is not None:
        return (
            ConditionalVerdict.NOT_MODIFIED
            if names(none_match, validators.etag, weakly=True)
            else ConditionalVerdict.SEND
        )
    if (since := headers.get("if-modified-since")) is not None and _changed(
        validators.modified, since
    ) is False:
        return ConditionalVerdict.NOT_MODIFIED
    return ConditionalVerdict.SEND


def _changed(modified: datetime | None, since: str) -> bool | None:
    """Return whether it changed after the date; None if there is nothing to compare. HTTP dates
    have whole seconds only.
    """
    date = parse_http_date(since)
    if modified is None or date is None:
        return None
    return modified.replace(microsecond=0) > date


Head = tuple[tuple[bytes, bytes], ...]
"""Pairs of name and value, as they are sent."""

BYTES = "application/octet-stream"
"""The type of wheels, zips and tarballs alike, as the public index sends them. Never a type, and
never a Content-Encoding, that makes a client unpack what it is going to hash: poetry's downloads
gunzip a ``.tar.gz`` that is marked as gzip (checklist, C48).
"""
TEXT = "text/plain; charset=utf-8"
"""The type of core metadata: UTF-8 by PEP 566, and readable in a browser."""

_ONE_YEAR = 365 * 24 * 3600
_INERT = (
    (b"X-Content-Type-Options", b"nosniff"),
    (b"Content-Security-Policy", b"sandbox; default-src 'none'"),
)
_NOTHING_BUT_LINKS = (
    b"Content-Security-Policy",
    b"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
)
"""The policy for pages of text and links: anything else that gets into one (a yank's reason, a
name) has no effect.
"""


@frozen(kw_only=True)
class DownloadHead:
    """What is known of bytes before they are read. `etag` is with its quotes; `size` in bytes.

    `lasting`: the bytes at this URL never change, so that caches need not revalidate. Not if
    overwriting is granted.
    """

    size: int
    etag: str | None
    modified: datetime | None = None
    content_type: str = BYTES
    lasting: bool = True

    @classmethod
    def of(cls, file: File, *, lasting: bool = True) -> DownloadHead:
        """Return the head of a file. The list of a release's variants may change under its name
        (C37).

        Raises `ValueError` if the file's `size` is unknown.
        """
        if file.size is None:
            raise ValueError(f"the size of {file.filename} is not known")
        etag = None if file.sha256 is None else f'"{file.sha256}"'
        lasts = lasting and not is_mutable(file.filename)
        return cls(size=file.size, etag=etag, modified=file.uploaded, lasting=lasts)


def download_head(what: DownloadHead, *, restricted: bool) -> Head:
    """Return the header fields of a file, or of a 304 for it. `restricted`: not everyone may read
    it, so shared caches must not store it.
    """
    caching = _lasting(restricted) if what.lasting else _asking(restricted)
    head = [(b"Accept-Ranges", b"bytes"), (b"Cache-Control", caching), *_INERT]
    if what.etag is not None:
        head.append((b"ETag", what.etag.encode("latin-1")))
    if what.modified is not None:
        head.append((b"Last-Modified", http_date(what.modified).encode("ascii")))
    return tuple(head)


def _lasting(restricted: bool) -> bytes:
    return b"%s, max-age=%d, immutable" % (b"private" if restricted else b"public", _ONE_YEAR)


def _asking(restricted: bool) -> bytes:
    """Return the Cache-Control value of responses that are stored but revalidated every time."""
    return b"private, no-cache" if restricted else b"no-cache"


@lru_cache(maxsize=512)
def page_head(etag: str, *, serial: int | None, restricted: bool) -> Head:
    """Return the header fields of a page, or of a 304 for it.

    Pages are revalidated every time: the next request after an upload must find the file (pip
    caches pages since 26.2). A `restricted` page is `private`, so shared caches do not store it.
    Vary does not name Authorization: pip's cache writes the headers that a response varies by into
    its files, and there would be the password.
    """
    head = [
        (b"ETag", etag.encode("latin-1")),
        (b"Vary", b"Accept, Accept-Encoding"),
        (b"Cache-Control", _asking(restricted)),
        (b"X-Content-Type-Options", b"nosniff"),
    ]
    if serial is not None:
        head.append((b"X-PyPI-Last-Serial", b"%d" % serial))
    return tuple(head)


def body_head(page: RenderedPage, encoding: Encoding) -> Head:
    """Return the header fields of a page's 200 in addition to `page_head`; `page` is in
    `encoding`.
    """
    head: Head = (
        (b"Content-Type", page.content_type.encode("latin-1")),
        (b"Content-Length", b"%d" % len(page.body)),
    )
    if "html" in page.content_type:
        head = (*head, _NOTHING_BUT_LINKS)
    return (
        head
        if encoding is Encoding.IDENTITY
        else (*head, (b"Content-Encoding", encoding.value.encode("ascii")))
    )


ANY = "*"
_EXPOSED = ((b"Access-Control-Expose-Headers", b"ETag, X-PyPI-Last-Serial"),)
_PREFLIGHT: Head = (
    (b"Access-Control-Allow-Methods", b"GET, HEAD"),
    (
        b"Access-Control-Allow-Headers",
        (
            b"Content-Type, If-Match, If-Modified-Since, If-None-Match, If-Range, "
            b"If-Unmodified-Since, Range"
        ),
    ),
    (b"Access-Control-Max-Age", b"86400"),
)


def share(request: Request, head: Head, *, restricted: bool) -> Head:
    """Add to `head` the fields that let scripts of the allowed origins read the response.

    `restricted`: not everyone may read it, so no other site's script may.
    """
    origins: tuple[str, ...] = getattr(request, "cors", ())
    if restricted or not origins:
        return head
    if ANY in origins:
        return (*head, (b"Access-Control-Allow-Origin", b"*"), *_EXPOSED)
    head = _varying(head)  # also for other origins: a cache must not give them this one's response
    for value in request.requestHeaders.getRawHeaders(b"origin") or ():
        if value.decode("latin-1").lower() in origins:
            return (*head, (b"Access-Control-Allow-Origin", value), *_EXPOSED)
    return head


def share_preflight(request: Request, *, restricted: bool) -> Head:
    """Return the header fields of the response to OPTIONS."""
    allow: Head = ((b"Allow", b"GET, HEAD, OPTIONS"),)
    shared = share(request, allow, restricted=restricted)
    is_allowed = any(name == b"Access-Control-Allow-Origin" for name, _ in shared)
    return (*shared, *_PREFLIGHT) if is_allowed else shared


def _varying(head: Head) -> Head:
    vary = b", ".join([*(value for name, value in head if name == b"Vary"), b"Origin"])
    return (*(field for field in head if field[0] != b"Vary"), (b"Vary", vary))
