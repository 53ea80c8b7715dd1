"""Cross-origin resource sharing: which web pages may read responses (`[server] cors`).

Only responses that everyone may read are shared. Off by default: otherwise any web page that a user
opens inside a company's network could read the company's index.
"""

from __future__ import annotations

from twisted.web.http import Request

from pypid.web.http.headers import Head

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
