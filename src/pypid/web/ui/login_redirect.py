"""The way to the login page and back: ``account/login?next=`` and a path of ours."""

from __future__ import annotations

from urllib.parse import quote

from pypid.web.http.headers import Head
from pypid.web.http.request import Request
from pypid.web.http.response_body import write
from pypid.web.http.responses import set_head

LOGIN = "account/login"
LONGEST = 2000
"""Characters of an address that is come back to."""


def root_of(request: Request) -> str:
    """The relative way from the page to the root: links hold below any path that a proxy has put
    before us.
    """
    depth = request.uri.partition(b"?")[0].count(b"/") - 1
    return "../" * depth if depth > 0 else "./"


def login_address(request: Request) -> str:
    """Where to log in, from the root, to come back to the page that was asked for (not to a form
    that was sent).
    """
    here = request.uri.decode("latin-1").lstrip("/") if request.method == b"GET" else ""
    return f"{LOGIN}?next={quote(here, safe='')}" if here and len(here) <= LONGEST else LOGIN


def way_back(text: str) -> str:
    """The path, from the root, that ``next`` names; "" for what might lead anywhere else, or would
    be no address.
    """
    path = text.partition("?")[0]
    plain = text.isascii() and text.isprintable() and " " not in text and len(text) <= LONGEST
    dots = path.lower().replace(
        "%2e", "."
    )  # which browsers take for dots (WHATWG URL, "double-dot URL path segment")
    leads_away = (
        dots.startswith(("/", "\\", "."))
        or ":" in path
        or "\\" in text
        or "//" in path
        or "/." in dots
    )
    return text if plain and not leads_away else ""


def go_and_log_in(request: Request) -> None:
    """303 to the login page: what a page answers somebody who is nobody yet."""
    see_other(request, login_address(request))


def see_other(request: Request, where: str) -> None:
    """303 to an address of ours, from the root, in ASCII: browsers ask for it by GET, and nobody
    keeps that.
    """
    location = (root_of(request) + where).encode("ascii")
    head: Head = (
        (b"Location", location),
        (b"Cache-Control", b"no-store"),
        (b"Content-Length", b"0"),
    )
    set_head(request, 303, head)
    write(request, b"")
