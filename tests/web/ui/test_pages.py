"""How pages are made: the head, the way to the root, errors, the login; and what holds for each of
them.
"""

from __future__ import annotations

import contextlib
import gzip
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlencode, urljoin, urlsplit

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.accounts.sessions import AccountSettings
from pypid.core.errors import BadRequest
from pypid.core.permissions import Principals, Rules
from pypid.flow import BytesBody
from pypid.web.app.login_redirect import way_back
from pypid.web.http.form_fields import MOST, Fields, read_fields
from pypid.web.ui import pages
from pypid.web.ui.documentation import ASSETS, DIGEST
from tests.web.app_with_registration import OURS, Registering, cookie_of, now
from tests.web.full_app import PASSWORDS, PRIVATE, Answer, Pypid, WholeCase, basic
from tests.web.routes import ALL_ROUTES
from tests.web.test_matrix import target_of

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
TEMPLATES = Path(pages.__file__).parent / "templates"
FORM = ("Content-Type", "application/x-www-form-urlencoded")


class Seen(HTMLParser):
    """What a browser would load or send from a page, and its headings."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.headings = 0
        self.odd: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.headings += tag == "h1"
        if tag in ("script", "img", "iframe", "object", "embed") and given.get("src"):
            self.loaded.append(str(given["src"]))
        if tag == "link" and given.get("rel") in ("stylesheet", "icon"):
            self.loaded.append(str(given["href"]))
        if tag == "style" or (tag == "script" and "src" not in given):
            self.odd.append(tag)
        self.odd += [name for name in given if name == "style" or name.startswith("on")]


def form(**texts: str) -> bytes:
    """The body of a form."""
    return urlencode(texts).encode()


class PageTests(WholeCase):
    """One page, as a browser asks for it."""

    def test_head(self) -> None:
        """A page lets in nothing but our own style, script and icon, and is for nobody's cache who
        knows who asks.
        """
        answer = self.pypid.get("/", BROWSER)
        policy = answer["content-security-policy"] or ""
        self.assertIn("default-src 'none'", policy)
        self.assertNotIn("unsafe", policy)
        self.assertEqual(answer["cache-control"], "private, no-cache")
        self.assertEqual(
            self.pypid.get("/", BROWSER, user="alice")["cache-control"], "private, no-store"
        )
        self.assertEqual(answer["x-content-type-options"], "nosniff")
        seen = Seen(answer.text)
        self.assertEqual((seen.headings, seen.odd), (1, []))
        self.assertTrue(seen.loaded)
        for path in seen.loaded:
            self.assertTrue(path.startswith("./_/ui/"), path)
            self.assertEqual(self.pypid.get(path[1:]).status, 200)

    def test_error(self) -> None:
        """Errors are pages for browsers, with links that hold where they stand, and texts for
        everybody else.
        """
        answer = self.pypid.get("/simple/<b>x/", BROWSER)
        self.assertEqual((answer.status, answer["content-type"]), (404, "text/html; charset=utf-8"))
        missing = self.pypid.get("/simple/nothing/", BROWSER).text
        self.assertIn('href="../../search?q=nothing"', missing)
        self.assertIn("../../_/ui/", missing)
        self.assertNotIn("<b>x", answer.text)
        self.assertEqual(
            self.pypid.get("/simple/nothing/")["content-type"], "text/plain; charset=utf-8"
        )
        self.assertEqual(
            self.pypid.get("/packages/nothing/nothing-1.0.tar.gz", "application/json").json[
                "title"
            ],
            "Not Found",
        )

    def test_assets(self) -> None:
        """A file of the site may be kept for ever at the address that a page of today names, and at
        no other.
        """
        for name in ASSETS:
            answer = self.pypid.get(f"/_/ui/{DIGEST}/{name}")
            self.assertEqual(
                (answer.status, answer["cache-control"]),
                (200, "public, max-age=31536000, immutable"),
            )
            self.assertEqual(
                self.pypid.get(f"/_/ui/old/{name}")["cache-control"], "public, no-cache"
            )
            packed = self.pypid.get(f"/_/ui/{DIGEST}/{name}", None, ("Accept-Encoding", "gzip"))
            self.assertEqual(gzip.decompress(packed.body), answer.body)
        self.assertEqual(self.pypid.get("/_/ui/x/../../etc").status, 404)
        self.assertEqual(self.pypid.get(f"/_/ui/{DIGEST}/nothing.js").status, 404)


class LoginTests(SynchronousTestCase):
    """Who is sent to log in."""

    def setUp(self) -> None:
        self.pypid = Registering(Path(self.mktemp()), AccountSettings(), rules=PRIVATE)

    def test_sent(self) -> None:
        """A browser that asks for a page that nobody unknown may see is sent to log in, and then
        back.
        """
        answer = self.pypid.get("/?q=a%20b", BROWSER)
        self.assertEqual(
            (answer.status, answer["location"]), (303, "./account/login?next=%3Fq%3Da%2520b")
        )

    def test_not_sent(self) -> None:
        """Programs, browsers at addresses of programs, and whoever sent a wrong password get the
        challenge.
        """
        for path, accept, *headers in (
            ("/", "*/*"),
            ("/", None),
            ("/simple/", BROWSER),
            ("/", BROWSER, basic("alice", "wrong")),
        ):
            answer = self.pypid.get(path, accept, *headers)
            self.assertEqual(
                (answer.status, (answer["www-authenticate"] or "")[:5]),
                (401, "Basic"),
                (path, accept),
            )

    def test_without_accounts(self) -> None:
        """Where nobody can begin a session there is no page to log in, and so the browser asks for
        the password.
        """
        pypid = Pypid(Path(self.mktemp()), rules=PRIVATE)
        self.assertEqual(pypid.get("/", BROWSER).status, 401)


class EveryFormTests(SynchronousTestCase):
    """What holds for each form of the site."""

    def setUp(self) -> None:
        rules = Rules(
            read=PRIVATE.read,
            write=Principals(users=frozenset({"alice"})),
            delete=Principals(users=frozenset({"alice"})),
        )
        self.pypid = Registering(Path(self.mktemp()), AccountSettings(), rules=rules)

    def log_in(self) -> tuple[tuple[str, str], str]:
        """The cookie of ada's new session, and its token."""
        said = {"user": "ada", "password": PASSWORDS["ada"]}
        answer = self.pypid.say("POST", "/api/session", said)
        self.assertEqual(answer.status, 200)
        return cookie_of(answer), answer.json["csrf_token"]

    def send(self, rule: str, *headers: tuple[str, str], **texts: str) -> Answer:
        """The answer to a form."""
        return self.pypid.ask(
            "POST",
            target_of(rule, "acme-plain"),
            FORM,
            ("Accept", BROWSER),
            *headers,
            body=form(**texts),
        )

    def test_csrf(self) -> None:
        """No form does anything by a cookie alone, with another session's token, or from another
        site.
        """
        cookie, _ = self.log_in()
        _, others = self.log_in()
        before = len(self.pypid.deeds())
        rules = [
            route.path
            for route in ALL_ROUTES
            if route.page and "POST" in route.methods and not route.entrance
        ]
        for rule in rules:
            self.assertEqual(self.send(rule, cookie, OURS).status, 403, rule)
            self.assertEqual(self.send(rule, cookie, OURS, csrf_token=others).status, 403, rule)
            self.assertEqual(self.send(rule, cookie, OURS, csrf_token="").status, 403, rule)
            self.assertEqual(
                self.send(rule, cookie, ("Origin", "https://evil.example")).status, 403, rule
            )
        self.assertEqual(len(self.pypid.deeds()), before)

    def test_routes(self) -> None:
        """Every page that changes something takes a form whose token is looked at."""
        for route in ALL_ROUTES:
            if route.page and route.methods - {"GET", "HEAD"}:
                takes_form = route.form or route.multipart
                self.assertEqual((route.method, takes_form), ("POST", True), route)

    def test_templates(self) -> None:
        """Each form that is posted carries the token, and no template marks anything as safe."""
        for path in sorted(TEMPLATES.glob("*.html")):
            text = path.read_text()
            self.assertNotRegex(
                text, r"\|\s*safe\b|autoescape\s+false|\bstyle=|\son[a-z]+=", path.name
            )
            for found in re.finditer(
                r'<form\b[^>]*method="post".*?</form>', text, re.DOTALL | re.IGNORECASE
            ):
                self.assertIn("csrf_field()", found[0], path.name)

    def test_markup(self) -> None:
        """Nothing but the machinery itself makes markup of a text."""
        for path in Path(pages.__file__).parent.glob("*.py"):
            if path.name != "pages.py":
                self.assertNotRegex(path.read_text(), r"\bMarkup\b", path.name)


class FieldsTests(SynchronousTestCase):
    """Forms, read."""

    def test_read(self) -> None:
        """Names and texts come out as they went in; a ticked box is there, and the last of several
        texts counts.
        """
        found = now(read_fields(BytesBody(b"a=1&a=2&box=on&empty=&umlaut=%C3%A4+b&lines=x%0D%0Ay")))
        self.assertEqual(
            (found.text("a"), found.all("a"), found.flag("box")), ("2", ["1", "2"], True)
        )
        self.assertEqual(
            (found.text("empty", "x"), found.text("none", "x"), found.flag("none")),
            ("", "x", False),
        )
        self.assertEqual((found.text("umlaut"), found.text("lines")), ("ä b", "x\ny"))

    def test_repr(self) -> None:
        """Passwords stand in forms, and in no repr."""
        self.assertNotIn("hunter2", repr(Fields({"password": ["hunter2"]})))

    @settings(max_examples=60, deadline=None, database=None)
    @example(b"a=%FF")
    @example(b"&".join([b"a=1"] * (MOST + 1)))
    @given(st.binary(max_size=300))
    def test_anything(self, data: bytes) -> None:
        """Whatever is sent is read, or is a bad request."""
        with contextlib.suppress(BadRequest):
            self.assertIsInstance(now(read_fields(BytesBody(data))), Fields)


class WayBackTests(SynchronousTestCase):
    """Where ``next`` may lead."""

    def test_ours(self) -> None:
        """Paths of ours, with what stands behind the question mark."""
        for path in (
            "project/spam/",
            "search?q=a%20b&page=2",
            "",
            "manage/audit?action=project%20yank",
            "project/a/1.0%2Bx/",
        ):
            self.assertEqual(way_back(path), path)

    @settings(max_examples=200, deadline=None, database=None)
    @example("//evil.example")
    @example("https://evil.example")
    @example("javascript:alert(1)")
    @example("\\\\evil.example")
    @example("/\\evil.example")
    @example("a//b")
    @example("../x")
    @example("x/../../y")
    @example("a\r\nSet-Cookie: x=1")
    @given(st.text(max_size=60))
    def test_nowhere_else(self, text: str) -> None:
        """Behind a relative root nothing of it leads to another host, another folder, or another
        line of the head.
        """
        found = way_back(text)
        url = urljoin("https://index.example/pre/fix/account/login", "../" + found)
        self.assertEqual(urlsplit(url)[:2], ("https", "index.example"))
        self.assertTrue(urlsplit(url).path.startswith("/pre/fix/"), url)
        self.assertTrue(found.isprintable())
