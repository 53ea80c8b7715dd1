"""The pages of a list: the same renderer as the server's, and the documents of the
legacy JSON API.
"""

import json
from typing import Any

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.packaging.names import ProjectName
from pypid.core.simple_api.parse import read_json
from pypid.core.simple_api.parse_html import read_html
from pypid.static.pages import is_project_page, project_paths
from pypid.static.tree import PATH
from tests.static.lists import HASH, POOL, SETTINGS, names, objects, tree_of

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

    def test_nothing_known(self) -> None:
        """Of a mere name nothing is said that nobody knows: null would make uv refuse the page."""
        page = json.loads(tree_of(names("spam-1.0.tar.gz"))["simple/spam/index.json"])
        url = POOL + "spam-1.0.tar.gz"
        self.assertEqual(
            page["files"],
            [{"filename": "spam-1.0.tar.gz", "url": url, "hashes": {}, "yanked": False}],
        )

    def test_empty_texts(self) -> None:
        """An empty reason is no yank, and empty texts and "false" say nothing,
        as with dumb-pypi.
        """
        entry = {
            "filename": "spam-1.0.tar.gz",
            "hash": "",
            "yanked_reason": "",
            "requires_python": "",
            "core_metadata": "false",
        }
        self.assertEqual(
            tree_of(objects(entry))["simple/spam/index.html"],
            tree_of(names("spam-1.0.tar.gz"))["simple/spam/index.html"],
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

    def test_places(self) -> None:
        """Files lie directly below --packages-url, with or without its last slash, relative or not;
        + is no blank there.
        """
        for url, there in (
            ("../../pool", "../../pool/"),
            (POOL, POOL),
            ("https://x/a b", "https://x/a b/"),
        ):
            pages = tree_of(
                names("spam-1.0+a-py3-none-any.whl"), evolve(SETTINGS, packages_url=url)
            )
            self.assertIn(
                f'href="{there}spam-1.0%2Ba-py3-none-any.whl"',
                pages["simple/spam/index.html"].decode(),
            )

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
        pages = tree_of(objects({**FULL, **more}), evolve(SETTINGS, title=title))
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
        """A file has dumb-pypi's keys, its size and its exact time."""
        document = self.document("pypi/spam/json", FULL)
        [file] = document["urls"]
        self.assertEqual(document["releases"], {"1.0": [file]})
        self.assertEqual(
            file,
            {
                "filename": FULL["filename"],
                "url": POOL + "spam-1.0-py3-none-any.whl",
                "requires_python": ">=3.9",
                "packagetype": "bdist_wheel",
                "yanked": True,
                "yanked_reason": FULL["yanked_reason"],
                "upload_time": "2017-12-06 05:58:44",
                "upload_time_iso_8601": "2017-12-06T05:58:44Z",
                "digests": {"sha256": HASH.removeprefix("sha256=")},
                "size": 1234,
            },
        )

    def test_newest(self) -> None:
        """The newest version speaks for the project, by the file that has the most to say."""
        entries = (
            {"filename": "spam-1.9.tar.gz"},
            {"filename": "spam-1.10.tar.gz"},
            {**FULL, "filename": "spam-1.10.zip"},
        )
        info = self.document("pypi/spam/json", *entries)["info"]
        self.assertEqual((info["version"], info["requires_dist"]), ("1.10", ["eggs>1"]))

    def test_release(self) -> None:
        """Each release has a document at its version as file names spell it, with only its own
        files.
        """
        document = self.document(
            "pypi/spam/1.00/json", {"filename": "spam-1.00.tar.gz"}, {"filename": "spam-2.tar.gz"}
        )
        self.assertEqual(
            (document["info"]["version"], list(document["releases"])), ("1.00", ["1.00"])
        )

    def test_unknown_version(self) -> None:
        """A project none of whose files has a version has a document without any."""
        document = self.document("pypi/spam/json", {"filename": "spam.tar.gz"})
        self.assertEqual(
            (document["info"]["version"], document["releases"], document["urls"]), (None, {}, [])
        )

    def test_none(self) -> None:
        """--no-per-release-json leaves out the documents of releases, and nothing else."""
        listed = names("spam-1.0.tar.gz", "spam-1.1.tar.gz")
        without = tree_of(listed, evolve(SETTINGS, per_release_json=False))
        self.assertEqual(
            set(tree_of(listed)) - set(without), {"pypi/spam/1.0/json", "pypi/spam/1.1/json"}
        )


class PathsTests(SynchronousTestCase):
    def test_paths(self) -> None:
        """What a project's pages are is told without making them."""
        listed = names(
            "spam-1.0.tar.gz", "spam-1.00.zip", "spam.tar.gz", "spam-2-3.tar.gz", "eggs-1.0.tar.gz"
        )
        pages = {path for path in tree_of(listed) if is_project_page(path)}
        told = [
            path
            for name, files in listed.projects.items()
            for path in project_paths(name, files.values(), SETTINGS)
        ]
        self.assertEqual(sorted(pages), sorted(told))
        self.assertTrue(all(map(PATH, told)))
