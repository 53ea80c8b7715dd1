"""The site wherever it may run: below a path, behind TLS that is not ours, in several processes, on several machines, on S3."""

import atexit
import fcntl
import functools
import http.client
import os
import re
import signal
import sqlite3
import ssl
import sys
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urljoin, urlsplit
from xml.etree import ElementTree

from attrs import evolve, frozen
from twisted.trial.unittest import SynchronousTestCase

from tests.live import postgresql, test_directory, test_remote
from tests.live.asking import basic
from tests.live.browser import Look, SiteTestCase, expect
from tests.live.certificates import Authority
from tests.live.clients import ROOT
from tests.live.crawler import kind_of
from tests.live.daemon import PASSWORDS, IndexTestCase, LiveIndex, Settings, for_each, hashes, pypid, shared, until_ready
from tests.live.fronts import nginx, server
from tests.live.isolation import pip, works
from tests.live.nodes import nodes
from tests.live.nodes import until as until_node
from tests.live.peopleservice import LOGIN
from tests.live.processes import BIN, clean_environ, free_port, running, scratch, with_us
from tests.live.projects import publish
from tests.live.sitestock import MARKDOWN, MODULES, SPAM, does, published, upstream
from tests.live.sitestock import settings as of_a_team
from tests.live.sitevisitor import Visitor
from tests.live.slapd import GROUPS, MANAGER, MANAGER_PASSWORD, PEOPLE, dn_of, group, person, slapd
from tests.live.stores import store
from tests.live.test_install import NEWEST, installed
from tests.live.test_readmes import renderers
from tests.live.workers import SHARED, connections, is_there, others, process_of, until, until_all_answer

PATH = "/python/"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
SEVERAL = Settings(server="workers = 2", access="backend = config sql\n", sections=SHARED)
PROXIED = Settings(server="trusted_proxies = 127.0.0.1", access="backend = config sql\n")


def stock(index: LiveIndex) -> None:
    """A little of everything."""
    spam = {"summary": "Lovely spam", "readme": MARKDOWN, "content_type": "text/markdown", "also": SPAM, "files": MODULES}
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
        """Every page, style sheet, feed and file that an administrator is led to is there, and no link, form or redirect leads
        out of the path.
        """
        admin = self.below.visitor()
        self.assertEqual(admin.log_in("admin").url, admin.base)
        walk = admin.walk(kind_of)
        self.assertEqual(walk.faults, [])
        pages = ("/", "/search", "/project/<project>/", "/project/<project>/-/compare", "/account/", "/manage/", "/upload")
        others = ("/_/ui/<digest>/<name>", "/rss/updates.xml", "/simple/<project>/", "/packages/<project>/<filename>")
        self.assertEqual({*pages, *others} - walk.kinds.keys(), set())
        self.assertNotIn("", walk.kinds)
        self.assertEqual([url for url, got in walk.seen.items() if got.is_page and "html" not in got.text[:40]], [])

    def test_redirects(self) -> None:
        """Other spellings, addresses without their last slash, and errors stay below the path."""
        somebody = self.below.visitor()
        for path, there in {
            "simple": "simple/",
            "search/": "search",
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
        for path in ("project/nobody/", "project/spam/9.9/", "nowhere", "project/spam/-/contents/none.whl"):
            got = somebody.get(path)
            self.assertEqual((got.status, got.is_page), (404, True), path)
            self.assertEqual([link for link in got.read().links if not link.startswith(somebody.base)], [])

    def test_log_in(self) -> None:
        """Whoever is sent to log in comes back to what they wanted; forms lead on, and to the message that it was done."""
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
        self.assertIn(somebody.at("legacy/"), somebody.get("").says)
        self.assertIn(somebody.at("simple/"), somebody.get("config/pip.conf").text)


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
        page.get_by_role("main").get_by_role("button", name="Publish").click()
        made = page.get_by_role("link", name="below-a-path 1.0")
        expect(made).to_be_visible()
        made.click()
        page.wait_for_url(f"**{PATH}project/below-a-path/1.0/")
        page.get_by_role("searchbox").or_(page.get_by_role("combobox")).first.press_sequentially("below")
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
        self.entered(nginx(self.folder / f"nginx-{port}", server(port, behind, host=host, tls=self.folder)))
        return Visitor(f"https://127.0.0.1:{port}/", port, self.trust)

    def forms_work(self, alice: Visitor, project: str) -> None:
        """Log in, upload, make a token, log out."""
        self.assertEqual(alice.log_in("alice").url, alice.base)
        [line] = alice.set_cookies
        self.assertRegex(line, "^__Host-pypid_session=[\\w-]{43}; Path=/; Max-Age=\\d+; HttpOnly; SameSite=Lax; Secure$")
        file = published(project)
        self.assertIn(f"{project} 1.0", alice.upload((file.filename, file.data)).says)
        made = alice.send(alice.get("account/").form("account/tokens"), name="x", actions="read", expires="30d")
        self.assertEqual(made.status, 201, made.says)
        self.assertIn("pypi-", made.says)
        self.assertIn("You are logged out.", alice.send(made.form("account/logout")).says)

    def test_host(self) -> None:
        """With the Host that was asked for, forms work, and the cookie is one that only TLS has."""
        self.forms_work(self.fronted(self.index.port, "$http_host"), "by-tls")
        self.forms_work(self.fronted(self.index.port, "$host:$server_port"), "by-tls-with-port")
        xhost = "$proxy_host; proxy_set_header X-Forwarded-Host $http_host"
        self.forms_work(self.fronted(self.index.port, xhost), "by-tls-forwarded")

    def test_changed_host(self) -> None:
        """With another Host the page says what an administrator has to set; once public_url is set, forms work."""
        alice = self.fronted(self.index.port, "$proxy_host")
        refused = alice.log_in("alice")
        self.assertEqual((refused.status, refused.is_page, alice.cookies), (403, True, {}))
        for word in (alice.base.rstrip("/"), f"127.0.0.1:{self.index.port}", "public_url", "proxy_set_header Host $http_host"):
            self.assertIn(word, refused.says)
        port = free_port()
        place = self.folder / "pypid"
        place.mkdir()
        lines = f"trusted_proxies = 127.0.0.1\npublic_url = https://127.0.0.1:{port}"
        with pypid(place, evolve(PROXIED, server=lines)) as index:
            self.entered(nginx(self.folder / "known", server(port, index.port, host="$proxy_host", tls=self.folder)))
            self.forms_work(Visitor(f"https://127.0.0.1:{port}/", port, self.trust), "known")
            stranger = Visitor(f"https://127.0.0.1:{port}/", port, self.trust)
            form = stranger.get("account/login").form("account/login")
            other = {"Content-Type": "application/x-www-form-urlencoded", "Origin": "https://evil.example"}
            self.assertEqual(stranger.go(form.action, "POST", b"user=alice", other).status, 403)


class WorkersCase(IndexTestCase):
    """Two processes."""

    def start(self) -> LiveIndex:
        place = self.folder / "pypid"
        place.mkdir()
        index = self.entered(pypid(place, SEVERAL))
        until_all_answer(index, 2)
        return index

    @property
    def first(self) -> int:
        """The process that was started."""
        return self.index.running.process.pid

    def visitors(self) -> tuple[Visitor, Visitor]:
        """Somebody whose one connection is with the first process, and the same with the other; they share their cookies."""
        processes = [self.first, others(self.index)[2]]
        found: dict[int, http.client.HTTPConnection] = {}
        while len(found) < len(processes):
            for each in connections(self.index, 8):
                if found.setdefault(process_of(each, processes), each) is each:
                    self.addCleanup(each.close)
                else:
                    each.close()
        base, cookies = self.index.url("/"), dict[str, str]()
        here, there = (found[process] for process in processes)
        return (
            Visitor(base, self.index.port, cookies=cookies, kept=here),
            Visitor(base, self.index.port, cookies=cookies, kept=there),
        )

    def writers(self) -> list[int]:
        """The processes that have the lock of the search index."""
        inode = (self.index.folder / "state/search.lock").stat().st_ino
        lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
        return [int(line[4]) for line in lines if "->" not in line and line[5].rpartition(":")[2] == str(inode)]

    def finds(self, visitor: Visitor, word: str) -> bool:
        """Whether it is found, on the page and by the API."""
        said = visitor.get(f"api/search?q={word}", Accept="application/json")
        return word in said.text and f"/project/{word}/" in visitor.get(f"search?q={word}").text

    def soon(self, visitor: Visitor, word: str, within: float = 2.0) -> None:
        """What was published is found, on the first page and in the feeds."""
        begun = time.monotonic()
        until(lambda: self.finds(visitor, word), self.index)
        until(lambda: f"project/{word}/" in visitor.get("").text, self.index)
        until(lambda: f"<title>{word} 1.0</title>" in visitor.get("rss/updates.xml").text, self.index)
        self.assertLess(time.monotonic() - begun, within)

    def whole(self) -> None:
        """The file of the search index is not damaged."""
        with closing(sqlite3.connect(f"file:{self.index.folder}/state/search.sqlite?mode=ro", uri=True)) as file:
            self.assertEqual(file.execute("PRAGMA integrity_check").fetchall(), [("ok",)])


class WorkersTests(WorkersCase):
    def test_session(self) -> None:
        """Who logs in with one process is known to the other; forms of one are taken by the other; so is a log out."""
        here, there = self.visitors()
        self.assertEqual(here.log_in("admin").url, here.base)
        for visitor in (there, here):
            page = visitor.get("account/")
            self.assertIn("Your account", page.says)
        made = here.send(there.get("account/").form("account/tokens"), name="both", actions="read", expires="30d")
        self.assertEqual(made.status, 201, made.says)
        until(lambda: "both" in there.get("account/").says, self.index)
        group = there.send(here.get("manage/groups").form("manage/groups"), name="kitchen")
        self.assertIn('role="status"', group.text)
        self.assertIn("kitchen", here.get("manage/groups").says)
        rebuilt = there.send(here.get("manage/storage").form("manage/rebuild"))
        self.assertEqual(rebuilt.status, 200)
        self.assertIn("2 processes answer", there.get("manage/").says)
        self.loud(here, there)
        there.send(there.get("").form("account/logout"))
        self.assertEqual(here.cookies, {})
        here.cookies["pypid_session"] = made.asked  # whatever: the secret is gone
        self.assertEqual(urlsplit(here.get("account/").url).path, "/account/login")

    def test_after_a_form(self) -> None:
        """The page that a browser is sent to after a form has what the form has done, whichever process makes it."""
        here, there = self.visitors()
        here.log_in("admin")
        publish(self.index, published("spam"), published("spam", "1.1"))
        for number in range(10):
            form = here.get("manage/groups").form("manage/groups")
            made = here.ask(form.action, "POST", urlencode({**form.fields, "name": f"group-{number}"}).encode(), FORM)
            page = there.go(urljoin(form.action, made.headers["Location"]))
            self.assertIn(f"group-{number}", page.says)
            deed = "-/unyank" if number % 2 else "-/yank"
            form = here.get("project/spam/-/settings?version=1.1").form(deed)
            body = urlencode({**form.fields, "reason": f"reason-{number}"}).encode()
            done = here.ask(form.action, "POST", body, FORM)
            page = there.go(urljoin(form.action, done.headers["Location"]))
            self.assertEqual(f"reason-{number}" in page.text, deed == "-/yank", page.url)

    def loud(self, here: Visitor, there: Visitor) -> None:
        """The level of the log is changed through one process, for both."""
        token = there.get("account/").form("account/tokens").fields["csrf_token"]
        headers = {"X-CSRF-Token": token, "Content-Type": "application/json"}
        said = there.ask(there.at("api/log-level"), "PUT", b'{"level": "error"}', headers)
        self.assertEqual(said.status, 200, said.text)
        until(lambda: '"error"' in here.get("api/log-level").text, self.index)
        self.assertEqual(there.ask(there.at("api/log-level"), "PUT", b'{"level": "default"}', headers).status, 200)

    def test_search(self) -> None:
        """What is published through one is found through the other, and on its first page and feeds, within two seconds;
        one process writes the search index, and when it is killed the other one does.
        """
        here, there = self.visitors()
        here.log_in("alice")
        until(lambda: len(self.writers()) == 1, self.index)
        for number, (one, other) in enumerate([(here, there), (there, here)]):
            file = published(f"through-{number}")
            self.assertIn("published", one.upload((file.filename, file.data)).says)
            self.soon(other, f"through-{number}")
        self.assertEqual(len(self.writers()), 1)
        self.whole()


class EndingTests(WorkersCase):
    """Processes that end as they should not. Nobody writes the search index until the tests let go of its lock."""

    def start(self) -> LiveIndex:
        state = self.folder / "pypid/state"
        state.mkdir(mode=0o700, parents=True)
        self.lock = (state / "search.lock").open("ab")
        self.addCleanup(self.lock.close)
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        index = self.entered(pypid(state.parent, SEVERAL))
        until_all_answer(index, 2)
        return index

    def test_writer(self) -> None:
        """When the process that writes the search index is killed the other one goes on with the file as it is."""
        publish(self.index, published("first"))
        second = others(self.index)[2]
        os.kill(self.first, signal.SIGSTOP)
        self.lock.close()
        until(lambda: self.writers() == [second], self.index)
        os.kill(self.first, signal.SIGCONT)
        here, _ = self.visitors()
        self.soon(here, "first", 10)
        file = self.index.folder / "state/search.sqlite"
        before = file.stat().st_ino
        publish(self.index, published("second"))
        os.kill(second, signal.SIGKILL)
        until(lambda: self.writers() == [self.first], self.index, 5)
        publish(self.index, published("third"))
        until(lambda: others(self.index).get(2, second) != second, self.index)
        until(lambda: f"(process {others(self.index)[2]}) answers, too" in self.index.log(), self.index)
        _, there = self.visitors()
        for name in ("first", "second", "third"):
            self.soon(there, name, 10)
        self.assertEqual((self.writers(), file.stat().st_ino), ([self.first], before))
        self.whole()

    def rendering(self) -> list[int]:
        """The processes that render READMEs, once both have shown one."""
        publish(self.index, published("spam", readme=MARKDOWN, content_type="text/markdown"))
        for visitor in self.visitors():
            until(lambda visitor=visitor: "Lovely <strong>spam</strong>" in visitor.get("project/spam/").text, self.index)  # type: ignore[misc]
        found = renderers(self.first)
        self.assertEqual(len(found), 2)
        return found

    def test_renderers(self) -> None:
        """What renders READMEs for a process ends with it, and with all of them."""
        found = self.rendering()
        second = others(self.index)[2]
        [its] = renderers(second)
        os.kill(second, signal.SIGKILL)
        until(lambda: not is_there(its), self.index, 5)
        self.assertTrue(all(is_there(each) for each in found if each != its))
        self.assertEqual(self.index.running.stop(), 0)
        self.assertEqual([each for each in found if is_there(each)], [])

    def test_first_killed(self) -> None:
        """When the first process is killed nothing of it is left; a new pypid finds what was published."""
        self.lock.close()
        found = [*self.rendering(), *others(self.index).values()]
        self.index.running.process.kill()
        self.index.running.process.wait()
        until(lambda: not any(map(is_there, found)), self.index, 5)
        with running([BIN / "pypid", "serve", "-c", self.index.config], self.folder / "again", cwd=self.folder) as again:
            again.until_answers(self.index.url())
            visitor = Visitor(self.index.url("/"), self.index.port)
            until(lambda: self.finds(visitor, "spam"), self.index)
            self.whole()
            self.assertEqual(again.stop(), 0)
        self.index.running.process.returncode = 0  # the shared end of these tests looks at the log alone
        with self.index.running.log.open("a") as file:
            file.write("Server Shut Down")


class MachinesTests(SynchronousTestCase):
    """Two machines with a bucket, and a database of PostgreSQL's for the catalog and the accounts."""

    def setUp(self) -> None:
        self.stack = ExitStack()
        self.addCleanup(self.stack.close)
        s3 = self.stack.enter_context(store("radosgw"))
        database = postgresql.shared().database()
        self.here, self.there = self.stack.enter_context(nodes(2, s3, f"backend = sql\nurl = {database}", database))

    def test_both(self) -> None:
        """A session of one is one of the other; search, first page and feeds of both have what either has taken within two
        seconds, and the project's page its README, and what lies in its files, out of the bucket.
        """
        cookies: dict[str, str] = {}
        bases = [(f"http://127.0.0.1:{node.port}/", node.port) for node in (self.here, self.there)]
        one, other = (Visitor(base, port, cookies=cookies) for base, port in bases)
        self.assertEqual(one.log_in("alice").url, one.base)
        self.assertIn("Your account", other.get("account/").says)
        spam = {"readme": MARKDOWN, "content_type": "text/markdown", "also": SPAM, "files": MODULES}
        files = [published("spam", source=source, **spam) for source in (False, True)]  # type: ignore[arg-type]
        self.assertIn("published", one.upload(*((file.filename, file.data) for file in files)).says)
        took = until_node(self.there, lambda: "/project/spam/" in other.get("search?q=canned").text, 10)
        took += until_node(self.there, lambda: "/project/spam/" in other.get("").text, 10)
        took += until_node(self.there, lambda: "<title>spam 1.0</title>" in other.get("rss/updates.xml").text, 10)
        self.assertLess(took, 2)
        until_node(self.there, lambda: "Lovely <strong>spam</strong>" in other.get("project/spam/").text)
        for file in files:
            self.assertIn("def cook()", read(other, f"project/spam/-/contents/{file.filename}", "__init__"))
        for node in (self.here, self.there):
            self.assertTrue((node.folder / "state/search.sqlite").exists())
            until_node(node, lambda node=node: "canned" in node.ask("/api/search?q=canned").text)  # type: ignore[misc]
        out = other.send(other.get("").form("account/logout"))
        self.assertIn("You are logged out.", out.says)
        for node in (self.here, self.there):
            node.stop()


class TheirsTests(BelowCase):
    """Projects of another index."""

    def test_page(self) -> None:
        """The page of a project of theirs has its README, its files, and what lies in them; it is found once a file is kept."""
        bob = self.below.visitor()
        bob.log_in("bob")
        page = bob.get("project/theirs/")
        self.assertEqual(page.status, 200, page.says)
        self.assertIn("upstream", page.says)
        until(lambda: "Lovely <strong>spam</strong>" in bob.get("project/theirs/").text, self.index)
        [link] = {each for each in page.read().links if "/-/contents/" in each}
        self.assertIn("Name: theirs", read(bob, link, "METADATA"))
        until(lambda: "/project/theirs/" in bob.get("search?q=theirs&source=upstream").text, self.index)
        self.assertNotIn("/project/theirs/", bob.get("search?q=theirs&source=ours").text.partition("<main")[2])

    def test_cooldown(self) -> None:
        """What is too new is on no page; an administrator is told why, and until when."""
        place = self.folder / "pypid"
        place.mkdir()
        lines = f"url = {upstream().url('/simple/')}\nmode = cache\ncooldown = 7d"
        with pypid(place, Settings(upstream=lines, access="backend = config sql\n")) as index:
            admin = Visitor(index.url("/"), index.port)
            admin.log_in("admin")
            self.assertIn("None of its files is to be had here", admin.get("project/theirs/").says)
            self.assertIn("it is too young ([upstream] cooldown)", admin.get("project/theirs/-/why").says)
            self.assertEqual(admin.get("project/theirs/-/contents/theirs-1.0-py3-none-any.whl").status, 404)
            self.assertNotIn("/project/theirs/", admin.get("search?q=theirs").text.partition("<main")[2])


class NamesTests(IndexTestCase):
    """Projects that are called as the first words of the site's addresses."""

    def start(self) -> LiveIndex:
        return shared(PROXIED)

    @for_each("project", "search", "account", "manage", "upload", "rss")
    def named(self, name: str) -> None:
        """Such a project is had by installers at ``/simple/`` and ``/pypi/``, and has a page; at the root is the site."""
        publish(self.index, published(name))
        filename = published(name).filename
        somebody = Visitor(self.index.url("/"), self.index.port)
        for path in (f"simple/{name}/", f"pypi/{name}/"):
            page = somebody.get(path)
            self.assertIn(filename, page.text)
            [link] = [each for each in page.read().links if each.endswith(filename) or f"{filename}#" in each]
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


class PeopleElsewhereTests(SynchronousTestCase):
    """People whom a directory, or another service, knows; only those of the group ``team`` may read anything."""

    def setUp(self) -> None:
        self.stack = ExitStack()
        self.addCleanup(self.stack.close)
        self.folder = self.stack.enter_context(scratch())

    def started(self, text: str, **environ: str) -> LiveIndex:
        """A pypid with this file, whose admin stands in it."""
        port = free_port()
        (self.folder / "pypid.ini").write_text(text.replace("PORT", str(port)).replace("FOLDER", str(self.folder)))
        command: list[str | Path] = [*with_us(), BIN / "pypid", "serve", "--config", self.folder / "pypid.ini"]
        told = clean_environ(**environ)
        process = self.stack.enter_context(running(command, self.folder / "log", cwd=self.folder, environ=told))
        index = LiveIndex(self.folder, port, False, process)
        until_ready(index)
        return index

    def journey(self, index: LiveIndex, user: str, password: str, other: str, others: str) -> Visitor:
        """`user` of the team logs in, as does the admin of the file; `other`, who is in no team, may read nothing."""
        somebody = Visitor(index.url("/"), index.port)
        page = somebody.get("search?q=x")
        self.assertEqual(urlsplit(page.url).path, "/account/login")
        self.assertEqual(somebody.send(page.form("account/login"), user=user, password="wrong").status, 403)
        there = somebody.send(page.form("account/login"), user=user, password=password)
        self.assertEqual((there.status, there.url), (200, somebody.at("search?q=x")))
        mine = somebody.get("account/")
        self.assertIn(user, mine.says)
        self.assertIn("team", mine.says)
        self.assertEqual(somebody.send(mine.form("account/tokens"), name="t", actions="read", expires="30d").status, 201)
        stranger = Visitor(index.url("/"), index.port)
        refused = stranger.log_in(other, others)
        self.assertEqual((refused.status, refused.is_page), (403, True))
        self.assertIn(f"You are logged in as {other}", refused.says)
        admin = Visitor(index.url("/"), index.port)
        self.assertEqual(admin.log_in("admin").status, 200)
        self.assertIn(user, admin.get("manage/tokens").says)
        return somebody

    def away(self, index: LiveIndex, somebody: Visitor) -> None:
        """Nobody can say who they are: that is said on a page; the admin of the file logs in all the same."""
        stranger = Visitor(index.url("/"), index.port)
        refused = stranger.log_in("mallory", "x")
        self.assertEqual((refused.status, refused.is_page), (503, True))
        self.assertIn("Wait a moment", refused.says)
        admin = Visitor(index.url("/"), index.port)
        self.assertEqual(admin.log_in("admin").status, 200)
        self.assertEqual(admin.get("manage/").status, 200)
        self.assertIn(somebody.get("account/").status, (200, 503))  # for a moment it is remembered who they are

    def test_directory(self) -> None:
        """Of a directory (LDAP)."""
        server = self.stack.enter_context(slapd())
        admin = hashes()["admin"]
        told = {"port": "PORT", "folder": "FOLDER", "admin": admin, "url": server.url, "certificates": server.certificates}
        places = {"manager": MANAGER, "password": MANAGER_PASSWORD, "people": PEOPLE, "groups": GROUPS}
        with server.runs():
            server.fill([person("ada", "wonder land"), person("eve", "apple pie"), group("team", dn_of("ada"))])
            index = self.started(test_directory.INI.format(**told, **places))
            ada = self.journey(index, "ada", "wonder land", "eve", "apple pie")
        self.away(index, ada)
        index.running.stop_in_order()

    def test_service(self) -> None:
        """Of a service (``remote``)."""
        theirs = free_port()
        text = (
            "[server]\nlisten = tcp:PORT:interface=127.0.0.1\nstate = FOLDER/state\n[upstream]\nmode = offline\n[access]\n"
            f"backend = config remote\nread = group:team\nadmins = admin\n[users]\nadmin = {hashes()['admin']}\n"
            f"[remote]\nurl = http://127.0.0.1:{theirs}/v\nuser = {LOGIN[0]}\n"
        )
        command = [*with_us(), sys.executable, "-m", "tests.live.peopleservice", "127.0.0.1", str(theirs)]
        service = self.stack.enter_context(running(command, self.folder / "service.log", cwd=ROOT))
        test_remote.until_listened("127.0.0.1", theirs, service)
        index = self.started(text, PYPID_REMOTE_PASSWORD=LOGIN[1], PYTHONUTF8="1")
        alice = self.journey(index, "alice", "wonder land", "Bob", "pa:ss:wörd")
        service.stop()
        self.away(index, alice)
        index.running.stop_in_order()


def read(visitor: Visitor, address: str, name: str) -> str:
    """What a file in an archive says, as one gets there by the links from the archive's page."""
    seen, ways = set[str](), [visitor.at(address) if "://" not in address else address]
    while ways:
        url = ways.pop()
        seen.add(url)
        got = visitor.go(url)
        if name in url and "path=" in url:
            return got.says
        links = [link for link in got.read().links if urlsplit(link).path == urlsplit(url).path and urlsplit(link).query]
        ways += [link for link in links if link not in seen]
    raise AssertionError(f"there is no {name} in {address}")


if TYPE_CHECKING:
    _unused = basic, Settings
