"""What an index shows of inherited projects: keys, mixed files, and its own cooldown."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.cooldown import Cooldown
from pypid.core.indexes import (
    absolute,
    blocks_of,
    cooled,
    mixed,
    relative,
    settings_of_values,
    unblocked,
)
from pypid.core.model import File, Project, Status, StoredFile, in_order
from pypid.core.simple_api.listed_files import ShownFiles, packed
from tests.core.test_policy import COOLDOWNS, FILES, KEPT, NOW, OUR_FILE, SPAM, many

PREFIX = ".pypid/index/team/"


class KeysTests(SynchronousTestCase):
    """Keys of a part in the whole storage."""

    @many
    @given(KEPT, FILES)
    def test_stored_files_get_whole_keys_once(
        self, kept: Sequence[StoredFile], listed: Sequence[File]
    ) -> None:
        """In a tuple and in a packed listing; listed files have no key, and stay as they are."""
        names = {file.filename for file in kept}
        files = in_order((*kept, *(file for file in listed if file.filename not in names)))
        listing = packed(in_order(listed))
        places = {file.filename: place for place, file in enumerate(listing)}
        replaced = {places[file.filename]: file for file in kept if file.filename in places}
        for shown in (files, listing, ShownFiles(listing, replaced)):
            project = Project(name=SPAM, files=shown)
            whole = absolute(project, PREFIX)
            self.assertEqual(
                [file.filename for file in whole.files], [file.filename for file in shown]
            )
            self.assertEqual(tuple(absolute(whole, PREFIX).files), tuple(whole.files))
            for before, after in zip(shown, whole.files, strict=True):
                if isinstance(before, StoredFile):
                    assert isinstance(after, StoredFile)
                    self.assertEqual(after.key, PREFIX + before.key)
                    self.assertEqual(relative(after, PREFIX), before)
                else:
                    self.assertEqual(after, before)


class CooledTests(SynchronousTestCase):
    """The cooldown of an index."""

    @many
    @given(COOLDOWNS, FILES, st.integers(0, 60))
    def test_it_only_hides_and_ends_when_it_says(
        self, cooldown: Cooldown, listed: Sequence[File], days: int
    ) -> None:
        """A packed listing, one with hidden files, and a tuple show the same; what is hidden is
        what `Cooldown.visible_from` says; and nothing changes before the time that is returned.
        """
        now, files = NOW + timedelta(days=days), in_order(listed)
        listing = packed(files)
        project, until = cooled(Project(name=SPAM, files=files), cooldown, now)
        rules = cooldown.rules_of(SPAM, now)
        expected = [file for file in files if now >= rules.visible_from(file)]
        self.assertEqual(list(project.files), expected)
        for shown in (listing, ShownFiles(listing)):
            other, its_until = cooled(Project(name=SPAM, files=shown), cooldown, now)
            self.assertEqual((tuple(other.files), its_until), (tuple(project.files), until))
        if until is None:
            later = now + timedelta(days=3650)
        else:
            later = until - timedelta(seconds=1)
            self.assertGreater(until, now)
        again, _ = cooled(Project(name=SPAM, files=files), cooldown, max(now, later))
        self.assertEqual(tuple(again.files), tuple(project.files))

    def test_files_that_a_base_hides_stay_hidden(self) -> None:
        """And local files never wait."""
        wait = Cooldown(timedelta(days=3))
        young = replace(OUR_FILE, uploaded=NOW)
        project, until = cooled(Project(name=SPAM, files=(young,)), wait, NOW)
        self.assertEqual((tuple(project.files), until), ((young,), None))
        theirs = replace(young, source="https://up.example/x", key=".kept/spam/x")
        self.assertEqual(cooled(Project(name=SPAM, files=(theirs,)), wait, NOW)[0].files, ())


class BlockTests(SynchronousTestCase):
    """The blocks of an index."""

    @many
    @given(
        FILES, st.sampled_from(["spam", "spam==2.0", "spam>=2,<4 eggs", "eggs", "spam<2 spam>3"])
    )
    def test_blocked_versions_are_hidden(self, listed: Sequence[File], block: str) -> None:
        """The same ones in a tuple, in a packed listing, and in one with hidden files; and no
        others.
        """
        blocks = blocks_of(settings_of_values("team", {"block": block}), SPAM)
        self.assertTrue(all(spec.project == SPAM for spec in blocks))
        files = in_order(listed)
        expected = [
            file for file in files if not any(spec.includes(file.version) for spec in blocks)
        ]
        listing = packed(files)
        for shown in (files, listing, ShownFiles(listing)):
            found = unblocked(Project(name=SPAM, files=shown), blocks)
            self.assertEqual(list(found.files), expected)
            self.assertEqual(list(unblocked(found, blocks).files), expected)
        if files:
            first = ShownFiles(listing, hidden=frozenset([0]))
            found = unblocked(Project(name=SPAM, files=first), blocks)
            self.assertEqual(list(found.files), [each for each in expected if each is not files[0]])


class MixedTests(SynchronousTestCase):
    """Projects whose files come from several layers."""

    @many
    @given(FILES, KEPT, st.sampled_from(Status))
    def test_own_names_win(
        self, listed: Sequence[File], own: Sequence[StoredFile], status: Status
    ) -> None:
        """Each name is there once, and its own file hides an inherited one, also while it is
        withheld. A project in quarantine inherits nothing.
        """
        taken = frozenset(file.filename for file in own)
        mine = Project(name=SPAM, files=in_order(own), status=status)
        found = mixed(mine, Project(name=SPAM, files=in_order(listed)), taken)
        if not status.offers_files:
            self.assertIs(found, mine)
            return
        names = [file.filename for file in found.files]
        self.assertEqual(len(names), len(set(names)))
        self.assertEqual(set(names), taken | {file.filename for file in listed})
        for file in own:
            self.assertIs(found.file(file.filename), file)
        withheld = mixed(evolve(mine, files=()), Project(name=SPAM, files=listed), taken)
        self.assertFalse(taken & {file.filename for file in withheld.files})
