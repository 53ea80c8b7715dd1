"""What the pages below an index say about it, and the list of indexes on each page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urljoin

from attrs import evolve

from pypid.core.permissions import Principals
from tests.distributions import wheel, wheel_filename
from tests.web.app_with_accounts import Peopled
from tests.web.full_app import RULES, Answer, Pypid, WholeCase, basic
from tests.web.ui.browsing import Browser

_SWITCHER = re.compile(r'<details class="indexes">.*?</details>', re.DOTALL)
_LINE = re.compile(r"<li><a[^>]*>([^<]*)</a>")


class IndexPagesCase(WholeCase):
    """``lab`` inherits from ``vault``, which alice alone may read, and from the default index."""

    def setUp(self) -> None:
        super().setUp()
        self.pypid = Pypid(Path(self.mktemp()), indexes=())
        self.have_index("vault", read="alice", write="alice")
        self.have_index("lab", bases="vault default", write="alice")
        filename, data = wheel_filename(), wheel()
        self.published(self.publish(filename, data, target="/lab/legacy/"))

    def page(self, path: str, user: str | None = "alice", status: int = 200) -> Answer:
        """A page, as a browser gets it."""
        answer = self.pypid.get(path, "text/html", user=user)
        self.assertEqual(answer.status, status, answer.text)
        return answer


class NameTests(IndexPagesCase):
    """In which index one is."""

    def test_title_and_way_home(self) -> None:
        """Each page below an index has its name in the title, and a link to its first page."""
        for path in (
            *("", "upload", "search?q=spam", "project/spam/", "project/spam/1.0/"),
            *("project/spam/-/versions", "project/spam/-/settings", "project/spam/-/why"),
        ):
            page = self.page(f"/lab/{path}").text
            self.assertIn(" · lab · pypid</title>", page, path)
            self.assertRegex(page, r'<a href="[./]*">lab</a>', path)
        page = self.page("/lab/project/missing/", status=404).text
        self.assertIn("· lab · pypid</title>", page)
        self.assertIn("<title>Upload · pypid</title>", self.page("/upload").text)

    def test_headings(self) -> None:
        """The first page and that for uploads name the index in their heading."""
        self.assertIn("<h1>Index lab</h1>", self.page("/lab/").text)
        self.assertIn("<h1>Upload to lab</h1>", self.page("/lab/upload").text)
        self.assertIn("<h1>Python package index</h1>", self.page("/").text)
        self.assertIn("<h1>Upload</h1>", self.page("/upload").text)

    def test_feeds(self) -> None:
        """The titles of the feeds of an index have its name, so that readers can tell them apart."""
        for path, title in (
            ("updates.xml", "Updates"),
            ("packages.xml", "Projects"),
            ("project/spam/releases.xml", "Releases of spam"),
        ):
            feed = self.pypid.get(f"/lab/rss/{path}", user="alice").text
            self.assertIn(f"<title>{title} (lab)</title>", feed)
        self.assertIn("<title>Updates</title>", self.pypid.get("/rss/updates.xml").text)

    def test_bases_that_one_may_not_read(self) -> None:
        """The first page names the bases that the user may read, and no others."""
        self.assertIn('<a href="../vault/">vault</a>', self.page("/lab/").text)
        page = self.page("/lab/", "bob").text
        self.assertNotIn("vault", page)
        self.assertIn('<a href="../">default</a>', page)
        self.have_index("alone", bases="none")
        self.assertIn("only the projects that were published", self.page("/alone/").text)

    def test_project_of_a_base(self) -> None:
        """The page of an inherited project leads to the project in the base."""
        self.have_wheel("eggs")
        page = self.page("/lab/project/eggs/").text
        self.assertIn('takes the project from <a href="../../../project/eggs/">default</a>.', page)
        filename, data = wheel_filename("ham"), wheel("ham")
        self.published(self.publish(filename, data, target="/vault/legacy/"))
        page = self.page("/lab/project/ham/").text
        self.assertIn('<a href="../../../vault/project/ham/">vault</a>.', page)
        self.assertNotIn("takes the project from", self.page("/lab/project/spam/").text)

    def test_expiry(self) -> None:
        """The first page says when the index expires. After that, its pages lead to the site, and
        no page of the administration leads to it.
        """
        self.have_index("short", expires="2026-01-31")
        self.assertIn("expires on <time", self.page("/short/").text)
        self.assertIn('href="../../short/"', self.page("/manage/indexes/short", "ada").text)
        self.pypid.clock.advance(31 * 86400)
        page = self.page("/short/project/spam/", status=410).text
        self.assertIn('<a href="../../../">Go to the home page</a>', page)
        page = self.page("/manage/indexes/short", "ada").text
        self.assertNotIn('href="../../short/"', page)
        self.assertIn("Expired <time", page)

    def test_ways_out_of_an_expired_index(self) -> None:
        """Its pages know who is logged in, and all their links work; who may not read it is sent to
        the login page, as before its expiry.
        """
        Peopled(self.pypid, Path(self.mktemp()))
        self.have_index("short", read="alice", expires="2026-01-31")
        alice, bob, unknown = (Browser(self.pypid) for _ in range(3))
        self.assertEqual(alice.log_in("alice").status, 303)
        self.assertEqual(bob.log_in("bob").status, 303)
        before = unknown.get("/short/project/spam/")
        self.pypid.clock.advance(31 * 86400)
        self.assertEqual(alice.log_in("alice").status, 303)
        self.assertEqual(bob.log_in("bob").status, 303)
        page = alice.get("/short/project/spam/")
        self.assertEqual(page.status, 410)
        for words in ("expired at", ">Log out</button>", ">Upload</a>", "<title>410 Gone · pypid"):
            self.assertIn(words, page.text)
        found = re.findall(r'(?:href|src|action)="([^"]*)"', page.text)
        links = {urljoin("/short/project/spam/", link) for link in found if link[0] != "#"}
        self.assertGreater(len(links), 8)
        for link in sorted(links - {"/account/logout"}):
            self.assertFalse(link.startswith("/short"), link)
            if not link.startswith("/docs/"):  # a build has them
                self.assertLess(alice.get(link).status, 400, link)
        self.assertEqual(bob.get("/short/project/spam/").status, 403)
        after = unknown.get("/short/project/spam/")
        self.assertEqual((after.status, after["location"]), (303, before["location"]))

    def test_settings_of_a_project(self) -> None:
        """The page says that a release can be promoted, where there is an index for it; the rights
        of a project are those of the site.
        """
        Peopled(self.pypid, Path(self.mktemp()))
        page = self.page("/lab/project/spam/-/settings", "ada").text
        self.assertIn("yank, promote or delete", page)
        self.assertIn('<a href="../../../../project/spam/-/rights">', page)


class RightsTests(IndexPagesCase):
    """The pages of rights, where there are several indexes."""

    def test_default_index(self) -> None:
        """They say that what they show is the access in the default index, if there is another."""
        Peopled(self.pypid, Path(self.mktemp()))
        pages = {
            "/manage/rights": "A named index</a> with",
            "/manage/rights/acme-*": "access in the default index",
            "/project/spam/-/rights": "access in the default index",
        }
        for path, words in pages.items():
            self.assertIn(words, self.page(path, "ada").text)
        for name in ("lab", "vault"):
            self.pypid.api("DELETE", f"/api/indexes/{name}?force")
        for path, words in pages.items():
            self.assertNotIn(words, self.page(path, "ada").text)

    def test_user(self) -> None:
        """The page of a user counts what the user may do in any index, as the user's own page."""
        Peopled(self.pypid, Path(self.mktemp()))
        self.have_index("volatile", volatile="yes", write="bob")
        own, administrators = (
            re.sub(r"<[^>]*>", "", self.page(path, user).text)
            for path, user in (("/account", "bob"), ("/manage/users/bob", "ada"))
        )
        for line in ("yes upload files", "yes replace published files", "no administer this index"):
            self.assertIn(line, own)
            self.assertIn(line, administrators)

    def test_way_from_a_glob(self) -> None:
        """The rights on a glob are a page of the administration."""
        Peopled(self.pypid, Path(self.mktemp()))
        page = self.page("/manage/rights/acme-*", "ada").text
        self.assertIn('manage/rights" aria-current="page"', page)


class StorageTests(IndexPagesCase):
    """The page of the storage."""

    def test_links(self) -> None:
        """The link to a project that only a named index has leads below that index."""
        self.have_wheel("eggs")
        filename, data = wheel_filename("eggs"), wheel("eggs")
        self.published(self.publish(filename, data, target="/lab/legacy/"))
        page = self.page("/manage/storage", "ada").text
        self.assertIn(
            '<a href="../lab/project/spam/">spam</a> <span class="dim">in lab</span>', page
        )
        self.assertIn('<a href="../project/eggs/">eggs</a></th>', page)


class SwitcherTests(IndexPagesCase):
    """The list of indexes."""

    def listed(self, user: str | None, path: str = "/") -> Sequence[str]:
        """The lines of the list, if there is one."""
        found = _SWITCHER.search(self.page(path, user).text)
        return [] if found is None else _LINE.findall(found[0])

    def test_readable_ones(self) -> None:
        """The indexes are listed that the user may read."""
        self.assertEqual(self.listed("alice"), ["Default index", "lab", "vault"])
        for user in ("bob", None):
            self.assertEqual(self.listed(user), ["Default index", "lab"])
        self.pypid.api("DELETE", "/api/indexes/lab?force")
        self.assertEqual(self.listed("bob"), [])
        self.assertNotIn("vault", self.page("/", None).text)


class TokenTests(IndexPagesCase):
    """Tokens of a user who may publish in a named index only."""

    def setUp(self) -> None:
        super().setUp()
        self.pypid.app.rules = evolve(RULES, write=Principals())
        self.peopled = Peopled(self.pypid, Path(self.mktemp()))
        self.have_index("team", write="alice")
        self.alice = Browser(self.pypid)
        self.assertEqual(self.alice.log_in("alice").status, 303)

    def test_token_for_uploads(self) -> None:
        """The page offers the permission, and the token uploads to that index alone."""
        self.assertIn('value="publish"', self.alice.get("/account/").text)
        made = self.alice.post("/account/tokens", name="ci", actions="publish", expires="30d")
        self.assertEqual(made.status, 201, made.text)
        self.assertIn("URLs of the default index", made.text)
        secret = re.search('aria-label="The token"><code>([^<]+)', made.text)
        assert secret is not None
        filename, data = wheel_filename("eggs"), wheel("eggs")
        for index, status in (("/team", 200), ("", 403)):
            answer = self.publish(
                filename,
                data,
                target=f"{index}/legacy/",
                user=None,
                headers=[basic("__token__", secret[1])],
            )
            self.assertEqual(answer.status, status, answer.text)

    def test_no_right_at_all(self) -> None:
        """A user without the right in any index gets no such token."""
        bob = Browser(self.pypid)
        self.assertEqual(bob.log_in("bob").status, 303)
        self.assertNotIn('value="publish"', bob.get("/account/").text)
        refused = bob.post("/account/tokens", name="ci", actions="publish", expires="30d")
        self.assertEqual(refused.status, 403)
