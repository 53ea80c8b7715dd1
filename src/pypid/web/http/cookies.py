"""The session cookie of browsers and the CSRF token of pages: reading them from requests, setting
the cookie.

Both are needed: the cookie comes with any request that a page of the same site makes a browser send
(SameSite knows no ports and no subdomains), and only pypid's own pages can read the token.
"""

from __future__ import annotations

from pypid.core.accounts.rights import SESSION_USER
from pypid.core.accounts.sessions import is_csrf_token, secret_in, set_cookie
from pypid.core.errors import NoCsrfToken
from pypid.core.permissions import Credential
from pypid.web.http.request import Request
from pypid.web.http.responses import header_of

HEADER = "x-csrf-token"
FIELD = "csrf_token"
"""The form field of the CSRF token."""
HARMLESS = frozenset({b"GET", b"HEAD", b"OPTIONS"})
"""Methods that change nothing (RFC 9110, 9.2.1): a link anywhere leads to them."""


def credential_of_cookie(request: Request) -> Credential | None:
    """Return the credential in the session cookie; None without one. `Access` checks whether the
    session is still valid.
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


def demand_csrf_token(request: Request, secret: str, field: str | None = None) -> None:
    """Raise `NoCsrfToken` if a request that changes something lacks the CSRF token of the session
    with this secret.

    The token is in the header ``X-CSRF-Token``, or in a form field (`field`).
    """
    if request.method not in HARMLESS and not is_csrf_token(
        field or header_of(request, HEADER) or "", secret
    ):
        raise NoCsrfToken()


def begin_session(request: Request, secret: str, seconds: int) -> None:
    """Set the session cookie for this many `seconds`."""
    _set(request, set_cookie(secret, secure=_is_secure(request), seconds=seconds))


def end_session(request: Request) -> None:
    """Delete the session cookie."""
    _set(request, set_cookie("", secure=_is_secure(request), seconds=0))


def _set(request: Request, cookie: str) -> None:
    request.responseHeaders.setRawHeaders(b"Set-Cookie", [cookie.encode("ascii")])


def _is_secure(request: Request) -> bool:
    return request.scheme == "https"
