"""A folder that is kept as the index is: what changes is there a moment later, and in order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any
from unittest.mock import patch

from attrs import evolve

from pypid.core.configuration.choices import Mode
from pypid.core.cooldown import Cooldown
from pypid.core.errors import PeopleUnknown, StorageDown
from pypid.core.model import Status
from pypid.core.packaging.names import project_name
from pypid.core.permissions import Rules
from pypid.core.policy import Policy
from pypid.core.restrictions import ProjectRestrictions, Restrictions
from pypid.export import tree_keeper
from pypid.export.folder import FolderPlace
from pypid.export.options import ExportOptions
from pypid.export.publish import LONGEST, LOOK, Publishing
from pypid.export.targets import Stamp
from pypid.static import tree
from pypid.static.tree import WrittenPage
from tests.core.test_restrictions import ANY, VersionRule
from tests.distributions import wheel_filename
from tests.export.trees import BASE, IDENTITY, TreeCase, authority_of, linked_in, names_in, page_in
from tests.index.file_cache_cases import listed
from tests.web.full_app import HTML, J
from tests.web.installers.test_local import HAM

SPAM = project_name("spam")
FILE = wheel_filename("spam", "1.0")


async def alone(job: Callable[[], Awaitable[object]]) -> bool:
    """Of one node."""
    await job()
    return True


class Watching(FolderPlace):
    """A folder in which after each step every page's files and every list's pages are there."""

    case: PublishingCase
    failing: Exception | None = None

    def _check(self) -> None:
        folder = self.case.folder
        for page in folder.glob("simple/*/index.html"):
            linked_in(folder, page.parent.name)
        if (folder / "simple/index.json").exists():
            for name in names_in(folder):
                page_in(folder, name)

    async def _run(self, call: Any, *arguments: Any) -> Any:
        if self.failing is not None:
            raise self.failing
        result = await super()._run(call, *arguments)
        if self.case.copies:
            self._check()
        return result


class PublishingCase(TreeCase):
    """A pypid with a `[publish]`."""

    copies = True

    def setUp(self) -> None:
        super().setUp()
        self.pypid.app.settings = evolve(self.pypid.app.settings, public_url=BASE)

        def write(
            folder: tree.TreeFolder, path: str, body: bytes, write: Any = tree.TreeFolder.write
        ) -> None:
            write(folder, path, body)
            if self.copies:
                self.place._check()

        def remove(
            folder: tree.TreeFolder, path: str, remove: Any = tree.TreeFolder.remove
        ) -> None:
            remove(folder, path)
            if self.copies:
                self.place._check()

        self.patch(tree.TreeFolder, "write", write)
        self.patch(tree.TreeFolder, "remove", remove)
        self.patch(self.pypid.index.policy.restrictions, "current", Restrictions())
        self.publishing = self.begin()

    def begin(self, alone: Any = alone, **wishes: Any) -> Publishing:
        """Another one, which runs until the end of the test."""
        self.place = Watching(str(self.folder), self.pypid.world)
        self.place.case = self
        made = Publishing(
            self.pypid.index,
            authority_of(self.pypid),
            self.place,
            ExportOptions(**{"base_url": BASE, "copies": self.copies, **wishes}),
            Stamp(IDENTITY, "anonymous"),
            "the folder",
            alone,
        )
        made.startService()
        self.addCleanup(self.stop, made)
        return made

    def stop(self, publishing: Publishing | None = None) -> None:
        stopped = (publishing or self.publishing).stopService()
        if stopped is not None:
            self.successResultOf(stopped)

    def soon(self, seconds: float = 0.5) -> None:
        """Half a second later."""
        for _ in range(int(seconds / LOOK)):
            self.pypid.clock.advance(LOOK)

    def shown(self) -> list[str]:
        """What the list in the folder names, which is what the server's names; and each page is the
        server's.
        """
        names = names_in(self.folder)
        self.assertEqual(names, self.pypid.names())
        local = "local" if self.copies else "simple"
        for name in ("", *(f"{name}/" for name in names)):
            for accept, page in ((J, "index.json"), (HTML, "index.html")):
                there = (self.folder / f"simple/{name}{page}").read_bytes()
                served = self.pypid.get(f"/{local if name else 'simple'}/{name}", accept).body
                if self.copies and name:
                    served = served.replace(
                        b"../" + name.encode(), b"../../packages/" + name.encode()
                    )
                self.assertEqual(there, served, name)
        return names


class ChangesTests(PublishingCase):
    """What is a change."""

    def test_upload(self) -> None:
        """An upload is there half a second later, its file and page and a line on the lists."""
        self.soon()
        self.assertEqual(self.shown(), [])
        self.have_wheel()
        self.have_sdist("eggs")
        self.soon()
        self.assertEqual(self.shown(), ["eggs", "spam"])
        self.assertEqual(list(linked_in(self.folder, "spam")), [f"../../packages/spam/{FILE}"])
        self.assertIn(b'data-name="eggs"', self.tree()["index.html"])
        self.assertIn(b"<title>spam 1.0</title>", self.tree()["rss/updates.xml"])

    def test_yank(self) -> None:
        """A yank is on the page, and a status, and so is their end."""
        self.have_wheel()
        self.soon()
        index = self.pypid.index
        for change, yanked in (
            (index.yank(SPAM, [FILE], "bad"), "bad"),
            (index.unyank(SPAM, [FILE]), False),
        ):
            self.have(change)
            self.soon()
            self.shown()
            self.assertEqual(page_in(self.folder, "spam")["files"][0].get("yanked", False), yanked)
        self.have(index.set_status(SPAM, Status.DEPRECATED, "old"))
        self.soon()
        self.assertEqual(
            page_in(self.folder, "spam")["project-status"],
            {"status": "deprecated", "reason": "old"},
        )

    def test_quarantine(self) -> None:
        """What is in quarantine leaves the folder with all its files, and comes back."""
        self.have_wheel()
        self.soon()
        index = self.pypid.index
        self.have(index.set_status(SPAM, Status.QUARANTINED, "malware"))
        self.soon()
        self.assertEqual(self.shown(), [])
        self.assertFalse([path for path in self.tree() if "spam" in path])
        self.have(index.set_status(SPAM, Status.ACTIVE, ""))
        self.soon()
        self.assertEqual(self.shown(), ["spam"])
        linked_in(self.folder, "spam")

    def test_delete(self) -> None:
        """A deleted file leaves the folder, and its release; a deleted project stays with an empty
        page, as on the server.
        """
        self.have_wheel()
        self.have_wheel(version="2.0")
        self.soon()
        self.assertIn("pypi/spam/1.0/json", self.tree())
        self.have(self.pypid.index.delete(SPAM, [FILE], "alice"))
        self.soon()
        self.shown()
        self.assertFalse([path for path in self.tree() if "1.0" in path])
        self.have(self.pypid.index.delete_project(SPAM, "alice"))
        self.soon()
        self.shown()
        self.assertFalse((self.folder / "packages/spam").exists())

    def test_rights(self) -> None:
        """What anonymous may not see any more leaves the folder, and comes back when they may."""
        self.have_wheel("secret")
        self.have_wheel("eggs")
        self.soon()
        self.hide("secret")
        self.soon()
        self.assertEqual(self.shown(), ["eggs"])
        self.assertFalse(
            [path for path, body in self.tree().items() if "secret" in path or b"secret" in body]
        )
        self.pypid.app.rules = Rules(
            read=self.pypid.app.rules.read, write=self.pypid.app.rules.write
        )
        self.pypid.app.auth_generation.bump()
        self.soon()
        self.assertEqual(self.shown(), ["eggs", "secret"])

    def test_upstream(self) -> None:
        """What is kept of theirs is there, and what upstream says of it."""
        self.soon()
        self.keep()
        self.soon()
        self.assertEqual(self.shown(), ["ham"])
        self.assertEqual(self.tree()[f"packages/ham/{HAM}"], self.ham)

    def test_claimed(self) -> None:
        """What is theirs under a name that is claimed now goes."""
        self.keep()
        self.soon()
        self.patch(self.pypid.index.policy.claims, "names", frozenset({project_name("ham")}))
        self.soon()
        self.assertEqual(self.shown(), [])
        self.assertFalse([path for path in self.tree() if "/ham/" in path])

    def block(self, version: str | None, digest: str | None = None) -> None:
        """Replace the blocks: a version of spam, or a digest."""
        rule = VersionRule(frozenset({version or ""}))
        self.pypid.index.policy.restrictions.replace(
            "blocks",
            {SPAM: ProjectRestrictions((rule,))} if version else {},
            {digest: ANY} if digest else {},
        )

    def test_block(self) -> None:
        """A blocked version leaves the folder, its file and pages too, and comes back."""
        self.have_wheel()
        self.have_wheel(version="2.0")
        self.soon()
        before = self.tree()
        self.block("2.0")
        self.soon()
        self.shown()
        self.assertFalse(
            [path for path, body in self.tree().items() if "2.0" in path or b"2.0-py" in body]
        )
        self.block(None)
        self.soon()
        self.shown()
        self.assertEqual(self.tree().keys(), before.keys())

    def test_block_by_digest(self) -> None:
        """So does a file that is blocked by its digest; with no file left the page is empty."""
        self.have_wheel()
        self.soon()
        file = self.have(self.pypid.index.file(SPAM, FILE))
        self.block(None, file.sha256)
        self.soon()
        self.shown()
        self.assertFalse((self.folder / "packages/spam").exists())
        self.assertEqual(page_in(self.folder, "spam")["files"], [])

    def test_block_of_a_cached_file(self) -> None:
        """A cached upstream file leaves the folder as well."""
        self.keep()
        self.soon()
        digest = self.have(self.pypid.index.file(project_name("ham"), HAM)).sha256
        self.block(None, digest)
        self.soon()
        self.assertFalse((self.folder / f"packages/ham/{HAM}").exists())

    def test_drift(self) -> None:
        """What somebody has changed in the folder is repaired within the hour; what is not ours
        stays.
        """
        self.have_wheel()
        self.soon()
        tree = self.tree()
        (self.folder / "simple/spam/index.html").write_text("")
        (self.folder / f"packages/spam/{FILE}").unlink()
        gone = self.folder / "simple/gone/index.html"
        gone.parent.mkdir()
        gone.write_text("old")
        own = self.folder / "simple/own.txt"
        own.write_text("own")
        self.copies = False  # a link leads nowhere until then
        self.soon(tree_keeper.FULL + 2)
        own.unlink()
        self.assertEqual(self.tree().keys() ^ tree.keys(), set())
        self.assertEqual([path for path, body in self.tree().items() if tree[path] != body], [])

    def test_an_hour_later(self) -> None:
        """Nothing of the storage is read for a pass in which nothing has changed; legacy JSON that
        is gone is made again.
        """
        self.have_wheel()
        self.soon()
        tree = self.tree()
        asked: list[str] = []
        read = self.pypid.blobs.read

        async def noted(key: str, span: Any = None) -> Any:
            asked.append(key)
            return await read(key, span)

        self.patch(self.pypid.blobs, "read", noted)
        self.soon(tree_keeper.FULL + 2)
        self.assertEqual(asked, [])
        (self.folder / "pypi/spam/1.0/json").unlink()
        (self.folder / "pypi/spam/json").write_text("{}")
        self.soon(tree_keeper.FULL + 2)
        self.assertEqual(self.tree(), tree)

    def test_restart(self) -> None:
        """What happened while nobody published is done at the start; what is hidden goes first."""
        self.have_wheel()
        self.have_wheel("eggs")
        self.soon()
        self.stop()
        self.have(self.pypid.index.yank(SPAM, [FILE], "bad"))
        self.hide("eggs")
        self.have_wheel("new")
        self.begin()
        self.soon()
        self.assertEqual(self.shown(), ["new", "spam"])
        self.assertFalse(
            [path for path, body in self.tree().items() if "eggs" in path or b"eggs" in body]
        )

    def test_restart_keeps_the_feeds(self) -> None:
        """After a restart the changelog and the feeds are never written with the first projects
        only, whether something was hidden meanwhile or not.
        """
        for name in ("spam", "eggs", "ham1", "ham2"):
            self.have_wheel(name)
        self.soon()
        self.patch(tree_keeper, "BATCH", 1)
        self.patch(tree_keeper, "EVERY", 0.0)
        for hidden in ((), ("ham1",)):
            self.stop()
            self.hide(*hidden)
            written: list[tuple[str, bytes]] = []

            async def put(
                place: FolderPlace,
                pages: Sequence[WrittenPage],
                written: Any = written,
                put: Any = FolderPlace.put,
            ) -> Any:
                written.extend(pages)
                return await put(place, pages)

            with patch.object(FolderPlace, "put", put):
                self.publishing = self.begin()
                self.have_wheel("new", str(len(hidden) + 1))
                self.soon(3)
            for path in ("changelog/page1.html", "rss/updates.xml", "index.html"):
                bodies = [body for where, body in written if where == path]
                self.assertTrue(bodies)
                for body in bodies:
                    for name in (b"spam", b"eggs", b"ham2"):
                        self.assertIn(name, body, path)
                    self.assertNotIn(b"latest version: unknown", body)
                    if hidden:
                        self.assertNotIn(b"ham1", body)

    def test_nothing(self) -> None:
        """Where nothing changes nothing is written."""
        self.have_wheel()
        self.soon()
        before = {path: path.stat().st_mtime_ns for path in self.folder.rglob("*")}
        self.soon(30)
        self.assertEqual({path: path.stat().st_mtime_ns for path in self.folder.rglob("*")}, before)


class LinkedTests(PublishingCase):
    """With links to the files of the server."""

    copies = False

    def test_theirs(self) -> None:
        """The page of what is kept names what is not, too: pypid stands behind. Nobody is asked."""
        self.keep()
        self.upstream.has("ham", "ham-2.0.tar.gz", b"")
        before = list(self.upstream.heard)
        self.soon()
        self.assertEqual(self.upstream.heard, before)
        self.assertEqual(names_in(self.folder), ["ham"])
        self.assertFalse((self.folder / "packages").exists())

    def test_serial(self) -> None:
        """What only changes the index's serial is on the lists some seconds later."""
        self.have_wheel()
        self.soon()
        self.pypid.get("/simple/ham/", J)
        self.soon(tree_keeper.SERIAL_ALONE + 1)
        self.assertEqual(self.shown(), ["spam"])

    def test_fetching(self) -> None:
        """Where anonymous may not make pypid fetch any more, only what is kept is named."""
        self.upstream.has("ham", "ham-2.0.tar.gz", b"")
        self.keep()
        self.soon()
        self.assertEqual(len(page_in(self.folder, "ham")["files"]), 2)
        self.pypid.app.rules = evolve(self.pypid.app.rules, fetch=Rules().write)
        self.soon()
        self.assertEqual(len(page_in(self.folder, "ham")["files"]), 1)
        self.shown()


class CooldownTests(PublishingCase):
    """Time is a change."""

    policy = Policy(mode=Mode.CACHE, cooldown=Cooldown(timedelta(seconds=60)))

    def test_old_enough(self) -> None:
        """A file comes onto the page as soon as it is old enough."""
        name = project_name("ham")
        kept = listed(self.ham, HAM, project=name, seen=self.pypid.world.now(), key="ham")
        self.have(self.pypid.catalog.upstream.edit(name, lambda heard: evolve(heard, kept=(kept,))))
        self.copies = False
        self.stop()
        self.begin()
        self.soon()
        self.assertEqual(page_in(self.folder, "ham")["files"], [])
        self.soon(61)
        self.assertEqual([file["filename"] for file in page_in(self.folder, "ham")["files"]], [HAM])


class AwayTests(PublishingCase):
    """A place that is away, and people that nobody knows."""

    def test_away(self) -> None:
        """A place that cannot be written to is said once, and when it is back all is there."""
        self.have_wheel()
        self.soon()
        self.place.failing = OSError(5, "Input/output error", "/srv")
        self.have_wheel("eggs")
        self.soon(60)
        self.assertEqual(self.publishing.away, "/srv: Input/output error")
        self.place.failing = None
        self.soon(LONGEST + 1)
        self.assertIsNone(self.publishing.away)
        self.assertEqual(self.shown(), ["eggs", "spam"])

    def test_nobody_knows(self) -> None:
        """While nobody knows who may see what, nothing is written."""
        self.soon()
        self.have_wheel()
        self.pypid.app.closed = PeopleUnknown("the accounts database")
        self.soon(5)
        self.assertEqual(names_in(self.folder), [])
        self.pypid.app.closed = None
        self.soon(10)
        self.assertEqual(self.shown(), ["spam"])

    def test_bytes_are_away(self) -> None:
        """A file that the storage does not give is not named; what else changes goes on, and the
        file comes later.
        """
        self.soon()
        self.have_wheel()
        read = self.pypid.blobs.read

        async def fails(key: str, span: Any = None) -> Any:
            if key.endswith(".whl"):
                raise StorageDown("it is away.")
            return await read(key, span)

        self.patch(self.pypid.blobs, "read", fails)
        self.soon()
        self.assertEqual(names_in(self.folder), [])
        self.have_sdist("eggs")
        self.soon()
        self.assertEqual(names_in(self.folder), ["eggs"])
        self.patch(self.pypid.blobs, "read", read)
        self.soon(tree_keeper.AGAIN + 1)
        self.assertEqual(self.shown(), ["eggs", "spam"])

    def test_not_compared(self) -> None:
        """Before the catalog has been compared with the storage nothing is published: what is
        missing may not be gone.
        """
        self.stop()
        self.have_wheel()
        self.begin()
        self.soon()
        self.pypid.catalog.begin_comparison()
        self.assertEqual(names_in(self.folder), ["spam"])

    def test_elsewhere(self) -> None:
        """Where another node publishes, this one does nothing, until that one has died."""
        self.stop()
        dead: list[bool] = []

        async def held(job: Callable[[], Awaitable[object]]) -> bool:
            if not dead:
                return False
            await job()
            return True

        self.begin(held)
        self.have_wheel()
        self.soon(10)
        self.assertFalse((self.folder / "simple/spam").exists())
        dead.append(True)
        self.soon(5)
        self.assertEqual(self.shown(), ["spam"])

    def test_taken_over(self) -> None:
        """A node that stood still so long that another one publishes now ends: its copies would be
        in the way.
        """
        self.soon()
        taken: list[bool] = []
        self.publishing.holds = lambda: not taken
        self.have_wheel()
        self.soon()
        self.assertEqual(self.shown(), ["spam"])
        taken.append(True)
        self.have_wheel("eggs")
        self.soon(1)
        self.assertIsNone(self.publishing.keeping)
        self.assertFalse((self.folder / "simple/eggs").exists())


class StopTests(PublishingCase):
    def test_at_once(self) -> None:
        """It ends at once, and does nothing from then on."""
        self.stop()
        self.have_wheel()
        self.soon(5)
        self.assertFalse((self.folder / "simple/spam").exists())
