"""Pages that are made once and sent often: plain and gzipped, each with an entity tag
of its own.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

from attrs import Factory, define, evolve, field

from pypid.core.model import RenderedPage
from pypid.flow import Blocking, Flights
from pypid.web.http.negotiation import Encoding

SMALLEST = 1024
"""Bytes; a smaller page fits in one packet either way, so it is not gzipped."""
LEVEL = 3
"""Where more time brings little, and whoever asks first waits for it: the pages of numpy, boto3,
requests and five others (9.6 MB) take 77 ms and leave 2,050 kB at level 1, 82 ms and 1,954 kB at 3,
130 ms and 1,860 kB at 4, 186 ms and 1,778 kB at 6.
"""
AT_ONCE = 1 << 15
"""Bytes; a page up to here is gzipped in the reactor thread (under a millisecond), a larger one off
it.
"""


@define
class FinishedPage:
    """A `RenderedPage`, and its gzipped form, made when somebody first asks for it, once. `gzip`
    makes it, where not all do.
    """

    page: RenderedPage
    _blocking: Blocking = field(repr=False)
    _gzip: Callable[[RenderedPage], RenderedPage] = field(
        default=Factory(lambda: gzipped), repr=False
    )
    _gzipped: RenderedPage | None = field(default=None, init=False, repr=False)
    _flights: Flights[None, RenderedPage] = field(factory=Flights, init=False, repr=False)

    def encoding_for(self, wish: Encoding) -> Encoding:
        """How the page travels to a client that wishes this: a small page is never gzipped."""
        return wish if len(self.page.body) >= SMALLEST else Encoding.IDENTITY

    def etag_in(self, encoding: Encoding) -> str:
        """The entity tag of one form; a strong tag names bytes, so each has its own (RFC 9110,
        8.8.3.3).
        """
        match encoding:
            case Encoding.IDENTITY:
                return self.page.etag
            case Encoding.GZIP:
                return gzipped_etag(self.page.etag)

    async def in_encoding(self, encoding: Encoding) -> RenderedPage:
        """The page in one form."""
        match encoding:
            case Encoding.IDENTITY:
                return self.page
            case Encoding.GZIP:
                return await self.gzipped()

    async def gzipped(self) -> RenderedPage:
        """The gzipped form. Many may wait for one that is being made."""
        if self._gzipped is None:
            if len(self.page.body) <= AT_ONCE:
                self._gzipped = self._gzip(self.page)
            else:
                self._gzipped = await self._flights.single(None, self._make)
        return self._gzipped

    async def _make(self) -> RenderedPage:
        return await self._blocking(self._gzip, self.page)


def gzipped(page: RenderedPage) -> RenderedPage:
    """`page`, gzipped; the same in, the same out (no time is written into it)."""
    made = zlib.compressobj(LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    return evolve(page, body=made.compress(page.body) + made.flush(), etag=gzipped_etag(page.etag))


def gzipped_etag(etag: str) -> str:
    """``"abc-gzip"`` for ``"abc"``."""
    return f'{etag[:-1]}-gzip"'
