"""The cookie of a browser's session, and what a page of ours has to say beside it: read off
requests, written into answers.

Why both: the cookie comes with whatever any page of the same site makes a browser send (SameSite
knows no ports and no subdomains), and only our own pages can read the token.
"""

from __future__ import annotations

from pypid.core.accounts.entries import SESSION_USER
from pypid.core.accounts.sessions import is_csrf_token, secret_in, set_cookie
from pypid.core.errors import NoCsrfToken
from pypid.core.permissions import Credential
from pypid.web.http.request import Request
from pypid.web.http.responses import header_of

HEADER = "x-csrf-token"
FIELD = "csrf_token"
"""The same in a form."""
HARMLESS = frozenset({b"GET", b"HEAD", b"OPTIONS"})
"""Methods that change nothing (RFC 9110, 9.2.1): a link anywhere leads to them."""


def credential_of_cookie(request: Request) -> Credential | None:
    """What the session's cookie says of who sends it; None without one. Whether the session goes
    on, `Access` knows.
    """
    values = request.requestHeaders.getRawHeaders(b"cookie")
    if values is None:
        return None
    secret = secret_in(
        "; ".join(value.decode("latin-1") for value in values), secure=_is_secure(request)
    )
    return (
        None if secret is None else Credential(SESSION_USER, secret, request.client_address() or "")
    )


def demand_csrf_token(request: Request, secret: str, said: str | None = None) -> None:
    """Raise `NoCsrfToken` where a request that changes something does not say the token of the
    session with this secret.

    It is said in the header ``X-CSRF-Token``, or in a form's field (`said`).
    """
    if request.method not in HARMLESS and not is_csrf_token(
        said or header_of(request, HEADER) or "", secret
    ):
        raise NoCsrfToken()


def begin_session(request: Request, secret: str, seconds: int) -> None:
    """Have the browser keep the cookie."""
    _set(request, set_cookie(secret, secure=_is_secure(request), seconds=seconds))


def end_session(request: Request) -> None:
    """Have the browser forget it."""
    _set(request, set_cookie("", secure=_is_secure(request), seconds=0))


def _set(request: Request, cookie: str) -> None:
    request.responseHeaders.setRawHeaders(b"Set-Cookie", [cookie.encode("ascii")])


def _is_secure(request: Request) -> bool:
    return request.scheme == "https"
