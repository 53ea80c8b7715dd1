"""Pagination of long lists: ``?page=2``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar
from urllib.parse import quote

from attrs import frozen

from pypid.web.http.form_fields import query_fields
from pypid.web.http.request import Request

T = TypeVar("T")

LINES = 100
"""Number of lines of a list on one page."""


@frozen
class ListSlice(Generic[T]):
    """The lines of one page of a list; `link` is the list's address without the page number."""

    lines: Sequence[T]
    total: int
    page: int
    pages: int
    link: str


def leaf_of(lines: Sequence[T], request: Request, *filters: str, most: int = LINES) -> ListSlice[T]:
    """Return the requested page of the list, by ``page=``; `filters` are the other parameters that
    narrow the list.
    """
    query = query_fields(request)
    pages = max(1, -(-len(lines) // most))
    text = query.text("page")
    page = min(
        max(1, int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 1), pages
    )
    kept = "".join(
        f"{name}={quote(query.text(name), safe='')}&" for name in filters if query.text(name)
    )
    return ListSlice(lines[(page - 1) * most : page * most], len(lines), page, pages, f"?{kept}")
