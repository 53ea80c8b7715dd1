"""The documentation, and the style sheet, script and icon of all pages.

``/docs/``: the documentation of this version, as HTML files that Sphinx built.

The files come with the package (`PACKAGED`), or from ``build/docs`` of a checkout, where
``make docs`` writes them. They contain nothing of the index, so everyone may read them, whatever
`[access] read` says. No file is read before the first request; pages link to the documentation only
if there is one.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from gzip import compress
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from types import MappingProxyType

from attrs import define, field, frozen
from twisted.logger import Logger
from werkzeug.exceptions import NotFound

import pypid
from pypid.core.caches import Recent
from pypid.flow import World
from pypid.flow.derived import Flights
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import ANYBODY, route
from pypid.web.http.headers import (
    ConditionalVerdict,
    Encoding,
    Validators,
    choose_encoding,
    judge,
)
from pypid.web.http.responses import (
    conditions_of,
    gzipped_etag,
    header_of,
    redirect,
    send_body,
    send_no_body,
)

FOR_EVER = b"public, max-age=31536000, immutable"
FOR_NOW = b"public, no-cache"
"""For the address of another version: from a page that was open while pypid was replaced."""


_log = Logger()

PACKAGED = Path(pypid.__file__).parent / "documentation"
CHECKOUT = Path(pypid.__file__).parents[2]

CONTENT_TYPES: Mapping[str, str] = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".inv": "application/octet-stream",
}
"""The types of the files that are served, by suffix; other files are not."""
COMPRESSED = frozenset({".html", ".css", ".js", ".svg"})

MOST, HEAVIEST = 64, 2 << 20
"""Number of files in memory, and their total size in bytes with their gzipped forms."""

NOT_BUILT = (
    "This installation does not contain the documentation. In a checkout of pypid, build it by "
    "`make docs` and reload this page. Packages that `make dist` builds contain it."
)

_POLICY = (
    "default-src 'none'; script-src 'self'{scripts}; style-src-elem 'self'{styles}; "
    "style-src-attr 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
"""The theme needs one line of script and one style element in each page, and icons in its style
sheet. The policy of a page allows these by their digests.
"""
_INLINE = re.compile(rb"<(script|style)\b(?![^>]*\bsrc=)[^>]*>(.*?)</\1>", re.DOTALL)


@frozen
class BuiltFile:
    """A file of the documentation: plain, and gzipped if that pays."""

    plain: bytes = field(repr=False)
    zipped: bytes | None = field(repr=False)
    content_type: str
    etag: str
    policy: str

    @classmethod
    def read(cls, path: Path) -> BuiltFile:
        """Read and compress a file. Blocks."""
        plain = path.read_bytes()
        return cls(
            plain,
            compress(plain, 6, mtime=0) if path.suffix in COMPRESSED else None,
            CONTENT_TYPES[path.suffix],
            f'"{sha256(plain).hexdigest()[:32]}"',
            policy_of(plain) if path.suffix == ".html" else _POLICY.format(scripts="", styles=""),
        )

    @property
    def weight(self) -> int:
        """The bytes that it takes in memory."""
        return len(self.plain) + len(self.zipped or b"")


def policy_of(page: bytes) -> str:
    """Return the Content-Security-Policy of a page that allows its own inline scripts and styles,
    and no others.
    """
    digests: dict[bytes, str] = {b"script": "", b"style": ""}
    for element, text in dict.fromkeys(_INLINE.findall(page)):
        digests[element] += f" 'sha256-{b64encode(sha256(text).digest()).decode('ascii')}'"
    return _POLICY.format(scripts=digests[b"script"], styles=digests[b"style"])


def built_folders() -> tuple[Path, ...]:
    """Return the folders that may hold the built documentation, the first that exists is used."""
    if (CHECKOUT / "docs/conf.py").is_file():
        return PACKAGED, CHECKOUT / "build/docs"
    return (PACKAGED,)


def list_files(folders: Iterable[Path]) -> Mapping[str, Path]:
    """Return the files of the first folder that has an ``index.html``, by their paths in URLs.
    Blocks. Symbolic links are left out.
    """
    for folder in folders:
        if (folder / "index.html").is_file():
            return MappingProxyType(
                {
                    path.relative_to(folder).as_posix(): path
                    for path in sorted(folder.rglob("*"))
                    if path.suffix in CONTENT_TYPES and path.is_file() and not path.is_symlink()
                }
            )
    return MappingProxyType({})


@define(eq=False)
class Documentation:
    """The built documentation of the first of `folders` that has one. Requests find files only in a
    list of them, which is made on first use.
    """

    folders: Sequence[Path] = field(factory=built_folders)
    is_built: bool = field(init=False)
    """Whether there was one at the start, or at the latest request for it."""
    _files: Mapping[str, Path] = field(factory=dict, init=False, repr=False)
    _recent: Recent[str, BuiltFile] = field(factory=lambda: Recent(MOST, HEAVIEST), init=False)
    _reads: Flights[str, BuiltFile] = field(factory=Flights, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.is_built = any((folder / "index.html").is_file() for folder in self.folders)

    async def files(self, world: World) -> Mapping[str, Path]:
        """Return the files by their paths in URLs; none while the documentation is not built."""
        if not self._files:
            self._files = await world.blocking(list_files, self.folders)
            self.is_built = bool(self._files)
        return self._files

    async def file(self, world: World, name: str) -> BuiltFile | None:
        """Return a file by its path in URLs, or None."""
        found = self._recent.get(name)
        if found is None and name in (files := await self.files(world)):
            found = await self._reads.single(name, partial(self._read, world, name, files[name]))
        return found

    async def _read(self, world: World, name: str, path: Path) -> BuiltFile:
        try:
            found = await world.blocking(BuiltFile.read, path)
        except OSError:  # the documentation was built again, without this page
            raise NotFound() from None
        self._recent.put(name, found, found.weight)
        return found


DOCUMENTATION = Documentation()


@route("GET", "/docs/", action=ANYBODY)
async def documentation_start(ctx: RequestContext) -> None:
    """Send the first page of the documentation, or say how to build it."""
    if not ctx.request.path.endswith(b"/"):
        return redirect(ctx.request, "/docs/", permanent=True)
    found = await DOCUMENTATION.file(ctx.app.world, "index.html")
    if found is None:
        raise NotFound(NOT_BUILT)
    return await send_built_file(ctx, found)


@route("GET", "/docs/<path:page>", action=ANYBODY)
async def documentation_file(ctx: RequestContext, page: str) -> None:
    """Send a page of the documentation or one of its other files."""
    found = await DOCUMENTATION.file(
        ctx.app.world, f"{page}index.html" if page[-1] == "/" else page
    )
    if found is not None:
        return await send_built_file(ctx, found)
    files = await DOCUMENTATION.files(ctx.app.world)
    if not files:
        raise NotFound(NOT_BUILT)
    if f"{page}/index.html" in files:
        return redirect(ctx.request, f"/docs/{page}/", permanent=True)
    raise NotFound()


async def send_built_file(
    ctx: RequestContext, found: BuiltFile, cache_control: bytes | None = None
) -> None:
    """Answer GET and HEAD: 200, 304 or 412."""
    # Sphinx puts a digest of the file into the addresses of style sheets and scripts: ?v=...
    is_lasting = ctx.request.uri.partition(b"?")[2].startswith(b"v=")
    cache_control = cache_control or (FOR_EVER if is_lasting else b"no-cache")
    body, etag = found.plain, found.etag
    head = [
        (b"Cache-Control", cache_control),
        (b"Vary", b"Accept-Encoding"),
        (b"Content-Security-Policy", found.policy.encode("ascii")),
        (b"X-Content-Type-Options", b"nosniff"),
        (b"Referrer-Policy", b"same-origin"),
    ]
    is_gzip = choose_encoding(header_of(ctx.request, "accept-encoding")) is Encoding.GZIP
    if is_gzip and found.zipped is not None:
        body, etag = found.zipped, gzipped_etag(found.etag)
        head.append((b"Content-Encoding", b"gzip"))
    tag = (b"ETag", etag.encode("ascii"))
    match judge(conditions_of(ctx.request), Validators(etag)):
        case ConditionalVerdict.NOT_MODIFIED:
            send_no_body(ctx.request, 304, (*head, tag))
        case ConditionalVerdict.FAILED:
            send_no_body(ctx.request, 412, ((b"Content-Length", b"0"),))
        case ConditionalVerdict.SEND:
            kind = (b"Content-Type", found.content_type.encode("ascii"))
            length = (b"Content-Length", b"%d" % len(body))
            await send_body(ctx.request, body, (*head, tag, kind, length))


# The style sheet, the script and the icon, joined from the files of the sections, at an address
# that contains their digest.

ASSET_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"


def _asset(content_type: str, data: bytes) -> BuiltFile:
    etag = f'"{sha256(data).hexdigest()[:32]}"'
    return BuiltFile(data, compress(data, 9, mtime=0), content_type, etag, ASSET_POLICY)


def _together(folder: Traversable, comment: str) -> bytes:
    """Return the files of a folder joined: the base first, then by name."""
    found = [file for file in folder.iterdir() if file.is_file()]
    found.sort(key=lambda file: (not file.name.startswith("base."), file.name))
    return b"".join(
        comment.format(file.name).encode() + file.read_bytes() + b"\n" for file in found
    )


def _assets() -> dict[str, BuiltFile]:
    folder = files("pypid.web.ui") / "assets"
    return {
        "style.css": _asset("text/css; charset=utf-8", _together(folder / "style", "/* {} */\n")),
        "script.js": _asset(
            "text/javascript; charset=utf-8", _together(folder / "script", "/* {} */\n")
        ),
        "icon.svg": _asset("image/svg+xml", (folder / "icon.svg").read_bytes()),
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
    await send_built_file(ctx, found, FOR_EVER if digest == DIGEST else FOR_NOW)
