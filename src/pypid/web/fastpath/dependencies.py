"""What the routes say of an answer so that the front door may keep it, and how the front door
learns that it was given.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from attrs import field, frozen

from pypid.core.model import File
from pypid.core.packaging.names import ProjectName
from pypid.index.request_context import DIRECT, RequestContext

if TYPE_CHECKING:
    from pypid.web.http.request import Request


@frozen
class ResponseDependencies:
    """What an answer depends on, beside its request, who sends it, and the rules.

    The view of a `project`, or the lists of all; by what is `asked`. `file` is what whoever gets
    the answer is given; it says nothing of it `until` then.
    """

    project: ProjectName | None
    asked: RequestContext = DIRECT
    file: File | None = None
    until: datetime | None = None


OF_LISTS = ResponseDependencies(None)
"""An answer that any change of any project may change."""


@frozen
class SentHead:
    """The status line and the fields of an answer, in the order in which they were sent."""

    first: bytes
    fields: tuple[tuple[bytes, bytes], ...] = field(repr=False)


class RequestKey(Protocol):
    """A request, as far as the answer to the next one in the same words may be the same."""

    def answered(self, request: Request) -> None:
        """The answer to it is complete."""
