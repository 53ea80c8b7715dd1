"""An export of what somebody may see, held against what the server answers."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from attrs import evolve

from pypid.core.configuration.choices import Mode
from pypid.core.cooldown import Cooldown
from pypid.core.model import SignedUrl, Status
from pypid.core.packaging.names import project_name
from pypid.core.policy import Policy
from pypid.export.targets import FolderPlace
from pypid.export.tree import WrittenPage
from pypid.flow import World
from tests.distributions import metadata, sdist, wheel, wheel_filename
from tests.export.trees import BASE, TreeCase, names_in, page_in
from tests.index.uploads import publishing, sent
from tests.web.full_app import HTML, J
from tests.web.installers.test_local import HAM


class ServedCase(TreeCase):
    """An index with a bit of everything."""

    def setUp(self) -> None:
        super().setUp()
        self.pypid.app.settings = evolve(self.pypid.app.settings, public_url=BASE)
        self.fill()

    def fill(self) -> None:
        """Yanks, status, quarantine, rights, what is kept of theirs, provenance, odd names."""
        index = self.pypid.index
        self.have_wheel("spam", "1.0", metadata_bytes=metadata(summary="Lovely & <fresh>"))
        self.have_sdist("spam", "1.1rc1")
        self.have_wheel("spam", "1!2.0+local.1")
        for name in ("A.B_c", "x", "secret", "closed", "empty", "json"):
            self.have_wheel(name, "0.1")
        self.have(
            publishing(
                index, sent(b"attested", "sure-1.0-py3-none-any.whl", provenance=b'{"version":1}')
            )
        )
        self.have(
            index.manager.yank(
                project_name("spam"), [wheel_filename("spam", "1.0")], 'bad "quotes" & <tags>'
            )
        )
        self.have(index.manager.set_status(project_name("x"), Status.DEPRECATED, "use y"))
        self.have(index.manager.set_status(project_name("closed"), Status.QUARANTINED, "malware"))
        self.have(
            index.manager.delete(project_name("empty"), [wheel_filename("empty", "0.1")], "alice")
        )
        self.upstream.has("ham", "ham-2.0.tar.gz", sdist("ham", "2.0"))
        self.upstream.has("odd", "odd-1.0-py3-none-any.whl", wheel("odd"))
        self.keep()
        self.hide("secret")

    def same(self, user: str | None = None, local: bool = False) -> list[str]:
        """Each page of the tree is what the server answers to the user; how many there were. The
        names that were compared.
        """
        tree = self.tree()
        names = names_in(self.folder)
        for name in ("", *(f"{name}/" for name in names)):
            for accept, page in ((J, "index.json"), (HTML, "index.html")):
                answer = self.pypid.get(f"/simple/{name}", accept, user=user)
                self.assertEqual(answer.status, 200)
                self.assertEqual(tree[f"simple/{name}{page}"], answer.body, name + page)
                self.assertEqual(gzip.decompress(tree[f"simple/{name}{page}.gz"]), answer.body)
        for path, body in tree.items():
            if path.startswith(("pypi/", "packages/", "integrity/")):
                self.assertEqual(self.pypid.get(f"/{path}", user=user).body, body, path)
        return names


class ServedTests(ServedCase):
    """Byte for byte."""

    def test_anonymous(self) -> None:
        """The pages that anonymous gets are in the tree, byte for byte, and no others; what is left
        out is counted.
        """
        outcome = self.write()
        names = self.same()
        self.assertEqual(names, ["a-b-c", "empty", "ham", "json", "spam", "sure", "x"])
        self.assertEqual((outcome.projects, outcome.hidden), (7, 1))
        self.assertEqual(names, self.pypid.names())
        self.assertFalse([path for path in self.tree() if "secret" in path or "closed" in path])
        self.assertFalse([path for path, body in self.tree().items() if b"secret" in body])

    def test_somebody(self) -> None:
        """With a user, it is what this user gets; an admin gets all."""
        for user in ("bob", "ada"):
            self.folder = Path(self.mktemp()).absolute()
            outcome = self.write(user=user)
            self.assertIn("secret", self.same(user))
            self.assertEqual(outcome.hidden, 0)

    def test_nobody(self) -> None:
        """A user whom nobody knows sees what anonymous does."""
        self.write(user="mallory")
        self.assertNotIn("secret", self.same())

    def test_upstream_is_not_asked(self) -> None:
        """An export asks no other index anything, and the page is the server's all the same."""
        before = list(self.upstream.heard)
        self.write()
        self.assertEqual(self.upstream.heard, before)
        self.assertEqual(
            [file["filename"] for file in page_in(self.folder, "ham")["files"]],
            [HAM, "ham-2.0.tar.gz"],
        )

    def test_offline(self) -> None:
        """Offline the page names what is kept only, in the tree as on the server."""
        self.pypid = self.another(
            Policy(mode=Mode.OFFLINE), at=self.pypid, rules=self.pypid.app.rules
        )
        self.pypid.app.settings = evolve(self.pypid.app.settings, public_url=BASE)
        self.write()
        self.same()
        self.assertEqual([file["filename"] for file in page_in(self.folder, "ham")["files"]], [HAM])

    def test_files_url(self) -> None:
        """Links can be absolute, and lead elsewhere; then what is not stored is not named."""
        self.write(files_url="https://files.example/pool/")
        urls = [
            file["url"]
            for name in names_in(self.folder)
            for file in page_in(self.folder, name)["files"]
        ]
        self.assertTrue(all(url.startswith("https://files.example/pool/") for url in urls), urls)
        self.assertIn("https://files.example/pool/spam/spam-1.0-py3-none-any.whl", urls)
        legacy = json.loads(self.tree()["pypi/spam/1.0/json"])
        self.assertEqual(
            legacy["urls"][0]["url"], "https://files.example/pool/spam/spam-1.0-py3-none-any.whl"
        )

    def test_signed(self) -> None:
        """Links can be signed URLs; what no client could find by them is not offered."""

        async def link(key: str, lifetime: timedelta, filename: str | None = None) -> SignedUrl:
            return SignedUrl(
                f"https://bucket.example/{key}?for={lifetime.days}",
                self.pypid.world.now() + lifetime,
            )

        self.patch(self.pypid.blobs, "link", link)
        self.write(signed=timedelta(days=2))
        [first, *_] = page_in(self.folder, "spam")["files"]
        self.assertTrue(first["url"].startswith("https://bucket.example/"), first)
        self.assertTrue(first["url"].endswith("?for=2"), first)
        self.assertNotIn("core-metadata", first)


class PeopleTests(ServedCase):
    """What is for people, and for feed readers."""

    def test_front(self) -> None:
        """The first page names every project with its newest version; its script is a file beside
        it.
        """
        self.write()
        page = self.tree()["index.html"].decode()
        self.assertIn('<a class="package" href="simple/spam/index.html" data-name="spam">', page)
        self.assertIn('<script src="filter.js" defer></script>', page)
        self.assertEqual(page.count("<script"), 1)
        self.assertIn(b"addEventListener", self.tree()["filter.js"])
        self.assertNotIn("Generated", page)


class Recording(FolderPlace):
    """A folder that remembers all pages that it was to write."""

    def __init__(self, root: str, world: World) -> None:
        super().__init__(root, world)
        self.pages: list[WrittenPage] = []

    async def put(self, groups: Sequence[Sequence[WrittenPage]]) -> Sequence[tuple[int, int]]:
        self.pages += [page for pages in groups for page in pages]
        return await super().put(groups)


class AgainTests(ServedCase):
    """The second time."""

    def times(self) -> dict[Path, int]:
        """When each visible file and folder of the tree was changed."""
        found = self.folder.glob("[!.]*/**/*")
        return {path: path.stat().st_mtime_ns for path in found}

    def test_same(self) -> None:
        """Nothing is written where nothing has changed, and two trees of one index are the same."""
        first = self.write(copies=True)
        self.assertTrue(first.written and first.copied)
        before = self.times()
        for verifies in (False, True):
            again = self.write(copies=True, verifies=verifies)
            self.assertEqual((again.written, again.copied), (0, 0))
            self.assertEqual(again.unchanged, 0 if verifies else again.projects)
            self.assertEqual(self.times(), before)
        tree, self.folder = self.tree(), Path(self.mktemp()).absolute()
        self.write(copies=True)
        self.assertEqual(self.tree(), tree)

    def test_gone(self) -> None:
        """What is not seen any more goes with clears, its files too; what somebody else has put
        there stays.
        """
        self.write(copies=True)
        foreign = (
            "README",
            "packages/spam/notes.txt",
            "simple/own/index.txt",
            "simple/x/robots.txt",
        )
        for path in foreign:
            where = self.folder / path
            where.parent.mkdir(exist_ok=True, parents=True)
            where.write_text("foreign")
        self.have(
            self.pypid.index.manager.delete(
                project_name("spam"), [wheel_filename("spam", "1.0")], "alice"
            )
        )
        self.hide("secret", "x", "ham")
        outcome = self.write(copies=True)
        self.assertEqual(outcome.left, 2)
        self.assertIn("simple/x/index.html", self.tree())
        self.assertEqual(self.write(copies=True, clears=True).left, 0)
        tree = self.tree()
        self.assertEqual(
            {path for path in tree if "/x/" in path or "/ham/" in path}, {"simple/x/robots.txt"}
        )
        self.assertFalse(
            [
                path
                for path in tree
                if wheel_filename("spam", "1.0") in path or path == "pypi/spam/1.0/json"
            ]
        )
        self.assertTrue(set(foreign) <= set(tree))
        for path in foreign:
            (self.folder / path).unlink()
        self.same()
        self.assertFalse((self.folder / "packages/ham").exists())

    def test_never_empty(self) -> None:
        """When a hidden project is removed, the start page, the changelog and the feeds are written
        without it, and with everything else.
        """
        self.write(copies=True)
        self.hide("secret", "x")
        place = Recording(str(self.folder), self.pypid.world)
        self.write(place, clears=True, copies=True)
        tree = self.tree()
        for path in ("index.html", "changelog/page1.html", "rss/updates.xml", "rss/packages.xml"):
            written = [page.body for page in place.pages if page.path == path]
            self.assertGreater(len(written), 1)
            self.assertEqual(set(written), {tree[path]}, path)
            self.assertIn(b"spam", tree[path])
            self.assertNotIn(b"x 0.1", tree[path])

    def test_hidden_project_is_removed_before_others_are_read(self) -> None:
        """Reading them for the feeds takes long: the pages and files that may no longer be seen do
        not wait for it.
        """
        self.write(copies=True)
        self.hide("secret", "x")
        hidden = self.folder / "simple/x"
        self.assertTrue(hidden.exists())
        there = []

        class Looking(Recording):
            async def put(
                self, groups: Sequence[Sequence[WrittenPage]]
            ) -> Sequence[tuple[int, int]]:
                if any(page.path == "changelog/page1.html" for page in groups[0]):
                    there.append(hidden.exists())
                return await super().put(groups)

        self.write(Looking(str(self.folder), self.pypid.world), clears=True, copies=True)
        self.assertEqual(there, [False, False])

    def test_drift(self) -> None:
        """Pages that were changed by hand, and files that are gone, are repaired."""
        self.write(copies=True)
        tree = self.tree()
        (self.folder / "simple/spam/index.html").write_text("nothing")
        (self.folder / f"packages/ham/{HAM}").unlink()
        (self.folder / "simple/index.json").unlink()
        self.write(copies=True, verifies=True)
        self.assertEqual(self.tree(), tree)

    def test_cooldown(self) -> None:
        """What is too young is not seen, neither is it written."""
        self.pypid = self.another(
            Policy(mode=Mode.CACHE, cooldown=Cooldown(timedelta(days=7))), at=self.pypid
        )
        self.pypid.app.settings = evolve(self.pypid.app.settings, public_url=BASE)
        self.write()
        self.assertEqual(page_in(self.folder, "ham")["files"], [])
        self.same()


class ClaimTests(TreeCase):
    """Whose a folder is."""

    def test_foreign(self) -> None:
        """A folder that holds somebody's files is refused, one that was made for it is not."""
        self.folder.mkdir()
        (self.folder / "lost+found").mkdir()
        self.write()
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        (self.folder / "index.html").write_text("mine")
        self.not_written("holds files that no pypid has written")
        self.assertEqual(self.tree(), {"index.html": b"mine"})

    def test_other_index(self) -> None:
        """So is the export of another index."""
        self.write()
        manifest = self.folder / ".pypid-export.json"
        manifest.write_text(manifest.read_text().replace("these tests", "others"))
        self.not_written("another index")
        manifest.write_text("{")
        self.not_written("cannot be read")

    def test_other_audience(self) -> None:
        """What one person may see does not stay beside what another may, unless what is gone is
        removed.
        """
        self.have_wheel("secret")
        self.hide("secret")
        self.write(user="bob")
        self.not_written("what bob may see", "--delete")
        self.write(clears=True)
        self.assertEqual(names_in(self.folder), [])
        self.assertFalse([path for path in self.tree() if "secret" in path])
