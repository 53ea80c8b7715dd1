"""A real pypid on a disk that is full, or read-only: it starts, serves, deletes, yanks and closes
projects.
"""

import contextlib
import os
import subprocess
import time
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.distributions import wheel, wheel_filename
from tests.live.asking import Answered, ask, basic
from tests.live.daemon import LiveIndex, Settings, configuration, stop, until_ready
from tests.live.nodes import publish
from tests.live.processes import BIN, clean_environ, free_port, running, scratch

SIZE = "24m"
FILLING = "filling"
LARGE = wheel("more", "1.0", files={"noise": os.urandom(1 << 20)})


class FullDiskTests(SynchronousTestCase):
    """State and storage lie on one small file system."""

    def setUp(self) -> None:
        made = scratch()
        self.folder = made.__enter__()
        self.addCleanup(made.__exit__, None, None, None)
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "pypid-test", self.folder], check=False
        )
        if mounted.returncode:
            raise SkipTest("no file system can be mounted here (that takes root)")
        self.addCleanup(subprocess.run, ["umount", "--lazy", self.folder], check=True)
        self.settings = Settings(access="backend = config sql")
        self.port = free_port()

    def fill(self) -> None:
        """Leave no byte on the disk."""
        with (self.folder / FILLING).open("ab", buffering=0) as file:
            for size in (1 << 20, 4096, 1):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(bytes(size))

    def running(self) -> "Started":
        return Started(self.folder, self.port, self.settings)

    def lives(self) -> None:
        """A pypid has published, and closed a project for all but alice."""
        with self.running() as index:
            for name in ("open", "closed", "old"):
                answer = publish(index.port, wheel_filename(name, "1.0"), wheel(name, "1.0"))
                self.assertEqual(answer.status, 200, answer.text)
            self.does(index, "PUT", "/api/projects/closed/rights/user/alice", {"right": "rw"})

    def does(self, index: LiveIndex, method: str, path: str, document: object = None) -> Answered:
        answer = ask(index.port, path, basic("admin"), method=method, document=document)
        self.assertLess(answer.status, 300, (path, answer.status, answer.text))
        return answer

    def reads(self, index: LiveIndex) -> None:
        """Pages and files are served, and what is closed stays closed."""
        page = ask(index.port, "/simple/open/", {"Accept": "application/vnd.pypi.simple.v1+json"})
        self.assertEqual(page.status, 200)
        self.assertEqual(
            ask(
                index.port, page.json["files"][0]["url"].partition("127.0.0.1")[2] or "/simple/"
            ).status,
            200,
        )
        self.assertIn(ask(index.port, "/simple/closed/").status, (401, 404))
        self.assertEqual(ask(index.port, "/simple/closed/", basic("alice")).status, 200)

    def test_restart_on_a_full_disk_serves_reads(self) -> None:
        """After a clean stop and after a crash it starts on a full disk, and answers as before;
        uploads are 507.
        """
        self.lives()
        for crashed in (False, True):
            self.fill()
            begun = time.monotonic()
            with self.running() as index:
                self.reads(index)
                print(
                    f"full-disk restart serves reads: {time.monotonic() - begun:.2f} s (after a "
                    f"crash: {crashed})"
                )
                answer = publish(index.port, wheel_filename("more", "1.0"), LARGE)
                self.assertEqual(
                    (answer.status, answer.headers["Retry-After"]), (507, "60"), answer.text
                )
                if not crashed:
                    index.running.process.kill()
                    index.running.process.wait()
        (self.folder / FILLING).unlink()
        with self.running() as index:
            answer = publish(index.port, wheel_filename("more", "1.0"), wheel("more", "1.0"))
            self.assertEqual(answer.status, 200, answer.text)

    def test_restart_on_a_read_only_storage_serves_reads(self) -> None:
        """It says so once in the log; uploads are 503 until the storage is mounted for writing."""
        storage = self.folder / "state/packages"
        self.lives()
        self.assertEqual(self.mount("--bind", storage, storage), 0)
        self.addCleanup(subprocess.run, ["umount", "--lazy", storage], check=False)
        self.assertEqual(self.mount("-o", "remount,bind,ro", storage), 0)
        more = wheel_filename("more", "1.0"), wheel("more", "1.0")
        with self.running() as index:
            self.reads(index)
            self.assertEqual(index.log().count("the storage folder is read-only"), 1)
            answer = publish(index.port, *more)
            self.assertEqual((answer.status, answer.headers["Retry-After"]), (503, "30"))
            self.assertIn("read-only", answer.text)
            self.assertEqual(self.mount("-o", "remount,bind,rw", storage), 0)
            self.assertEqual(publish(index.port, *more).status, 200)

    def mount(self, *arguments: str | Path) -> int:
        return subprocess.run(["mount", *arguments], check=False).returncode

    def test_full_disk_can_be_freed(self) -> None:
        """On a full disk a project is quarantined, a release is yanked, a right is given, and a
        file is deleted.
        """
        self.lives()
        with self.running() as index:
            self.fill()
            self.assertEqual(publish(index.port, wheel_filename("more", "1.0"), LARGE).status, 507)
            self.does(index, "PUT", "/api/projects/open/status", {"status": "quarantined"})
            self.does(index, "PUT", "/api/projects/closed/rights/user/bob", {"right": "r"})
            self.does(index, "PUT", "/api/projects/old/releases/1.0/yank", {"reason": "broken"})
            self.does(index, "DELETE", f"/api/projects/old/files/{wheel_filename('old', '1.0')}")
            self.assertEqual(ask(index.port, "/simple/closed/", basic("bob")).status, 200)
        self.fill()
        with self.running() as index:
            page = ask(
                index.port, "/simple/open/", {"Accept": "application/vnd.pypi.simple.v1+json"}
            )
            self.assertEqual(
                (page.json["files"], page.json["project-status"]["status"]), ([], "quarantined")
            )
            self.assertEqual(ask(index.port, "/simple/closed/", basic("bob")).status, 200)

    def test_full_disk_without_a_reserve(self) -> None:
        """Where nothing was kept in reserve, as of an older pypid, it starts as well, and serves
        reads.
        """
        self.lives()
        for reserve in self.folder.rglob("reserve"):
            reserve.unlink()
        self.fill()
        with self.running() as index:
            self.reads(index)
            answer = ask(
                index.port,
                "/api/projects/closed/rights/user/bob",
                basic("admin"),
                method="PUT",
                document={"right": "r"},
            )
            self.assertEqual(answer.status, 507, answer.text)
            (self.folder / FILLING).unlink()
            time.sleep(2)
            self.does(index, "PUT", "/api/projects/closed/rights/user/bob", {"right": "r"})


class Started:
    """A pypid in this folder, until the block ends."""

    def __init__(self, folder: Path, port: int, settings: Settings) -> None:
        self._folder = folder
        ini = folder / "pypid.ini"
        if not ini.exists():
            ini.write_text(configuration(folder, port, settings))
        command = [BIN / "twistd", "--nodaemon", "--pidfile=", "pypid", "--config", ini]
        self._logs = scratch()
        self._manager = running(
            command, self._logs.__enter__() / "log", cwd=folder, environ=clean_environ()
        )
        self._port = port

    def __enter__(self) -> LiveIndex:
        self._index = LiveIndex(self._folder, self._port, False, self._manager.__enter__())
        until_ready(self._index)
        return self._index

    def __exit__(self, *raised: object) -> None:
        try:
            if raised[0] is None and self._index.running.process.poll() is None:
                stop(self._index)
        finally:
            self._manager.__exit__(None, None, None)
            self._logs.__exit__(None, None, None)
