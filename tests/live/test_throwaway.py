"""A machine that is lost, and another one that takes its place with nothing but the configuration:
on a real bucket.
"""

import json
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase

from tests.live.daemon import check_log
from tests.live.isolation import twine
from tests.live.processes import BIN, Running, clean_environ, done, free_port, running, scratch
from tests.live.projects import sdist, wheel
from tests.live.stores import Store, store
from tests.live.stores.between import Between, between

ADMIN: Final = ".pypid/of-record/admin.json"
ACCOUNTS: Final = ".pypid/of-record/accounts.db"
PASSWORD: Final = re.compile(r"password  (\S+)")


@define
class Machine:
    """A folder with the configuration, and what pypid makes of it."""

    folder: Path
    port: int
    process: Running | None = field(default=None)

    @property
    def state(self) -> Path:
        return self.folder / "pypid-state"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def ask(
        self,
        path: str,
        *,
        password: str | None = None,
        method: str = "GET",
        data: bytes | None = None,
    ) -> tuple[int, bytes]:
        """The status and the body of an answer; signed URLs are followed."""
        headers = {"Accept": "application/vnd.pypi.simple.v1+json, */*"}
        if password is not None:
            headers["Authorization"] = "Basic " + b64encode(f"admin:{password}".encode()).decode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", data, headers, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def page(self, project: str) -> dict[str, Any]:
        """What is yanked, by file name."""
        status, body = self.ask(f"/simple/{project}/")
        assert status == 200, (status, body, self.log)
        return {file["filename"]: file["yanked"] for file in json.loads(body)["files"]}

    def until(self, what: str, within: float = 30.0) -> None:
        """Its log says so."""
        deadline = time.monotonic() + within
        while what not in self.log:
            assert self.process is not None
            if time.monotonic() > deadline or self.process.process.poll() is not None:
                raise AssertionError(f"it did not say {what!r}:\n{self.log}")
            time.sleep(0.05)

    @contextmanager
    def runs(self, within: str = "answers at") -> Iterator["Machine"]:
        """pypid, until it is ended here or by the test."""
        command = [BIN / "pypid", "serve", "--config", self.folder / "pypid.ini"]
        with running(
            command, self.folder / "log", cwd=self.folder, environ=clean_environ()
        ) as self.process:
            self.until(within)
            yield self
            if self.process.process.poll() is None:
                assert self.process.stop(signal.SIGTERM) == 0, self.log
            check_log(self.log)

    def kill(self) -> None:
        """As a power cut."""
        assert self.process is not None
        self.process.process.kill()
        self.process.process.wait()


class ThrowawayCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.stack = ExitStack()
        self.addCleanup(self.stack.close)
        self.s3: Store = self.stack.enter_context(store())
        self.before: Between = self.stack.enter_context(between(self.s3))
        self.bucket = self.s3.bucket("throwaway")
        self.secret = done([BIN / "pypid", "gen-secret"]).strip()

    def machine(self, *, secret: str | None = None) -> Machine:
        """A new one, with the same configuration."""
        folder = self.stack.enter_context(scratch())
        port = free_port()
        (folder / "pypid.ini").write_text(
            f"[server]\nlisten = tcp:{port}:interface=127.0.0.1\nsecret = "
            f"{self.secret if secret is None else secret}\n"
            f"[upstream]\nmode = offline\n[storage]\nbackend = s3\nbucket = {self.bucket}\nregion "
            f"= {self.s3.region}\n"
            f"endpoint_url = {self.before.endpoint}\n"
            f"access_key = {self.s3.access_key}\nsecret_key = {self.s3.secret_key}\n"
        )
        return Machine(folder, port)

    def object(self, key: str) -> bytes | None:
        """What the bucket has under the key."""
        answer = self.s3.ask("GET", f"/{self.bucket}/{key}")
        return answer.body if answer.status == 200 else None

    def until_there(self, key: str, within: float = 10.0) -> bytes:
        deadline = time.monotonic() + within
        while (found := self.object(key)) is None:
            assert time.monotonic() < deadline, f"{key} did not come"
            time.sleep(0.1)
        return found

    def fill(self, machine: Machine) -> str:
        """Two projects, one of which has a yanked file; the password."""
        password = re.findall(PASSWORD, machine.log)[0]
        dist = machine.folder / "dist"
        dist.mkdir()
        for artifact in wheel("spam"), wheel("spam", "2.0"), sdist("eggs"):
            artifact.into(dist)
        url = f"http://127.0.0.1:{machine.port}/legacy/"
        done(twine(url, "admin", password, *sorted(dist.iterdir())))
        yank = "/api/projects/spam/files/spam-1.0-py2.py3-none-any.whl/yank"
        self.assertEqual(
            machine.ask(yank, password=password, method="PUT", data=b'{"reason": "bad"}')[0], 200
        )
        return password

    def publish(self, machine: Machine, password: str, version: str) -> int:
        dist = machine.folder / f"dist-{version}"
        dist.mkdir(exist_ok=True)
        wheel("spam", version).into(dist)
        url = f"http://127.0.0.1:{machine.port}/legacy/"
        line = [str(word) for word in twine(url, "admin", password, *dist.iterdir())]
        done_with = subprocess.run(line, env=clean_environ(), capture_output=True)
        return done_with.returncode

    def assert_serves(self, machine: Machine, password: str) -> None:
        """All is there: pages, yanks, bytes, and who may log in."""
        self.assertEqual(
            machine.page("spam"),
            {"spam-1.0-py2.py3-none-any.whl": "bad", "spam-2.0-py2.py3-none-any.whl": False},
        )
        self.assertEqual(list(machine.page("eggs").values()), [False])
        self.assertEqual(machine.ask("/simple/ham/")[0], 404)
        data = wheel("spam", "2.0")
        self.assertEqual(machine.ask(f"/packages/spam/{data.filename}"), (200, data.data))
        self.assertEqual(machine.ask("/simple/", password=password)[0], 200)
        self.assertEqual(machine.ask("/simple/", password=password + "x")[0], 401)
        self.assertEqual(machine.ask("/api/rebuild", password=password, method="POST")[0], 200)


class LostTests(ThrowawayCase):
    def test_signed_urls(self) -> None:
        """After a restart clients get the URLs that they know; they are in a file that nobody else
        may read.
        """

        class Stay(urllib.request.HTTPRedirectHandler):
            def redirect_request(self, *_: Any) -> None:
                return None

        def location(machine: Machine) -> str:
            with self.assertRaises(urllib.error.HTTPError) as raised:
                url = f"http://127.0.0.1:{machine.port}/packages/spam/{wheel('spam').filename}"
                urllib.request.build_opener(Stay).open(url)
            return str(raised.exception.headers["Location"])

        machine = self.machine()
        with machine.runs("compared with"):
            self.fill(machine)
            first = location(machine)
        self.assertEqual((machine.state / "snapshot/urls.jsonl").stat().st_mode & 0o777, 0o600)
        time.sleep(1.1)  # a URL that is signed now is another one
        with machine.runs("compared with"):
            self.assertEqual(location(machine), first)


class SecretTests(ThrowawayCase):
    def test_wrong(self) -> None:
        """With another secret, or none, a new machine ends, says why, and lets nobody in; the copy
        stays as it was.
        """
        with self.machine().runs("compared with") as first:
            copy = self.until_there(ADMIN)
            first.kill()
        for secret, why in (
            (self.secret[::-1], "was sealed with another [server] secret"),
            ("", "which is not set"),
        ):
            machine = self.machine(secret=secret)
            with running(
                [BIN / "pypid", "serve", "-c", machine.folder / "pypid.ini"], machine.folder / "log"
            ) as process:
                self.assertEqual(process.process.wait(30), 1, machine.log)
            self.assertIn(why, machine.log)
            self.assertNotIn("This is the first run", machine.log)
            self.assertFalse((machine.state / "admin.json").exists())
            self.assertNotIn(self.secret, machine.log)
            self.assertEqual(self.object(ADMIN), copy)


class AwayTests(ThrowawayCase):
    def away(self) -> int:
        """From now on nobody answers where the bucket was; the port."""
        port: int = self.before.listener.getsockname()[1]
        self.before.listener.shutdown(socket.SHUT_RDWR)
        self.before.listener.close()
        return port

    def back(self, port: int) -> None:
        self.before.listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self.before.serve, daemon=True).start()

    def test_new(self) -> None:
        """A new machine with the bucket away lets nobody in, makes no administrator, and has all
        once the bucket is there.
        """
        with self.machine().runs("compared with") as first:
            password = self.fill(first)
            self.until_there(ADMIN)
        second = self.machine()
        port = self.away()
        with second.runs():
            self.assertEqual(second.ask("/simple/", password=password)[0], 503)
            self.assertEqual(second.ask("/simple/spam/")[0], 503)
            self.assertFalse((second.state / "admin.json").exists())
            self.back(port)
            second.until("compared with")
            self.assertNotIn("This is the first run", second.log)
            self.assert_serves(second, password)


class TwoPypidsTests(ThrowawayCase):
    def test_second_pypid_on_one_bucket_waits_for_the_lease(self) -> None:
        """A second pypid with a catalog of its own says which one writes to the bucket, publishes
        nothing, and goes on as soon as the first one has stopped.
        """
        with self.machine().runs("compared with") as first:
            password = self.fill(first)
            self.until_there(ADMIN)
            self.until_there(ACCOUNTS)
            with self.machine().runs("compared with") as second:
                second.until("holds the lease of this storage")
                self.assertEqual(second.ask("/simple/spam/")[0], 200)
                path = "/api/projects/spam/files/spam-2.0-py2.py3-none-any.whl/yank"
                began = time.monotonic()
                status, body = second.ask(
                    path, password=password, method="PUT", data=b'{"reason": "bad"}'
                )
                self.assertEqual((status, b"writes to the storage" in body), (503, True))
                self.assertLess(time.monotonic() - began, 29)
                self.assertEqual(first.page("spam")["spam-2.0-py2.py3-none-any.whl"], False)
                assert first.process is not None
                first.process.process.terminate()
                self.assertEqual(first.process.process.wait(30), 0)
                self.assertEqual(self.publish(second, password, "3.0"), 0, second.log)
                self.assertEqual(len(second.page("spam")), 3)
