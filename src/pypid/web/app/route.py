"""Declarations of routes: ``@route("GET", "/simple/<project>/", action=Action.READ)``.

A declaration only describes its function. `web.app.route_table` lists the modules with routes and
makes the table of them, which routing, the guard, the OpenAPI document and the tests of rights use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from enum import Enum
from types import ModuleType
from typing import Annotated, Any, TypedDict, TypeVar

from attrs import field, frozen
from msgspec import Meta

from pypid.core.errors import PypidError
from pypid.core.permissions import Action
from pypid.web.http.request import Parameter

# Declarations of what a route takes and returns, made at the route; `web.api.openapi` builds a
# document of them.
#
# The shapes of responses are TypedDicts: mypy checks the dicts that routes return against them, at
# no cost at run time.

Moment = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
"""``2027-01-31T12:00:00Z``, as `core.simple_api.render.utc_text` writes it."""

UtcTime = Annotated[datetime, Meta(tz=True)]
"""The same as a `datetime`: msgspec encodes it in this form."""

Duration = Annotated[
    str, Meta(extra_json_schema={"pattern": "^[0-9]{1,15}[smhd]?$", "examples": ["30d"]})
]
"""A duration in the format of `core.configuration.values.parse_duration`, which refuses
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


class OpenAction(Enum):
    """For routes that need no right; a wrong password is refused there too."""

    ANYBODY = "anybody"
    """For what shows nothing of the index (health, style sheets)."""
    SOMEBODY = "somebody"
    """For what belongs to each user (passwords, tokens): requires a login."""


ANYBODY, SOMEBODY = OpenAction.ANYBODY, OpenAction.SOMEBODY


@frozen(kw_only=True)
class Route:
    """A route: method and path, the action that the client must be allowed, and its function.

    A `page` is for people: an anonymous browser is sent to the login page, and errors are pages. A
    `form` (urlencoded) is read before access is checked, since it contains the CSRF token; the
    handler finds it in ``request.form``. The handler of a `multipart` form takes the token itself,
    before anything else (`demand_csrf_token` with ``request.session``). At an `entrance` users log
    in or register: the cookie of an existing session is ignored, and requests from pages of other
    sites are refused. The value ``project`` of the path, if any, is the project that
    the action is checked for.
    """

    method: str
    path: str
    """The path as werkzeug spells it: ``/simple/<project>/``."""
    action: Action | OpenAction
    handler: Callable[..., Any] = field(eq=False, repr=False)
    """``async def handler(ctx: RequestContext, **values)``."""
    page: bool = False
    form: bool = False
    multipart: bool = False
    entrance: bool = False
    below_index: bool = False
    """Whether the route also exists below the name of an index: ``/NAME/simple/<project>/``. Its
    handler then uses only what the `App` of that index has.
    """
    cross_site: bool = False
    """Whether scripts on pages of other sites may read it, such as micropip: OPTIONS is answered,
    too (C116).
    """
    describe: Described | None = field(default=None, eq=False, repr=False)

    @property
    def methods(self) -> frozenset[str]:
        """The methods of requests that are answered: HEAD with GET."""
        further = {"HEAD"} if self.method == "GET" else set()
        return frozenset({self.method, *further, *({"OPTIONS"} if self.cross_site else ())})


F = TypeVar("F", bound=Callable[..., Any])


def route(
    method: str, path: str, *, action: Action | OpenAction, **options: Any
) -> Callable[[F], F]:
    """Declare a route for the decorated function; `options` are the other fields of `Route`.
    Several may stand above one function, each with its own action.
    """
    if not isinstance(action, (Action, OpenAction)):
        raise TypeError(
            f"The route {path!r} must name its action: action=Action.READ, for example, or "
            f"action=ANYBODY."
        )
    if not method.isupper():
        raise TypeError(f"The route {path!r} must name its method: GET, for example.")

    def declare(handler: F) -> F:
        declared = Route(method=method, path=path, action=action, handler=handler, **options)
        # an attribute keeps the function callable and typed as it is, unlike a wrapper
        handler.__pypid_routes__ = (  # type: ignore[attr-defined]
            declared,
            *getattr(handler, "__pypid_routes__", ()),
        )
        return handler

    return declare


def declared_routes(module: ModuleType) -> Iterator[Route]:
    """Yield the routes of the functions that the module defines."""
    for value in vars(module).values():
        if getattr(value, "__module__", None) == module.__name__:
            yield from getattr(value, "__pypid_routes__", ())
