"""The list of projects as a page that is patched: a change costs as much as the piece of the list
that contains it.

A piece is a rendered run of the list, and the same compressed. Deflate blocks may follow one
another in one stream if each begins at a byte and does not look back at the one before (zlib's
"full flush"): so the compressed page is assembled from pieces as well, and is still one gzip
member, as uv and browsers demand. What remains to be done for the whole page is a copy, a hash and
a checksum, which every page needs whose bytes are all known.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from itertools import chain, islice, repeat

from attrs import define, evolve, field, frozen

from pypid.core.model import RenderedPage
from pypid.core.simple_api.negotiation import Format
from pypid.core.simple_api.render import finished, names_between, names_frame, names_piece
from pypid.core.summaries import Run, Summaries
from pypid.web.http.responses import LEVEL, gzipped_etag

_GZIP = struct.pack("<4BLBB", 31, 139, 8, 0, 0, 0, 3)
"""The head of a gzip member, as zlib writes it: deflate, no name, no time, Unix."""


@define(eq=False)
class ListPiece:
    """A rendered run of the list; `serial` is the highest in it."""

    serial: int
    text: bytes = field(repr=False)
    _deflated: bytes | None = field(default=None, init=False, repr=False)

    def deflated(self) -> bytes:
        """Return the piece, compressed. Thread-safe: all threads get the same bytes."""
        if self._deflated is None:
            self._deflated = _deflate(self.text)
        return self._deflated


@frozen(eq=False)
class Patchwork:
    """The pieces of one list in one format; `serial` is the list's own."""

    format: Format
    serial: int
    pieces: Mapping[int, tuple[Run, ListPiece]] = field(repr=False)
    """The pieces by the identity of their run, in order."""

    def says(self, other: Patchwork) -> bool:
        """Return whether the content is the same as that of `other`. (False also for some lists
        that are equal.)
        """
        return (self.format, self.serial) == (
            other.format,
            other.serial,
        ) and self.pieces.keys() == other.pieces.keys()

    def page(self) -> RenderedPage:
        """Return the whole page, uncompressed."""
        beginning, end = names_frame(self.serial, self.format)
        texts = [piece.text for _, piece in self.pieces.values()]
        return finished(
            b"".join((beginning, *_strung(names_between(self.format), texts), end)),
            self.format.value,
        )

    def gzipped(self, page: RenderedPage) -> RenderedPage:
        """Return the `page`, compressed: the bytes depend on the page alone (a strong tag names
        bytes), not on how it was assembled.
        """
        beginning, end = names_frame(self.serial, self.format)
        pieces = _strung(
            _deflate(names_between(self.format)),
            [piece.deflated() for _, piece in self.pieces.values()],
        )
        sums = struct.pack("<LL", zlib.crc32(page.body), len(page.body) & 0xFFFFFFFF)
        body = b"".join((_GZIP, _deflate(beginning), *pieces, _deflate(end, zlib.Z_FINISH), sums))
        return evolve(page, body=body, etag=gzipped_etag(page.etag))


def patched(
    names: Summaries, format: Format, *, serial: int | None = None, last: Patchwork | None = None
) -> Patchwork:
    """Return the list of these names, with those pieces of the `last` one, in the same format, that
    are still valid.

    `serial` is the catalog's last; without it, the highest of the names.
    """
    known: Mapping[int, tuple[Run, ListPiece]] = {} if last is None else last.pieces
    pieces = {id(run): known.get(id(run)) or (run, _piece(run, format)) for run in names.runs}
    if serial is None:
        serial = max((piece.serial for _, piece in pieces.values()), default=0)
    return Patchwork(format, serial, pieces)


def _piece(run: Run, format: Format) -> ListPiece:
    return ListPiece(max(summary.serial for summary in run), names_piece(run, format))


def _strung(between: bytes, pieces: list[bytes]) -> Iterator[bytes]:
    """Return the pieces, with `between` between each two of them."""
    return islice(chain.from_iterable(zip(repeat(between), pieces, strict=False)), 1, None)


def _deflate(text: bytes, ending: int = zlib.Z_FULL_FLUSH) -> bytes:
    made = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return made.compress(text) + made.flush(ending)
