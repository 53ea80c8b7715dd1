"""The style sheet, the script and the icon, joined from the files of the sections, at an address
that contains their digest.
"""

from __future__ import annotations

from gzip import compress
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable

from attrs import field, frozen
from werkzeug.exceptions import NotFound

from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import ANYBODY, route
from pypid.web.http.negotiation import Encoding, choose_encoding
from pypid.web.http.response_body import write
from pypid.web.http.responses import header_of, set_head

FOR_EVER = b"public, max-age=31536000, immutable"
FOR_NOW = b"public, no-cache"
"""For the address of another version: from a page that was open while pypid was replaced."""


@frozen
class Asset:
    """A file of the site with its content type, plain and compressed."""

    content_type: bytes
    plain: bytes = field(repr=False)
    zipped: bytes = field(repr=False)


def _asset(content_type: bytes, data: bytes) -> Asset:
    return Asset(content_type, data, compress(data, 9, mtime=0))


def _together(folder: Traversable, comment: str) -> bytes:
    """Return the files of a folder joined: the base first, then by name."""
    found = [file for file in folder.iterdir() if file.is_file()]
    found.sort(key=lambda file: (not file.name.startswith("base."), file.name))
    return b"".join(
        comment.format(file.name).encode() + file.read_bytes() + b"\n" for file in found
    )


def _assets() -> dict[str, Asset]:
    folder = files("pypid.web.ui") / "assets"
    return {
        "style.css": _asset(b"text/css; charset=utf-8", _together(folder / "style", "/* {} */\n")),
        "script.js": _asset(
            b"text/javascript; charset=utf-8", _together(folder / "script", "/* {} */\n")
        ),
        "icon.svg": _asset(b"image/svg+xml", (folder / "icon.svg").read_bytes()),
    }


ASSETS = _assets()
DIGEST = sha256(b"\0".join(asset.plain for asset in ASSETS.values())).hexdigest()[:16]
"""Part of all addresses: changed files get new addresses, so that browsers can cache them for ever.
"""


@route("GET", "/_/ui/<digest>/<name>", action=ANYBODY)
async def asset(ctx: RequestContext, digest: str, name: str) -> None:
    """Send a file of the site."""
    found = ASSETS.get(name)
    if found is None:
        raise NotFound()
    zips = choose_encoding(header_of(ctx.request, "accept-encoding")) is Encoding.GZIP
    body = found.zipped if zips else found.plain
    head = [
        (b"Content-Type", found.content_type),
        (b"Content-Length", b"%d" % len(body)),
        (b"Cache-Control", FOR_EVER if digest == DIGEST else FOR_NOW),
        (b"X-Content-Type-Options", b"nosniff"),
        (b"Content-Security-Policy", b"default-src 'none'; style-src 'unsafe-inline'; sandbox"),
        (b"Vary", b"Accept-Encoding"),
    ]
    if zips:
        head.append((b"Content-Encoding", b"gzip"))
    set_head(ctx.request, 200, tuple(head))
    write(ctx.request, body)
