"""A long list, a page at a time: ``?page=2``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar
from urllib.parse import parse_qs

from attrs import frozen

from pypid.web.request import Request

T = TypeVar("T")

LINES = 100


@frozen
class Leaf(Generic[T]):
    """The lines of one page, which begin at `first` (from 0), of `total` on `pages`."""

    lines: Sequence[T]
    first: int
    total: int
    page: int
    pages: int


def leaf_of(request: Request, lines: Sequence[T], most: int = LINES) -> Leaf[T]:
    """The page that is asked for: what is no number is the first, what is beyond the last is the last."""
    pages = max(1, -(-len(lines) // most))
    page = min(pages, max(1, _asked(request)))
    first = (page - 1) * most
    return Leaf(lines[first : first + most], first, len(lines), page, pages)


def text_asked(request: Request, name: str) -> str:
    """The value of a parameter; "" where there is none, or none that can be read."""
    query = request.uri.partition(b"?")[2].decode("latin-1")
    try:
        return parse_qs(query, max_num_fields=50).get(name, [""])[-1]
    except ValueError:
        return ""


def _asked(request: Request) -> int:
    text = text_asked(request, "page")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 1
