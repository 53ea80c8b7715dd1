"""The site wherever it may run: below a path, behind TLS that is not ours, in front of another
index.
"""

import atexit
import functools
import re
import ssl
from contextlib import ExitStack
from urllib.parse import urlsplit
from xml.etree import ElementTree

from attrs import evolve, frozen

from tests.live.browser import Look, SiteTestCase, expect
from tests.live.certificates import Authority
from tests.live.crawler import kind_of
from tests.live.daemon import PASSWORDS, IndexTestCase, LiveIndex, Settings, for_each, pypid, shared
from tests.live.fronts import nginx, server
from tests.live.isolation import pip, works
from tests.live.processes import free_port, scratch
from tests.live.projects import publish
from tests.live.site_client import Visitor
from tests.live.site_content import MARKDOWN, MODULES, SPAM, does, published, upstream
from tests.live.site_content import settings as of_a_team
from tests.live.test_install import NEWEST, installed
from tests.live.workers import until

PATH = "/python/"
PROXIED = Settings(server="trusted_proxies = 127.0.0.1", access="backend = config sql\n")


def stock(index: LiveIndex) -> None:
    """A little of everything."""
    spam = {
        "summary": "Lovely spam",
        "readme": MARKDOWN,
        "content_type": "text/markdown",
        "also": SPAM,
        "files": MODULES,
    }
    publish(
        index,
        published("spam", "1.0", summary="Spam"),
        published("spam", "2.0", **spam),  # type: ignore[arg-type]
        published("spam", "2.0", source=True, **spam),  # type: ignore[arg-type]
        published("eggs", "1!1.0+local.7", summary="Fried"),
    )
    does(index, "PUT", "/api/projects/spam/releases/1.0/yank", {"reason": "It was broken."})
    does(index, "POST", "/api/groups", {"name": "kitchen"})
    does(index, "PUT", "/api/projects/eggs/rights/user/alice", {"right": "rw"})
    does(index, "POST", "/api/tokens", {"name": "laptop", "actions": ["read"], "expires": "30d"})


@frozen
class Below:
    """A pypid below a path of another host."""

    index: LiveIndex
    port: int

    def visitor(self) -> Visitor:
        """Somebody who knows that address alone."""
        return Visitor(f"http://127.0.0.1:{self.port}{PATH}", self.port)


@functools.cache
def below() -> Below:
    """The one of this process."""
    stack = ExitStack()
    atexit.register(stack.close)
    port = free_port()
    lines = f"trusted_proxies = 127.0.0.1\npublic_url = http://127.0.0.1:{port}{PATH}"
    index = stack.enter_context(pypid(stack.enter_context(scratch()), of_a_team(server=lines)))
    stack.enter_context(nginx(stack.enter_context(scratch()), server(port, index.port, path=PATH)))
    stock(index)
    return Below(index, port)


class BelowCase(IndexTestCase):
    """``location /python/ { proxy_pass http://127.0.0.1:6543/; }``."""

    def start(self) -> LiveIndex:
        self.below = below()
        return self.below.index


class BelowTests(BelowCase):
    def test_everything(self) -> None:
        """Every page, style sheet, feed and file that an administrator is led to is there, and no
        link, form or redirect leads out of the path.
        """
        admin = self.below.visitor()
        self.assertEqual(admin.log_in("admin").url, admin.base)
        walk = admin.walk(kind_of)
        # a dependency that no index has is linked, too
        faults = [each for each in walk.faults if "/project/nowhere-to-be-found/" not in each]
        self.assertEqual(faults, [])
        pages = (
            "/",
            "/search",
            "/project/<project>/",
            "/project/<project>/-/compare",
            "/account/",
            "/manage/",
            "/upload",
        )
        others = (
            "/_/ui/<digest>/<name>",
            "/rss/updates.xml",
            "/simple/<project>/",
            "/packages/<project>/<filename>",
        )
        self.assertEqual({*pages, *others} - walk.kinds.keys(), set())
        self.assertNotIn("", walk.kinds)
        self.assertEqual(
            [url for url, got in walk.seen.items() if got.is_page and "html" not in got.text[:40]],
            [],
        )

    def test_redirects(self) -> None:
        """Other spellings, addresses without their last slash, and errors stay below the path."""
        somebody = self.below.visitor()
        for path, there in {
            "simple": "simple/",
            "search/": "search/",
            "upload/": "account/login",
            "simple/Spam/": "simple/spam/",
            "project/Spam/": "project/spam/",
            "project/spam": "project/spam/",
            "manage": "account/login",
            "account": "account/login",
            "upload": "account/login",
            "rss/project/SPAM/releases.xml": "rss/project/spam/releases.xml",
        }.items():
            got = somebody.get(path)
            self.assertEqual((got.status, urlsplit(got.url).path), (200, PATH + there), path)
        for path in (
            "project/nobody/",
            "project/spam/9.9/",
            "nowhere",
            "project/spam/-/contents/none.whl",
        ):
            got = somebody.get(path)
            self.assertEqual((got.status, got.is_page), (404, True), path)
            self.assertEqual(
                [link for link in got.read().links if not link.startswith(somebody.base)], []
            )

    def test_log_in(self) -> None:
        """Whoever is sent to log in comes back to what they wanted; forms lead on, and to the
        message that it was done.
        """
        alice = self.below.visitor()
        wanted = "project/spam/-/settings?version=2.0"
        page = alice.get(wanted)
        self.assertEqual(urlsplit(page.url).path, f"{PATH}account/login")
        wrong = alice.send(page.form("account/login"), user="admin", password="wrong")
        self.assertEqual(wrong.status, 403)
        right = alice.send(wrong.form("account/login"), user="admin", password=PASSWORDS["admin"])
        self.assertEqual((right.status, right.url), (200, alice.at(wanted)))
        yanked = alice.send(right.form("-/yank"), reason="Not today")
        self.assertEqual(yanked.status, 200, yanked.says)
        self.assertTrue(yanked.url.startswith(alice.at("project/spam/")), yanked.url)
        self.assertIn("done=", yanked.url)
        self.assertIn('role="status"', yanked.text)
        gone = alice.send(yanked.form("account/logout"))
        self.assertIn("You are logged out.", gone.says)
        self.assertEqual(alice.cookies, {})

    def test_told(self) -> None:
        """Feeds, commands and files for clients name the address that people use."""
        somebody = self.below.visitor()
        for feed in ("rss/updates.xml", "rss/packages.xml", "rss/project/spam/releases.xml"):
            root = ElementTree.fromstring(somebody.get(feed).body)
            links = [each.text or "" for each in root.iter("link")]
            self.assertGreater(len(links), 1)
            for link in links:
                self.assertTrue(link.startswith(somebody.base), link)
                self.assertEqual(somebody.go(link).status, 200, link)
        self.assertIn(somebody.at("simple/"), somebody.get("").says)
        self.assertIn(somebody.at("simple/"), somebody.get("config/pip.conf").text)
        alice = self.below.visitor()
        alice.log_in("alice")
        self.assertIn(alice.at("legacy/"), alice.get("").says)


class BelowInChromiumTests(BelowCase, SiteTestCase):
    def start(self) -> LiveIndex:
        return evolve(super().start(), port=self.below.port)

    def test_journey(self) -> None:
        """In a browser: log in, find something as one types, upload a file."""
        page = self.visit(Look(), f"{PATH}upload")
        page.get_by_label("User name").fill("alice")
        page.get_by_label("Password").fill(PASSWORDS["alice"])
        page.get_by_role("main").get_by_role("button", name="Log in").click()
        page.wait_for_url(f"**{PATH}upload")
        file = published("below-a-path").into(self.folder)
        page.locator("input[type=file]").set_input_files(file)
        page.get_by_role("main").get_by_role("button", name="Publish", exact=True).click()
        made = page.get_by_role("link", name="below-a-path 1.0")
        expect(made).to_be_visible()
        made.click()
        page.wait_for_url(f"**{PATH}project/below-a-path/1.0/")
        page.get_by_role("searchbox").or_(page.get_by_role("combobox")).first.press_sequentially(
            "below"
        )
        option = page.get_by_role("option").first
        expect(option).to_contain_text("below-a-path")
        option.click()
        page.wait_for_url(re.compile(f".*{PATH}project/below-a-path/"))
        page.goto(f"{PATH}search")
        page.get_by_role("main").get_by_role("searchbox").first.press_sequentially("spam")
        expect(page.locator("[data-found] a").first).to_contain_text("spam")


class SecureTests(IndexTestCase):
    """nginx speaks TLS, pypid does not."""

    def start(self) -> LiveIndex:
        authority = Authority()
        self.trust = ssl.create_default_context(cafile=str(authority.pem(self.folder)))
        authority.issue(self.folder / "chain.pem", self.folder / "key.pem")
        return shared(PROXIED)

    def fronted(self, behind: int, host: str) -> Visitor:
        """Somebody who comes by TLS; the Host that pypid is told is this one."""
        port = free_port()
        self.entered(
            nginx(self.folder / f"nginx-{port}", server(port, behind, host=host, tls=self.folder))
        )
        return Visitor(f"https://127.0.0.1:{port}/", port, self.trust)

    def forms_work(self, alice: Visitor, project: str) -> None:
        """Log in, upload, make a token, log out."""
        self.assertEqual(alice.log_in("alice").url, alice.base)
        [line] = alice.set_cookies
        self.assertRegex(
            line,
            (
                "^__Host-pypid_session=[\\w-]{43}; Path=/; Max-Age=\\d+; HttpOnly; SameSite=Lax; "
                "Secure$"
            ),
        )
        file = published(project)
        self.assertIn(f"{project} 1.0", alice.upload(file.filename, file.data).says)
        made = alice.send(
            alice.get("account/").form("account/tokens"), name="x", actions="read", expires="30d"
        )
        self.assertEqual(made.status, 201, made.says)
        self.assertIn("pypi-", made.says)
        self.assertIn("You are logged out.", alice.send(made.form("account/logout")).says)

    def test_host(self) -> None:
        """With the Host that was asked for, forms work, and the cookie is one that only TLS has."""
        self.forms_work(self.fronted(self.index.port, "$http_host"), "by-tls")
        self.forms_work(self.fronted(self.index.port, "$host:$server_port"), "by-tls-with-port")
        xhost = "$proxy_host; proxy_set_header X-Forwarded-Host $http_host"
        self.forms_work(self.fronted(self.index.port, xhost), "by-tls-forwarded")

    def test_our_own(self) -> None:
        """Where pypid speaks TLS itself it is the same, without any setting."""
        place = self.folder / "pypid"
        place.mkdir()
        settings = Settings(
            access="backend = config sql\n",
            certificate=self.folder / "chain.pem",
            key=self.folder / "key.pem",
        )
        with pypid(place, settings) as index:
            self.forms_work(Visitor(index.url("/"), index.port, self.trust), "our-own")

    def test_changed_host(self) -> None:
        """With another Host the page says what an administrator has to set; once public_url is set,
        forms work.
        """
        alice = self.fronted(self.index.port, "$proxy_host")
        refused = alice.log_in("alice")
        self.assertEqual((refused.status, refused.is_page, alice.cookies), (403, True, {}))
        for word in (
            alice.base.rstrip("/"),
            f"127.0.0.1:{self.index.port}",
            "public_url",
            "proxy_set_header Host $http_host",
        ):
            self.assertIn(word, refused.says)
        port = free_port()
        place = self.folder / "pypid"
        place.mkdir()
        lines = f"trusted_proxies = 127.0.0.1\npublic_url = https://127.0.0.1:{port}"
        with pypid(place, evolve(PROXIED, server=lines)) as index:
            self.entered(
                nginx(
                    self.folder / "known",
                    server(port, index.port, host="$proxy_host", tls=self.folder),
                )
            )
            self.forms_work(Visitor(f"https://127.0.0.1:{port}/", port, self.trust), "known")
            stranger = Visitor(f"https://127.0.0.1:{port}/", port, self.trust)
            form = stranger.get("account/login").form("account/login")
            other = {
                "Content-Type": "application/x-www-form-urlencoded",
                "Origin": "https://evil.example",
            }
            self.assertEqual(stranger.go(form.action, "POST", b"user=alice", other).status, 403)


class TheirsTests(BelowCase):
    """Projects of another index."""

    def test_page(self) -> None:
        """The page of a project of theirs has its README, its files, and what lies in them; it is
        found once a file is kept.
        """
        bob = self.below.visitor()
        bob.log_in("bob")
        page = bob.get("project/theirs/")
        self.assertEqual(page.status, 200, page.says)
        self.assertIn("upstream", page.says)
        until(lambda: "Lovely <strong>spam</strong>" in bob.get("project/theirs/").text, self.index)
        [link] = {each for each in page.read().links if "/-/contents/" in each}
        self.assertIn("Name: theirs", bob.inside(link, "METADATA"))
        until(
            lambda: "/project/theirs/" in bob.get("search?q=theirs&source=upstream").text,
            self.index,
        )
        self.assertNotIn(
            "/project/theirs/", bob.get("search?q=theirs&source=ours").text.partition("<main")[2]
        )

    def test_cooldown(self) -> None:
        """What is too new is on no page; an administrator is told why, and until when."""
        place = self.folder / "pypid"
        place.mkdir()
        lines = f"url = {upstream().url('/simple/')}\nmode = cache\ncooldown = 7d"
        with pypid(place, Settings(upstream=lines, access="backend = config sql\n")) as index:
            admin = Visitor(index.url("/"), index.port)
            admin.log_in("admin")
            self.assertIn("No files are available", admin.get("project/theirs/").says)
            self.assertIn(
                "it is too young ([upstream] cooldown)", admin.get("project/theirs/-/why").says
            )
            self.assertEqual(
                admin.get("project/theirs/-/contents/theirs-1.0-py3-none-any.whl").status, 404
            )
            self.assertNotIn(
                "/project/theirs/", admin.get("search?q=theirs").text.partition("<main")[2]
            )


class NamesTests(IndexTestCase):
    """Projects that are called as the first words of the site's addresses."""

    def start(self) -> LiveIndex:
        return shared(PROXIED)

    @for_each("project", "search", "account", "manage", "upload", "rss")
    def named(self, name: str) -> None:
        """Such a project is had by installers at ``/simple/`` and ``/pypi/``, and has a page; at
        the root is the site.
        """
        publish(self.index, published(name))
        filename = published(name).filename
        somebody = Visitor(self.index.url("/"), self.index.port)
        for path in (f"simple/{name}/", f"pypi/{name}/"):
            page = somebody.get(path)
            self.assertIn(filename, page.text)
            [link] = [
                each
                for each in page.read().links
                if each.endswith(filename) or f"{filename}#" in each
            ]
            self.assertEqual(somebody.go(link).body, published(name).data)
        self.assertEqual(somebody.get(f"pypi/{name}/json").status, 200)
        self.assertIn(f"{name} 1.0", somebody.get(f"project/{name}/").says)
        for path in (f"{name}/", name):
            self.assertNotIn(filename, somebody.get(path).text)
            self.assertIn(somebody.get(path).status, (200, 404))
        target = self.folder / "target"
        if name == "project":
            works(pip(NEWEST, "install", self.index.url(), "--target", target, name), self.folder)
            self.assertEqual(installed(target), {"project-1.0"})
