"""Redirects to the login page and back: ``account/login?next=`` and a local path."""

from __future__ import annotations

from urllib.parse import quote

from pypid.web.http.headers import Head
from pypid.web.http.request import Request
from pypid.web.http.response_body import write
from pypid.web.http.responses import set_head

LOGIN = "account/login"
LONGEST = 2000
"""Maximum characters of an address to come back to."""


def root_of(request: Request) -> str:
    """Return the relative path from the page to the root of its index: such links work below any
    path that a proxy adds.
    """
    return _upwards(request.path.count(b"/") - 1)


def site_root_of(request: Request) -> str:
    """Return the relative path from the page to the root of the site, which is also that of the
    default index.
    """
    return _upwards(request.uri.partition(b"?")[0].count(b"/") - 1)


def _upwards(depth: int) -> str:
    return "../" * depth if depth > 0 else "./"


def login_address(request: Request) -> str:
    """Return the login address, from the root of the site, that leads back to the requested page
    (not to a form that was sent).
    """
    here = request.uri.decode("latin-1").lstrip("/") if request.method == b"GET" else ""
    return f"{LOGIN}?next={quote(here, safe='')}" if here and len(here) <= LONGEST else LOGIN


def way_back(text: str) -> str:
    """Return the path, from the root, that ``next`` names; "" if it might lead to another site, or
    is no valid address.
    """
    path = text.partition("?")[0]
    plain = text.isascii() and text.isprintable() and " " not in text and len(text) <= LONGEST
    dots = path.lower().replace(
        "%2e", "."
    )  # browsers treat it as a dot (WHATWG URL, "double-dot URL path segment")
    leads_away = (
        dots.startswith(("/", "\\", "."))
        or ":" in path
        or "\\" in text
        or "//" in path
        or "/." in dots
    )
    return text if plain and not leads_away else ""


def go_and_log_in(request: Request) -> None:
    """Redirect an unauthenticated client to the login page (303)."""
    _see(request, site_root_of(request) + login_address(request))


def see_other(request: Request, where: str) -> None:
    """Redirect to a local address, from the root of the request's index, in ASCII (303): browsers
    request it by GET, and the redirect is not cached.
    """
    _see(request, root_of(request) + where)


def _see(request: Request, reference: str) -> None:
    head: Head = (
        (b"Location", reference.encode("ascii")),
        (b"Cache-Control", b"no-store"),
        (b"Content-Length", b"0"),
    )
    set_head(request, 303, head)
    write(request, b"")
