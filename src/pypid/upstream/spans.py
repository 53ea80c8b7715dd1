"""Ranges of a file: the ``Range`` of a request, and checking the response."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import aclosing

from attrs import define

from pypid.core.errors import UpstreamDown
from pypid.core.model import Span
from pypid.http_client.response_body import BROKEN_OFF
from pypid.ports import Body

_CONTENT_RANGE = re.compile(
    r"bytes ([0-9]{1,18})-([0-9]{1,18})/(?:[0-9]{1,18}|\*)\Z", re.IGNORECASE
)


def header(span: Span) -> str:
    """Return the ``Range`` header for `span`."""
    return f"bytes={span.start}-{span.stop - 1}"


def is_answered(span: Span, content_range: str) -> bool:
    """Return whether this ``Content-Range`` is exactly the span."""
    match = _CONTENT_RANGE.match(content_range)
    return match is not None and (int(match[1]), int(match[2])) == (span.start, span.stop - 1)


@define
class Cut:
    """The bytes `start` to `stop` of a body; raises `UpstreamDown` if there are fewer. Bytes after
    them are not read.
    """

    body: Body
    span: Span

    @property
    def size(self) -> int | None:
        return self.span.stop - self.span.start

    async def __aiter__(self) -> AsyncIterator[bytes]:
        position = 0
        async with aclosing(self.body):
            async for piece in self.body:
                wanted = piece[
                    max(0, self.span.start - position) : max(0, self.span.stop - position)
                ]
                position += len(piece)
                if wanted:
                    yield wanted
                if position >= self.span.stop and self.body.size != self.span.stop:
                    # else its end is next, and reading it keeps the connection open for reuse
                    return
        if position >= self.span.stop:
            return
        raise UpstreamDown(BROKEN_OFF)

    async def aclose(self) -> None:
        await self.body.aclose()
