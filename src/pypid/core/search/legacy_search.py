"""Search of projects by words, as in ``pip search``: the answer of XML-RPC's ``search(criteria,
query_type)``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from attrs import frozen

from pypid.core.model import File, Project

MOST_WORDS = 50
"""Maximum words in one column: users type a few, and each is searched in every summary."""
COLUMNS = ("name", "summary")

_RUNS = re.compile(r"[-_.]+")


@frozen
class LegacySearchHit:
    """A matching project: its newest matching release, and that release's summary."""

    name: str
    version: str
    summary: str


@frozen
class LegacySearchQuery:
    """The words to search for: any or all of the words of a column must match; a match in one
    column is enough.
    """

    names: tuple[str, ...]
    summaries: tuple[str, ...]
    every: bool = False

    @classmethod
    def read(cls, criteria: object, query_type: object) -> LegacySearchQuery:
        """Parse the query from clients: lists of words by column; other columns are ignored.

        ``and`` requires all words of a column, anything else any of them. Raises `ValueError` for
        any other structure.
        """
        if not isinstance(criteria, Mapping) or not isinstance(query_type, str):
            raise ValueError("search takes a structure of lists of words, and 'or' or 'and'")
        words = {column: tuple(_words(criteria.get(column, ()))) for column in COLUMNS}
        return cls(words["name"], words["summary"], every=query_type == "and")

    @property
    def wants_all(self) -> bool:
        """Whether there are no words: then every project matches."""
        return not self.names and not self.summaries

    def fits_name(self, name: str) -> bool:
        """Return whether a project's name matches. Words are normalised like names: ``my_pkg``
        finds ``my-pkg``.
        """
        return self._fits(self.names, lambda word: word in name or _RUNS.sub("-", word) in name)

    def fits_summary(self, summary: str | None) -> bool:
        """Return whether a release's summary matches."""
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
    """Return the matching projects, in their order. Yanked files are considered only if there are
    no others.
    """
    found = (_best(project, query) for project in projects)
    return [
        LegacySearchHit(file.project, file.version, file.summary or "")
        for file in found
        if file is not None
    ]


def _best(project: Project, query: LegacySearchQuery) -> File | None:
    """Return the newest matching file."""
    files = [file for file in project.files if file.yanked is None] or project.files
    if query.wants_all or query.fits_name(project.name):
        return next(reversed(files), None)
    return (
        next((file for file in reversed(files) if query.fits_summary(file.summary)), None)
        if query.summaries
        else None
    )
