"""Header fields: those of responses, and those of requests that negotiate and authenticate.

The header fields of responses, as pairs: one list for the routes and for the fast path.

Conditional requests (RFC 9110, sections 8.8 and 13): entity tags, dates, and whether the client
already has the response; no request header makes them raise.

Cross-origin resource sharing (`[server] cors`): only responses that everyone may read are shared.
It is off by default: otherwise any web page that a user opens inside a company's network could read
the company's index.
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from enum import Enum
from functools import lru_cache

from attrs import frozen
from twisted.web.http import Request

from pypid.core.accounts.rights import SESSION_USER
from pypid.core.errors import Unauthenticated
from pypid.core.model import File, RenderedPage
from pypid.core.permissions import Credential

# Content negotiation: Accept and Accept-Encoding with quality values. Pure; no header that a
# client sends makes it raise.
#
# Source: RFC 9110, sections 12.4.2 (quality values), 12.5.1 (Accept) and 12.5.3 (Accept-Encoding).

_LONGEST_CACHED = 400
_QUALITY = re.compile(r"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)\Z")


class Encoding(Enum):
    """The encoding of a page in transit; the values are those of Content-Encoding."""

    IDENTITY = "identity"
    GZIP = "gzip"


class ErrorFormat(Enum):
    """The format of an error; the values are exact Content-Types.

    uv reads the JSON only if its type is exactly ``application/json``, without a charset.
    """

    PLAIN = "text/plain; charset=utf-8"
    JSON = "application/json"
    HTML = "text/html; charset=utf-8"


def qualities(header: str) -> dict[str, float]:
    """Return the preferences in a header of the Accept family: lower-case name to quality (0 to 1).

    Parameters other than ``q`` are ignored; an invalid quality counts as 0, as if the name was not
    given.
    """
    found: dict[str, float] = {}
    for element in header.split(","):
        name, *parameters = (part.strip() for part in element.split(";"))
        if not name:
            continue
        quality = 1.0
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip().lower() == "q":
                value = value.strip()
                quality = float(value) if _QUALITY.match(value) else 0.0
        found[name.lower()] = max(quality, found.get(name.lower(), 0.0))
    return found


def choose_encoding(accept_encoding: str | None) -> Encoding:
    """Return gzip if the client accepts it and does not prefer identity; else identity.

    Identity is sent even to a client that refuses it (``identity;q=0``) and gzip too: RFC 9110
    allows this in place of 406, and no client of a package index is helped by a 406.
    """
    if accept_encoding is None:
        return Encoding.IDENTITY
    # The cache must stay small, whatever headers clients make up.
    return (
        _cached_choice(accept_encoding)
        if len(accept_encoding) <= _LONGEST_CACHED
        else _chosen(accept_encoding)
    )


def _chosen(accept_encoding: str) -> Encoding:
    preferences = qualities(accept_encoding)
    anything = preferences.get("*", 0.0)
    gzip = max(
        (preferences[name] for name in ("gzip", "x-gzip") if name in preferences), default=anything
    )
    identity = preferences.get("identity", 0.0)
    return Encoding.GZIP if gzip > 0 and gzip >= identity else Encoding.IDENTITY


_cached_choice = lru_cache(maxsize=256)(_chosen)


def choose_error_format(accept: str | None) -> ErrorFormat:
    """Return the client's preferred format for an error; plain text if it states no preference, or
    accepts none of them.

    Between equals the named type wins over the wildcard; of several named ones JSON, then HTML.
    """
    if accept is None:
        return ErrorFormat.PLAIN
    preferences = qualities(accept)
    best, best_rank = ErrorFormat.PLAIN, (0.0, 0, 0)
    for position, candidate in enumerate((ErrorFormat.PLAIN, ErrorFormat.HTML, ErrorFormat.JSON)):
        media = candidate.value.partition(";")[0]
        if media in preferences:
            rank = (preferences[media], 2, position)
        elif f"{media.partition('/')[0]}/*" in preferences:
            rank = (preferences[f"{media.partition('/')[0]}/*"], 1, -position)
        else:
            rank = (preferences.get("*/*", 0.0), 0, -position)
        if rank[0] > 0 and rank > best_rank:
            best, best_rank = candidate, rank
    return best


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
        """Return the head of a file. Raises `ValueError` if the file's `size` is unknown."""
        if file.size is None:
            raise ValueError(f"the size of {file.filename} is not known")
        etag = None if file.sha256 is None else f'"{file.sha256}"'
        return cls(size=file.size, etag=etag, modified=file.uploaded, lasting=lasting)


def download_head(what: DownloadHead, *, restricted: bool) -> Head:
    """Return the header fields of a file, or of a 304 for it. `restricted`: not everyone may read
    it, so shared caches must not store it.
    """
    scope = b"private" if restricted else b"public"
    lasting = b"%s, max-age=%d, immutable" % (scope, _ONE_YEAR)
    caching = lasting if what.lasting else _asking(restricted)
    head = [(b"Accept-Ranges", b"bytes"), (b"Cache-Control", caching), *_INERT]
    if what.etag is not None:
        head.append((b"ETag", what.etag.encode("latin-1")))
    if what.modified is not None:
        head.append((b"Last-Modified", http_date(what.modified).encode("ascii")))
    return tuple(head)


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


# Parsing of the ``Authorization`` header. Pure. Sources: RFC 7617 (Basic), RFC 6750 (Bearer).

LONGEST_HEADER = 8192
"""Maximum length in bytes; a user name and a password of maximum length fit."""
LONGEST_USER = 200
TOKEN_USER = "__token__"
"""The user name that stands for a token (as on the public index)."""

_TOKEN = re.compile(rb"[A-Za-z0-9._~+/-]+=*\Z")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def credential_of(authorization: bytes | None) -> Credential | None:
    """Return the credential in the header's value; None without a header.

    Basic is read as UTF-8 (RFC 7617), and as Latin-1 if it is not UTF-8: requests, and so pip and
    twine, send that. Bearer gives the token to the user ``__token__``. Raises `Unauthenticated` for
    anything else; its text quotes nothing of it.
    """
    if authorization is None:
        return None
    if len(authorization) > LONGEST_HEADER:
        raise Unauthenticated(f"The Authorization header is longer than {LONGEST_HEADER} bytes.")
    scheme, _, rest = authorization.strip(b" \t").partition(b" ")
    match scheme.lower():
        case b"basic":
            return _basic(rest.strip(b" \t"))
        case b"bearer":
            return _bearer(rest.strip(b" \t"))
        case _:
            raise Unauthenticated(
                "The Authorization header is of a kind that pypid does not know: send Basic or "
                "Bearer."
            )


def _basic(encoded: bytes) -> Credential:
    try:
        pair = b64decode(encoded, validate=True)
    except (Error, ValueError):
        raise Unauthenticated(
            "The Authorization header is damaged: after 'Basic' comes 'user:password' in base64."
        ) from None
    try:
        text = pair.decode()
    except UnicodeDecodeError:
        text = pair.decode("latin-1")
    user, colon, password = text.partition(":")
    if not colon:
        raise Unauthenticated(
            "The Authorization header has no ':' between the user name and the password."
        )
    if len(user) > LONGEST_USER:
        raise Unauthenticated(f"The user name is longer than {LONGEST_USER} characters.")
    if user == SESSION_USER:
        raise Unauthenticated(
            f"{SESSION_USER} cannot be used to log in: it stands for the cookie of a session."
        )
    if _UNPRINTABLE.search(user):
        raise Unauthenticated("The user name holds characters that cannot be printed.")
    return Credential(user, password)


def _bearer(token: bytes) -> Credential:
    if not _TOKEN.match(token):
        raise Unauthenticated(
            "The Authorization header is damaged: after 'Bearer' comes one token."
        )
    return Credential(TOKEN_USER, token.decode("ascii"))
