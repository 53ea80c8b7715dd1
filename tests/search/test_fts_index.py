"""The file with the cards: it answers as the rules do, and is made anew whenever it is not what it
should be.
"""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.packaging.names import project_name
from pypid.core.permissions import EVERYTHING, Visibility
from pypid.core.search import Card, FoundProject, SearchQuery, status_rank
from pypid.search import fts_index
from pypid.search.fts_index import Filed, IndexOutdated, SearchIndex, SearchViewer
from tests.core.search.test_ranking import CARDS, QUERIES, card, rank, ranked

ALL = SearchViewer(EVERYTHING)
CABINETS = st.lists(CARDS, unique_by=lambda known: known.name, max_size=12)


def found(
    cabinet: SearchIndex,
    query: SearchQuery,
    eyes: SearchViewer = ALL,
    most: int = 100,
    skip: int = 0,
) -> tuple[list[FoundProject], int]:
    """What it says."""
    with cabinet.reading() as reader:
        each, total = reader.find(query, eyes, most, skip)
        return list(each), total


def names(cabinet: SearchIndex, text: str = "") -> list[str]:
    """The names of what it finds."""
    return [each.name for each in found(cabinet, SearchQuery.read(text))[0]]


class RulesTests(SynchronousTestCase):
    """The index of words says what the rules say."""

    @given(CABINETS, st.lists(QUERIES, min_size=1, max_size=6), st.data())
    @settings(max_examples=60, deadline=None, database=None)
    def test_equal(
        self, cards: list[Card], queries: list[SearchQuery], data: st.DataObject
    ) -> None:
        """Of any cards, to any question, for any eyes, whole or in pages."""
        cabinet = SearchIndex(None, "")
        cabinet.claim()
        cabinet.put([Filed(each, "") for each in cards])
        kept = data.draw(
            st.sets(st.sampled_from([each.name for each in cards])) if cards else st.just(set())
        )
        for by in (
            EVERYTHING,
            Visibility(True, frozenset(kept)),
            Visibility(False, frozenset(kept)),
        ):
            seen = [each for each in cards if by.sees(each.name)]
            for query in queries:
                expected = [(rank(query, each), status_rank(each)) for each in ranked(query, seen)]
                by_name = {each.name: each for each in cards}
                said, total = found(cabinet, query, SearchViewer(by))
                self.assertEqual(
                    [(rank(query, by_name[e.name]), status_rank(by_name[e.name])) for e in said],
                    expected,
                )
                self.assertEqual(total, len(expected))
                pages = [
                    found(cabinet, query, SearchViewer(by), 2, skip)[0]
                    for skip in range(0, total, 2)
                ]
                self.assertEqual([each for page in pages for each in page], said)
        cabinet.close()

    def test_same_place(self) -> None:
        """Two that stand at the same place are both there."""
        cabinet = SearchIndex(None, "")
        cabinet.claim()
        self.patch(fts_index, "status_rank", lambda _: 7)
        cabinet.put([Filed(card("a"), ""), Filed(card("ab"), "")])
        cabinet.put([Filed(card("abc"), ""), Filed(card("a"), "")])
        self.assertEqual(sorted(names(cabinet, "a")), ["a", "ab", "abc"])
        self.assertEqual(len(names(cabinet)), 3)


class FileTests(SynchronousTestCase):
    """The file."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp()) / "search.sqlite"
        self.path.parent.mkdir()

    def cabinet(self, basis: str = "here") -> SearchIndex:
        """One on the file."""
        made = SearchIndex(self.path, basis)
        self.addCleanup(made.close)
        return made

    def filled(self, *cards: str) -> SearchIndex:
        """One that writes, in which these are."""
        made = self.cabinet()
        self.assertTrue(made.claim())
        made.put([Filed(card(name), "1") for name in cards])
        return made

    def test_lasts(self) -> None:
        """What was filed is there after a restart, and nobody else may read the file."""
        self.filled("spam").close()
        again = self.cabinet()
        self.assertTrue(again.claim())
        self.assertEqual(again.held(), {"spam": "1"})
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)

    def test_one_writes(self) -> None:
        """Of several processes one writes, and all read; once it has ended another one does."""
        one, other = self.filled("spam"), self.cabinet()
        self.assertFalse(other.claim())
        self.assertRaises(IndexOutdated, other.held)
        self.assertEqual(names(other, "spam"), ["spam"])
        one.put([Filed(card("eggs"), "2")], [project_name("spam")])
        self.assertEqual(names(other), ["eggs"])
        one.close()
        self.assertTrue(other.claim())
        self.assertEqual(other.held(), {"eggs": "2"})

    def test_other_basis(self) -> None:
        """Cards of another storage are not read, and made anew by whoever writes."""
        self.filled("spam").close()
        other = self.cabinet("elsewhere")
        self.assertRaises(IndexOutdated, names, other)
        self.assertTrue(other.claim())
        self.assertEqual(names(other), [])

    def test_damaged(self) -> None:
        """A file that is damaged, or none of SQLite's, is made anew."""
        self.filled("spam").close()
        whole = self.path.read_bytes()
        for damaged in (
            b"",
            b"x",
            b"no database" * 1000,
            whole[:5000],
            whole[:4096] + b"\xff" * (len(whole) - 4096),
        ):
            self.path.write_bytes(damaged)
            made = SearchIndex(self.path, "here")
            self.assertTrue(made.claim())
            self.assertEqual(made.held(), {})
            made.put([Filed(card("eggs"), "1")])
            self.assertEqual(names(made), ["eggs"])
            made.close()

    def test_damaged_meanwhile(self) -> None:
        """Who reads and finds it damaged tells whoever writes, who makes it anew."""
        one, other = self.filled("spam"), self.cabinet()
        one._let_go()
        self.path.write_bytes(self.path.read_bytes()[:4096] + b"\xff" * 50_000)
        self.assertRaises(IndexOutdated, names, other, "spam")
        self.assertTrue(one.claim())
        one.put([Filed(card("eggs"), "1")])
        self.assertEqual(names(other), ["eggs"])

    def test_gone(self) -> None:
        """A file that somebody deleted is made anew, and nobody reads the one that was."""
        one, other = self.filled("spam"), self.cabinet()
        self.assertEqual(names(other), ["spam"])
        for path in self.path.parent.glob("search.sqlite*"):
            path.unlink()
        self.assertRaises(IndexOutdated, names, other)
        self.assertTrue(one.claim())
        self.assertEqual(names(other), [])

    def test_nothing_yet(self) -> None:
        """Before anybody has written there is nothing to be read."""
        self.assertRaises(IndexOutdated, names, self.cabinet())
        self.assertRaises(IndexOutdated, names, SearchIndex(None, ""))
