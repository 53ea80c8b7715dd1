"""A list becomes a tree: in what order, what is left alone, and what goes."""

import json

from twisted.trial.unittest import SynchronousTestCase

from pypid.static.build import build
from pypid.static.package_list import read_json
from tests.static.lists import HASH, SETTINGS, Tree, built, names, objects


class BuildTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.tree = Tree()

    def test_order(self) -> None:
        """Projects are there before what lists them, and the list itself is last, after all has
        survived.
        """
        built(self.tree, names("spam-1.0.tar.gz", "eggs-1.0.tar.gz"))
        deeds = [path or deed for deed, path in self.tree.deeds]
        self.assertEqual(
            deeds,
            [
                *(f"pypi/eggs/{end}" for end in ("1.0/json", "json")),
                *(f"simple/eggs/{end}" for end in ("index.json", "index.html")),
                *(f"pypi/spam/{end}" for end in ("1.0/json", "json")),
                *(f"simple/spam/{end}" for end in ("index.json", "index.html")),
                *(
                    "simple/index.json",
                    "simple/index.html",
                    "changelog/page1.html",
                    "rss/updates.xml",
                    "index.html",
                ),
                *("settle", "packages.json"),
            ],
        )

    def test_again(self) -> None:
        """The same list once more writes nothing."""
        listed = names("spam-1.0.tar.gz", "eggs-1.0.tar.gz")
        first = built(self.tree, listed)
        self.tree.written()
        again = built(self.tree, listed)
        self.assertEqual(
            (first.written, first.same, again.written, again.same, self.tree.written()),
            (14, 0, 0, 14, []),
        )

    def test_one_more(self) -> None:
        """One more file changes the pages of its project, and those that name all files."""
        built(self.tree, names("spam-1.0.tar.gz", "eggs-1.0.tar.gz"))
        self.tree.written()
        built(self.tree, names("spam-1.0.tar.gz", "eggs-1.0.tar.gz", "spam-1.1.tar.gz"))
        of_spam = [
            "pypi/spam/1.1/json",
            "pypi/spam/json",
            "simple/spam/index.json",
            "simple/spam/index.html",
        ]
        self.assertEqual(
            self.tree.written(), [*of_spam, "changelog/page1.html", "index.html", "packages.json"]
        )

    def test_previous(self) -> None:
        """With the list of before, projects that are as they were are not even looked at."""
        before = names("spam-1.0.tar.gz", "eggs-1.0.tar.gz")
        built(
            self.tree,
            names("eggs-1.0.tar.gz", "spam-1.0.tar.gz", "spam-1.1.tar.gz"),
            previous=before,
        )
        self.assertFalse([path for path in self.tree.written() if "eggs" in path])

    def test_nothing_new(self) -> None:
        """Where nothing has changed since, nothing is done at all."""
        outcome = built(
            self.tree,
            names("a-1.0.tar.gz", "b-1.0.tar.gz"),
            previous=names("b-1.0.tar.gz", "a-1.0.tar.gz"),
        )
        self.assertEqual((self.tree.deeds, outcome.written, outcome.same), ([], 0, 0))

    def test_values_count(self) -> None:
        """A file of which something else is said has changed."""
        before, after = (
            {"filename": "spam-1.0.tar.gz", "yanked_reason": reason} for reason in (None, "bad")
        )
        built(self.tree, objects(after), previous=objects(before))
        self.assertIn("simple/spam/index.html", self.tree.written())

    def test_gone(self) -> None:
        """A project that is gone is listed no more; its pages stay, as with dumb-pypi, which is
        said.
        """
        before = names("spam-1.0.tar.gz", "eggs-1.0.tar.gz")
        built(self.tree, before)
        outcome = built(self.tree, names("spam-1.0.tar.gz"), previous=before)
        self.assertEqual((outcome.gone, outcome.removed), (1, 0))
        self.assertIn("simple/eggs/index.html", self.tree.pages)
        self.assertNotIn(b"eggs", self.tree.pages["simple/index.html"])

    def test_delete(self) -> None:
        """With --delete pages of what is gone are removed, after nothing names them any more; other
        files stay.
        """
        built(self.tree, names("spam-1.0.tar.gz", "spam-1.1.tar.gz", "eggs-1.0.tar.gz"))
        others = (
            "simple/robots.txt",
            "pool/eggs-1.0.tar.gz",
            "simple/eggs/logo.png",
            "pypi/spam/json.gz",
        )
        for other in others:
            self.tree.write(other, b"")
        self.tree.deeds.clear()
        listed = names("spam-1.0.tar.gz")
        outcome = built(self.tree, listed, delete=True)
        fresh = Tree()
        built(fresh, listed)
        self.assertEqual(set(self.tree.pages), {*fresh.pages, *others})
        self.assertEqual((outcome.removed, outcome.gone), (5, 0))
        last_written = self.tree.deeds.index(("write", "index.html"))
        first_removed = min(
            number for number, (deed, _) in enumerate(self.tree.deeds) if deed == "remove"
        )
        self.assertLess(last_written, first_removed)

    def test_delete_with_previous(self) -> None:
        """Even where the list has not changed, --delete sweeps up what an earlier run has left."""
        listed = names("spam-1.0.tar.gz")
        built(self.tree, listed)
        self.tree.write("simple/eggs/index.html", b"")
        built(self.tree, listed, previous=listed, delete=True)
        self.assertNotIn("simple/eggs/index.html", self.tree.pages)

    def test_reproducible(self) -> None:
        """The order of the list makes no difference to any byte."""
        entries = [
            {"filename": f"{name}-{n}.0.tar.gz", "hash": HASH}
            for name in ("a", "b", "c-d")
            for n in range(12)
        ]
        one, other = Tree(), Tree()
        built(one, objects(*entries))
        built(other, objects(*reversed(entries)))
        self.assertEqual(one.pages, other.pages)

    def test_the_list(self) -> None:
        """The list that is written is read as the list that it was made of, and has ASCII only."""
        entries = [
            {"filename": "spam-1.0.tar.gz", "yanked_reason": "ä\u2028"},
            {"filename": "foo-bar-1.tar.gz", "size": 3},
        ]
        listed = objects(*entries)
        built(self.tree, listed)
        body = self.tree.pages["packages.json"]
        self.assertTrue(body.isascii())
        self.assertEqual([json.loads(line) for line in body.splitlines()], list(reversed(entries)))
        self.assertEqual(read_json(body.splitlines(keepends=True), "x").projects, listed.projects)

    def test_empty(self) -> None:
        """A list without files makes a tree without projects."""
        outcome = built(self.tree, names())
        self.assertEqual(
            (outcome.projects, json.loads(self.tree.pages["simple/index.json"])["projects"]),
            (0, []),
        )

    def test_heard(self) -> None:
        """How far it is is told from nothing to all."""
        heard: list[tuple[int, int]] = []
        listed = names(*(f"p{number}-1.0.tar.gz" for number in range(70)))
        build(listed, self.tree, SETTINGS, on_progress=lambda done, of: heard.append((done, of)))
        self.assertEqual((heard[0], heard[-1]), ((0, 70), (70, 70)))
        self.assertEqual(heard, sorted(heard))
