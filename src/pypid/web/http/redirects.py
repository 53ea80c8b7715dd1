"""Redirects whose Location is valid behind any proxy."""

from __future__ import annotations

from urllib.parse import quote, urlsplit, urlunsplit

from twisted.web.http import Request

from pypid.web.http.headers import share
from pypid.web.http.response_body import write
from pypid.web.http.responses import set_head

PERMANENT_FOR = 3600
"""Seconds; stated explicitly, because pip's cache keeps a permanent redirect for ever otherwise."""

_SAFE = "/?#[]@!$&'()*+,;=:~%-._"


def redirect(
    request: Request,
    location: str,
    *,
    permanent: bool,
    keep_query: bool = True,
    restricted: bool = False,
    storable: bool = True,
) -> None:
    """Answer 301 (308 for methods other than GET and HEAD) or 302 (307).

    `location` is a path of the request's index (``/simple/foo/``), sent relative to the request's,
    so that the name of the index and a prefix that a proxy removed stay; or an absolute URL, from
    which user name and password are removed. The request's query is kept if `location` has none.
    (uv follows a redirect of a POST only to an absolute URL.) If it is not `storable`, no cache may
    store the response: it holds a signed URL.
    """
    plain = request.method in (b"GET", b"HEAD")
    target = (
        _absolute(location)
        if "://" in location.partition("?")[0]
        else relative(_path_of(request), location)
    )
    query = request.uri.partition(b"?")[2].decode("latin-1")
    if keep_query and query and "?" not in target:
        target += "?" + query
    status = (301 if plain else 308) if permanent else (302 if plain else 307)
    scope = "private, " if restricted else ""
    caching = f"{scope}max-age={PERMANENT_FOR}" if permanent else f"{scope}no-cache"
    if not storable:
        caching = "private, no-store"
    head = (
        (b"Location", quote(target, safe=_SAFE).encode("ascii")),
        (b"Cache-Control", caching.encode("ascii")),
        (b"Content-Type", b"text/plain; charset=utf-8"),
        (b"Content-Length", b"0"),
    )
    # a browser follows a redirect only if its script may read it (micropip)
    set_head(request, status, share(request, head, restricted=restricted))
    write(request, b"")


def relative(path: str, target: str) -> str:
    """Return the relative reference that leads from the URL path `path` to `target` (RFC 3986,
    4.2); both begin with a slash.

    It never begins with a slash or anything like a scheme, so that ``//elsewhere/`` stays on this
    host.
    """
    here = path.split("/")[1:-1]
    there, query = target.partition("?")[0].split("/")[1:], target.partition("?")[1:]
    same = 0
    while same < min(len(here), len(there) - 1) and here[same] == there[same]:
        same += 1
    reference = "../" * (len(here) - same) + "/".join(there[same:])
    if not reference.startswith("../"):
        reference = "./" + reference
    return reference + "".join(query)


def _path_of(request: Request) -> str:
    path = bytes(request.path).decode("latin-1")
    return path if path.startswith("/") else urlsplit(path).path or "/"


def _absolute(location: str) -> str:
    url = urlsplit(location)
    return urlunsplit(url._replace(netloc=url.netloc.rpartition("@")[2]))
