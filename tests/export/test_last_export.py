"""What an export leaves alone, since it has not changed since the last one."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from attrs import evolve

from pypid.core.configuration.choices import Mode
from pypid.core.cooldown import Cooldown
from pypid.core.export_request import ExportedIndex
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.permissions import Rules
from pypid.core.policy import Policy
from pypid.core.restrictions import ProjectRestrictions, Restrictions
from pypid.export.source import ExportViewer
from pypid.export.targets import STATE, FolderPlace, Stamp
from tests.core.test_restrictions import VersionRule
from tests.distributions import wheel_filename
from tests.export.trees import BASE, IDENTITY, TreeCase, page_in
from tests.index.file_cache_cases import listed
from tests.web.installers.test_local import HAM

SPAM = project_name("spam")


class LastExportCase(TreeCase):
    """An index with three projects, and a tree."""

    def setUp(self) -> None:
        super().setUp()
        self.pypid.app.settings = evolve(self.pypid.app.settings, public_url=BASE)
        for name in ("spam", "eggs", "bacon"):
            self.have_wheel(name)
        self.read: list[str] = []
        project = ExportViewer.project

        async def noted(viewer: ExportViewer, name: ProjectName) -> Any:
            self.read.append(name)
            return await project(viewer, name)

        self.patch(ExportViewer, "project", noted)
        self.write()
        self.read.clear()

    def again(self, *names: str, **wishes: Any) -> ExportedIndex:
        """Export: of the projects, only these are read. The tree is what a new one would be."""
        outcome = self.write(**wishes)
        self.assertEqual(sorted(set(self.read)), sorted(names))
        self.same(**wishes)
        self.read.clear()
        return outcome

    def same(self, **wishes: Any) -> None:
        """The tree is what a new one would be."""
        tree, folder = self.tree(), self.folder
        self.folder = Path(self.mktemp()).absolute()
        self.write(**{**wishes, "clears": False})
        fresh, self.folder = self.tree(), folder
        self.assertEqual(tree.keys(), fresh.keys())
        self.assertEqual([path for path, body in tree.items() if fresh[path] != body], [])

    @property
    def state(self) -> Path:
        """The file with the state."""
        return self.folder / STATE


class UnchangedTests(LastExportCase):
    """What is looked at."""

    def test_nothing(self) -> None:
        """Where nothing has changed, no project is read."""
        outcome = self.again()
        self.assertEqual((outcome.projects, outcome.unchanged, outcome.written), (3, 3, 0))

    def test_upload(self) -> None:
        """After an upload only its project is read; lists, changelog and feeds have everything."""
        self.have_wheel("spam", "2.0")
        outcome = self.again("spam")
        self.assertEqual((outcome.projects, outcome.unchanged), (3, 2))
        self.have_wheel("new")
        self.assertEqual(self.again("new").unchanged, 3)
        for path in ("index.html", "changelog/page1.html", "rss/updates.xml", "rss/packages.xml"):
            for name in (b"spam", b"eggs", b"bacon", b"new"):
                self.assertIn(name, self.tree()[path], path)

    def test_changes(self) -> None:
        """A yank and a delete are changes; what a deleted release had is removed."""
        index, file = self.pypid.index, wheel_filename("spam", "1.0")
        self.have(index.manager.yank(SPAM, [file], "bad"))
        self.again("spam")
        self.have(index.manager.delete(SPAM, [file], "alice"))
        self.again("spam", clears=True)
        self.assertNotIn("pypi/spam/1.0/json", self.tree())

    def test_block(self) -> None:
        """A project with blocked versions is read each time, and once more when the block ends."""
        restrictions = self.pypid.index.context.policy.restrictions
        self.patch(restrictions, "current", Restrictions())
        rule = VersionRule(frozenset({"1.0"}))
        restrictions.replace("blocks", {SPAM: ProjectRestrictions((rule,))})
        self.again("spam", clears=True)
        self.assertNotIn("pypi/spam/1.0/json", self.tree())
        self.again("spam", clears=True)
        restrictions.replace("blocks", {})
        self.again("spam", clears=True)
        self.assertIn("pypi/spam/1.0/json", self.tree())
        self.again(clears=True)

    def test_removed_later(self) -> None:
        """What a run without --delete leaves is removed by the next one with it."""
        self.have(self.pypid.index.manager.delete(SPAM, [wheel_filename("spam", "1.0")], "alice"))
        self.write()
        self.assertIn("pypi/spam/1.0/json", self.tree())
        self.write(clears=True)
        self.same()

    def test_hidden(self) -> None:
        """A project that is hidden goes, at once, with its files, and out of the state."""
        self.write(copies=True)
        self.read.clear()
        self.hide("eggs")
        outcome = self.again(copies=True, clears=True)
        self.assertEqual((outcome.projects, outcome.hidden, outcome.unchanged), (2, 1, 2))
        self.assertFalse([path for path in self.tree() if "eggs" in path])
        self.assertNotIn(b"eggs", self.state.read_bytes())
        self.hide()
        self.again("eggs", copies=True, clears=True)


class InvalidTests(LastExportCase):
    """When everything is looked at."""

    def all(self, **wishes: Any) -> None:
        """Each project is read, and then none."""
        self.again("bacon", "eggs", "spam", **wishes)
        self.again(**wishes)

    def test_policy(self) -> None:
        """So do other rules."""
        policy = Policy(mode=Mode.CACHE, cooldown=Cooldown(timedelta(days=7)))
        self.pypid = self.another(policy, at=self.pypid)
        self.pypid.app.settings = evolve(self.pypid.app.settings, public_url=BASE)
        self.all()

    def test_right_to_fetch(self) -> None:
        """So does it whether the user may have pypid fetch."""
        self.pypid.app.rules = evolve(self.pypid.app.rules, fetch=Rules().write)
        self.all()

    def test_verified(self) -> None:
        """With `verifies` each page is compared."""
        (self.folder / "simple/spam/index.html").write_text("damaged")
        (self.folder / "pypi/eggs/json").unlink()
        self.assertEqual(self.write().written, 0)
        self.assertEqual(self.write(verifies=True).written, 2)
        self.same()

    def test_damaged(self) -> None:
        """A state that is cut off, or is none, counts for nothing."""
        whole = self.state.read_bytes()
        first, _, rest = whole.partition(b"\n")
        for data in (b"", whole[:-9], first, b"x" + whole, first + b"\n[]", b"\xff" + rest):
            self.read.clear()
            self.state.write_bytes(data)
            self.again("bacon", "eggs", "spam")

    def test_killed(self) -> None:
        """After a run that ended in the middle everything is looked at."""
        place = FolderPlace(str(self.folder), self.pypid.world)
        self.have(place.claim(Stamp(IDENTITY, "anonymous"), clears=False))
        self.assertTrue(self.have(place.recall()))
        self.have(place.close())
        self.all()

    def test_pending(self) -> None:
        """A project that the catalog could not be told of is read from the storage."""
        self.pypid.index.context.records.pending_updates.add(SPAM)
        self.again("spam")

    def test_private(self) -> None:
        """The state is readable for pypid only, and is no page."""
        self.assertEqual(self.state.stat().st_mode & 0o777, 0o600)
        self.assertTrue(STATE.startswith("."))


class CooldownTests(TreeCase):
    """Time is a change."""

    policy = Policy(mode=Mode.CACHE, cooldown=Cooldown(timedelta(seconds=60)))

    def test_old_enough(self) -> None:
        """A file that is old enough by now is on the page, though nothing else has changed."""
        name = project_name("ham")
        kept = listed(self.ham, HAM, project=name, seen=self.pypid.world.now(), key="ham")
        self.have(self.pypid.catalog.upstream.edit(name, lambda entry: evolve(entry, kept=(kept,))))
        self.write()
        self.assertEqual(page_in(self.folder, "ham")["files"], [])
        self.assertEqual(self.write().unchanged, 1)
        self.pypid.clock.advance(61)
        self.assertEqual(self.write().unchanged, 0)
        self.assertEqual(len(page_in(self.folder, "ham")["files"]), 1)
        self.assertEqual(self.write().unchanged, 1)
