"""What a page was asked for behind its question mark, or by a form; which part of a long list it shows; what was wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar
from urllib.parse import parse_qsl, quote

from attrs import frozen

from pypid.core.errors import (
    BadName,
    BadRequest,
    ChangedElsewhere,
    LastAdmin,
    LoginRefused,
    NameTaken,
    NoSuchGroup,
    NoSuchUser,
    PypidError,
    RegistrationClosed,
    TooManyAttempts,
)
from pypid.core.permissions import Identity
from pypid.web.errors import refusal_of
from pypid.web.face import Face
from pypid.web.fields import Fields
from pypid.web.request import Request
from pypid.web.ui.pages import show

T = TypeVar("T")

MOST, LONGEST = 50, 300
"""Parameters that are looked at, and characters of one."""
LINES = 100
"""Of a list on one page."""

MISTAKES = (
    BadRequest,
    BadName,
    NameTaken,
    NoSuchUser,
    NoSuchGroup,
    LastAdmin,
    ChangedElsewhere,
    LoginRefused,
    RegistrationClosed,
    TooManyAttempts,
)
"""What a form is shown again for, with what is wrong above it."""


@frozen
class Leaf(Generic[T]):
    """The lines of one page of a list; `link` is the address of the list without the page's number."""

    lines: Sequence[T]
    total: int
    page: int
    pages: int
    link: str


def asked(request: Request) -> Fields:
    """What stands behind the question mark. What is too long, or no text, is as not said."""
    query = request.uri.partition(b"?")[2].decode("latin-1")
    try:
        pairs = parse_qsl(query, max_num_fields=MOST)
    except ValueError:
        return Fields()
    texts: dict[str, list[str]] = {}
    for name, text in pairs:
        if len(text) <= LONGEST and text.isprintable():
            texts.setdefault(name, []).append(text)
    return Fields(texts)


def sent(request: Request) -> Fields:
    """The form that the guard has read."""
    return request.form or Fields()


def leaf_of(lines: Sequence[T], request: Request, *filters: str, most: int = LINES) -> Leaf[T]:
    """The page of the list that was asked for, by ``page=`` and what else narrows the list (`filters`)."""
    given = asked(request)
    pages = max(1, -(-len(lines) // most))
    text = given.text("page")
    page = min(max(1, int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 1), pages)
    kept = "".join(f"{name}={quote(given.text(name), safe='')}&" for name in filters if given.text(name))
    return Leaf(lines[(page - 1) * most : page * most], len(lines), page, pages, f"?{kept}")


def refused(request: Request, error: PypidError) -> tuple[int, list[str]]:
    """The status of the page that shows the form again, and what it says; fields of the answer's head are set."""
    refusal = refusal_of(error, b"POST")
    if refusal is None:
        raise error
    for name, value in refusal.head:
        request.responseHeaders.setRawHeaders(name, [value])
    return refusal.status, [line for line in refusal.text.splitlines() if line.strip()]


def demand_typed(said: Fields, word: str) -> None:
    """Raise `BadRequest` unless the word was typed that confirms what cannot be undone."""
    if said.text("confirm").strip() != word:
        raise BadRequest(f"Nothing was changed. To confirm it, type {word} into the field.")


async def has_no_accounts(face: Face, request: Request, who: Identity) -> bool:
    """Whether this pypid writes no people down; then a page has said so."""
    if face.registry is not None:
        return False
    await show(face, request, who, "no_accounts.html")
    return True
