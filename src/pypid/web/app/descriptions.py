"""What a route takes and answers, said at the route itself; `web.api.openapi` makes a document of it.

The shapes of answers are TypedDicts: mypy holds every dict that a route makes of them against them,
and nothing is paid for it while pypid runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypedDict, TypeVar

from attrs import field, frozen
from msgspec import Meta

from pypid.core.errors import PypidError
from pypid.web.http.query import Parameter

Moment = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
"""``2027-01-31T12:00:00Z``, as `core.simple_api.render.utc_text` writes it."""

Duration = Annotated[
    str, Meta(extra_json_schema={"pattern": "^[0-9]{1,15}[smhd]?$", "examples": ["30d"]})
]
"""As `core.configuration.value_kinds.parse_duration` reads it, which is what refuses others."""


FILE_BYTES = "the bytes of a file"
"""What a route gives that answers with a file, or a part of it, or where it is to be had."""


class Removed(TypedDict):
    """What is there no more."""

    name: str
    removed: bool


F = TypeVar("F", bound=Callable[..., Any])


@frozen
class Described:
    """A decorator, which stands below `guarded`. Shapes are types that msgspec knows."""

    gives: Any
    """The shape of the answer's document; or `FILE_BYTES`."""
    status: int = field(default=200, kw_only=True)
    takes: Any = field(default=None, kw_only=True)
    """The shape of the request's document; None: there is none."""
    form: Any = field(default=None, kw_only=True)
    """The shape of the form (multipart/form-data) that the request is; None: it is none."""
    asks: tuple[Parameter, ...] = field(default=(), kw_only=True)
    """The parameters behind the question mark."""
    refuses: tuple[type[PypidError], ...] = field(default=(), kw_only=True)
    """The errors of this route, beside those that all routes of its kind may raise (see
    `web.api.openapi`).
    """
    streams: bool = field(default=False, kw_only=True)
    """Whether events are sent to those who accept them (`web.http.event_stream`)."""

    def __call__(self, route: F) -> F:
        route.__pypid_described__ = self  # type: ignore[attr-defined]  # the guard's wrapper, and Klein's, inherit it
        return route
