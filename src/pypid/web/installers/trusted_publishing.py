"""Trusted publishing: a workflow proves its identity by a token of its forge, and gets an API token
for a quarter of an hour.

The addresses and answers are the public index's, which clients have built in (uv, pdm,
pypa/gh-action-pypi-publish); the addresses can also be discovered (PEP 807, a draft).
"""

from __future__ import annotations

from typing import Any

import msgspec

from pypid.core.errors import MintRefused, PypidError
from pypid.web.app.errors import refusal_of
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import ANYBODY, route
from pypid.web.http.headers import qualities
from pypid.web.http.request import Request
from pypid.web.http.request_body import read_small
from pypid.web.http.responses import header_of
from pypid.web.http.small_responses import LARGEST, send, send_json

AUDIENCE = "/_/oidc/audience"
MINT = "/_/oidc/mint-token"
PYTP = "application/vnd.pypi.pytp.v1+json"
PROBLEM = "application/problem+json"
UPLOADS = frozenset({"", "/", "/legacy", "/legacy/", "/simple", "/simple/"})
"""The paths that uploads are sent to."""
NOT_ENABLED = "not-enabled"


class Shown(msgspec.Struct):
    """The body: an identity token. Other keys are ignored."""

    token: str


@route("GET", AUDIENCE, action=ANYBODY)
async def audience(ctx: RequestContext) -> None:
    """Send the audience that identity tokens must have; 404 without trusted publishing, in which
    case clients continue without it.
    """
    found = None if ctx.app.publishers is None else ctx.app.publishers.audience
    if found is None:
        return send_json(ctx.request, _failure("No trusted publishing here", _not_enabled()), 404)
    return send_json(ctx.request, {"audience": found})


@route("POST", MINT, action=ANYBODY)
async def mint(ctx: RequestContext) -> None:
    """Exchange an identity token for an API token. Failures are reported as clients read them:
    ``errors``, each with its code.
    """
    try:
        shown = _shown(await read_small(ctx.request.body, LARGEST))
        if ctx.app.publishers is None:
            raise _not_enabled()
        minted = await ctx.app.publishers.mint(shown.token, ctx.request.client_address() or "")
    except PypidError as error:
        refusal = refusal_of(error, ctx.request.method)
        if refusal is None:
            raise
        for name, value in refusal.head:
            ctx.request.responseHeaders.setRawHeaders(name, [value])
        return send_json(ctx.request, _failure("Token request failed", error), refusal.status)
    expires = int(minted.expires.timestamp())
    return send_json(ctx.request, {"success": True, "token": minted.secret, "expires": expires})


def _shown(data: bytes) -> Shown:
    try:
        shown = msgspec.json.decode(data, type=Shown)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MintRefused(
            "invalid-payload", f'The body is not {{"token": "..."}}: {error}'
        ) from None
    if not shown.token:
        raise MintRefused("invalid-payload", "The token is empty.")
    return shown


def _not_enabled() -> MintRefused:
    return MintRefused(
        NOT_ENABLED, "This index trusts no issuer. An administrator can name one ([issuer:github])."
    )


def _failure(message: str, error: PypidError) -> dict[str, Any]:
    code = error.code if isinstance(error, MintRefused) else type(error).__name__
    return {"message": message, "errors": [{"code": code, "description": str(error)}]}


@route("GET", "/.well-known/pytp", action=ANYBODY)
async def discover(ctx: RequestContext) -> None:
    """Send the addresses of trusted publishing for uploads to the path in ``?discover=`` (PEP 807,
    a draft); 404 if that path has none.
    """
    accept = header_of(ctx.request, "accept")
    accepted = {PYTP: 1.0} if accept is None else qualities(accept)
    if not any(accepted.get(kind, 0.0) > 0 for kind in (PYTP, "application/*", "*/*")):
        return _problem(ctx.request, 406, f"The answer is {PYTP}: accept that.")
    urls = (ctx.request.args or {}).get(b"discover", [])
    if len(urls) != 1:
        return _problem(
            ctx.request, 400, "Say once which upload path is meant: ?discover=%2Flegacy%2F."
        )
    base = ctx.base_url
    here = urls[0].decode("latin-1") in UPLOADS and base is not None
    if not here or ctx.app.publishers is None or ctx.app.publishers.audience is None:
        return _problem(ctx.request, 404, "There is no trusted publishing for that path.")
    found = {"audience-endpoint": f"{base}{AUDIENCE}", "token-mint-endpoint": f"{base}{MINT}"}
    return send(ctx.request, 200, PYTP, msgspec.json.encode(found))


def _problem(request: Request, status: int, detail: str) -> None:
    """Send an error in the format of RFC 9457."""
    send(request, status, PROBLEM, msgspec.json.encode({"status": status, "detail": detail}))
