"""The index as files: kept up to date by a real pypid while a process watches it, and served
without any.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.request import urlopen

from pypid.export.folder import WORTH_PROCESSES
from tests.live.daemon import IndexTestCase, LiveIndex, Settings, configuration, pypid, until_ready
from tests.live.isolation import fails, pip, uv, works
from tests.live.processes import BIN, Running, clean_environ, done, free_port, running, scratch
from tests.live.projects import call, manage, publish, sdist, wheel
from tests.live.stores import store

NEWEST: Final = "pip-on-3.11"
J, H = "application/vnd.pypi.simple.v1+json", "text/html"
SOON = 1.0
"""Seconds within which a change has to be there."""

WATCH = """
import json, sys, time
from pathlib import Path

root = Path(sys.argv[1])

def missing(name):
    # what a page names and what is not there
    page = root / "simple" / name / "index.json"
    try:
        files = json.loads(page.read_bytes())["files"]
    except FileNotFoundError:
        return set()
    found = set()
    for file in files:
        where = page.parent / file["url"]
        beside = [Path(f"{where}.metadata")] if file.get("core-metadata") else []
        if not all(each.exists() for each in (where, *beside)) or where.stat().st_size != file["size"]:
            found.add(file["url"])
    return found

def unlisted():
    # what the list names and what has no page
    try:
        names = [one["name"] for one in json.loads((root / "simple/index.json").read_bytes())["projects"]]
    except FileNotFoundError:
        return set()
    pages = ("index.html", "index.json")
    return {name for name in names if not all((root / "simple" / name / page).exists() for page in pages)}

def again(look, *arguments):
    # between the two looks somebody may have replaced the page: what it says now counts
    try:
        first = look(*arguments)
        return first and first & look(*arguments)
    except FileNotFoundError:
        return set()

looks = 0
print("watching", flush=True)
while True:
    for name in [path.name for path in (root / "simple").glob("*") if path.is_dir()]:
        for url in again(missing, name):
            print("MISSING", name, url, flush=True)
    for name in again(unlisted):
        print("NO PAGE", name, flush=True)
    looks += 1
"""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """``python -m http.server`` for a folder; its URL."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "http.server",
        str(port),
        "--bind",
        "127.0.0.1",
        "--directory",
        folder,
    ]
    with scratch() as logs, running(command, logs / "log") as process:
        url = f"http://127.0.0.1:{port}"
        process.until_answers(f"{url}/simple/")
        yield url


class TreeCase(IndexTestCase):
    """A pypid that keeps a tree."""

    files = "copy"
    more = ""

    def start(self) -> LiveIndex:
        self.tree = self.folder / "tree"
        return self.entered(pypid(self.entered(scratch()), self.wanted()))

    def wanted(self) -> Settings:
        sections = f"[publish]\ntarget = {self.tree}\nfiles = {self.files}\n{self.more}"
        return Settings(
            sections=sections,
            access="backend = config sql",
            server="public_url = https://index.example",
        )

    def until(self, condition: Callable[[], object], within: float = SOON, what: str = "") -> float:
        """Wait until that is so; how long it took."""
        begun = time.monotonic()
        while not condition():
            passed = time.monotonic() - begun
            if passed > within:
                raise AssertionError(f"not within {within} s: {what}\n{self.index.log()}")
            time.sleep(0.01)
        return time.monotonic() - begun

    def names(self) -> list[str]:
        """What the list in the tree names: in both of its formats, which are written one after the
        other.
        """
        try:
            page = (self.tree / "simple/index.html").read_text()
            projects = json.loads((self.tree / "simple/index.json").read_bytes())["projects"]
        except FileNotFoundError:
            return []
        return [one["name"] for one in projects if f'href="{one["name"]}/"' in page]

    def page(self, name: str) -> Any:
        """A project's page in the tree; None where there is none."""
        try:
            return json.loads((self.tree / f"simple/{name}/index.json").read_bytes())
        except FileNotFoundError:
            return None

    def files_of(self, name: str) -> list[str]:
        """The files that the page names."""
        return [file["filename"] for file in (self.page(name) or {"files": ()})["files"]]

    def paths(self, word: str) -> list[str]:
        """Files and folders of the tree with that word in their name; pypid may remove folders
        meanwhile.
        """
        return [
            name
            for _, folders, files in os.walk(self.tree)
            for name in (*folders, *files)
            if word in name
        ]

    def same(self) -> None:
        """The tree is what the server answers to anonymous: the lists follow a change last."""
        self.until(
            lambda: (
                (self.tree / "simple/index.html").read_bytes()
                == call(self.index, "GET", "/simple/", user=None, accept=H)
            ),
            what="the serial in the list",
        )
        for name in ("", *(f"{name}/" for name in self.names())):
            for accept, page in ((J, "index.json"), (H, "index.html")):
                body = (self.tree / f"simple/{name}{page}").read_bytes()
                self.assertEqual(
                    call(self.index, "GET", f"/simple/{name}", user=None, accept=accept), body, name
                )
        for path in self.tree.glob("p*/**/*"):
            if path.is_file():
                served = call(self.index, "GET", f"/{path.relative_to(self.tree)}", user=None)
                self.assertEqual(served, path.read_bytes(), path)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """A process looks all the time whether everything that is named is there."""
        log = self.folder / "watch.log"
        with running([sys.executable, "-c", WATCH, str(self.tree)], log) as process:
            self.until(lambda: "watching" in process.output(), 10)
            yield
            self.assertIsNone(process.process.poll(), process.output())
            self.assertEqual(process.output(), "watching\n")


class LiveTests(TreeCase):
    """What changes is in the tree within a second, and nothing is ever named that is not there."""

    def test_changes(self) -> None:
        """Uploads, yanks, statuses, rights and deletes."""
        self.until(lambda: (self.tree / "simple/index.html").exists(), 5)
        with self.watched():
            ours = wheel("live-ours")
            publish(self.index, ours)
            self.until(lambda: self.files_of("live-ours") == [ours.filename], what="an upload")
            self.until(lambda: "live-ours" in self.names())
            publish(
                self.index, sdist("live-ours", "2.0"), wheel("live-other"), wheel("live-secret")
            )
            self.until(
                lambda: self.names() == ["live-other", "live-ours", "live-secret"], what="several"
            )
            manage(self.index, "PUT", f"live-ours/files/{ours.filename}/yank", reason="bad")
            self.until(lambda: self.page("live-ours")["files"][0]["yanked"] == "bad", what="a yank")
            manage(self.index, "PUT", "live-secret/rights/user/bob", right="r")
            self.until(lambda: "live-secret" not in self.names(), what="a right")
            self.until(lambda: not self.paths("secret"), what="its files")
            manage(self.index, "DELETE", "live-secret/rights/user/bob")
            manage(self.index, "DELETE", "live-secret/rights/admins")
            self.until(lambda: "live-secret" in self.names(), what="no right")
            manage(self.index, "PUT", "live-other/status", status="quarantined", reason="malware")
            self.until(lambda: not self.paths("other"), what="quarantine")
            manage(self.index, "DELETE", f"live-ours/files/{ours.filename}")
            self.until(lambda: len(self.files_of("live-ours")) == 1, what="a delete")
            self.until(
                lambda: not (self.tree / "packages/live-ours" / ours.filename).exists(),
                what="its file",
            )
            for number in range(30):
                publish(self.index, wheel("live-many", f"{number}.0"))
                if number % 3 == 2:
                    manage(self.index, "DELETE", f"live-many/releases/{number - 1}.0")
            self.until(lambda: len(self.files_of("live-many")) == 20, what="many")
        self.until(lambda: not list((self.tree / "packages/live-many").glob("*-28.0-*")))
        self.same()


class KilledTests(TreeCase):
    """A pypid that dies."""

    def start(self) -> LiveIndex:
        self.tree = self.folder / "tree"
        self.home = self.entered(scratch())
        self.port = free_port()
        (self.home / "pypid.ini").write_text(configuration(self.home, self.port, self.wanted()))
        return self.another("first")

    def another(self, log: str) -> LiveIndex:
        command = [BIN / "pypid", "serve", "--config", self.home / "pypid.ini"]
        process = self.entered(
            running(command, self.home / log, cwd=self.home, environ=clean_environ())
        )
        index = LiveIndex(self.home, self.port, False, process)
        until_ready(index)
        return index

    def test_killed(self) -> None:
        """Killed while it writes, it leaves a tree in which nothing is named that is not there; the
        next one goes on.
        """
        with self.watched():
            for number in range(12):
                publish(self.index, wheel(f"dead-{number}"), wheel(f"dead-{number}", "2.0"))
            self.index.running.process.send_signal(signal.SIGKILL)
            self.index.running.process.wait()
            time.sleep(0.2)
            self.index = self.another("second")
            self.since = 0
            self.until(lambda: len(self.names()) == 12, 5)
            self.until(
                lambda: all(len(self.files_of(f"dead-{number}")) == 2 for number in range(12)), 5
            )
        self.same()
        self.assertEqual(self.index.running.stop(), 0)


class ServedTests(TreeCase):
    """What comes of a tree that only a web server has (C117)."""

    def test_installed(self) -> None:
        """pip and uv install out of it while there is no pypid (C117)."""
        publish(
            self.index,
            wheel("static-ours", extra=[("Requires-Dist", "static-lib>=1")]),
            sdist("static-lib"),
        )
        publish(self.index, wheel("static-lib", "2.0"))
        manage(self.index, "PUT", "static-lib/releases/2.0/yank", reason="bad")
        self.until(
            lambda: (
                (self.page("static-lib") or {"files": [{}]})["files"][-1].get("yanked") == "bad"
            ),
            5,
        )
        self.until(lambda: "static-ours" in self.names(), 5)
        self.index.running.stop()
        with served(self.tree) as url:
            works(
                pip(
                    NEWEST,
                    "install",
                    f"{url}/simple/",
                    "--target",
                    self.folder / "pip",
                    "static-ours",
                ),
                self.folder,
            )
            works(
                [
                    *uv(f"{url}/simple/", "--no-cache"),
                    "--target",
                    self.folder / "uv",
                    "static-ours",
                ],
                self.folder,
            )
            for name in ("pip", "uv"):
                found = sorted(path.name for path in (self.folder / name).glob("*.dist-info"))
                self.assertEqual(found, ["static_lib-1.0.dist-info", "static_ours-1.0.dist-info"])
            fails(
                pip(
                    NEWEST,
                    "install",
                    f"{url}/simple/",
                    "--target",
                    self.folder / "no",
                    "static-none",
                ),
                self.folder,
            )


class CommandTests(IndexTestCase):
    """`pypid export`."""

    def start(self) -> LiveIndex:
        return self.entered(pypid(self.entered(scratch()), Settings(access="backend = config sql")))

    def export(self, *arguments: str | Path, status: int = 0) -> str:
        """What it printed."""
        return done(
            [BIN / "pypid", "export", "--config", self.index.config, *arguments], status=status
        )

    def test_command(self) -> None:
        """It works beside a running pypid and without one, says what is left out, and writes what
        has changed only.
        """
        publish(self.index, wheel("once-ours"), wheel("once-secret"))
        manage(self.index, "PUT", "once-secret/rights/user/bob", right="r")
        tree = self.folder / "tree"
        said = self.export("--copy-files", tree)
        self.assertIn("1 project. ", said)
        self.assertIn("1 project omitted, invisible to anonymous clients", said)
        self.assertEqual([path.name for path in (tree / "packages").iterdir()], ["once-ours"])
        theirs = self.folder / "bob"
        self.export("--as-user", "bob", theirs)
        for user, folder, names in (
            (None, tree, ["once-ours"]),
            ("bob", theirs, ["once-ours", "once-secret"]),
        ):
            for name in ("", *(f"{name}/" for name in names)):
                for accept, page in ((J, "index.json"), (H, "index.html")):
                    body = call(self.index, "GET", f"/simple/{name}", user=user, accept=accept)
                    self.assertEqual(
                        (folder / f"simple/{name}{page}").read_bytes(), body, (user, name)
                    )
        self.index.running.stop()
        again = json.loads(self.export("--copy-files", "--no-timestamp", "--json", tree))
        self.assertEqual((again["copied"], again["written"]), (0, 2))
        others = json.loads(
            self.export("--as-user", "bob", "--no-timestamp", "--json", self.folder / "other")
        )
        self.assertEqual((others["projects"], others["hidden"]), (2, 0))
        self.assertIn("what anonymous may see", self.export("--as-user", "bob", tree, status=1))
        self.assertIn(
            "No user can log in as 'zoe'", self.export("--as-user", "zoe", tree, status=1)
        )
        self.assertIn(
            "signs no URLs", self.export("--signed-links", self.folder / "signed", status=1)
        )
        self.assertIn("storage folder", self.export(self.index.storage / "x", status=1))
        self.assertIn("/dev/null/x", self.export("/dev/null/x", status=1))


class ProcessesTests(IndexTestCase):
    """An export of so many projects that processes write them."""

    def start(self) -> LiveIndex:
        home, port = self.entered(scratch()), free_port()
        (home / "pypid.ini").write_text(configuration(home, port, Settings()))
        command = [BIN / "pypid", "serve", "--config", home / "pypid.ini"]
        process = self.entered(running(command, home / "log", cwd=home, environ=clean_environ()))
        index = LiveIndex(home, port, False, process)
        until_ready(index)
        return index

    def children(self) -> set[int]:
        """The processes of pypid that write pages."""
        found = set()
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                parent = path.read_text().rpartition(")")[2].split()[1]
                command = path.with_name("cmdline").read_bytes()
            except OSError:  # it has ended
                continue
            if int(parent) == self.index.running.process.pid and b"page_program" in command:
                found.add(int(path.parent.name))
        return found

    def exporting(self, tree: Path, begun: Path) -> tuple[Running, set[int]]:
        """The command, and the processes, which are stopped as soon as `begun` exists."""
        command = [BIN / "pypid", "export", "--config", self.index.config, "--verify", tree]
        log = self.folder / f"log-{tree.name}"
        process = self.entered(running(command, log, environ=clean_environ()))
        deadline = time.monotonic() + 20
        while not (found := self.children()) or not begun.exists():
            self.assertLess(time.monotonic(), deadline, process.output())
            time.sleep(0.005)
        for pid in found:
            os.kill(pid, signal.SIGSTOP)
        return process, found

    def test_killed(self) -> None:
        """If one of them is killed, the command says so, and the next one writes everything. If
        pypid is killed, they write nothing more, and end.
        """
        count = WORTH_PROCESSES + 100
        publish(self.index, *(wheel(f"many-{number}") for number in range(count)))
        tree = self.folder / "tree"
        command, found = self.exporting(tree, tree)
        for pid in found:
            os.kill(pid, signal.SIGKILL)
        self.assertEqual(command.process.wait(30), 1, command.output())
        self.assertIn("was ended by signal 9", command.output())
        self.assertFalse(self.children())
        said = done([BIN / "pypid", "export", "--config", self.index.config, tree])
        self.assertIn(f"{count} projects. Pages: ", said)
        self.assertEqual(len(list(tree.glob("simple/*/index.html"))), count)

        tree = self.folder / "other"
        command, found = self.exporting(tree, tree / "simple")
        pages = set(tree.rglob("*.html"))
        self.index.running.process.send_signal(signal.SIGKILL)
        self.index.running.process.wait()
        for pid in found:
            os.kill(pid, signal.SIGCONT)
        deadline = time.monotonic() + 10
        while any(Path(f"/proc/{pid}").exists() for pid in found):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)
        self.assertNotEqual(command.process.wait(30), 0)
        more = set(tree.rglob("*.html")) - pages
        self.assertLessEqual(len(more), len(found))  # one may be between its check and the rename
        self.assertFalse((tree / "simple/index.html").exists())


class BucketTests(TreeCase):
    """A tree in a bucket, beside the files of the index."""

    def start(self) -> LiveIndex:
        self.s3 = self.entered(store("radosgw"))
        self.bucket = self.s3.bucket()
        return self.entered(pypid(self.entered(scratch()), self.wanted()))

    def wanted(self) -> Settings:
        told = {
            "backend": "s3",
            "bucket": self.bucket,
            "prefix": "files/",
            "region": self.s3.region,
            "endpoint_url": self.s3.endpoint,
            "access_key": self.s3.access_key,
            "secret_key": self.s3.secret_key,
        }
        sections = f"[publish]\ntarget = s3://{self.bucket}/tree\nfiles = copy\n"
        return Settings(
            bucket="\n".join(f"{key} = {value}" for key, value in told.items()), sections=sections
        )

    def got(self, key: str) -> Any:
        """What the store has there."""
        return self.s3.ask("GET", f"/{self.bucket}/tree/{key}")

    def test_kept(self) -> None:
        """Uploads and deletes are there soon, with the types that browsers and installers know;
        what is gone is gone.
        """
        ours = wheel("pail")
        publish(self.index, ours, wheel("pail", "2.0"))
        self.until(lambda: b"pail-2.0" in self.got("simple/pail/index.html").body, 10)
        for accept, page in ((J, "index.json"), (H, "index.html")):
            self.until(lambda page=page: b"pail" in self.got(f"simple/{page}").body, 5)
            found = self.got(f"simple/pail/{page}")
            self.assertEqual(found.body, call(self.index, "GET", "/simple/pail/", accept=accept))
            self.assertTrue(found.headers["content-type"].startswith(accept), found.headers)
            self.assertNotIn("content-disposition", found.headers)
        self.assertEqual(self.got(f"packages/pail/{ours.filename}").body, ours.data)
        manage(self.index, "DELETE", f"pail/files/{ours.filename}")
        self.until(lambda: self.got(f"packages/pail/{ours.filename}").status == 404, 10)
        self.assertNotIn(ours.filename.encode(), self.got("simple/pail/index.json").body)

    def test_signed(self) -> None:
        """Signed links lead to the files of the index in its bucket."""
        ours = wheel("signed")
        publish(self.index, ours)
        tree = self.folder / "signed"
        done([BIN / "pypid", "export", "--config", self.index.config, "--signed-links", tree])
        [file] = json.loads((tree / "simple/signed/index.json").read_bytes())["files"]
        with urlopen(file["url"]) as answer:
            self.assertEqual(answer.read(), ours.data)
