"""``/config/``: configuration files of clients, made for the requested host, and the certificate
that clients have to trust.
"""

from __future__ import annotations

from pathlib import Path

from pypid.core.errors import BadRequest
from pypid.core.presentation.client_files import CA, FILES, IndexAddress
from pypid.web.app.app import App
from pypid.web.app.errors import ErrorResponse, send_refusal
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import ANYBODY, route
from pypid.web.http.small_responses import send, send_plain
from pypid.web.installers.legacy import NO_HOST

PUBLIC = (
    "There is no certificate to save: this index has no TLS, or behind a proxy that does "
    "it, or its certificate was issued by a public authority, which most systems already trust."
)


@route("GET", "/config/ca.pem", action=ANYBODY, below_index=True)
async def ca(ctx: RequestContext) -> None:
    """Send the self-issued certificates of the chain: what a client has to trust."""
    found = await _roots(ctx.app)
    if not found:
        return send_refusal(ctx.request, ErrorResponse(404, PUBLIC))
    return send(ctx.request, 200, "application/pem-certificate-chain", found)


@route("GET", "/config/<filename>", action=ANYBODY, below_index=True)
async def client_file(ctx: RequestContext, filename: str) -> None:
    """Send pip.conf, .pypirc or uv.toml."""
    write = FILES.get(filename)
    if write is None:
        return send_refusal(
            ctx.request, ErrorResponse(404, f"Here are {', '.join(FILES)} and {CA}.")
        )
    place = await place_of(ctx)
    if place is None:
        raise BadRequest(NO_HOST)
    return send_plain(ctx.request, 200, write(place))


async def place_of(ctx: RequestContext) -> IndexAddress | None:
    """Return the address of the index for this client; None if the host that it named is not
    trusted.
    """
    base = ctx.base_url
    if base is None:
        return None
    has_roots = base.startswith("https:") and bool(await _roots(ctx.app))
    return IndexAddress(
        base, has_roots, login=ctx.app.needs_login(ctx.app.index.name), index=ctx.request.index
    )


async def _roots(app: App) -> bytes:
    chain = app.settings.certificate
    return b"" if chain is None else await app.world.blocking(roots, chain)


def roots(chain: Path) -> bytes:
    """Return the self-issued certificates in the PEM file `chain`, as PEM. Blocks.

    Empty also while the file is being replaced: the certificate in force was read before.
    """
    from cryptography import x509  # here: rarely needed
    from cryptography.hazmat.primitives.serialization import Encoding

    try:
        certificates = x509.load_pem_x509_certificates(chain.read_bytes())
    except (OSError, ValueError):
        return b""
    return b"".join(
        one.public_bytes(Encoding.PEM) for one in certificates if one.issuer == one.subject
    )
