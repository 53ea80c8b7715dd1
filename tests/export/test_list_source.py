"""The export of a list of files: its pages, and what another run changes."""

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.packaging.names import ProjectName
from pypid.core.simple_api.listed_files import at_once
from pypid.core.simple_api.parse import slices_of_json
from pypid.core.simple_api.parse_html import slices_of_html
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
        html = at_once(slices_of_html(pages["simple/spam/index.html"], SPAM, POOL))
        listed = at_once(slices_of_json(pages["simple/spam/index.json"], SPAM, POOL))
        self.assertEqual([file.filename for file in html.files], [FULL["filename"]])
        self.assertEqual(html, listed)
        for path in ("changelog/page1.html", "index.html"):
            self.assertEqual(pages[path].count(b"<a "), tree_of(objects(FULL))[path].count(b"<a "))


class AgainTests(SynchronousTestCase):
    """Another run into the same folder."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())

    def pages(self) -> dict[str, bytes]:
        return files_in(self.folder)

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
