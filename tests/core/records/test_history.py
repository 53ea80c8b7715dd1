"""How things stood, told from how they stand: what another index said, against what it said in each
moment.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.model import (
    MOST_EVENTS,
    File,
    ListedFile,
    Listing,
    UpstreamEntry,
    as_stored,
    in_order,
)
from pypid.core.packaging.names import project_name
from pypid.core.records.history import listing_as_of, spans, was_any
from pypid.core.records.upstream_entry import (
    LONGEST,
    MOST,
    load_entry,
    with_listing,
)
from tests.core.records.test_upstream_entry import dumped
from tests.support import BEGINNING

SPAM = project_name("spam")
Listed = dict[str, tuple[str, str | None]]
"""What is listed: by name the hash and the yank."""

listings = st.none() | st.dictionaries(
    st.sampled_from(("spam-1.0.tar.gz", "spam-2.0.tar.gz", "spam-3.0.tar.gz")),
    st.tuples(st.sampled_from(("aa" * 32, "bb" * 32)), st.sampled_from((None, None, "", "bad"))),
)


def at(number: float) -> datetime:
    """The time of the question of this number."""
    return BEGINNING + timedelta(hours=number)


class World:
    """Another index, and what is heard of it."""

    def __init__(self, dated: bool) -> None:
        self.dated = dated
        self.heard = UpstreamEntry(name=SPAM)
        self.uploads: dict[tuple[str, str], datetime] = {}

    def ask(self, number: int, listing: Listed | None) -> None:
        """It says this."""
        files = (
            None
            if listing is None
            else in_order(tuple(self.file(name, *said, number) for name, said in listing.items()))
        )
        self.heard = with_listing(
            self.heard, Listing(name=SPAM, files=files, confirmed=at(number), index="https://x/")
        )

    def file(self, name: str, sha256: str, yanked: str | None, number: int) -> File:
        uploaded = self.uploads.setdefault((name, sha256), at(number - 0.5))
        version = name.removeprefix("spam-").removesuffix(".tar.gz")
        return ListedFile(
            project=SPAM,
            filename=name,
            version=version,
            sha256=sha256,
            size=1,
            uploaded=uploaded if self.dated else None,
            yanked=yanked,
            source="https://x/",
        )


class TheirsTests(SynchronousTestCase):
    """A project of theirs."""

    @given(st.lists(listings, min_size=1, max_size=8), st.data(), st.booleans())
    @settings(max_examples=150, deadline=None, database=None)
    def test_any_history(self, said: list[Listed | None], data: st.DataObject, dated: bool) -> None:
        """What is told of any moment since it was first asked is what it said then, but for files
        that are not to be had.
        """
        world = World(dated)
        for number, listing in enumerate(said):
            world.ask(number, listing)
        now = world.heard.listing
        assert now is not None
        every = {(name, one[0]) for listing in said for name, one in (listing or {}).items()}
        kept = (
            dict(
                data.draw(st.lists(st.sampled_from(sorted(every)), unique_by=lambda pair: pair[0]))
            )
            if every
            else {}
        )
        stored = tuple(
            as_stored(world.file(*pair, None, 0), key="x") for pair in sorted(kept.items())
        )
        heard = UpstreamEntry(
            name=SPAM,
            listing=now,
            kept=in_order(stored),
            history=world.heard.history,
            since=world.heard.since,
        )
        self.assertEqual(load_entry(*dumped(heard)), heard)
        if now.files is None:
            return
        has = {file.filename: file.sha256 for file in now.files}
        restored = {name for name, _ in every}
        for number, listing in enumerate(said):
            then = listing_as_of(now, heard.kept, heard.history, at(number + 0.25), restored).files
            expected = {
                name: one
                for name, one in (listing or {}).items()
                if has.get(name, kept.get(name)) == one[0]
            }
            self.assertEqual(
                {file.filename: (file.sha256, file.yanked) for file in then or ()}, expected
            )
            early = listing_as_of(now, heard.kept, heard.history, at(number + 0.25)).files
            self.assertEqual(early, tuple(file for file in then or () if file.filename in has))
            if any(kept.get(name) == one[0] for name, one in expected.items()):
                self.assertTrue(was_any(spans(None, heard, restored), at(number + 0.25)))

    def test_file_removed_within_14_days_is_in_no_as_of_view(self) -> None:
        """By its upload time, or by when it was first seen here; unless an administrator restores
        it.
        """
        name, day = "spam-1.0.tar.gz", 24
        for dated in (True, False):
            for days, is_shown in ((1, False), (13, False), (15, True)):
                world = World(dated)
                world.ask(0, {name: ("aa" * 32, None)})
                assert world.heard.listing is not None
                [file] = world.heard.listing.files or ()
                world.ask(days * day, {})
                heard = evolve(world.heard, kept=(as_stored(file, key="x"),))
                assert heard.listing is not None
                then = listing_as_of(heard.listing, heard.kept, heard.history, at(1)).files or ()
                self.assertEqual([file.filename for file in then], [name] * is_shown, (dated, days))
                self.assertEqual(was_any(spans(None, heard), at(1)), is_shown)
                then = (
                    listing_as_of(heard.listing, heard.kept, heard.history, at(1), [name]).files
                    or ()
                )
                self.assertEqual([file.filename for file in then], [name])

    def test_bounds(self) -> None:
        """However much another index changes its mind, what is held of it is bounded, and the
        newest of it stays.
        """
        world = World(True)
        names = [f"spam-{number}.tar.gz" for number in range(MOST + 10)]
        for number in range(MOST_EVENTS + 3):
            world.ask(
                number,
                {name: ("aa" * 32, str(number)) for name in (names if number == 0 else names[:5])},
            )
        world.ask(99, dict.fromkeys(names, ("aa" * 32, "x")))
        world.ask(100, dict.fromkeys(names, ("aa" * 32, "y")))
        world.ask(101, {names[0]: ("aa" * 32, "long" * 1000)})
        world.ask(102, {names[0]: ("aa" * 32, "long" * 1000 + "er")})
        world.ask(103, {names[0]: ("aa" * 32, None)})
        [first] = [past for past in world.heard.history if past.filename == names[0]]
        self.assertEqual([len(event.yanked or "") for event in first.events[-2:]], [LONGEST, 0])
        self.assertLessEqual(len(world.heard.history), MOST)
        self.assertLessEqual(max(len(past.events) for past in world.heard.history), MOST_EVENTS)
