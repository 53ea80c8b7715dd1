"""Search: queries, what is known of a project, results. `pypid.search` finds and ranks. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from unicodedata import combining, normalize
from zlib import crc32

from attrs import frozen

from pypid.core.packaging.names import ProjectName

LONGEST_QUERY = 200
"""Maximum characters of a query that are used."""
MOST_WORDS = 8
"""Maximum words of a query."""
LONGEST_WORD = 40
"""Maximum characters of a word, in queries and in texts."""
LONGEST_FILTER = 200
SHORT = 3
"""Shorter words match the beginnings of names, and elsewhere whole words only: too many words begin
with them.
"""

_WORDS = re.compile(r"[^\W_]+")
_PYTHON = re.compile(r"([23])(?:\.([0-9]{1,2})(?:\.[0-9]{1,3})?)?\Z", re.ASCII)
_TIE = 20
_SECONDS = 36
"""Bits for the tie-breaker within a second, and for the second."""


def words_of(text: str, most: int = MOST_WORDS) -> tuple[str, ...]:
    """Return a text's words as searched: letters and digits without accents and case."""
    if text.isascii():  # nearly all texts are, and the other branch takes ten times as long
        plain = text.lower()
    else:
        plain = "".join(
            letter for letter in normalize("NFKD", text) if not combining(letter)
        ).casefold()
    found = (match[0][:LONGEST_WORD] for match in _WORDS.finditer(plain))
    return tuple(word for _, word in zip(range(most), found, strict=False))


def classifier_of(text: str) -> str:
    """Return a classifier, or the beginning of one, in the form for comparisons."""
    return " :: ".join(part.strip().casefold() for part in text.split("::"))


# --- what is looked for ---------------------------------------------------------------------------


@frozen(kw_only=True)
class SearchQuery:
    """The words and filters of a search. Without words all projects that pass the filters match."""

    words: tuple[str, ...] = ()
    ours: bool | None = None
    """Only local projects, or only upstream ones."""
    python: str | None = None
    """``3.12`` or ``3``: only projects that run there."""
    license: tuple[str, ...] = ()
    """Words that the licence must contain."""
    classifier: str = ""
    """Only projects with this classifier or one below it; as `classifier_of` spells it."""

    @classmethod
    def read(
        cls,
        text: str,
        *,
        source: str = "",
        python: str = "",
        license: str = "",
        classifier: str = "",
    ) -> SearchQuery:
        """Parse the fields of a form: "" is no filter. Raises `ValueError` with the problem of a
        filter.

        The text is always valid: its first words are used.
        """
        if source not in ("", "ours", "upstream"):
            raise ValueError("The filter source is either 'ours' or 'upstream'.")
        version = _PYTHON.match(python.strip())
        if python.strip() and version is None:
            raise ValueError("The filter python is a version of Python, such as 3.12.")
        return cls(
            words=words_of(text[:LONGEST_QUERY]),
            ours={"": None, "ours": True, "upstream": False}[source],
            python=None if version is None else ".".join(filter(None, version.groups())),
            license=words_of(license[:LONGEST_FILTER]),
            classifier=classifier_of(classifier[:LONGEST_FILTER]),
        )

    @property
    def name(self) -> str:
        """The words as the name of a project: ``My_Pkg`` is ``my-pkg``."""
        return "-".join(self.words)

    @property
    def squashed(self) -> str:
        """The words joined without separators."""
        return "".join(self.words)


# --- what is known of a project -------------------------------------------------------------------


@frozen(kw_only=True)
class ProjectDescription:
    """The core metadata of a project's newest release."""

    summary: str = ""
    keywords: tuple[str, ...] = ()
    license: str = ""
    classifiers: tuple[str, ...] = ()
    requires_python: str = ""


@frozen(kw_only=True)
class Card:
    """The searchable data of a project. `version` and `summary` are those of its newest release: a
    yanked one only if all are.
    """

    name: ProjectName
    ours: bool = True
    version: str = ""
    summary: str = ""
    yanked: bool = False
    """Whether all releases are yanked."""
    created: datetime | None = None
    updated: datetime | None = None
    """The upload times of its first and its last file."""
    keywords: tuple[str, ...] = ()
    license: str = ""
    classifiers: tuple[str, ...] = ()
    pythons: frozenset[str] | None = None
    """As `SearchQuery.python`; None: any."""

    @property
    def starts(self) -> tuple[str, ...]:
        """The rest of the name from each word but the first on, and the name without separators."""
        segments = self.name.split("-")
        return (
            *("-".join(segments[number:]) for number in range(1, len(segments))),
            "".join(segments),
        )

    @property
    def insides(self) -> tuple[str, ...]:
        """The suffixes of each word of the name, shorter than it and at least `SHORT`."""
        segments = self.name.split("-")
        return tuple(part[start:] for part in segments for start in range(1, len(part) - SHORT + 1))

    @property
    def keyword_words(self) -> tuple[str, ...]:
        """The words of its keywords."""
        return words_of(" ".join(self.keywords), 100)

    @property
    def summary_words(self) -> tuple[str, ...]:
        """The words of its summary."""
        return words_of(self.summary, 100)

    @property
    def license_words(self) -> tuple[str, ...]:
        """The words of its licence."""
        return words_of(self.license, 50)

    @property
    def branches(self) -> tuple[str, ...]:
        """Its classifiers and all their ancestors; as `classifier_of` spells them."""
        found: dict[str, None] = {}
        for classifier in self.classifiers:
            segments = classifier_of(classifier).split(" :: ")
            found.update(
                (" :: ".join(segments[:length]), None) for length in range(1, len(segments) + 1)
            )
        return tuple(found)


# --- the order of equal matches -------------------------------------------------------------------


def status_rank(card: Card) -> int:
    """Return the position among equal matches: higher is better; positive, below 2 to the power of
    63.

    Fully yanked projects are last; local projects precede upstream ones; then the latest upload is
    first. A hash of the name makes nearly all numbers distinct.
    """
    moment = 0 if card.updated is None else max(0, int(card.updated.timestamp()))
    rank = (not card.yanked) << 1 | card.ours
    return (rank << _SECONDS | min(moment, (1 << _SECONDS) - 1)) << _TIE | crc32(
        card.name.encode()
    ) >> (32 - _TIE)


# --- what was found -------------------------------------------------------------------------------


@frozen(kw_only=True)
class FoundProject:
    """A project in the results of a search."""

    name: ProjectName
    version: str = ""
    summary: str = ""
    ours: bool = True
    updated: datetime | None = None
    keywords: tuple[str, ...] = ()


@frozen(kw_only=True)
class SearchResults:
    """The results, best first. `total`: the number of all matches that the viewer may see."""

    found: tuple[FoundProject, ...] = ()
    total: int = 0
    unread: int = 0
    """The number of visible projects whose metadata is not known yet."""

    def __iter__(self) -> Iterator[FoundProject]:
        return iter(self.found)
