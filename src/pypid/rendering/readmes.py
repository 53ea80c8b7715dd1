"""READMEs as safe HTML: rendered by a child process at the first request, and cached."""

from __future__ import annotations

import re
from collections import Counter
from contextlib import suppress
from html import escape
from typing import Any

import msgspec
from attrs import define, field, frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from pypid.core.caches import Recent
from pypid.flow import start
from pypid.flow.coroutines import child_environ, program_of
from pypid.flow.derived import Flights
from pypid.rendering.markup import (
    LONGEST_ANSWER,
    MarkupKind,
    RenderAnswer,
    RenderRequest,
    kind_of,
    line_of,
)

# The parent's side of a child process: one request at a time; the child is killed when it takes
# too long or sends an invalid answer.

PROGRAM = program_of("pypid.rendering.program")
COMPLAINT = 1000
"""Bytes of its last standard error that are kept for the log."""


class ChildEnded(Exception):
    """The child has ended, or was killed; the text is the reason."""


class Child(ProcessProtocol):
    """A running child. Call `expect` right after the start, and after each `say`."""

    transport: Any

    def __init__(self) -> None:
        self._rest = b""
        self._expecting: Deferred[RenderAnswer] | None = None
        self._stderr = b""
        self._over: str | None = None
        self._gone: list[Deferred[None]] = []
        self.has_gone = False
        """Whether the process has ended."""

    @property
    def is_over(self) -> bool:
        """Whether the child accepts no more requests."""
        return self._over is not None

    @property
    def complaint(self) -> str:
        """The last line of its standard error."""
        return self._stderr.decode(errors="backslashreplace").strip().rpartition("\n")[2]

    def say(self, request: RenderRequest) -> None:
        """Send a request."""
        self.transport.write(line_of(request))

    async def expect(self, clock: Any, within: float) -> RenderAnswer:
        """Return the next answer. Raises `ChildEnded`: it has ended, or is about to."""
        if self._over is not None:
            raise ChildEnded(self._over)
        expected: Deferred[RenderAnswer] = Deferred()
        self._expecting = expected
        expected.addTimeout(within, clock)
        try:
            return await expected
        except TimedOut:
            self.kill(f"it took longer than {within:g} s")
            raise ChildEnded(self._over) from None
        finally:
            self._expecting = None

    def kill(self, why: str) -> None:
        """Kill the process."""
        self._end(why)
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess("KILL")

    async def gone(self) -> None:
        """Wait until the process has ended."""
        if not self.has_gone:
            waiter: Deferred[None] = Deferred()
            self._gone.append(waiter)
            await waiter

    def _end(self, why: str) -> None:
        if self._over is None:
            self._over = why
        expecting, self._expecting = self._expecting, None
        if expecting is not None and not expecting.called:
            expecting.errback(ChildEnded(self._over))

    # --- what Twisted calls ---

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        if childFD != 1:
            self._stderr = (self._stderr + data)[-COMPLAINT:]
            return
        if self._over is not None:
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LONGEST_ANSWER:
            self.kill("its answer is too long")
            return
        for line in lines:
            try:
                answer = msgspec.json.decode(line, type=RenderAnswer)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                self.kill(f"what it said is no answer: {error}")
                return
            expecting, self._expecting = self._expecting, None
            if expecting is None or expecting.called:
                self.kill("it sent data that was not requested")
                return
            expecting.callback(answer)

    def childConnectionLost(self, childFD: int) -> None:
        if childFD != 2:
            self.kill("it closed its input, or its output")

    def processEnded(self, reason: Failure) -> None:
        self.has_gone = True
        self._end("it ended by itself")
        gone, self._gone = self._gone, []
        for waiter in gone:
            waiter.callback(None)


def start_child(reactor: Any, program: tuple[str, ...]) -> Child:
    """Start a child; `reactor` is an `IReactorProcess`. Raises `OSError`.

    It gets nothing of this process's environment, and not its folder.
    """
    child = Child()
    reactor.spawnProcess(
        child,
        program[0],
        list(program),
        env=child_environ(),
        path="/",
        childFDs={0: "w", 1: "r", 2: "r"},
    )
    return child


_log = Logger()

LONGEST = 512 << 10
"""Bytes of a README. Longer ones are not rendered; `SHOWN` bytes of them are shown."""
SHOWN = 64 << 10
LIMIT, STARTING = 5.0, 30.0
"""Seconds for a README, and for a child to be ready on a slow or busy machine."""
PATIENCE = 8.0
"""Seconds that a page waits for its README; the rendering goes on, for the next time."""
MOST_WAITING = 16
"""READMEs that wait for their turn."""
OF_ONE = 2
"""READMEs of one project at once: a hundred slow versions must not block others."""
IDLE = 300.0
"""Seconds after which an idle child ends: it takes 35 MiB, and more after a large README."""
AGAIN = 600.0
"""Seconds before a README that killed a child is tried again."""
MOST, HEAVIEST = 500, 8 << 20
"""READMEs, and characters, that are cached."""
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f]")
SOURCE_NOTE = '<p class="readme-note">The text could not be rendered, so its source is shown.</p>'


@frozen
class Rendered:
    """A README as HTML for a page, below a heading of level 2, in an element of the class
    ``readme``.

    It holds no script, no style, no image, no form; its ids and classes are none of the page's.
    `plain`: it is shown as it was written, by its type, or because it could not be rendered. `cut`:
    only its beginning is there, and it says so.
    """

    html: str = field(repr=False)
    plain: bool = False
    cut: bool = False


@define(slots=False, eq=False)
class Readmes(Service):
    """The service that renders READMEs. `reactor` is an `IReactorProcess` and `IReactorTime`; None:
    all are shown as they were written.
    """

    reactor: Any = field(default=None, repr=False)
    program: tuple[str, ...] = PROGRAM
    limit: float = LIMIT
    idle: float = IDLE
    patience: float = PATIENCE
    child: Child | None = field(default=None, init=False, repr=False)
    """The running child, if there is one."""
    _turn: DeferredLock = field(factory=DeferredLock, init=False, repr=False)
    _flights: Flights[object, str | None] = field(factory=Flights, init=False, repr=False)
    _made: Recent[object, str] = field(
        factory=lambda: Recent(MOST, HEAVIEST), init=False, repr=False
    )
    _failed: Recent[object, float] = field(
        factory=lambda: Recent(10 * MOST, 10 * MOST), init=False, repr=False
    )
    """The time before which these are not tried again."""
    _of: Counter[str] = field(factory=Counter, init=False, repr=False)
    """READMEs that are rendered or wait, by project."""
    _asked_of: int = field(default=0, init=False)
    """The number of requests to children."""
    _retiring: Any = field(default=None, init=False, repr=False)
    _ending: set[Child] = field(factory=set, init=False, repr=False)
    """Killed children that may still be there."""
    _over: bool = field(default=False, init=False)

    async def html(
        self, text: str, content_type: str | None, digest: str, whose: str = ""
    ) -> Rendered:
        """Return the README `text`, written in `content_type` (``Description-Content-Type``), as
        HTML; never fails.

        `digest` is that of the text, or of what it was read from: texts with equal digests are
        rendered once. `whose`: its project.
        """
        is_long = len(text) > LONGEST
        kind, text = kind_of(content_type), cleaned(text[:LONGEST])
        if is_long or len(text.encode()) > LONGEST:
            note = (
                f'<p class="readme-note">The text is longer than {LONGEST >> 10} KiB. This is '
                f"how it begins:</p>"
            )
            return Rendered(note + preformatted(beginning(text, SHOWN)), plain=True, cut=True)
        found = None
        if kind is not MarkupKind.PLAIN and text.strip() and self.reactor is not None:
            found = await self._rendered(
                text, kind, (digest, kind, hash(text)), whose
            )  # a wrong digest must not return another text
        if found is not None:
            return Rendered(found)
        note = SOURCE_NOTE if kind is not MarkupKind.PLAIN and text.strip() else ""
        return Rendered(note + preformatted(text), plain=True)

    async def _rendered(self, text: str, kind: MarkupKind, key: object, whose: str) -> str | None:
        """Return the rendered HTML; None: show the text as it is."""
        made = self._made.get(key)
        if made is not None:
            return made or None
        if self._over or (self._failed.get(key) or 0.0) > self.reactor.seconds():
            return None
        flight: Deferred[str | None] = start(
            self._flights.single(key, lambda: self._make(text, kind, key, whose))
        )
        flight.addTimeout(self.patience, self.reactor)
        try:
            return await flight
        except TimedOut:
            return None

    async def _make(self, text: str, kind: MarkupKind, key: object, whose: str) -> str | None:
        if len(self._turn.waiting) >= MOST_WAITING or (whose and self._of[whose] >= OF_ONE):
            return None
        self._of[whose] += 1
        try:
            return await self._make_in_turn(text, kind, key)
        finally:
            self._of[whose] -= 1
            self._of += Counter()  # drops zero counts

    async def _make_in_turn(self, text: str, kind: MarkupKind, key: object) -> str | None:
        async with self._turn:
            if self._over:
                return None
            try:
                html = await self._render(text, kind)
            except (ChildEnded, OSError, ValueError) as error:
                self._give_up(key, error)
                return None
        self._made.put(
            key, html or "", len(html or "") + 200
        )  # "": not valid markup, and not tried again
        return html

    async def _render(self, text: str, kind: MarkupKind) -> str | None:
        """Return the answer of the child. Raises `ChildEnded`, `OSError`, `ValueError`."""
        self._stay()
        if self.child is not None and self.child.is_over:
            self._dismiss("it has ended")
        if self.child is None:
            self.child = start_child(self.reactor, self.program)
            await self.child.expect(self.reactor, STARTING)
        self._asked_of += 1
        self.child.say(RenderRequest(self._asked_of, text, kind))
        html = _html_in(await self.child.expect(self.reactor, self.limit), self._asked_of)
        self._retiring = self.reactor.callLater(self.idle, self._dismiss, "it is not needed")
        return html

    def _give_up(self, key: object, error: Exception) -> None:
        last = "" if self.child is None else self.child.complaint
        self._dismiss("it is not trusted any more")
        if self._over:
            return
        self._failed.put(key, self.reactor.seconds() + AGAIN)
        message = (
            "a README is shown as it was written, since its renderer failed: {error}; it said "
            "last: {last!r}"
        )
        _log.warn(message, error=str(error), last=last)

    # --- the end ---

    def _stay(self) -> None:
        if self._retiring is not None and self._retiring.active():
            self._retiring.cancel()
        self._retiring = None

    def _dismiss(self, why: str) -> None:
        child, self.child = self.child, None
        if child is not None:
            child.kill(why)
            self._ending = {each for each in (*self._ending, child) if not each.has_gone}

    def stopService(self) -> Deferred[None]:
        """End the child; later READMEs are shown as they were written."""
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted's Service is not annotated
        return start(self.end())

    async def end(self) -> None:
        """End the child, and wait for its end."""
        self._over = True
        self._stay()
        self._dismiss("pypid ends")
        for child in self._ending:
            await child.gone()


def _html_in(answer: RenderAnswer, number: int) -> str | None:
    """Return the HTML in the child's answer. Raises `ChildEnded` for one to another request."""
    if answer.number != number:
        raise ChildEnded("what it said is no answer")
    if answer.error is not None:
        _log.warn("README not rendered, its source is shown: {error}", error=answer.error[:500])
    return answer.html


# --- plain text: what needs no renderer, and the fallback without one -----------------------------


def cleaned(text: str) -> str:
    """Return the text without control characters and lone surrogates, with one kind of line end."""
    whole = text.encode("utf-8", "replace").decode()
    return _UNPRINTABLE.sub(" ", whole.replace("\r\n", "\n").replace("\r", "\n"))


def preformatted(text: str) -> str:
    """Return the text as HTML that keeps its lines."""
    return f'<pre class="readme-plain">{escape(text)}</pre>'


def beginning(text: str, most: int) -> str:
    """Return at most `most` bytes of the text, in whole lines if there are any."""
    cut = text.encode("utf-8", "replace")[:most].decode("utf-8", "ignore")
    lines, end, _ = cut.rpartition("\n")
    return lines if end and lines else cut
