"""The rules of searching: words, what fits, how well, and which comes first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.packaging.names import project_name
from pypid.core.search import (
    LONGEST_WORD,
    MOST_WORDS,
    SHORT,
    Card,
    SearchQuery,
    status_rank,
    words_of,
)

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
NAMES = st.from_regex(r"[abc]{1,4}(-[abc]{1,4}){0,2}", fullmatch=True).map(project_name)
WORDS = st.text("abcd -_.", max_size=12)
CARDS = st.builds(
    Card,
    name=NAMES,
    ours=st.booleans(),
    yanked=st.booleans(),
    summary=WORDS,
    keywords=st.lists(WORDS, max_size=2).map(tuple),
    license=WORDS,
    classifiers=st.lists(st.sampled_from(["A :: B", "A :: B :: C", "a::d", "E"]), max_size=2).map(
        tuple
    ),
    pythons=st.none() | st.frozensets(st.sampled_from(["2", "2.7", "3", "3.12"])),
    updated=st.none() | st.integers(0, 50).map(lambda days: MOMENT + timedelta(days=days)),
)
QUERIES = st.builds(
    SearchQuery.read,
    WORDS,
    source=st.sampled_from(["", "", "ours", "upstream"]),
    python=st.sampled_from(["", "", "3.12", "2", "3.13.1"]),
    license=st.sampled_from(["", "", "a", "abc", "b a"]),
    classifier=st.sampled_from(["", "", "A :: B", "a", "e"]),
)


def card(name: str, **options: Any) -> Card:
    return Card(name=project_name(name), **options)


# The rules, which read each card; the search index answers the same without.


class Tier(IntEnum):
    """Where the words match; lower is better. With several words the worst one counts."""

    NAME = 0
    """The name is equal."""
    BEGINNING = 1
    """The name begins with the words."""
    WORD = 2
    """A word of the name begins with the words; or with each single word."""
    INSIDE = 3
    """The name contains the word."""
    KEYWORD = 4
    SUMMARY = 5


def tier(query: SearchQuery, card: Card) -> Tier | None:
    """Return the tier of a match; None if the words do not match. Without words all are equal."""
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
    """Return whether the project passes the filters."""
    return (
        (query.ours is None or query.ours == card.ours)
        and (query.python is None or card.pythons is None or query.python in card.pythons)
        and all(_is_among(card.license_words, word) for word in query.license)
        and (not query.classifier or query.classifier in card.branches)
    )


def ranked(query: SearchQuery, cards: Iterable[Card]) -> Sequence[Card]:
    """Return the cards that fit, best first, as the search index has to list them."""
    found = [card for card in cards if fits(query, card) and tier(query, card) is not None]
    return sorted(found, key=lambda card: (rank(query, card), -status_rank(card)))


class WordsTests(SynchronousTestCase):
    """What the words of a text are."""

    def test_words(self) -> None:
        """Case, accents and everything between words do not matter."""
        self.assertEqual(
            words_of("My_Pkg, Größe: naïve C++ (3.12)\0"),
            ("my", "pkg", "grosse", "naive", "c", "3", "12"),
        )

    @given(st.text(max_size=400), st.integers(0, 20))
    @settings(max_examples=100, deadline=None, database=None)
    def test_any(self, text: str, most: int) -> None:
        """Of any text there are so many at most, none is long, each can be written in UTF-8."""
        found = words_of(text, most)
        self.assertLessEqual(len(found), most)
        for word in found:
            self.assertLessEqual(len(word), LONGEST_WORD)
            self.assertTrue(word.encode())
            self.assertFalse(set(word) & set(" \"'*-:(){}^\0"))

    def test_bounded(self) -> None:
        """However much is typed, some words of it are looked for."""
        self.assertEqual(len(SearchQuery.read("a " * 10_000).words), MOST_WORDS)
        self.assertEqual(SearchQuery.read("a" * 10_000).words, ("a" * LONGEST_WORD,))


class OrderTests(SynchronousTestCase):
    """Which comes first."""

    @given(CARDS)
    @settings(max_examples=50, deadline=None, database=None)
    def test_standing(self, known: Card) -> None:
        """Where something stands is a number that SQLite can have for a row."""
        self.assertTrue(0 < status_rank(known) + 1 < 1 << 63)
