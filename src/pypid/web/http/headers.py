"""The header fields of responses, as pairs: one list for the routes and for the fast path."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache

from attrs import frozen

from pypid.core.model import File, RenderedPage
from pypid.core.packaging.listed_names import is_mutable
from pypid.web.http.conditional import http_date
from pypid.web.http.negotiation import Encoding

Head = tuple[tuple[bytes, bytes], ...]
"""Pairs of name and value, as they are sent."""

BYTES = "application/octet-stream"
"""The type of wheels, zips and tarballs alike, as the public index sends them. Never a type, and
never a Content-Encoding, that makes a client unpack what it is going to hash: poetry's downloads
gunzip a ``.tar.gz`` that is marked as gzip (checklist, C48).
"""
TEXT = "text/plain; charset=utf-8"
"""The type of core metadata: UTF-8 by PEP 566, and readable in a browser."""

_ONE_YEAR = 365 * 24 * 3600
_INERT = (
    (b"X-Content-Type-Options", b"nosniff"),
    (b"Content-Security-Policy", b"sandbox; default-src 'none'"),
)
_NOTHING_BUT_LINKS = (
    b"Content-Security-Policy",
    b"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
)
"""The policy for pages of text and links: anything else that gets into one (a yank's reason, a
name) has no effect.
"""


@frozen(kw_only=True)
class DownloadHead:
    """What is known of bytes before they are read. `etag` is with its quotes; `size` in bytes.

    `lasting`: the bytes at this URL never change, so that caches need not revalidate. Not if
    overwriting is granted.
    """

    size: int
    etag: str | None
    modified: datetime | None = None
    content_type: str = BYTES
    lasting: bool = True

    @classmethod
    def of(cls, file: File, *, lasting: bool = True) -> DownloadHead:
        """Return the head of a file. The list of a release's variants may change under its name
        (C37).

        Raises `ValueError` if the file's `size` is unknown.
        """
        if file.size is None:
            raise ValueError(f"the size of {file.filename} is not known")
        etag = None if file.sha256 is None else f'"{file.sha256}"'
        lasts = lasting and not is_mutable(file.filename)
        return cls(size=file.size, etag=etag, modified=file.uploaded, lasting=lasts)


def download_head(what: DownloadHead, *, restricted: bool) -> Head:
    """Return the header fields of a file, or of a 304 for it. `restricted`: not everyone may read
    it, so shared caches must not store it.
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
    """Return the Cache-Control value of responses that are stored but revalidated every time."""
    return b"private, no-cache" if restricted else b"no-cache"


@lru_cache(maxsize=512)
def page_head(etag: str, *, serial: int | None, restricted: bool) -> Head:
    """Return the header fields of a page, or of a 304 for it.

    Pages are revalidated every time: the next request after an upload must find the file (pip
    caches pages since 26.2). A `restricted` page is `private`, so shared caches do not store it.
    Vary does not name Authorization: pip's cache writes the headers that a response varies by into
    its files, and there would be the password.
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
    """Return the header fields of a page's 200 in addition to `page_head`; `page` is in
    `encoding`.
    """
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
