"""What routes declare about a response so that the fast path may cache it, and the interface by
which the fast path records it.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from attrs import field, frozen

from pypid.core.model import File
from pypid.core.packaging.names import ProjectName
from pypid.index.upstream_permission import DIRECT, UpstreamPermission

if TYPE_CHECKING:
    from pypid.web.http.request import Request


@frozen
class ResponseDependencies:
    """The dependencies of a response, other than its request, its client, and the rules.

    The view of a `project`, or the lists of all; in the context `asked`. `file` is the file that
    the response sends, for the download log; the response expires at `until`.
    """

    project: ProjectName | None
    asked: UpstreamPermission = DIRECT
    file: File | None = None
    until: datetime | None = None


OF_LISTS = ResponseDependencies(None)
"""A response that any change of any project may change."""


@frozen
class SentHead:
    """The status line and the fields of a response, in the order in which they were sent."""

    first: bytes
    fields: tuple[tuple[bytes, bytes], ...] = field(repr=False)


class RequestKey(Protocol):
    """A request whose response may be reused for the next identical one."""

    def answered(self, request: Request) -> None:
        """Record the response, which is complete."""
