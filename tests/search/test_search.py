"""Searching an index: what is found is what is there, and what somebody may see."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

from pypid.core.configuration.choices import Mode
from pypid.core.cooldown import Cooldown
from pypid.core.errors import Busy, StorageDown
from pypid.core.model import Span, Status
from pypid.core.packaging.names import project_name
from pypid.core.permissions import EVERYTHING, Visibility
from pypid.core.policy import Policy
from pypid.core.restrictions import ProjectRestrictions, Restrictions
from pypid.core.search import SearchQuery, SearchResults
from pypid.flow import start
from pypid.ports import Body
from pypid.search.fts_index import READERS
from pypid.search.search import FROM_A_PLACE, LATEST, PAUSE, QUIET, Search
from tests.core.test_restrictions import ANY, VersionRule
from tests.distributions import metadata, wheel_filename
from tests.web.installers.test_local import CACHE, LocalCase

NOTHING = Visibility(False, frozenset())


class SearchCase(LocalCase):
    """A pypid in front of an index that has ham, and a search index in memory that is always up to
    date.
    """

    def setUp(self) -> None:
        super().setUp()
        self.search = self.pypid.app.search

    def add(
        self, name: str, version: str = "1.0", *extra: tuple[str, str], summary: str | None = None
    ) -> str:
        """Publish a wheel, a minute after the one before; `extra`: further lines
        of its metadata.
        """
        self.pypid.clock.advance(60)
        said = metadata(name, version, summary=summary, extra=extra)
        return self.have_wheel(name, version, metadata_bytes=said)[0]

    def find(
        self,
        text: str = "",
        by: Visibility = EVERYTHING,
        most: int = 20,
        skip: int = 0,
        **filters: str,
    ) -> SearchResults:
        """What is found."""
        return self.have(
            self.search.find(SearchQuery.read(text, **filters), by, most=most, skip=skip)
        )

    def names_of(self, text: str = "", by: Visibility = EVERYTHING, **filters: Any) -> list[str]:
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
        self.assertEqual(
            self.names_of("spam"), ["spam", "spam-eggs", "lovely-spam", "antispam", "toast", "eggs"]
        )
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
        self.assertEqual(
            (found.version, found.summary, found.updated, found.ours), ("2.0", "New", when, True)
        )
        self.have(self.pypid.index.manager.yank(project_name("spam"), [newest], "bad"))
        [found] = self.find("spam")
        self.assertEqual(
            (found.version, found.summary, found.keywords), ("1.0", "Old", ("a", "b c"))
        )

    def test_equals(self) -> None:
        """Local projects come first, then the newest; of each kind what is all
        yanked comes last.
        """
        self.keep()
        self.upstream.has("ham-b", "ham_b-1.0-py3-none-any.whl", b"")
        yanked = self.add("ham-yanked")
        self.add("ham-old")
        self.add("ham-new")
        self.have(self.pypid.index.manager.yank(project_name("ham-yanked"), [yanked], ""))
        self.assertEqual(self.names_of("ha"), ["ham-new", "ham-old", "ham-yanked", "ham"])
        self.assertEqual(self.names_of(), ["ham-new", "ham-old", "ham", "ham-yanked"])

    def test_local_projects_come_before_upstream_ones(self) -> None:
        """Only an exact name comes before: the private project is what a team looks for."""
        self.keep()  # ham, of upstream
        for name in ("lovely-ham", "antiham"):
            self.add(name)
        self.add("toast", summary="With hammered eggs")
        self.assertEqual(self.names_of("ha"), ["lovely-ham", "ham"])
        self.assertEqual(self.names_of("hamm"), ["toast"])
        self.assertEqual(self.names_of("ham"), ["ham", "lovely-ham", "antiham", "toast"])

    def test_cached_upstream_project_is_not_news(self) -> None:
        """What was cached is dated by its upload elsewhere, and was not published here."""
        self.add("spam")
        self.keep()
        self.assertEqual(self.have(self.search.created(EVERYTHING)), ["spam"])
        self.assertEqual(self.have(self.search.updated(EVERYTHING)), ["spam"])

    def test_filters(self) -> None:
        """Filters let through what is ours or theirs, runs on a Python, and has a licence or a
        classifier.
        """
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
        self.assertEqual(
            [each.name for each in self.find(most=5, skip=10)], ["spam-01", "x00-spam"]
        )

    def test_one_who_asks_all_the_time(self) -> None:
        """From one place so many may ask at a time, and be refused: the others have turns left, and
        so has the first page.
        """
        self.add("spam")
        self.find()
        turns = [self.search._turns.acquire() for _ in range(READERS)]
        asked = [
            start(self.search.find(SearchQuery.read("spam"), EVERYTHING, place="203.0.113.7"))
            for _ in range(FROM_A_PLACE)
        ]
        refused = start(self.search.find(SearchQuery.read("spam"), EVERYTHING, place="203.0.113.7"))
        self.failureResultOf(refused, Busy)
        others = [
            start(self.search.find(SearchQuery.read("spam"), EVERYTHING, place="203.0.113.8")),
            start(self.search.updated(EVERYTHING)),
        ]
        for _ in turns:
            self.search._turns.release()
        for found in asked:
            self.assertEqual(self.successResultOf(found).total, 1)
        self.successResultOf(others[0]), self.successResultOf(others[1])
        self.assertEqual(
            self.have(
                self.search.find(SearchQuery.read("spam"), EVERYTHING, place="203.0.113.7")
            ).total,
            1,
        )

    def test_hostile(self) -> None:
        """Whatever is typed is words: no syntax of SQLite's, no NUL, and no length does anything
        else.
        """
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
            (Visibility(True, frozenset({secret})), ["eggs", "spam"]),
            (Visibility(False, frozenset({secret})), ["spam-secret"]),
            (NOTHING, []),
            (Visibility(True, frozenset(), ("spam*",), NOTHING), ["spam-secret", "spam"]),
            (Visibility(True, frozenset({secret}), ("spam*",), NOTHING), ["spam"]),
        ):
            for text in ("", "food"):
                found = self.find(text, by)
                self.assertEqual(
                    ([each.name for each in found], found.total), (seen, len(seen)), by
                )
                found = self.find(text, by, most=1)
                self.assertEqual(found.total, len(seen))
            self.assertEqual(
                self.names_of("spam", by), [name for name in reversed(seen) if "spam" in name], by
            )
            self.assertEqual(self.names_of("", by, source="ours"), seen)
            self.assertEqual(self.have(self.search.updated(by)), seen)
            self.assertEqual(self.have(self.search.created(by, 1)), seen[:1])


class LaterTests(SearchCase):
    """An index that is brought up to date in the background, and may be a moment behind."""

    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.search = self.searching()

    def searching(self, identity: str = "here") -> Search:
        """One on the file."""
        made = Search(self.pypid.index, self.folder, identity)
        self.addCleanup(made.close)
        return made

    def look(self) -> None:
        """As the service does, until nothing is left to be done."""
        self.pypid.clock.advance(PAUSE)
        self.have(self.search.catch_up())

    def count_reads(self) -> list[str]:
        """The keys of the metadata that is read in the storage from now on."""
        keys: list[str] = []
        read = self.pypid.blobs.read

        async def counted(key: str, span: Span | None = None) -> Body:
            if key.endswith(".metadata"):
                keys.append(key)
            return await read(key, span)

        self.patch(self.pypid.blobs, "read", counted)
        return keys

    def test_begins(self) -> None:
        """Before the first look nothing is found, and all that may be seen is counted as unread."""
        self.add("spam")
        self.add("eggs")
        secret = Visibility(True, frozenset({project_name("eggs")}))
        self.assertEqual(self.find("spam"), SearchResults(found=(), total=0, unread=2))
        self.assertEqual(self.find("spam", secret).unread, 1)
        self.look()
        self.assertEqual(self.names_of("spam"), ["spam"])
        self.assertEqual(self.find().unread, 0)

    def test_upstream_projects_wait_while_they_change(self) -> None:
        """Local projects are found after the next look; upstream ones once they have stopped
        changing, or after some time.
        """
        self.look()
        self.keep()
        self.add("spam")
        self.have(self.search.following.look(patient=True))
        self.assertEqual(self.names_of(), ["spam"])
        self.pypid.clock.advance(QUIET)
        self.have(self.search.following.look(patient=True))
        self.assertEqual(self.names_of(), ["spam", "ham"])

    def test_upstream_projects_do_not_wait_for_ever(self) -> None:
        """They are indexed after `LATEST`, even if they go on changing."""
        self.look()
        for number in range(round(LATEST / 2) + 1):
            filename = wheel_filename(f"ham{number}")
            self.upstream.has(f"ham{number}", filename, b"")
            self.keep(filename)
            self.have(self.search.following.look(patient=True))
            self.assertEqual(bool(self.names_of()), number * 2.0 >= LATEST)
            self.pypid.clock.advance(2.0)

    def test_gone_a_moment_ago(self) -> None:
        """What was deleted, put into quarantine or given to somebody else is neither found nor
        counted, before any look.
        """
        for name in ("spam", "spam-b", "spam-c"):
            self.add(name)
        self.look()
        self.have(
            self.pypid.index.manager.set_status(project_name("spam-b"), Status.QUARANTINED, "")
        )
        self.assertEqual(self.names_of("spam"), ["spam", "spam-c"])
        self.have(self.pypid.index.manager.delete_project(project_name("spam-c"), "ada"))
        self.have(self.pypid.index.manager.release_name(project_name("spam-c")))
        self.assertEqual(self.names_of(), ["spam"])
        self.assertEqual(
            self.names_of("spam", Visibility(False, frozenset({project_name("spam-c")}))), []
        )
        self.assertEqual(self.have(self.search.updated(EVERYTHING)), ["spam"])
        self.look()
        self.have(self.pypid.index.manager.set_status(project_name("spam-b"), Status.ACTIVE, ""))
        self.look()
        self.assertEqual(self.names_of("spam"), ["spam", "spam-b"])

    def test_in_another_worker(self) -> None:
        """Another worker finds what the one that writes has filed, and nothing that
        has gone since.
        """
        other = self.searching()
        self.add("spam")
        self.add("spam-b")
        self.look()
        self.assertFalse(self.have(other.following.look()))
        self.have(self.pypid.index.manager.set_status(project_name("spam"), Status.QUARANTINED, ""))
        mine, self.search = self.search, other
        self.assertEqual(self.names_of("spam"), ["spam-b"])
        mine.close()
        self.look()
        self.add("spam-c")
        self.look()
        self.assertEqual(self.names_of("spam"), ["spam-c", "spam-b"])

    def test_restart(self) -> None:
        """After a restart nothing is read again that has not changed, and what has changed
        meanwhile is found.
        """
        self.add("spam", "1.0", ("Keywords", "food"))
        self.add("eggs", "1.0", ("Keywords", "food"))
        self.look()
        self.search.close()
        self.have(self.pypid.index.manager.delete_project(project_name("eggs"), "ada"))
        self.add("toast", "1.0", ("Keywords", "food"))
        reads = self.count_reads()
        self.search = self.searching()
        self.look()
        self.assertEqual(self.names_of("food"), ["toast", "spam"])
        self.assertEqual(len(reads), 1)
        self.search.close()
        self.search = self.searching("elsewhere")
        self.look()
        self.assertEqual(self.names_of("food"), ["toast", "spam"])
        self.assertEqual(len(reads), 3)

    def block(self, *versions: str, digest: str | None = None) -> None:
        """Replace the blocks: versions of spam, or a digest."""
        rule = ProjectRestrictions((VersionRule(frozenset(versions)),))
        self.pypid.index.context.policy.restrictions.replace(
            "blocks",
            {project_name("spam"): rule} if versions else {},
            {} if digest is None else {digest: ANY},
        )

    def test_block(self) -> None:
        """A blocked release is not shown, also after a restart and after the block has ended."""
        self.patch(self.pypid.index.context.policy.restrictions, "current", Restrictions())
        self.add("spam", "1.0", summary="Old")
        filename = self.add("spam", "2.0", summary="New")
        self.add("eggs")
        file = self.have(self.pypid.index.file(project_name("spam"), filename))
        self.look()
        for versions, digest in (((), file.sha256), (("2.0",), None)):
            self.block(*versions, digest=digest)
            for _ in "before", "after a restart":
                self.look()
                [found] = self.find("spam").found
                self.assertEqual((found.version, found.summary), ("1.0", "Old"))
                self.assertEqual(self.names_of("New"), [])
                self.search.close()
                self.search = self.searching()
            self.block()
            self.look()
            [found] = self.find("spam").found
            self.assertEqual((found.version, found.summary), ("2.0", "New"))

    def test_block_that_ended_while_it_was_stopped(self) -> None:
        """Cards made under a block are made again without it."""
        self.patch(self.pypid.index.context.policy.restrictions, "current", Restrictions())
        self.add("spam", "1.0")
        self.add("spam", "2.0")
        self.block("2.0")
        self.look()
        self.search.close()
        self.block()
        self.search = self.searching()
        self.look()
        self.assertEqual([each.version for each in self.find("spam").found], ["2.0"])

    def test_other_files(self) -> None:
        """A further file of the same release leaves what is known; a new release has its metadata
        read.
        """
        self.add("spam", "1.0", ("Keywords", "food"))
        self.look()
        reads = self.count_reads()
        self.have_sdist("spam", "1.0")
        self.look()
        self.assertEqual((self.names_of("food"), reads), (["spam"], []))
        self.add("spam", "2.0", ("Keywords", "drink"))
        del reads[:]
        self.look()
        self.assertEqual(
            (self.names_of("food"), self.names_of("drink"), len(reads)), ([], ["spam"], 1)
        )

    def test_storage_away(self) -> None:
        """While the storage is away names and summaries are found; metadata is read once it is
        back.
        """
        self.add("spam", "1.0", ("Keywords", "food"), summary="Lovely")
        self.add("eggs")
        self.pypid.blobs.away = StorageDown("away")
        self.look()
        self.assertEqual(
            (self.names_of("lovely"), self.names_of("food"), self.find().unread), (["spam"], [], 2)
        )
        self.assertEqual(
            self.find(by=Visibility(True, frozenset({project_name("spam")}))).unread, 1
        )
        self.pypid.blobs.away = None
        self.look()
        self.assertEqual((self.names_of("food"), self.find().unread), (["spam"], 0))

    def test_disk_full(self) -> None:
        """Where the cards cannot be written nothing else fails, and they are made once they can."""
        self.add("spam")
        self.search.folder = None
        shutil.rmtree(self.folder)
        self.look()
        self.assertEqual(self.find("spam").total, 0)
        self.folder.mkdir()
        self.look()
        self.assertEqual(self.names_of("spam"), ["spam"])


class TheirsTests(SearchCase):
    """What is kept of another index."""

    policy = Policy(mode=Mode.CACHE, cooldown=Cooldown(timedelta(days=1)))

    def test_kept(self) -> None:
        """Only what is stored is found, and nobody else is asked for anything."""
        self.assertEqual(self.names_of(), [])
        self.pypid = self.another(CACHE)
        self.search = self.pypid.app.search
        self.keep()
        heard = list(self.upstream.heard)
        self.assertEqual(
            [(each.name, each.ours, each.version) for each in self.find("ham")],
            [("ham", False, "1.0")],
        )
        self.assertEqual(self.upstream.heard, heard)

    def test_denied(self) -> None:
        """What a rule hides from now on is not found."""
        self.pypid = self.another(CACHE)
        self.keep()
        self.pypid = self.another(Policy(mode=Mode.CACHE, deny=("ham",)), at=self.pypid)
        self.search = self.pypid.app.search
        self.assertEqual(self.find("ham").total, 0)

    def test_cooldown(self) -> None:
        """A release that becomes old enough is found then, by itself."""
        self.pypid = self.another(CACHE)
        self.keep()
        self.pypid = self.another(at=self.pypid)
        self.search = self.pypid.app.search
        self.assertEqual([each.version for each in self.find("ham")], [""])
        self.pypid.clock.advance(2 * 86400)
        self.assertEqual([each.version for each in self.find("ham")], ["1.0"])
