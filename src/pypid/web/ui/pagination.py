"""A long list, a page at a time: ``?page=2``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar
from urllib.parse import quote

from attrs import frozen

from pypid.web.http.form_fields import asked
from pypid.web.http.request import Request

T = TypeVar("T")

LINES = 100
"""Of a list on one page."""


@frozen
class ListSlice(Generic[T]):
    """The lines of one page of a list; `link` is the address of the list without
    the page's number.
    """

    lines: Sequence[T]
    total: int
    page: int
    pages: int
    link: str


def leaf_of(lines: Sequence[T], request: Request, *filters: str, most: int = LINES) -> ListSlice[T]:
    """The page of the list that was asked for, by ``page=`` and what else narrows the list
    (`filters`).
    """
    given = asked(request)
    pages = max(1, -(-len(lines) // most))
    text = given.text("page")
    page = min(
        max(1, int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 1), pages
    )
    kept = "".join(
        f"{name}={quote(given.text(name), safe='')}&" for name in filters if given.text(name)
    )
    return ListSlice(lines[(page - 1) * most : page * most], len(lines), page, pages, f"?{kept}")
