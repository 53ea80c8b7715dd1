"""The export of a list of files: its pages, and what another run changes."""

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.packaging.names import ProjectName
from pypid.core.simple_api.parse import read_json
from pypid.core.simple_api.parse_html import read_html
from tests.export.lists import HASH, POOL, built, names, objects, tree_of
from tests.export.trees import files_in

SPAM = ProjectName("spam")
FULL = {
    "filename": "spam-1.0-py3-none-any.whl",
    "hash": HASH,
    "requires_python": ">=3.9",
    "requires_dist": ["eggs>1"],
    "upload_timestamp": 1512539924,
    "uploaded_by": "alice",
    "yanked_reason": 'it "broke" <b>',
    "core_metadata": HASH,
    "size": 1234,
}
TEXTS = st.none() | st.text(max_size=30)


class SimpleTests(SynchronousTestCase):
    """simple/."""

    def test_all_said(self) -> None:
        """All that the list says of a file is on its page, in HTML and in JSON (PEP 503, 592, 658,
        691, 700, 714).
        """
        pages = tree_of(objects(FULL))
        [entry] = json.loads(pages["simple/spam/index.json"])["files"]
        digest = HASH.removeprefix("sha256=")
        self.assertEqual(
            entry,
            {
                "filename": FULL["filename"],
                "url": POOL + "spam-1.0-py3-none-any.whl",
                "hashes": {"sha256": digest},
                "size": 1234,
                "upload-time": "2017-12-06T05:58:44Z",
                "requires-python": ">=3.9",
                "core-metadata": {"sha256": digest},
                "yanked": FULL["yanked_reason"],
            },
        )
        html = pages["simple/spam/index.html"].decode()
        for text in (
            f'href="{POOL}spam-1.0-py3-none-any.whl#{HASH}"',
            'data-requires-python="&gt;=3.9"',
            f'data-core-metadata="{HASH}"',
            'data-yanked="it &quot;broke&quot; &lt;b&gt;"',
        ):
            self.assertIn(text, html)

    def test_version_of_the_api(self) -> None:
        """With all sizes the page in JSON is of version 1.4 and names its versions; without, it
        does not claim to be.
        """
        for size, said in ((5, "1.4"), (None, "1.0")):
            page = json.loads(
                tree_of(objects({"filename": "spam-1.0.tar.gz", "size": size}))[
                    "simple/spam/index.json"
                ]
            )
            self.assertEqual(
                (page["meta"]["api-version"], page["versions"], page["name"]),
                (said, ["1.0"], "spam"),
            )

    def test_hashes(self) -> None:
        """Any algorithm is passed on, in lower case; metadata whose hash is no sha256 is offered
        without it.
        """
        for said, fragment in (
            ("MD5=AB12", "#md5=ab12"),
            ("sha512=ab", "#sha512=ab"),
            ("blake2b=ff", "#blake2b=ff"),
        ):
            entry = {"filename": "spam-1.0.tar.gz", "hash": said, "core_metadata": "md5=00"}
            page = tree_of(objects(entry))["simple/spam/index.html"].decode()
            self.assertIn(f'spam-1.0.tar.gz{fragment}"', page)
            self.assertIn('data-core-metadata="true"', page)

    def test_list(self) -> None:
        """The list of projects names each page by its file, for buckets that know no folders; in
        JSON by its name.
        """
        pages = tree_of(names("Spam-1.0.tar.gz", "a.b-1.0.tar.gz"))
        self.assertIn(
            b'<a href="a-b/index.html">a-b</a><br>\n<a href="spam/index.html">spam</a>',
            pages["simple/index.html"],
        )
        listed = json.loads(pages["simple/index.json"])
        self.assertEqual([project["name"] for project in listed["projects"]], ["a-b", "spam"])

    @settings(max_examples=100, deadline=None, database=None)
    @given(reason=TEXTS, by=TEXTS, requires=TEXTS, title=st.text(max_size=20))
    def test_hostile_texts(
        self, reason: str | None, by: str | None, requires: str | None, title: str
    ) -> None:
        """Whatever the texts are, readers of HTML and JSON find the one file, with the same values:
        nothing breaks out.
        """
        more = {"yanked_reason": reason, "uploaded_by": by, "requires_python": requires}
        pages = tree_of(objects({**FULL, **more}), title=title)
        html = read_html(pages["simple/spam/index.html"], SPAM, POOL)
        listed = read_json(pages["simple/spam/index.json"], SPAM, POOL)
        self.assertEqual([file.filename for file in html.files], [FULL["filename"]])
        self.assertEqual(html, listed)
        for path in ("changelog/page1.html", "index.html"):
            self.assertEqual(pages[path].count(b"<a "), tree_of(objects(FULL))[path].count(b"<a "))


class LegacyTests(SynchronousTestCase):
    """pypi/."""

    def document(self, path: str, *entries: dict[str, Any]) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(tree_of(objects(*entries))[path])
        return document

    def test_file(self) -> None:
        """A file has all that the list says of it."""
        document = self.document("pypi/spam/json", FULL)
        [file] = document["urls"]
        self.assertEqual(document["releases"], {"1.0": [file]})
        expected = {
            "filename": FULL["filename"],
            "url": POOL + "spam-1.0-py3-none-any.whl",
            "requires_python": ">=3.9",
            "packagetype": "bdist_wheel",
            "yanked": True,
            "yanked_reason": FULL["yanked_reason"],
            "upload_time_iso_8601": "2017-12-06T05:58:44Z",
            "digests": {"sha256": HASH.removeprefix("sha256=")},
            "size": 1234,
        }
        self.assertEqual({key: file[key] for key in expected}, expected)

    def test_newest(self) -> None:
        """The newest version speaks for the project, with its requirements."""
        entries = (
            {"filename": "spam-1.9.tar.gz"},
            {"filename": "spam-1.10.tar.gz"},
            {**FULL, "filename": "spam-1.10.zip", "yanked_reason": None},
        )
        info = self.document("pypi/spam/json", *entries)["info"]
        self.assertEqual((info["version"], info["requires_dist"]), ("1.10", ["eggs>1"]))


class PeopleTests(SynchronousTestCase):
    """Pages in HTML, and feeds."""

    def test_newest_first(self) -> None:
        """The changelog and the feed begin with what came last."""
        entries = [
            {
                "filename": f"spam-{number}.0.tar.gz",
                "upload_timestamp": number,
                "uploaded_by": "<b>",
            }
            for number in (2, 9, 5)
        ]
        tree = tree_of(objects({"filename": "eggs-10.0.tar.gz"}, *entries), base_url="https://x")
        page = tree["changelog/page1.html"].decode()
        found = re.findall(r">([a-z]+-\d+)\.0\.tar", page)
        self.assertEqual(found, ["spam-9", "spam-5", "spam-2"])
        self.assertIn("<td>&lt;b&gt;</td>", page)
        feed = ElementTree.fromstring(tree["rss/updates.xml"])[0]
        links = [item.findtext("link") for item in feed.findall("item")]
        self.assertEqual(links, ["https://x/simple/spam/"] * 3)


class AgainTests(SynchronousTestCase):
    """Another run into the same folder."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())

    def pages(self) -> dict[str, bytes]:
        return files_in(self.folder)

    def test_same(self) -> None:
        """The same list in another order writes nothing, and looks at no project."""
        entries = [
            {"filename": f"{name}-{n}.0.tar.gz", "hash": HASH}
            for name in ("a", "b", "c-d")
            for n in range(12)
        ]
        first = built(self.folder, objects(*entries))
        again = built(self.folder, objects(*reversed(entries)))
        self.assertEqual((first.counts.same, again.counts.written, again.unchanged), (0, 0, 3))
        checked = built(self.folder, objects(*entries), verifies=True)
        self.assertEqual((checked.counts.written, checked.unchanged), (0, 0))

    def test_one_more(self) -> None:
        """One more file, or another value, changes its project; the tree is what a new one is."""
        built(self.folder, names("spam-1.0.tar.gz", "eggs-1.0.tar.gz"))
        for listed in (
            names("spam-1.0.tar.gz", "eggs-1.0.tar.gz", "spam-1.1.tar.gz"),
            objects(
                {"filename": "eggs-1.0.tar.gz"},
                {"filename": "spam-1.0.tar.gz", "yanked_reason": "bad"},
                {"filename": "spam-1.1.tar.gz"},
            ),
        ):
            self.assertEqual(built(self.folder, listed).unchanged, 1)
            self.assertEqual(self.pages(), tree_of(listed))

    def test_gone(self) -> None:
        """The pages of a project that is gone stay unlisted, until --delete removes them."""
        built(self.folder, names("spam-1.0.tar.gz", "spam-1.1.tar.gz", "eggs-1.0.tar.gz"))
        pool = self.folder / "pool/eggs-1.0.tar.gz"
        pool.parent.mkdir()
        pool.touch()
        listed = names("spam-1.0.tar.gz")
        self.assertEqual(built(self.folder, listed).left, 1)
        self.assertIn("simple/eggs/index.html", self.pages())
        self.assertNotIn(b"eggs", self.pages()["simple/index.html"])
        self.assertEqual(built(self.folder, listed, clears=True).left, 0)
        pool.unlink()
        self.assertEqual(self.pages(), tree_of(listed))
