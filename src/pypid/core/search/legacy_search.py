"""Searching projects by words, as ``pip search`` does: what XML-RPC's ``search(criteria,
query_type)`` answers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from attrs import frozen

from pypid.core.model import File, Project

MOST_WORDS = 50
"""Of one column: whoever searches types a few, and each is looked for in every summary."""
COLUMNS = ("name", "summary")

_RUNS = re.compile(r"[-_.]+")


@frozen
class LegacySearchHit:
    """A project that was found: its newest release that fits, and what that says of itself."""

    name: str
    version: str
    summary: str


@frozen
class LegacySearchQuery:
    """What is looked for: in each column any of its words, or all of them; what fits in one column
    fits.
    """

    names: tuple[str, ...]
    summaries: tuple[str, ...]
    every: bool = False

    @classmethod
    def read(cls, criteria: object, query_type: object) -> LegacySearchQuery:
        """As clients send it: lists of words by column; of another column nothing is known, and so
        nothing is looked for.

        ``and`` wants all words of a column, anything else any of them. Raises `ValueError` for what
        is none of that.
        """
        if not isinstance(criteria, Mapping) or not isinstance(query_type, str):
            raise ValueError("search takes a structure of lists of words, and 'or' or 'and'")
        words = {column: tuple(_words(criteria.get(column, ()))) for column in COLUMNS}
        return cls(words["name"], words["summary"], every=query_type == "and")

    @property
    def wants_all(self) -> bool:
        """Whether no word was given: then there is nothing that a project could lack."""
        return not self.names and not self.summaries

    def fits_name(self, name: str) -> bool:
        """Whether a project of this name is meant. Words are normalised as names are: ``my_pkg``
        finds ``my-pkg``.
        """
        return self._fits(self.names, lambda word: word in name or _RUNS.sub("-", word) in name)

    def fits_summary(self, summary: str | None) -> bool:
        """Whether a release that says this of itself is meant."""
        text = (summary or "").lower()
        return bool(text) and self._fits(self.summaries, lambda word: word in text)

    def _fits(self, words: Sequence[str], is_in: Any) -> bool:
        return bool(words) and (all if self.every else any)(map(is_in, words))


def _words(value: object) -> Iterator[str]:
    if not isinstance(value, (list, tuple)) or len(value) > MOST_WORDS:
        raise ValueError(f"search takes at most {MOST_WORDS} words a column, in a list")
    for word in value:
        if not isinstance(word, str):
            raise ValueError("search looks for words")
        if word:
            yield word.lower()


def search(projects: Iterable[Project], query: LegacySearchQuery) -> list[LegacySearchHit]:
    """Those that fit, in their order. Yanked files are looked at only where there are no others."""
    found = (_best(project, query) for project in projects)
    return [
        LegacySearchHit(file.project, file.version, file.summary or "")
        for file in found
        if file is not None
    ]


def _best(project: Project, query: LegacySearchQuery) -> File | None:
    """The newest file that fits."""
    files = [file for file in project.files if file.yanked is None] or project.files
    if query.wants_all or query.fits_name(project.name):
        return next(reversed(files), None)
    return (
        next((file for file in reversed(files) if query.fits_summary(file.summary)), None)
        if query.summaries
        else None
    )
