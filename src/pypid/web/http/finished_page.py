"""Pages that are rendered once and sent often: plain and gzipped, each with its own entity tag."""

from __future__ import annotations

import zlib
from collections.abc import Callable

from attrs import Factory, define, evolve, field

from pypid.core.model import RenderedPage
from pypid.flow import Blocking
from pypid.flow.single_flight import Flights
from pypid.web.http.negotiation import Encoding

SMALLEST = 1024
"""Bytes; a smaller page fits in one packet either way, so it is not gzipped."""
LEVEL = 3
"""The gzip level. Higher levels gain little, and the first client waits: the pages of numpy, boto3,
requests and five others (9.6 MB) take 77 ms and leave 2,050 kB at level 1, 82 ms and 1,954 kB at 3,
130 ms and 1,860 kB at 4, 186 ms and 1,778 kB at 6.
"""
AT_ONCE = 1 << 15
"""Bytes; a page up to this size is gzipped in the reactor thread (under a millisecond), a larger
one off it.
"""


@define
class FinishedPage:
    """A `RenderedPage` and its gzipped form, which is made once, on the first request for it.
    `gzip` makes it, if the default does not fit.
    """

    page: RenderedPage
    _blocking: Blocking = field(repr=False)
    _gzip: Callable[[RenderedPage], RenderedPage] = field(
        default=Factory(lambda: gzipped), repr=False
    )
    _gzipped: RenderedPage | None = field(default=None, init=False, repr=False)
    _flights: Flights[None, RenderedPage] = field(factory=Flights, init=False, repr=False)

    def encoding_for(self, wish: Encoding) -> Encoding:
        """Return the encoding of the page for a client that wishes this one: a small page is never
        gzipped.
        """
        return wish if len(self.page.body) >= SMALLEST else Encoding.IDENTITY

    def etag_in(self, encoding: Encoding) -> str:
        """Return the entity tag of one form; a strong tag names bytes, so each form has its own
        (RFC 9110, 8.8.3.3).
        """
        match encoding:
            case Encoding.IDENTITY:
                return self.page.etag
            case Encoding.GZIP:
                return gzipped_etag(self.page.etag)

    async def in_encoding(self, encoding: Encoding) -> RenderedPage:
        """Return the page in one form."""
        match encoding:
            case Encoding.IDENTITY:
                return self.page
            case Encoding.GZIP:
                return await self.gzipped()

    async def gzipped(self) -> RenderedPage:
        """Return the gzipped form. Many callers may wait for one that is being made."""
        if self._gzipped is None:
            if len(self.page.body) <= AT_ONCE:
                self._gzipped = self._gzip(self.page)
            else:
                self._gzipped = await self._flights.single(None, self._make)
        return self._gzipped

    async def _make(self) -> RenderedPage:
        return await self._blocking(self._gzip, self.page)


def gzipped(page: RenderedPage) -> RenderedPage:
    """Return `page` gzipped; the result depends on the page only (no time is written into it)."""
    made = zlib.compressobj(LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    return evolve(page, body=made.compress(page.body) + made.flush(), etag=gzipped_etag(page.etag))


def gzipped_etag(etag: str) -> str:
    """Return the tag of the gzipped form: ``"abc-gzip"`` for ``"abc"``."""
    return f'{etag[:-1]}-gzip"'
