"""`pypid storage import` of a folder that `pip download` filled, beside a real upstream index."""

import json
import os
import pty
import select
import subprocess
import time

from tests.live.clients import client
from tests.live.daemon import IndexTestCase, LiveIndex, Settings, configuration, pypid
from tests.live.isolation import works
from tests.live.processes import BIN, clean_environ, free_port
from tests.live.projects import publish, wheel

PIP = ("download", "--no-deps", "--disable-pip-version-check", "--no-cache-dir")


class ImportTests(IndexTestCase):
    """The upstream has `spam` and `eggs`; the folder has downloads of them, and `acme`, which is
    private.
    """

    def start(self) -> LiveIndex:
        self.upstream = self.folder / "upstream"
        self.upstream.mkdir()
        return self.entered(pypid(self.upstream, Settings()))

    def setUp(self) -> None:
        super().setUp()
        for name in ("spam", "eggs"):
            publish(self.index, wheel(name, "1.0"))
        self.place = self.folder / "pypid"
        self.wheels = self.folder / "wheels"
        self.place.mkdir()
        works(
            [
                client("pip-on-3.11"), *PIP, "--index-url", self.index.url(), "--dest", self.wheels,
                "spam==1.0", "eggs==1.0",
            ],
            self.folder,
        )  # fmt: skip
        wheel("acme", "1.0").into(self.wheels)
        self.settings_here = Settings(
            storage=self.wheels, upstream=f"url = {self.index.url()}\nttl = 1s"
        )
        self.config = self.place / "pypid.ini"
        self.config.write_text(configuration(self.place, free_port(), self.settings_here))

    def run_import(self, *options: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        """Run the command without a terminal."""
        ended = subprocess.run(
            [BIN / "pypid", "storage", "import", "--config", self.config, *options],
            cwd=self.folder,
            env=clean_environ(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        self.assertEqual(ended.returncode, status, ended.stdout + ended.stderr)
        return ended

    def versions(self, index: LiveIndex, name: str) -> list[str]:
        """The files of the project's page."""
        url = index.url(f"/simple/{name}/?format=application/vnd.pypi.simple.v1+json")
        out = works(["curl", "-sS", url], self.folder)
        return sorted(file["filename"] for file in json.loads(out)["files"])

    def test_cached_projects_get_new_releases(self) -> None:
        """Cached files are served from the cache, and a new upstream release appears; a private
        name stays local, and is not sent upstream.
        """
        since = self.index.log_size()
        ended = self.run_import("--cached", "all")
        self.assertIn("1 file adopted, 2 moved to the cache", ended.stdout)
        self.assertNotIn("/simple/acme/", self.index.log(since))
        self.assertEqual(
            [path.name for path in self.wheels.glob("*.whl")], [wheel("acme", "1.0").filename]
        )
        since = self.index.log_size()
        with pypid(self.place, self.settings_here) as index:
            works(
                [
                    client("pip-on-3.11"), *PIP, "--index-url", index.url(), "--dest",
                    self.folder / "again", "spam", "acme",
                ],
                self.folder,
            )  # fmt: skip
            self.assertNotIn("GET /packages", self.index.log(since))  # spam came from the cache
            publish(self.index, wheel("spam", "2.0"))
            time.sleep(1.5)
            self.assertEqual(
                self.versions(index, "spam"),
                [wheel("spam", version).filename for version in ("1.0", "2.0")],
            )
            self.assertEqual(self.versions(index, "acme"), [wheel("acme", "1.0").filename])

    def test_question_on_a_terminal(self) -> None:
        """On a terminal the command asks for each project."""
        leader, follower = pty.openpty()
        command = [BIN / "pypid", "storage", "import", "--config", self.config]
        with subprocess.Popen(
            command,
            cwd=self.folder,
            env=clean_environ(),
            stdin=follower,
            stdout=follower,
            stderr=follower,
            start_new_session=True,
        ) as process:
            os.close(follower)
            said = self.until(leader, "eggs: local, cached or quit? [l/c/q] ")
            os.write(leader, b"c\n")
            said += self.until(leader, "spam: local, cached or quit? [l/c/q] ")
            os.write(leader, b"local\n")
            said += self.until(leader, "known before")
            process.wait(60)
        os.close(leader)
        self.assertEqual(process.returncode, 0, said)
        self.assertIn("2 files adopted, 1 moved to the cache", said)

    def until(self, terminal: int, words: str) -> str:
        """What the terminal shows, up to these words."""
        said, deadline = "", time.monotonic() + 60
        while words not in said:
            ready = select.select([terminal], [], [], deadline - time.monotonic())[0]
            self.assertTrue(ready, said)
            said += os.read(terminal, 4096).decode()
        return said
