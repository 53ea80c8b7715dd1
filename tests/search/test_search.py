"""Searching an index: what is found is what is there, and what somebody may see."""

from __future__ import annotations

from typing import Any

from pypid.core.finding import Findings, Query
from pypid.core.names import project_name
from pypid.core.permissions import EVERYTHING, Sight
from pypid.search.search import Search
from tests.distributions import metadata
from tests.web.test_local import LocalCase

NOTHING = Sight(False, frozenset())


class SearchCase(LocalCase):
    """A pypid in front of an index that has ham, and a search index in memory that is always up to date."""

    def setUp(self) -> None:
        super().setUp()
        self.search = self.pypid.face.search

    def add(self, name: str, version: str = "1.0", *extra: tuple[str, str], summary: str | None = None) -> str:
        """Publish a wheel, a minute after the one before; `extra`: further lines of its metadata."""
        self.pypid.clock.advance(60)
        said = metadata(name, version, summary=summary, extra=extra)
        return self.have_wheel(name, version, metadata_bytes=said)[0]

    def find(self, text: str = "", by: Sight = EVERYTHING, most: int = 20, skip: int = 0, **filters: str) -> Findings:
        """What is found."""
        return self.have(self.search.find(Query.read(text, **filters), by, most=most, skip=skip))

    def names_of(self, text: str = "", by: Sight = EVERYTHING, **filters: Any) -> list[str]:
        """The names of all that is found."""
        found = self.find(text, by, **filters)
        self.assertEqual(found.total, len(found.found))
        return [each.name for each in found]


class FindTests(SearchCase):
    """What is found, and in which order."""

    def test_ranking(self) -> None:
        """A name comes before its beginning, a word, a part of it, a keyword and the summary."""
        self.add("eggs", summary="spam")
        self.add("toast", "1.0", ("Keywords", "bacon,spam"))
        self.add("antispam")
        self.add("lovely-spam")
        self.add("spam-eggs")
        self.add("spam")
        self.assertEqual(self.names_of("spam"), ["spam", "spam-eggs", "lovely-spam", "antispam", "toast", "eggs"])
        self.assertEqual(self.names_of("SPAM_Eggs"), ["spam-eggs", "eggs"])
        self.assertEqual(self.names_of("spameggs"), ["spam-eggs"])
        self.assertEqual(self.names_of("eggs spam"), ["spam-eggs", "eggs"])
        self.assertEqual(self.names_of("nothing"), [])

    def test_shown(self) -> None:
        """What is shown of a project is that of its newest release which is not yanked."""
        self.add("spam", "1.0", ("Keywords", "a,b c"), summary="Old")
        newest = self.add("spam", "2.0", summary="New")
        when = self.pypid.world.now()
        [found] = self.find("spam")
        self.assertEqual((found.version, found.summary, found.updated, found.ours), ("2.0", "New", when, True))
        self.have(self.pypid.index.yank(project_name("spam"), [newest], "bad"))
        [found] = self.find("spam")
        self.assertEqual((found.version, found.summary, found.keywords), ("1.0", "Old", ("a", "b c")))

    def test_equals(self) -> None:
        """Of equals ours come first, then the newest; what is all yanked comes last."""
        self.keep()
        self.upstream.has("ham-b", "ham_b-1.0-py3-none-any.whl", b"")
        yanked = self.add("ham-yanked")
        self.add("ham-old")
        self.add("ham-new")
        self.have(self.pypid.index.yank(project_name("ham-yanked"), [yanked], ""))
        self.assertEqual(self.names_of("ha"), ["ham-new", "ham-old", "ham", "ham-yanked"])
        self.assertEqual(self.names_of(), ["ham-new", "ham-old", "ham", "ham-yanked"])

    def test_filters(self) -> None:
        """Filters let through what is ours or theirs, runs on a Python, and has a licence or a classifier."""
        self.keep()
        self.add("spam", "1.0", ("Requires-Python", ">=3.9,<3.12"), ("License-Expression", "MIT"))
        self.add("eggs", "1.0", ("Classifier", "Framework :: Django :: 5.0"), ("License", "GPLv3"))
        self.add("toast", "1.0", ("Classifier", "License :: OSI Approved :: MIT License"))
        self.assertEqual(self.names_of(source="upstream"), ["ham"])
        self.assertEqual(self.names_of(source="ours"), ["toast", "eggs", "spam"])
        self.assertEqual(self.names_of(python="3.10", source="ours"), ["toast", "eggs", "spam"])
        self.assertEqual(self.names_of(python="3.12.1", source="ours"), ["toast", "eggs"])
        self.assertEqual(self.names_of("spam", python="3.12", source="ours"), [])
        self.assertEqual(self.names_of("spam", python="3", source="ours"), ["spam"])
        self.assertEqual(self.names_of(license="mit"), ["toast", "spam"])
        self.assertEqual(self.names_of(license="GPL"), ["eggs"])
        self.assertEqual(self.names_of(classifier="framework::django"), ["eggs"])
        self.assertEqual(self.names_of(classifier="Framework :: Djan"), [])

    def test_pages(self) -> None:
        """Pages follow one another, across tiers, and each is told how many there are in all."""
        for number in range(12):
            self.add(f"spam-{number:02}" if number % 2 else f"x{number:02}-spam")
        found = [self.find("spam", most=5, skip=skip) for skip in (0, 5, 10, 15)]
        self.assertEqual([each.total for each in found], [12] * 4)
        names = [each.name for findings in found for each in findings]
        self.assertEqual(names, [each.name for each in self.find("spam", most=100)])
        self.assertEqual(len(set(names)), 12)
        self.assertEqual([each.name for each in self.find(most=5, skip=10)], ["spam-01", "x00-spam"])

    def test_hostile(self) -> None:
        """Whatever is typed is words: no syntax of SQLite's, no NUL, and no length does anything else."""
        self.add("spam", summary='"quoted" AND other')
        for text in (
            '"',
            "spam*",
            'NEAR("spam")',
            "spam AND NOT",
            "{name}:spam",
            "spam\0",
            "\ud800spam",
            "(" * 500,
            "-",
            "'; DROP",
        ):
            self.find(text)
        self.assertEqual(self.names_of('"spam\0'), ["spam"])
        self.assertEqual(self.names_of("quoted and OTHER"), ["spam"])
        self.assertEqual(self.names_of("spam " * 2000), ["spam"])
        self.assertEqual(self.names_of("ŝpäm"), ["spam"])


class SightTests(SearchCase):
    """What somebody may not see is in nothing that they are told."""

    def setUp(self) -> None:
        super().setUp()
        for name in ("spam", "spam-secret", "eggs"):
            self.add(name, "1.0", ("Keywords", "food"))

    def test_sights(self) -> None:
        """They are neither found nor counted, whatever hides them."""
        secret = project_name("spam-secret")
        for by, seen in (
            (EVERYTHING, ["eggs", "spam-secret", "spam"]),
            (Sight(True, frozenset({secret})), ["eggs", "spam"]),
            (Sight(False, frozenset({secret})), ["spam-secret"]),
            (NOTHING, []),
            (Sight(True, frozenset(), ("spam*",), NOTHING), ["spam-secret", "spam"]),
            (Sight(True, frozenset({secret}), ("spam*",), NOTHING), ["spam"]),
        ):
            for text in ("", "food"):
                found = self.find(text, by)
                self.assertEqual(([each.name for each in found], found.total), (seen, len(seen)), by)
                found = self.find(text, by, most=1)
                self.assertEqual(found.total, len(seen))
            self.assertEqual(self.names_of("spam", by), [name for name in reversed(seen) if "spam" in name], by)
            self.assertEqual(self.names_of("", by, source="ours"), seen)
            self.assertEqual(self.have(self.search.updated(by)), seen)
            self.assertEqual(self.have(self.search.created(by, 1)), seen[:1])

    def test_unread(self) -> None:
        """Nor in how many there are whose metadata was not read yet."""
        lazy = Search(self.pypid.index)
        held = self.pypid.index.metadata

        async def away(*_: object) -> bytes:
            raise self.away()

        self.pypid.index.__class__.metadata = away
        self.addCleanup(setattr, self.pypid.index.__class__, "metadata", held.__func__)
