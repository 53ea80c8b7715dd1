"""The header fields of answers, as pairs: one list for the routes and for the front door."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache

from attrs import frozen

from pypid.core.model import File, RenderedPage
from pypid.core.packaging.listed_names import is_mutable
from pypid.web.http.conditional import http_date
from pypid.web.http.negotiation import Encoding

Head = tuple[tuple[bytes, bytes], ...]
"""Names as they are sent, and values."""

BYTES = "application/octet-stream"
"""For wheels, zips and tarballs alike, as the public index sends them. Never a type, and never a
Content-Encoding, that makes a client unpack what it is going to hash: poetry's downloads gunzip a
``.tar.gz`` that is marked as gzip (checklist, C48).
"""
TEXT = "text/plain; charset=utf-8"
"""For core metadata: UTF-8 by PEP 566, and readable in a browser."""

_ONE_YEAR = 365 * 24 * 3600
_INERT = (
    (b"X-Content-Type-Options", b"nosniff"),
    (b"Content-Security-Policy", b"sandbox; default-src 'none'"),
)
_NOTHING_BUT_LINKS = (
    b"Content-Security-Policy",
    b"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
)
"""Our pages for people have text and links: whatever else gets into one (a yank's reason, a name),
it does nothing.
"""


@frozen(kw_only=True)
class DownloadHead:
    """What is known of bytes before they are read. `etag` is with its quotes; `size` in bytes.

    `lasting`: what lies at this URL never changes, so that caches need not ask again. Not where
    overwriting is granted.
    """

    size: int
    etag: str | None
    modified: datetime | None = None
    content_type: str = BYTES
    lasting: bool = True

    @classmethod
    def of(cls, file: File, *, lasting: bool = True) -> DownloadHead:
        """A file of which the `size` is known. The list of a release's variants may change under
        its name (C37).
        """
        if file.size is None:
            raise ValueError(f"the size of {file.filename} is not known")
        etag = None if file.sha256 is None else f'"{file.sha256}"'
        lasts = lasting and not is_mutable(file.filename)
        return cls(size=file.size, etag=etag, modified=file.uploaded, lasting=lasts)


def download_head(what: DownloadHead, *, restricted: bool) -> Head:
    """Of a file, or of a 304 for it. `restricted`: not everyone may read it, so that shared caches
    keep nothing.
    """
    caching = _lasting(restricted) if what.lasting else _asking(restricted)
    head = [(b"Accept-Ranges", b"bytes"), (b"Cache-Control", caching), *_INERT]
    if what.etag is not None:
        head.append((b"ETag", what.etag.encode("latin-1")))
    if what.modified is not None:
        head.append((b"Last-Modified", http_date(what.modified).encode("ascii")))
    return tuple(head)


def _lasting(restricted: bool) -> bytes:
    return b"%s, max-age=%d, immutable" % (b"private" if restricted else b"public", _ONE_YEAR)


def _asking(restricted: bool) -> bytes:
    """Kept, but asked about every time."""
    return b"private, no-cache" if restricted else b"no-cache"


@lru_cache(maxsize=512)
def page_head(etag: str, *, serial: int | None, restricted: bool) -> Head:
    """Of a page, or of a 304 for it.

    Pages are revalidated every time: a file is to be found by the next request after its upload
    (pip keeps pages since 26.2). A `restricted` one is `private`, and so for nobody else's cache.
    That it varies by Authorization is not said: pip's cache writes the headers that an answer
    varies by into its files, and there would be the password.
    """
    head = [
        (b"ETag", etag.encode("latin-1")),
        (b"Vary", b"Accept, Accept-Encoding"),
        (b"Cache-Control", _asking(restricted)),
        (b"X-Content-Type-Options", b"nosniff"),
    ]
    if serial is not None:
        head.append((b"X-PyPI-Last-Serial", b"%d" % serial))
    return tuple(head)


def body_head(page: RenderedPage, encoding: Encoding) -> Head:
    """What a page's 200 has beside `page_head`; `page` is in `encoding`."""
    head: Head = (
        (b"Content-Type", page.content_type.encode("latin-1")),
        (b"Content-Length", b"%d" % len(page.body)),
    )
    if "html" in page.content_type:
        head = (*head, _NOTHING_BUT_LINKS)
    return (
        head
        if encoding is Encoding.IDENTITY
        else (*head, (b"Content-Encoding", encoding.value.encode("ascii")))
    )
