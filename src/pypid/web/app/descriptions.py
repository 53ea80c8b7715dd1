"""Declarations of what a route takes and returns, made at the route; `web.api.openapi` builds a
document of them.

The shapes of responses are TypedDicts: mypy checks the dicts that routes return against them, at no
cost at run time.
"""

from __future__ import annotations

from typing import Annotated, Any, TypedDict

from attrs import field, frozen
from msgspec import Meta

from pypid.core.errors import PypidError
from pypid.web.http.query import Parameter

Moment = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
"""``2027-01-31T12:00:00Z``, as `core.simple_api.render.utc_text` writes it."""

Duration = Annotated[
    str, Meta(extra_json_schema={"pattern": "^[0-9]{1,15}[smhd]?$", "examples": ["30d"]})
]
"""A duration in the format of `core.configuration.value_kinds.parse_duration`, which refuses
others.
"""


FILE_BYTES = "the bytes of a file"
"""The response of a route that sends a file, a part of it, or a redirect to it."""


class Removed(TypedDict):
    """A removed object."""

    name: str
    removed: bool


@frozen
class Described:
    """What a route takes and returns: ``@route(..., describe=Described(...))``. Shapes are types
    that msgspec supports.
    """

    gives: Any
    """The shape of the response document; or `FILE_BYTES`."""
    status: int = field(default=200, kw_only=True)
    takes: Any = field(default=None, kw_only=True)
    """The shape of the request document; None: there is none."""
    form: Any = field(default=None, kw_only=True)
    """The shape of the form (multipart/form-data) that the route takes; None: it takes none."""
    asks: tuple[Parameter, ...] = field(default=(), kw_only=True)
    """The query parameters."""
    refuses: tuple[type[PypidError], ...] = field(default=(), kw_only=True)
    """The errors of this route, in addition to those that all routes of its kind may raise (see
    `web.api.openapi`).
    """
    streams: bool = field(default=False, kw_only=True)
    """Whether clients that accept events get them (`web.http.event_stream`)."""
