"""An S3 on a real port that misbehaves where a test tells it to."""

# trial and Twisted's transports are not annotated
from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime
from email.utils import format_datetime
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from pypid.flow import start
from tests.blobs.bucket import Asked, Bucket, Said, error, read_head

EVERYTHING = ("once", "once_in_parts", "checksums")
Script = Callable[["Talk", Asked, Said], Awaitable[None]]


class Talk(Protocol):
    """One connection."""

    transport: Any

    def __init__(self, fake: FakeS3) -> None:
        self.fake = fake
        self.gone = False
        self._buffer = b""
        self._asked: Asked | None = None
        self._missing = 0
        self._pauses: list[Deferred[None]] = []

    def dataReceived(self, data: bytes) -> None:
        self._buffer += data
        while self._asked is not None or b"\r\n\r\n" in self._buffer:
            if self._asked is None:
                head, self._buffer = self._buffer.split(b"\r\n\r\n", 1)
                self._asked = read_head(head.decode("latin-1"))
                self._missing = int(self._asked.headers.get("content-length", "0"))
                self.fake.asked.append(self._asked)
                early = self.fake.early[self._asked.operation]
                if early:
                    start(self._run(early.popleft(), self._asked, Said())).addErrback(
                        self.fake.errors.append
                    )
            taken, self._buffer = self._buffer[: self._missing], self._buffer[self._missing :]
            self._asked.body.extend(taken)
            self._missing -= len(taken)
            if self._missing:
                return
            asked, self._asked = self._asked, None
            if not self.gone:
                self._answer(asked)

    def _answer(self, asked: Asked) -> None:
        scripts = self.fake.scripts[asked.operation]
        script = scripts.popleft() if scripts else as_usual
        said = Said() if getattr(script, "instead", False) else self.fake.bucket.answer(asked)
        start(self._run(script, asked, said)).addErrback(self.fake.errors.append)

    async def _run(self, script: Script, asked: Asked, said: Said) -> None:
        with suppress(CancelledError):
            await script(self, asked, said)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.gone = True
        self.fake.open.discard(self)
        for pause in self._pauses:
            pause.cancel()

    def say(self, asked: Asked, said: Said, *, only: int | None = None) -> None:
        """Send the answer, or that many bytes of its body."""
        if self.gone:
            return
        date = format_datetime(self.fake.bucket.now(), usegmt=True)
        fields = {"Content-Length": str(len(said.body)), "Date": date, **said.headers}
        lines = [
            f"HTTP/1.1 {said.status} Reason",
            *(f"{name}: {value}" for name, value in fields.items()),
        ]
        body = b"" if asked.method == "HEAD" else said.body[:only]
        self.transport.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    def reset(self) -> None:
        """End the connection as a crash does."""
        if not self.gone:
            self.transport.abortConnection()

    async def wait(self, seconds: float) -> None:
        """Let time pass."""
        pause = deferLater(self.fake.reactor, seconds)
        self._pauses.append(pause)
        await pause


async def as_usual(talk: Talk, asked: Asked, said: Said) -> None:
    """Answer."""
    talk.say(asked, said)


class FakeS3(Factory):
    """The server. `scripts` are what it does instead of answering as usual, by operation, each
    once; `early`: as soon as the head has come.
    """

    noisy = False

    def __init__(
        self, reactor: Any, now: Callable[[], datetime], able: Sequence[str] = EVERYTHING
    ) -> None:
        self.reactor = reactor
        self.bucket = Bucket(now, able)
        self.scripts: dict[str, deque[Script]] = defaultdict(deque)
        self.early: dict[str, deque[Script]] = defaultdict(deque)
        self.asked: list[Asked] = []
        self.errors: list[Failure] = []
        self.open: set[Talk] = set()
        self.port = reactor.listenTCP(0, self, interface="127.0.0.1")
        self.url = f"http://127.0.0.1:{self.port.getHost().port}"

    def buildProtocol(self, addr: object) -> Talk:
        talk = Talk(self)
        self.open.add(talk)
        return talk

    def script(self, operation: str, *scripts: Script) -> None:
        """The next times that it is asked for this, do that."""
        self.scripts[operation].extend(scripts)

    def operations(self) -> list[str]:
        """What was asked, in order."""
        return [asked.operation for asked in self.asked]

    async def all_gone(self, seconds: float = 2.0) -> bool:
        """Whether all connections end soon."""
        for _ in range(int(seconds / 0.02)):
            if not self.open:
                return True
            await deferLater(self.reactor, 0.02)
        return False


# --- scripts --------------------------------------------------------------------------------------


def _instead(script: Script) -> Script:
    script.instead = True  # type: ignore[attr-defined]
    return script


def says(said: Said) -> Script:
    """Do nothing, and answer so."""

    async def script(talk: Talk, asked: Asked, _: Said) -> None:
        talk.say(asked, said)

    return _instead(script)


def silent(seconds: float = 30.0) -> Script:
    """Do nothing, and keep quiet for so long; then answer with an error."""

    async def script(talk: Talk, asked: Asked, _: Said) -> None:
        await talk.wait(seconds)
        talk.say(asked, error("InternalError", 500))

    return _instead(script)


def hangs_up() -> Script:
    """Do nothing but end the connection."""

    async def script(talk: Talk, asked: Asked, _: Said) -> None:
        talk.reset()

    return _instead(script)


async def does_and_hangs_up(talk: Talk, asked: Asked, said: Said) -> None:
    """Do it, and end the connection instead of answering."""
    talk.reset()


def breaks_off(bytes_: int) -> Script:
    """End the connection after so many bytes of the answer's body."""

    async def script(talk: Talk, asked: Asked, said: Said) -> None:
        talk.say(asked, said, only=bytes_)
        await talk.wait(0.02)
        talk.reset()

    return script


def stalls(bytes_: int) -> Script:
    """Stop in the middle, and keep the connection."""

    async def script(talk: Talk, asked: Asked, said: Said) -> None:
        talk.say(asked, said, only=bytes_)

    return script


def lies(**headers: str) -> Script:
    """Do it, and answer with these headers."""

    async def script(talk: Talk, asked: Asked, said: Said) -> None:
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        talk.say(asked, Said(said.status, said.body, {**said.headers, **named}))

    return script
