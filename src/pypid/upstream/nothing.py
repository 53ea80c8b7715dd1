"""The absent upstream index: `[upstream] mode = offline`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from attrs import frozen

from pypid.core.errors import UpstreamDown
from pypid.core.model import Listing, Span
from pypid.core.packaging.names import ProjectName

OFFLINE = "this index is offline ([upstream] mode), and contacts no upstream."


@frozen
class Nothing:
    """An upstream that is always down. Reporting that it has no projects would be wrong, and be
    remembered when it is back.
    """

    async def project(
        self, name: ProjectName, known: Listing | None, via: Sequence[str]
    ) -> NoReturn:
        """Always raises `UpstreamDown`."""
        raise UpstreamDown(OFFLINE)

    async def names(self, via: Sequence[str]) -> NoReturn:
        """Always raises `UpstreamDown`."""
        raise UpstreamDown(OFFLINE)

    async def fetch(
        self, url: str, span: Span | None, via: Sequence[str], *, verified: bool = True
    ) -> NoReturn:
        """Always raises `UpstreamDown`."""
        raise UpstreamDown(OFFLINE)
