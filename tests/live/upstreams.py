"""A fake upstream index beside a live pypid: real clients on one side, and on the other each byte
that goes out is heard.
"""

# trial and Twisted's transports are not annotated
# mypy: allow-untyped-calls

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, TypeVar

from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.live.daemon import LiveIndex, Settings, pypid
from tests.live.processes import free_port, scratch
from tests.live.projects import Artifact
from tests.upstream.fake import Fake, J, Script, Talk, says

T = TypeVar("T")

USER: Final = "ada:open%20sesame"
"""Who pypid is at the fake."""
SECRETS: Final = ("sesame", "ada:", "YWRhOm9wZW4gc2VzYW1l")
"""None of these may be seen anywhere else; the last is how it is sent."""


def sends(data: bytes) -> Script:
    """A file, or the part of it that is asked for."""

    async def script(talk: Talk) -> None:
        asked = talk.fake.asked[-1].headers.get("range")
        if asked is None:
            return talk.answer(data)
        start, _, last = asked.removeprefix("bytes=").partition("-")
        return talk.answer(
            data[int(start) : int(last) + 1], 206, Content_Range=f"bytes {start}-{last}/{len(data)}"
        )

    return script


@contextmanager
def discreet(folder: Path, settings: Settings) -> Iterator[LiveIndex]:
    """A pypid, of whose whole log no byte is the password of upstream's URL."""
    with pypid(folder, settings) as index:
        yield index
    for secret in SECRETS:
        assert secret not in index.log(), index.log()


class FrontedCase(TestCase):
    """A fake upstream for each test, at a port that stays, and what runs in front of it. Clients
    run in threads.
    """

    timeout = 240

    def setUp(self) -> None:
        self.folder = self.entered(scratch())
        self.port = free_port()
        self.fake = Fake(reactor, port=self.port)
        self._listed: dict[str, list[dict[str, object]]] = {}

    async def tearDown(self) -> None:
        await self.take_away()
        self.assertTrue(await self.fake.all_gone(), "a connection is left open")
        self.assertEqual(self.fake.errors, [])

    def entered(self, manager: AbstractContextManager[T]) -> T:
        """What `manager` gives, until the test is over."""
        value = manager.__enter__()
        self.addCleanup(deferToThread, manager.__exit__, None, None, None)
        return value

    def settings(self, more: str = "", **other: Any) -> Settings:
        """A pypid in front of the fake."""
        url = f"http://{USER}@127.0.0.1:{self.port}/simple/"
        return Settings(upstream=f"url = {url}\ntimeout = 2s\n{more or 'mode = cache'}", **other)

    async def index(self, more: str = "", **other: Any) -> LiveIndex:
        """A pypid that runs; `more` are further lines of ``[upstream]``."""
        return await self.started(self.entered(scratch()), self.settings(more, **other))

    async def started(self, folder: Path, settings: Settings) -> LiveIndex:
        """The same in a folder, which may hold the state of an earlier one."""
        index: LiveIndex = await deferToThread(self.entered, discreet(folder, settings))
        return index

    async def run_(self, call: Callable[..., T], *args: Any, **more: Any) -> T:
        """What the call returns; upstream answers meanwhile."""
        result: T = await deferToThread(call, *args, **more)
        return result

    def upstream_has(self, name: str, *artifacts: Artifact) -> None:
        """From now on the fake has these files of the project as well."""
        entries = self._listed.setdefault(name, [])
        for artifact in artifacts:
            digest, path = sha256(artifact.data).hexdigest(), f"/files/{name}/{artifact.filename}"
            entries.append(
                {
                    "filename": artifact.filename,
                    "url": path,
                    "hashes": {"sha256": digest},
                    "size": len(artifact.data),
                }
            )
            self.fake.scripts[path] = sends(artifact.data)
        page = {"meta": {"api-version": "1.4"}, "name": name, "files": entries}
        self.fake.scripts[f"/simple/{name}/"] = says(json.dumps(page).encode(), Content_Type=J)

    async def pause(self, seconds: float) -> None:
        """Let time pass."""
        await deferLater(reactor, seconds)

    def come_back(self) -> None:
        """Upstream listens again where it did."""
        self.fake.port = reactor.listenTCP(self.port, self.fake, interface="127.0.0.1")

    async def take_away(self) -> None:
        """Close the upstream's port."""
        await maybeDeferred(self.fake.port.stopListening)
        for talk in tuple(self.fake.open):
            talk.reset()
