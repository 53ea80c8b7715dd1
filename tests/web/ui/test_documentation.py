"""The documentation at /docs/: which files are served, to whom, and how."""

import gzip
import re
from base64 import b64encode
from hashlib import sha256
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pypid.web.ui import documentation
from pypid.web.ui.documentation import Documentation, policy_of
from tests.web.full_app import PRIVATE, WholeCase
from tests.web.ui.browsing import BROWSER

PAGE = b"<!doctype html><style>p { color: red }</style><script>theme();</script>" + b"<p>text" * 400


def built(folder: Path) -> Path:
    """Write a small built documentation."""
    for name, data in {
        "index.html": PAGE,
        "guides/index.html": b"<h1>Guides</h1>",
        "_static/theme.js": b"let x = 1;\n" * 9000,
        "objects.inv": b"# Sphinx inventory\n\xff",
        ".buildinfo": b"secret",
        "environment.pickle": b"secret",
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (folder.parent / "outside.html").write_bytes(b"secret")
    (folder / "link.html").symlink_to(folder.parent / "outside.html")
    return folder


class DocumentationCase(WholeCase):
    """An index that only its users may read, and a built documentation."""

    rules = PRIVATE

    def setUp(self) -> None:
        """Build a small documentation."""
        super().setUp()
        self.folder = built(Path(self.mktemp()) / "docs")
        self.patch(documentation, "DOCUMENTATION", Documentation([self.folder]))


class ServingTests(DocumentationCase):
    """The built files."""

    def test_public(self) -> None:
        """Anonymous clients may read it, although the index requires a login."""
        self.assertEqual(self.pypid.get("/simple/").status, 401)
        answer = self.pypid.get("/docs/", BROWSER)
        self.assertEqual((answer.status, answer.body), (200, PAGE))
        self.assertEqual(answer["content-type"], "text/html; charset=utf-8")
        self.assertEqual(answer["cache-control"], "no-cache")

    def test_only_listed_files(self) -> None:
        """No address leads out of the folder, through a link, or to a file of another kind."""
        for path in (
            "../outside.html",
            "%2e%2e/outside.html",
            "..%2foutside.html",
            "guides/../../outside.html",
            "/etc/passwd",
            "%2fetc%2fpasswd",
            "link.html",
            ".buildinfo",
            "environment.pickle",
            "guides",
            "nothing.html",
            "index.html%00",
            "index.html/",
        ):
            answer = self.pypid.get(f"/docs/{path}", BROWSER)
            self.assertIn(answer.status, (404, 301), path)
            self.assertNotIn(b"secret", answer.body)

    def test_conditional(self) -> None:
        """The plain and the gzipped form have an entity tag each, and are revalidated by it."""
        plain = self.pypid.get("/docs/")
        packed = self.pypid.get("/docs/", None, ("Accept-Encoding", "gzip"))
        self.assertEqual(packed["content-encoding"], "gzip")
        self.assertEqual(gzip.decompress(packed.body), plain.body)
        self.assertNotEqual(packed["etag"], plain["etag"])
        for answer, headers in ((plain, ()), (packed, (("Accept-Encoding", "gzip"),))):
            again = self.pypid.get("/docs/", None, ("If-None-Match", str(answer["etag"])), *headers)
            self.assertEqual((again.status, again.body), (304, b""))
            self.assertEqual(again["etag"], answer["etag"])
        self.assertEqual(self.pypid.get("/docs/", None, ("If-Match", '"other"')).status, 412)
        head = self.pypid.ask("HEAD", "/docs/")
        self.assertEqual((head.body, head["content-length"]), (b"", str(len(PAGE))))

    def test_memory_is_bounded(self) -> None:
        """Files stay in memory only up to a total size."""
        for number in range(30):
            (self.folder / f"{number}.html").write_bytes(b"x" * 300_000)
        kept = documentation.DOCUMENTATION
        for number in range(30):
            self.assertEqual(self.pypid.get(f"/docs/{number}.html").status, 200)
        self.assertLessEqual(kept._recent.weight, documentation.HEAVIEST)


class NotBuiltTests(DocumentationCase):
    """An installation without the built documentation."""

    def test_no_link(self) -> None:
        """No page, and no error page, links to documentation that is not there."""
        paths = ("/", "/advisories", "/project/nothing/", "/manage/", "/manage/indexes")
        for folder, links in ((self.folder / "none", False), (self.folder, True)):
            self.patch(documentation, "DOCUMENTATION", Documentation([folder]))
            for path in paths:
                text = self.pypid.get(path, BROWSER, user="ada").text
                self.assertEqual("docs/" in text, links, path)
                self.assertNotIn("placeholder.", text)


class PolicyTests(SynchronousTestCase):
    """The Content-Security-Policy of a page."""

    def test_own_scripts_only(self) -> None:
        """It allows the inline scripts and styles of the page by their digests, and no others."""
        policy = policy_of(PAGE)
        for text in (b"theme();", b"p { color: red }"):
            self.assertIn(f"'sha256-{b64encode(sha256(text).digest()).decode()}'", policy)
        self.assertEqual(policy.count("sha256-"), 2)
        scripts = re.search("script-src ([^;]*);", policy)
        self.assertNotIn("unsafe", scripts[1] if scripts else "unsafe")
        self.assertIn("default-src 'none'", policy)

    def test_scripts_with_addresses(self) -> None:
        """A script element with a `src` needs no digest."""
        self.assertNotIn("sha256", policy_of(b'<script src="x.js"></script><p>'))
