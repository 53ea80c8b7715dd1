"""Public projects through a real pypid, with upstream there, away, and back: what pip and uv
install then.
"""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

import time
import urllib.error
import urllib.request
from functools import partial
from pathlib import Path

from pypid.http_client.circuit_breaker import LONGEST_PAUSE
from tests.live.daemon import LiveIndex, stop
from tests.live.isolation import fails, pip, uv, works
from tests.live.processes import scratch
from tests.live.projects import listed, wheel
from tests.live.test_install import NEWEST, installed
from tests.live.upstreams import FrontedCase, discreet
from tests.upstream.fake import status

SHORT = "mode = cache\nttl = 1s"
ONE_RETRY = {"PIP_RETRIES": "1", "UV_HTTP_RETRIES": "1"}
"""Environment of clients that try again once: pip waits as long as pypid says before each retry."""


def status_of(index: LiveIndex, path: str) -> int:
    """The status of an answer."""
    try:
        with urllib.request.urlopen(index.url(path), timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


class AwayTests(FrontedCase):
    """Upstream has two versions of a project, of which the older was installed once, and another
    project.
    """

    def setUp(self) -> None:
        super().setUp()
        self.upstream_has(
            "spam", wheel("spam", "1.0", extra=[("Requires-Dist", "eggs")]), wheel("spam", "2.0")
        )
        self.upstream_has("eggs", wheel("eggs", "1.0"), wheel("eggs", "2.0"))
        self.upstream_has("ham", wheel("ham", "1.0"))

    def clients(self, index: LiveIndex) -> dict[str, list[str | Path]]:
        """The beginnings of commands."""
        return {"pip": pip(NEWEST, "install", index.url()), "uv": uv(index.url(), "--no-cache")}

    async def installs(self, index: LiveIndex, wanted: str, *found: str) -> None:
        """Both install it, and just these releases."""
        for name, command in self.clients(index).items():
            with scratch() as target:
                await self.run_(works, [*command, "--target", target, wanted], self.folder)
                self.assertEqual(installed(target), set(found), name)

    async def test_stopped(self) -> None:
        """With upstream stopped what is kept installs by its version, and what is not kept is an
        error, never an older release; also after a restart. After the catalog is lost, too,
        what is kept is all that is known. When upstream is back its newest is installed.
        """
        folder = self.entered(scratch())
        settings = self.settings(SHORT)
        with discreet(folder, settings) as index:
            await self.installs(index, "spam==1.0", "spam-1.0", "eggs-2.0")
            self.assertEqual(
                await self.run_(listed, index, "spam"),
                [f"spam-{each}-py2.py3-none-any.whl" for each in ("1.0", "2.0")],
            )
            await self.take_away()
            await self.pause(1.1)
            await self.kept(index)
            await self.run_(stop, index)
        with discreet(folder, settings) as index:
            await self.kept(index)
            await self.run_(stop, index)
        for file in (folder / "state").glob("catalog.db*"):
            file.unlink()
        with discreet(folder, settings) as index:
            await self.installs(index, "spam", "spam-1.0", "eggs-2.0")
            self.come_back()
            await self.pause(6)  # the first pause
            await self.installs(index, "spam", "spam-2.0")
            await self.run_(stop, index)

    async def kept(self, index: LiveIndex) -> None:
        """What is kept can be installed, and the listing is as it was; what is not kept, or not
        known, is an error.
        """
        await self.installs(index, "spam==1.0", "spam-1.0", "eggs-2.0")
        for name, command in self.clients(index).items():
            await self.fails_to_install(name, command)
        self.assertEqual(
            await self.run_(listed, index, "spam"),
            [f"spam-{each}-py2.py3-none-any.whl" for each in ("1.0", "2.0")],
        )
        for path in ("/simple/ham/", "/packages/ham/ham-1.0-py2.py3-none-any.whl"):
            self.assertIn(await self.run_(status_of, index, path), (502, 503, 504))

    async def fails_to_install(self, name: str, command: list[str | Path]) -> None:
        """The newest release cannot be installed, and no older one is."""
        with scratch() as target:
            install = partial(fails, [*command, "--target", target, "spam"], **ONE_RETRY)
            await self.run_(install, self.folder)
            self.assertEqual(installed(target), set(), name)

    async def test_file_that_fails_never_leads_to_an_older_release(self) -> None:
        """While upstream fails at the newest file the install fails, however often it is tried;
        then it is the newest.
        """
        index = await self.index()
        await self.installs(index, "spam==1.0", "spam-1.0", "eggs-2.0")
        path = "/files/spam/spam-2.0-py2.py3-none-any.whl"
        sound, self.fake.scripts[path] = self.fake.scripts[path], status(502)
        for _ in range(2):
            for name, command in self.clients(index).items():
                await self.fails_to_install(name, command)
        self.assertEqual(await self.run_(status_of, index, "/simple/ham/"), 200)
        self.fake.scripts[path] = sound
        deadline = time.monotonic() + LONGEST_PAUSE.total_seconds() + 1
        file = "/packages/spam/spam-2.0-py2.py3-none-any.whl"
        while await self.run_(status_of, index, file) != 200:
            self.assertLess(time.monotonic(), deadline)
            await self.pause(0.5)
        await self.installs(index, "spam", "spam-2.0")
