"""The parameters behind the question mark of an address, decoded strictly: an unknown one is an error, not ignored."""

from __future__ import annotations

from pypid.core.errors import BadRequest, shortened
from pypid.web.request import Request

LONGEST = 300
"""Characters of a value."""


def parameters(request: Request, *known: str) -> dict[str, str]:
    """The values that were given, by name. Raises `BadRequest` for other names, and for a name that comes twice."""
    found: dict[str, str] = {}
    for raw, values in (request.args or {}).items():
        name = raw.decode("latin-1")
        if name not in known:
            raise BadRequest(f"The parameter {shortened(name)!r} is not known here; there are: {', '.join(known)}.")
        if len(values) != 1:
            raise BadRequest(f"The parameter {name} was given {len(values)} times: give it once.")
        found[name] = _text(name, values[0])
    return found


def number(given: dict[str, str], name: str, least: int, most: int) -> int | None:
    """The whole number that was given under this name, if any. Raises `BadRequest` for any other text."""
    text = given.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most):
        raise BadRequest(f"{name} is a whole number from {least} to {most}.")
    return int(text)


def _text(name: str, value: bytes) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        raise BadRequest(f"The parameter {name} is not text in UTF-8.") from None
    if len(text) > LONGEST or not text.isprintable():
        raise BadRequest(f"The parameter {name} has more than {LONGEST} characters, or some that cannot be printed.")
    return text
