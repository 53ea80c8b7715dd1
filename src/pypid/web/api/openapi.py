"""The JSON API below ``/api/`` as an OpenAPI 3.1 document: ``GET /api/openapi.json``.

Built from the routes themselves: their paths and actions (`web.app.route`), their
descriptions (`web.app.route`), the types that bodies are decoded with, and the table of
errors. There is no second list that could become outdated.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from http import HTTPStatus
from typing import Any

import msgspec

from pypid import __version__
from pypid.core import errors
from pypid.core.accounts.rights import NAMED, Whom
from pypid.core.accounts.sessions import cookie_name
from pypid.core.errors import PypidError
from pypid.core.packaging.names import LONGEST_GLOB, LONGEST_NAME
from pypid.core.permissions import Action
from pypid.web.app.errors import Refused, status_of
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import ANYBODY, FILE_BYTES, SOMEBODY, Described, Route, route
from pypid.web.http.cookies import HARMLESS
from pypid.web.http.event_stream import EVENTS, LINES
from pypid.web.http.headers import ErrorFormat
from pypid.web.http.small_responses import send_json

PREFIX = "/api/"
JSON = ErrorFormat.JSON.value
FORM = "multipart/form-data"

PLACES: Mapping[str, Mapping[str, Any]] = {
    "glob": {"type": "string", "maxLength": LONGEST_GLOB},
    "project": {
        "type": "string",
        "maxLength": LONGEST_NAME,
        "pattern": "^([A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9._-]*[A-Za-z0-9])$",
    },
    "filename": {"type": "string", "minLength": 1},
    "version": {"type": "string", "minLength": 1},
    "name": {"type": "string", "minLength": 1},
    "user": {"type": "string", "minLength": 1},
    "kind": {"enum": [whom.value for whom in Whom]},
    "id": {"type": "string", "minLength": 1},
    "index": {"type": "string", "minLength": 1},
    "block": {"type": "string", "minLength": 1},
    "approval": {"type": "string", "minLength": 1},
}
"""The schema of each path parameter."""

NEEDS = {
    Action.READ: "Needs the right to read.",
    Action.WRITE: "Needs the right to write.",
    Action.OVERWRITE: "Needs the right to overwrite.",
    Action.DELETE: "Needs the right to delete.",
    Action.FETCH: "Needs the right to fetch from the upstream.",
    Action.COLLECT: "Needs the right to fetch the files of requirements.",
    Action.MANAGE: "Needs an administrator, or the owner of the project.",
    Action.ADMIN: "Needs an administrator.",
    Action.METRICS: "Needs the right to read the metrics.",
    SOMEBODY: "Needs a login.",
    ANYBODY: "Needs no login.",
}

WHOEVER_ASKS = (errors.Unauthenticated, errors.TooManyAttempts, errors.PeopleUnknown)
"""Errors of all routes, since each request is authenticated."""
WHOEVER_CHANGES = (errors.OtherSite, errors.NoCsrfToken, errors.StorageDown, errors.StorageFull)
WHATEVER_IS_SENT = (errors.BadRequest, errors.TooLarge)

_MARKUP = re.compile(r"<(\w+)>")
_FOR_PYTHON = re.compile(
    r"(?::|, and nothing is granted:) HTTP [0-9]"
    r"| \((?:[0-9]|raised|packaging|tombstone|project)|; `|: `| `"
)
_SENTENCE = re.compile(r"(.+?)(?:\.( |$)| \()")


@route("GET", "/api/openapi.json", action=ANYBODY, describe=Described(dict[str, Any]))
async def openapi(ctx: RequestContext) -> None:
    """Return this document (OpenAPI 3.1). It discloses nothing of the index, and is the same for
    all clients.
    """
    base = ctx.base_url
    send_json(
        ctx.request,
        {
            **document(ctx.app.routes, secure=ctx.request.scheme == "https"),
            "servers": [{"url": base or "/"}],
        },
    )


@cache
def document(routes: Iterable[Route], *, secure: bool = False) -> Mapping[str, Any]:
    """Return the document without its ``servers``. `secure`: for clients that use TLS, whose cookie
    has another name.

    Raises `TypeError` for a route that does not describe what it takes and answers.
    """
    return _document(routes, secure=secure)


def described_routes(routes: Iterable[Route]) -> Iterator[tuple[Route, Described]]:
    """Yield the routes below ``/api/`` with their descriptions. Raises `TypeError` if one has
    none.
    """
    for each in routes:
        if each.path.startswith(PREFIX):
            if each.describe is None or not (each.handler.__doc__ or "").strip():
                raise TypeError(
                    f"The route {each.path!r} needs a docstring and describe=Described(...)."
                )
            yield each, each.describe


def _document(routes: Iterable[Route], *, secure: bool) -> Mapping[str, Any]:
    found = list(described_routes(routes))
    shaped = (
        kind
        for _, description in found
        for kind in (description.takes, description.form, description.gives)
        if kind is not None
    )
    kinds = [Refused, *(kind for kind in shaped if kind is not FILE_BYTES)]
    schemas, components = msgspec.json.schema_components(
        kinds, ref_template="#/components/schemas/{name}"
    )
    shapes = {id(kind): schema for kind, schema in zip(kinds, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for each, description in found:
        path = paths.setdefault(_MARKUP.sub(r"{\1}", each.path), {})
        path[each.method.lower()] = _operation(each, description, shapes)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "pypid",
            "version": __version__,
            "description": (
                "Management of a Python package index: projects, files, users, rights and tokens."
            ),
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": _all_refusals(found, shapes[id(Refused)]),
            "securitySchemes": _schemes(secure=secure),
        },
    }


def _operation(route: Route, description: Described, shapes: Mapping[int, Any]) -> dict[str, Any]:
    lines = " ".join((route.handler.__doc__ or "").split())
    summary = _SENTENCE.match(lines)
    operation = {
        "operationId": _identifier(route.method, route.path),
        "tags": [re.split(r"[/.]", route.path[len(PREFIX) :])[0]],
        "summary": summary[1] if summary else lines,
        "description": f"{lines}\n\n{NEEDS[route.action]}",
        "security": _security(route),
        "responses": _responses(route, description, shapes),
    }
    parameters = [*_places(route.path), *_asks(description)]
    if parameters:
        operation["parameters"] = parameters
    if description.takes is not None:
        operation["requestBody"] = {
            "required": not _may_be_left_out(description.takes),
            "content": {JSON: {"schema": shapes[id(description.takes)]}},
        }
    if description.form is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {FORM: {"schema": shapes[id(description.form)]}},
        }
    return operation


def _identifier(method: str, rule: str) -> str:
    """Return the operation id: ``getUsersName`` for ``GET /api/users/<name>``."""
    return method.lower() + "".join(
        word.capitalize() for word in re.findall(r"[A-Za-z]+", rule[len(PREFIX) :])
    )


def _may_be_left_out(kind: Any) -> bool:
    """Return whether a body may be empty, which counts as an empty object
    (`web.http.small_responses.read_json`).
    """
    try:
        msgspec.convert({}, kind)
    except msgspec.ValidationError:
        return False
    return True


# --- parameters -----------------------------------------------------------------------------------


def _places(rule: str) -> Iterator[dict[str, Any]]:
    names = _MARKUP.findall(rule)
    for name in names:
        schema = PLACES[name]
        if name == "kind":
            schema = {"enum": [whom.value for whom in Whom if (whom in NAMED) == ("name" in names)]}
        yield {"name": name, "in": "path", "required": True, "schema": schema}


def _asks(description: Described) -> Iterator[dict[str, Any]]:
    for parameter in description.asks:
        found = {
            "name": parameter.name,
            "in": "query",
            "description": parameter.says,
            "schema": parameter.schema,
        }
        yield {**found, "required": True} if parameter.required else found


# --- security -------------------------------------------------------------------------------------


def _schemes(*, secure: bool) -> dict[str, Any]:
    cookie = cookie_name(secure=secure)
    return {
        "password": {
            "type": "http",
            "scheme": "basic",
            "description": "A user's name and password, or `__token__` and a token.",
        },
        "token": {
            "type": "http",
            "scheme": "bearer",
            "description": "A token (`POST /api/tokens`).",
        },
        "session": {
            "type": "apiKey",
            "in": "cookie",
            "name": cookie,
            "description": "A session (`POST /api/session`).",
        },
        "csrf": {
            "type": "apiKey",
            "in": "header",
            "name": "X-CSRF-Token",
            "description": (
                "The `csrf_token` of the session: beside its cookie, for all that changes "
                "something."
            ),
        },
    }


def _security(route: Route) -> list[dict[str, list[str]]]:
    found: list[dict[str, list[str]]] = [{"password": []}, {"token": []}]
    if not route.entrance:
        found.append(
            {"session": []} if route.method.encode() in HARMLESS else {"session": [], "csrf": []}
        )
    # the configuration says whether anonymous clients may read
    return [{}, *found] if route.action in (ANYBODY, Action.READ) else found


# --- responses ------------------------------------------------------------------------------------


def _responses(route: Route, description: Described, shapes: Mapping[int, Any]) -> dict[str, Any]:
    if description.gives is FILE_BYTES:
        found = _file_answers()
    else:
        content: dict[str, Any] = {JSON: {"schema": shapes[id(description.gives)]}}
        if description.streams:
            content |= {kind: {"schema": {"type": "string"}} for kind in (EVENTS, LINES)}
        found = {
            str(description.status): {
                "description": HTTPStatus(description.status).phrase,
                "content": content,
            }
        }
    for status, kinds in sorted(_refusals(route, description).items()):
        found[str(status)] = {"$ref": f"#/components/responses/{_name_of(status, kinds)}"}
    return found


def _file_answers() -> dict[str, Any]:
    """Return the responses of a route that sends files: all or a part of one, a redirect to it, and
    the results of conditions (RFC 9110, 13).
    """
    found: dict[str, Any] = {
        str(status): {"description": HTTPStatus(status).phrase}
        for status in (200, 206, 302, 304, 412, 416)
    }
    for status in ("200", "206"):
        found[status]["content"] = {
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
        }
    return found


def _refusals(route: Route, description: Described) -> dict[int, tuple[type[PypidError], ...]]:
    """Return the errors that a request may be refused with, by status."""
    found: dict[int, tuple[type[PypidError], ...]] = {}
    for kind in dict.fromkeys(_kinds(route, description)):
        status = status_of(kind, route.method.encode())
        found[status] = (*found.get(status, ()), kind)
    return found


def _kinds(route: Route, description: Described) -> Iterator[type[PypidError]]:
    yield from WHOEVER_ASKS
    if isinstance(route.action, Action):
        yield errors.Forbidden
    if route.method.encode() not in HARMLESS:
        yield from WHOEVER_CHANGES
    if description.takes is not None or description.form is not None:
        yield from WHATEVER_IS_SENT
    if description.asks:
        yield errors.BadRequest
    if "<project>" in route.path:
        yield errors.BadName
    yield from description.refuses


def _all_refusals(routes: Iterable[tuple[Route, Described]], shape: Any) -> dict[str, Any]:
    """Return each response once, since most routes share them."""
    found = {}
    for each, description in routes:
        for status, kinds in _refusals(each, description).items():
            found[_name_of(status, kinds)] = _refusal(status, kinds, shape)
    return dict(sorted(found.items()))


def _name_of(status: int, kinds: Iterable[type[PypidError]]) -> str:
    return "-".join([str(status), *(kind.__name__ for kind in kinds)])


def _refusal(status: int, kinds: Iterable[type[PypidError]], shape: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "description": " Or: ".join(_reason(kind) for kind in kinds),
        "content": {
            kind.value.partition(";")[0]: {
                "schema": shape if kind is ErrorFormat.JSON else {"type": "string"}
            }
            for kind in ErrorFormat
        },
    }
    if status == 401:
        found["headers"] = {"WWW-Authenticate": {"required": True, "schema": {"type": "string"}}}
    if status in (429, 503):
        found["headers"] = {
            "Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}
        }
    return found


def _reason(kind: type[PypidError]) -> str:
    """Return an error's docstring without the status, and without what is for Python only."""
    text = " ".join((kind.__doc__ or "").split())
    return _FOR_PYTHON.split(text, maxsplit=1)[0].rstrip(".") + "."
