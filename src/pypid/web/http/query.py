"""Strict decoding of query parameters: an unknown one is an error, not ignored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from attrs import field, frozen

from pypid.core.errors import BadRequest, shortened
from pypid.web.http.request import Request

LARGEST_SERIAL = (1 << 63) - 1
"""The largest serial of a log entry that a database can hold."""
LONGEST = 300
"""Maximum length of a value in characters."""


@frozen
class Parameter:
    """A query parameter of a route: its name, what it does, and the JSON Schema of its text
    (`web.api.openapi`).
    """

    name: str
    says: str
    schema: Mapping[str, Any] = field(factory=lambda: {"type": "string", "maxLength": LONGEST})
    required: bool = False


def parameters(request: Request, *known: str) -> dict[str, str]:
    """Return the query's values by name; a name alone (``?all``) has an empty one.

    Raises `BadRequest` for other names, for a name that comes twice, and for values that are not
    printable text in UTF-8. (Twisted's ``args`` leave out a name alone.)
    """
    try:
        query = request.uri.partition(b"?")[2].decode("ascii")
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=50)
    except ValueError:
        raise BadRequest(
            "The query string cannot be read: it has to be UTF-8 text, %-encoded."
        ) from None
    found: dict[str, str] = {}
    for name, value in pairs:
        if name not in known:
            raise BadRequest(
                f"The parameter {shortened(name)!r} is not known here; there are: "
                f"{', '.join(known)}."
            )
        if name in found:
            raise BadRequest(f"The parameter {name} was given more than once.")
        if len(value) > LONGEST or not value.isprintable():
            raise BadRequest(
                f"The parameter {name} has more than {LONGEST} characters, or some that cannot be "
                "printed."
            )
        found[name] = value
    return found


def names(declared: Iterable[Parameter]) -> tuple[str, ...]:
    """Return the names of the parameters, for `parameters`."""
    return tuple(parameter.name for parameter in declared)


def flag(texts: Mapping[str, str], name: str) -> bool:
    """Return whether the name was given: alone, or with ``yes``. Raises `BadRequest` for anything
    but ``yes`` and ``no``.
    """
    if texts.get(name, "no") not in ("", "yes", "no"):
        raise BadRequest(f"{name} is given alone, or with yes or no.")
    return texts.get(name, "no") != "no"


def number(texts: Mapping[str, str], name: str, least: int, most: int) -> int | None:
    """Return the whole number that was given under this name, if any. Raises `BadRequest` for any
    other text.
    """
    text = texts.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most):
        raise BadRequest(f"{name} is a whole number from {least} to {most}.")
    return int(text)
