"""Searching for people: what was typed, what is known of a project, how well both fit, and which
comes first.

Pure. `pypid.search` keeps cards in an index that answers as the rules here do, without looking at
each card. (What ``pip search`` asks is `core.search.legacy_search`.)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from enum import IntEnum
from unicodedata import combining, normalize
from zlib import crc32

from attrs import frozen

from pypid.core.packaging.names import ProjectName

LONGEST_QUERY = 200
"""Characters of what was typed that are looked at."""
MOST_WORDS = 8
"""Words of it."""
LONGEST_WORD = 40
"""Characters of a word, typed or written."""
LONGEST_FILTER = 200
SHORT = 3
"""Shorter words are looked for at the beginnings of names, and elsewhere as whole words: there are
too many that begin so.
"""

_WORDS = re.compile(r"[^\W_]+")
_PYTHON = re.compile(r"([23])(?:\.([0-9]{1,2})(?:\.[0-9]{1,3})?)?\Z", re.ASCII)
_TIE = 20
_SECONDS = 36
"""Bits of what tells apart those of the same second, and of the second."""


def words_of(text: str, most: int = MOST_WORDS) -> tuple[str, ...]:
    """The words of a text as they are looked for: letters and digits without accents and case; at
    most so many.
    """
    if text.isascii():  # nearly all are, and the other way takes ten times as long
        plain = text.lower()
    else:
        plain = "".join(
            letter for letter in normalize("NFKD", text) if not combining(letter)
        ).casefold()
    found = (match[0][:LONGEST_WORD] for match in _WORDS.finditer(plain))
    return tuple(word for _, word in zip(range(most), found, strict=False))


def classifier_of(text: str) -> str:
    """A classifier, or the beginning of one, as it is compared."""
    return " :: ".join(part.strip().casefold() for part in text.split("::"))


# --- what is looked for ---------------------------------------------------------------------------


@frozen(kw_only=True)
class SearchQuery:
    """What was typed, and the filters. Without any words it is all that the filters let through."""

    words: tuple[str, ...] = ()
    ours: bool | None = None
    """Only projects of ours, or only those of theirs."""
    python: str | None = None
    """``3.12`` or ``3``: only what runs there."""
    license: tuple[str, ...] = ()
    """Words that the licence has to have."""
    classifier: str = ""
    """Only what has this one, or one below it; as `classifier_of` spells it."""

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
        """As it comes from a form: "" is no filter. Raises `ValueError` with what is wrong with a
        filter.

        Of what was typed nothing is wrong: its first words are looked for.
        """
        if source not in ("", "ours", "upstream"):
            raise ValueError("The filter source is either ours or upstream.")
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
        """The name of a project that the words would be: ``My_Pkg`` is ``my-pkg``."""
        return "-".join(self.words)

    @property
    def squashed(self) -> str:
        """The same with nothing in between."""
        return "".join(self.words)


# --- what is known of a project -------------------------------------------------------------------


@frozen(kw_only=True)
class ProjectDescription:
    """What the core metadata of its newest release says."""

    summary: str = ""
    keywords: tuple[str, ...] = ()
    license: str = ""
    classifiers: tuple[str, ...] = ()
    requires_python: str = ""


@frozen(kw_only=True)
class Card:
    """What is known of a project. `version` and `summary` are those of its newest release: a yanked
    one only if all are.
    """

    name: ProjectName
    ours: bool = True
    version: str = ""
    summary: str = ""
    yanked: bool = False
    """Whether nothing else is left."""
    created: datetime | None = None
    updated: datetime | None = None
    """When its first and its last file were uploaded."""
    keywords: tuple[str, ...] = ()
    license: str = ""
    classifiers: tuple[str, ...] = ()
    pythons: frozenset[str] | None = None
    """As `SearchQuery.python`; None: any."""

    @property
    def starts(self) -> tuple[str, ...]:
        """What begins at a word of its name but the first; and the name without anything between
        the words.
        """
        parts = self.name.split("-")
        return (*("-".join(parts[number:]) for number in range(1, len(parts))), "".join(parts))

    @property
    def insides(self) -> tuple[str, ...]:
        """What begins within a word of its name, and is not `SHORT`."""
        parts = self.name.split("-")
        return tuple(part[start:] for part in parts for start in range(1, len(part) - SHORT + 1))

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
        """Its classifiers, and whatever they are below of; as `classifier_of` spells them."""
        found: dict[str, None] = {}
        for classifier in self.classifiers:
            parts = classifier_of(classifier).split(" :: ")
            found.update((" :: ".join(parts[:length]), None) for length in range(1, len(parts) + 1))
        return tuple(found)


# --- how well it fits -----------------------------------------------------------------------------


class Tier(IntEnum):
    """Where the words were found; the lower, the better. A project is as good as the worst of
    several words.
    """

    NAME = 0
    """It is the name."""
    BEGINNING = 1
    """The name begins so."""
    WORD = 2
    """A word of the name begins so; or each word does so."""
    INSIDE = 3
    """It is in the name."""
    KEYWORD = 4
    SUMMARY = 5


def tier(query: SearchQuery, card: Card) -> Tier | None:
    """How well the words fit; None: not at all. Without words everything fits alike."""
    if not query.words:
        return Tier.NAME
    name, starts = query.name, card.starts
    if card.name == name:
        return Tier.NAME
    if card.name.startswith(name):
        return Tier.BEGINNING
    if _begins(starts, name) or _begins(starts, query.squashed):
        return Tier.WORD
    tiers = [_tier_of_word(word, card) for word in query.words]
    return None if None in tiers else max(found for found in tiers if found is not None)


def rank(query: SearchQuery, card: Card) -> tuple[int, int]:
    """Return the place of a found project in the order of results: the exact name first, then local
    projects, then upstream ones, each by `tier`.

    Where a private and an upstream name are alike, the private one is what a team looks for.
    """
    found = tier(query, card) or Tier.NAME
    return (0 if found is Tier.NAME else 1 if card.ours else 2, found)


def _tier_of_word(word: str, card: Card) -> Tier | None:
    if _begins((card.name, *card.starts), word):
        return Tier.WORD
    if len(word) >= SHORT and _begins(card.insides, word):
        return Tier.INSIDE
    if _is_among(card.keyword_words, word):
        return Tier.KEYWORD
    return Tier.SUMMARY if _is_among(card.summary_words, word) else None


def _begins(texts: Iterable[str], word: str) -> bool:
    return any(text.startswith(word) for text in texts)


def _is_among(words: Iterable[str], word: str) -> bool:
    return word in words if len(word) < SHORT else _begins(words, word)


def fits(query: SearchQuery, card: Card) -> bool:
    """Whether the filters let it through."""
    return (
        (query.ours is None or query.ours == card.ours)
        and (query.python is None or card.pythons is None or query.python in card.pythons)
        and all(_is_among(card.license_words, word) for word in query.license)
        and (not query.classifier or query.classifier in card.branches)
    )


def standing(card: Card) -> int:
    """Where it stands among those that fit alike: the higher, the better; positive, below 2 to the
    power of 63.

    What is all yanked comes last; ours before theirs; then what was uploaded last. Another number
    where one is taken: nearly all differ.
    """
    moment = 0 if card.updated is None else max(0, int(card.updated.timestamp()))
    rank = (not card.yanked) << 1 | card.ours
    return (rank << _SECONDS | min(moment, (1 << _SECONDS) - 1)) << _TIE | crc32(
        card.name.encode()
    ) >> (32 - _TIE)


def ranked(query: SearchQuery, cards: Iterable[Card]) -> Sequence[Card]:
    """Return the cards that fit, best first, as the search index has to list them."""
    found = [card for card in cards if fits(query, card) and tier(query, card) is not None]
    return sorted(found, key=lambda card: (rank(query, card), -standing(card)))


# --- what was found -------------------------------------------------------------------------------


@frozen(kw_only=True)
class FoundProject:
    """A project that was found."""

    name: ProjectName
    version: str = ""
    summary: str = ""
    ours: bool = True
    updated: datetime | None = None
    keywords: tuple[str, ...] = ()


@frozen(kw_only=True)
class SearchResults:
    """What was found, the best first. `total`: how many there are in all, of those that whoever
    asks may see.
    """

    found: tuple[FoundProject, ...] = ()
    total: int = 0
    unread: int = 0
    """Of so many projects that they may see it is not known yet what their metadata says."""

    def __iter__(self) -> Iterator[FoundProject]:
        return iter(self.found)
