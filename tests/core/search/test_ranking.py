"""The rules of searching: what fits, how well, and which comes first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.packaging.names import project_name
from pypid.core.search import (
    LONGEST_WORD,
    MOST_WORDS,
    Card,
    SearchQuery,
    Tier,
    status_rank,
    tier,
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


class TierTests(SynchronousTestCase):
    """How well something fits."""

    @given(QUERIES, CARDS)
    @settings(max_examples=100, deadline=None, database=None)
    def test_more_words(self, query: SearchQuery, known: Card) -> None:
        """A project that has all words fits no worse for each of them alone."""
        found = tier(query, known)
        for word in query.words if found is not None and found > Tier.WORD else ():
            self.assertIn(tier(SearchQuery.read(word), known), list(Tier)[: found + 1])


class OrderTests(SynchronousTestCase):
    """Which comes first."""

    @given(CARDS)
    @settings(max_examples=50, deadline=None, database=None)
    def test_standing(self, known: Card) -> None:
        """Where something stands is a number that SQLite can have for a row."""
        self.assertTrue(0 < status_rank(known) + 1 < 1 << 63)
