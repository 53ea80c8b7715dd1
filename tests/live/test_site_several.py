"""The site of several processes, and of several machines: sessions, forms, search, and what ends
when one ends.
"""

import fcntl
import http.client
import os
import signal
import sqlite3
import time
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import urlencode, urljoin, urlsplit

from twisted.trial.unittest import SynchronousTestCase

from tests.live import postgresql
from tests.live.daemon import IndexTestCase, LiveIndex, Settings, pypid
from tests.live.nodes import nodes
from tests.live.nodes import until as until_node
from tests.live.processes import BIN, running
from tests.live.projects import publish
from tests.live.site_client import Visitor
from tests.live.site_content import MARKDOWN, MODULES, SPAM, published
from tests.live.stores import store
from tests.live.test_readmes import renderers
from tests.live.workers import (
    SHARED,
    connections,
    is_there,
    others,
    process_of,
    until,
    until_all_answer,
)

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
SEVERAL = Settings(server="workers = 2", access="backend = config sql\n", sections=SHARED)


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
        """Somebody whose one connection is with the first process, and the same with the other;
        they share their cookies.
        """
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
        try:
            inode = (self.index.folder / "state/search.lock").stat().st_ino
        except FileNotFoundError:  # the search index begins after the first page
            return []
        lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
        return [
            int(line[4])
            for line in lines
            if "->" not in line and line[5].rpartition(":")[2] == str(inode)
        ]

    def finds(self, visitor: Visitor, word: str) -> bool:
        """Whether it is found, on the page and by the API."""
        said = visitor.get(f"api/search?q={word}", Accept="application/json")
        return word in said.text and f"/project/{word}/" in visitor.get(f"search?q={word}").text

    def soon(self, visitor: Visitor, word: str, within: float = 2.0) -> None:
        """What was published is found, on the first page and in the feeds."""
        begun = time.monotonic()
        until(lambda: self.finds(visitor, word), self.index)
        until(lambda: f"project/{word}/" in visitor.get("").text, self.index)
        until(
            lambda: f"<title>{word} 1.0</title>" in visitor.get("rss/updates.xml").text, self.index
        )
        self.assertLess(time.monotonic() - begun, within)

    def whole(self) -> None:
        """The file of the search index is not damaged."""
        with closing(
            sqlite3.connect(f"file:{self.index.folder}/state/search.sqlite?mode=ro", uri=True)
        ) as file:
            self.assertEqual(file.execute("PRAGMA integrity_check").fetchall(), [("ok",)])


class WorkersTests(WorkersCase):
    def test_session(self) -> None:
        """Who logs in with one process is known to the other; forms of one are taken by the other;
        so is a log out.
        """
        here, there = self.visitors()
        self.assertEqual(here.log_in("admin").url, here.base)
        for visitor in (there, here):
            page = visitor.get("account/")
            self.assertIn("Your account", page.says)
        made = here.send(
            there.get("account/").form("account/tokens"), name="both", actions="read", expires="30d"
        )
        self.assertEqual(made.status, 201, made.says)
        until(lambda: "both" in there.get("account/").says, self.index)
        group = there.send(here.get("manage/groups").form("manage/groups"), name="kitchen")
        self.assertIn('role="status"', group.text)
        until(lambda: "kitchen" in here.get("manage/groups").says, self.index)
        rebuilt = there.send(here.get("manage/storage").form("manage/rebuild"))
        self.assertEqual(rebuilt.status, 200)
        self.assertIn("2 processes are running", there.get("manage/").says)
        self.loud(here, there)
        before = dict(here.cookies)
        there.send(there.get("").form("account/logout"))
        self.assertEqual(here.cookies, {})
        here.cookies.update(before)
        until(lambda: urlsplit(here.get("account/").url).path == "/account/login", self.index, 2)

    def test_after_a_form(self) -> None:
        """The page that a browser is sent to after a form has what the form has done, whichever
        process makes it.
        """
        here, there = self.visitors()
        here.log_in("admin")
        publish(self.index, published("spam"), published("spam", "1.1"))
        for number in range(10):
            form = here.get("manage/groups").form("manage/groups")
            made = here.ask(
                form.action,
                "POST",
                urlencode({**form.fields, "name": f"group-{number}"}).encode(),
                FORM,
            )
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
        self.assertEqual(
            there.ask(there.at("api/log-level"), "PUT", b'{"level": "default"}', headers).status,
            200,
        )

    def test_search(self) -> None:
        """What is published through one is found through the other, and on its first page and
        feeds, within two seconds; one process writes the search index.
        """
        here, there = self.visitors()
        here.log_in("alice")
        until(lambda: len(self.writers()) == 1, self.index)
        for number, (one, other) in enumerate([(here, there), (there, here)]):
            file = published(f"through-{number}")
            self.assertIn("published", one.upload(file.filename, file.data).says)
            self.soon(other, f"through-{number}")
        self.assertEqual(len(self.writers()), 1)
        self.whole()


class EndingTests(WorkersCase):
    """Processes that end as they should not. Nobody writes the search index until the tests let go
    of its lock.
    """

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
        """When the process that writes the search index is killed the other one goes on with the
        file as it is.
        """
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
        until(
            lambda: f"(process {others(self.index)[2]}) is ready" in self.index.log(),
            self.index,
        )
        _, there = self.visitors()
        for name in ("first", "second", "third"):
            self.soon(there, name, 10)
        self.assertEqual((self.writers(), file.stat().st_ino), ([self.first], before))
        self.whole()

    def rendering(self) -> list[int]:
        """The processes that render READMEs, once both have shown one."""
        publish(self.index, published("spam", readme=MARKDOWN, content_type="text/markdown"))
        for visitor in self.visitors():
            until(
                lambda visitor=visitor: (
                    "Lovely <strong>spam</strong>" in visitor.get("project/spam/").text
                ),
                self.index,
            )  # type: ignore[misc]
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
        """When the first process is killed nothing of it is left; a new pypid finds what was
        published.
        """
        self.lock.close()
        found = [*self.rendering(), *others(self.index).values()]
        self.index.running.process.kill()
        self.index.running.process.wait()
        until(lambda: not any(map(is_there, found)), self.index, 5)
        with running(
            [BIN / "pypid", "serve", "-c", self.index.config],
            self.folder / "again",
            cwd=self.folder,
        ) as again:
            again.until_answers(self.index.url())
            visitor = Visitor(self.index.url("/"), self.index.port)
            until(lambda: self.finds(visitor, "spam"), self.index)
            self.whole()
            self.assertEqual(again.stop(), 0)
        self.index.running.process.returncode = (
            0  # the shared end of these tests looks at the log alone
        )
        with self.index.running.log.open("a") as file:
            file.write("Server Shut Down")


class MachinesTests(SynchronousTestCase):
    """Two machines with a bucket, and a database of PostgreSQL's for the catalog
    and the accounts.
    """

    def setUp(self) -> None:
        self.stack = ExitStack()
        self.addCleanup(self.stack.close)
        s3 = self.stack.enter_context(store("radosgw"))
        database = postgresql.shared().database()
        self.here, self.there = self.stack.enter_context(
            nodes(2, s3, f"backend = sql\nurl = {database}", database)
        )

    def test_both(self) -> None:
        """A session of one is one of the other; search, first page and feeds of both have what
        either has taken within two seconds, and the project's page its README, and what lies in its
        files, out of the bucket.
        """
        cookies: dict[str, str] = {}
        bases = [(f"http://127.0.0.1:{node.port}/", node.port) for node in (self.here, self.there)]
        one, other = (Visitor(base, port, cookies=cookies) for base, port in bases)
        self.assertEqual(one.log_in("alice").url, one.base)
        self.assertIn("Your account", other.get("account/").says)
        spam = {"readme": MARKDOWN, "content_type": "text/markdown", "also": SPAM, "files": MODULES}
        files = [published("spam", source=source, **spam) for source in (False, True)]  # type: ignore[arg-type]
        for file in files:
            self.assertIn("published", one.upload(file.filename, file.data).says)
        took = until_node(
            self.there, lambda: "/project/spam/" in other.get("search?q=canned").text, 10
        )
        took += until_node(self.there, lambda: "/project/spam/" in other.get("").text, 10)
        took += until_node(
            self.there, lambda: "<title>spam 1.0</title>" in other.get("rss/updates.xml").text, 10
        )
        self.assertLess(took, 2)
        until_node(
            self.there, lambda: "Lovely <strong>spam</strong>" in other.get("project/spam/").text
        )
        for file in files:
            self.assertIn(
                "def cook()", other.inside(f"project/spam/-/contents/{file.filename}", "__init__")
            )
        for node in (self.here, self.there):
            self.assertTrue((node.folder / "state/search.sqlite").exists())
            until_node(node, lambda node=node: "canned" in node.ask("/api/search?q=canned").text)  # type: ignore[misc]
        out = other.send(other.get("").form("account/logout"))
        self.assertIn("You are logged out.", out.says)
        for node in (self.here, self.there):
            node.stop()
