"""Talking to a pypid from the command line: to the running one, through the socket in its state folder."""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable, Coroutine, Mapping
from errno import EACCES, EPERM
from pathlib import Path
from socket import AF_UNIX, socket
from typing import Any, TypeVar, cast

import msgspec
import treq
from attrs import define, field, frozen
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.error import ConnectError, ReactorNotRunning
from twisted.internet.interfaces import IReactorUNIX, IStreamClientEndpoint
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.web._newclient import RequestNotSent, ResponseFailed
from twisted.web.client import URI, Agent
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from pypid.core.errors import PypidError
from pypid.daemon import Daemon
from pypid.flow import start
from pypid.state import control_socket, owner_of

T = TypeVar("T")

AWAKE_WITHIN = 10.0
"""Seconds in which a daemon that is well answers the simplest question."""
ANSWER_WITHIN = 24 * 3600.0
"""Seconds; a rebuild of a large storage takes long, and the operator can press Ctrl-C."""


class Refused(PypidError):
    """The daemon said no, or nothing; `message` tells what to do."""

    def __init__(self, message: str) -> None:
        self.message = message

    def text(self) -> str:
        return self.message


LINES = "application/x-ndjson"
PAUSE = 1.0
"""Seconds between two questions of a row."""

Tell = Callable[[Mapping[str, Any]], None]
"""Hears what happens until the answer is there."""


@frozen
class Question:
    """One request to the JSON API. With `tell` the answer comes in lines: `tell` hears them, and the last is the answer.

    `then` makes the next question out of the answer, which is asked `PAUSE` seconds later; None: that was all. `of_running`: it
    is about a process, so none is started for it.
    """

    method: str
    url: str
    document: Mapping[str, Any] | None = None
    tell: Tell | None = field(default=None, eq=False, repr=False)
    then: Callable[[Any], Question | None] | None = field(default=None, eq=False, repr=False)
    of_running: bool = False


@define
class _Lines:
    """An answer that comes line by line: JSON objects whose ``event`` says what they are."""

    tell: Tell
    last: bytes = b""
    _rest: bytes = b""

    def feed(self, data: bytes) -> None:
        """Take what came."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            said = msgspec.json.decode(line)
            if said.pop("event") in ("result", "error"):
                self.last = msgspec.json.encode(said)
            else:
                self.tell(said)


@implementer(IAgentEndpointFactory)
@frozen
class _Socket:
    reactor: IReactorUNIX
    path: Path

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        return cast(IStreamClientEndpoint, UNIXClientEndpoint(self.reactor, str(self.path)))  # type: ignore[no-untyped-call]


@frozen
class Control:
    """The JSON API of the daemon that listens on `path`."""

    reactor: Any
    path: Path
    awake_within: float = AWAKE_WITHIN

    async def answer(self, question: Question) -> Any:
        """The answer, decoded. Raises `Refused` with the daemon's text, or for a daemon that does not answer."""
        try:
            await self._send(Question("GET", "/health"), self.awake_within)
        except (CancelledError, ConnectError, RequestNotSent, ResponseFailed):
            raise Refused(
                f"The running pypid (its control socket is {self.path}) does not answer within {self.awake_within:g} s. "
                "Look into its log; if it hangs, start it again. Nothing was done."
            ) from None
        try:
            code, body = await self._send(question, ANSWER_WITHIN)
        except (ConnectError, RequestNotSent, ResponseFailed):
            raise _ended() from None
        if code >= 400:
            raise Refused(_message(body))
        if question.tell is not None:
            return _last(body)
        return msgspec.json.decode(body) if body else None

    async def answers(self, question: Question) -> Any:
        """The last answer of a row of questions. Raises as `answer`."""
        while True:
            answer = await self.answer(question)
            following = None if question.then is None else question.then(answer)
            if following is None:
                return answer
            await deferLater(self.reactor, PAUSE)
            question = following

    async def _send(self, question: Question, within: float) -> tuple[int, bytes]:
        streamed = question.tell is not None
        agent = Agent.usingEndpointFactory(self.reactor, _Socket(self.reactor, self.path))  # type: ignore[no-untyped-call]
        response = await HTTPClient(agent).request(
            question.method,
            f"http://localhost{question.url}",
            auth=(f"operator/{account()}", "-"),
            data=None if question.document is None else msgspec.json.encode(question.document),
            headers=Headers({"Accept": [LINES if streamed else "application/json"], "Content-Type": ["application/json"]}),
            timeout=within,
            unbuffered=streamed,
        )
        if question.tell is None or response.code != 200:
            return response.code, await treq.content(response)
        lines = _Lines(question.tell)
        await treq.collect(response, lines.feed)
        return response.code, lines.last


def ask(reactor: Any, state: Path, question: Question, make: Callable[[], Daemon]) -> Any:
    """The answer of the pypid that runs with this state folder or, if none does, of one that is started for the question.

    Runs the reactor, once. Raises `Refused` and whatever `make` and the start raise; `KeyboardInterrupt` if it is stopped.
    """
    path = control_socket(state)
    is_running = listens(path)
    if not is_running and question.then is not None:
        raise Refused("There is nothing to follow: pypid is not running. Start it, or ask without --follow.")
    if not is_running and question.of_running:
        raise Refused("pypid is not running. It starts with what the configuration says: [log] level, for example.")
    daemon = None if is_running else make()  # made before the reactor runs, as in a start: then nothing has to wait
    return run(reactor, lambda: Control(reactor, path).answers(question), daemon)


def run(reactor: Any, work: Callable[[], Coroutine[Any, Any, T]], daemon: Daemon | None = None) -> T:
    """What `work` gives, with the reactor running for as long as it takes, once (and with `daemon`, if there is one).

    Raises what it raises; `KeyboardInterrupt` if a signal ends the reactor before.
    """
    if daemon is not None:
        daemon.startService()
    outcome: list[Any] = []

    def begin() -> None:
        working = start(work())

        def give_up() -> None:
            if not outcome:  # a signal ends the reactor
                outcome.append(Failure(KeyboardInterrupt()))  # type: ignore[no-untyped-call]
                working.cancel()

        reactor.addSystemEventTrigger("before", "shutdown", give_up)
        if daemon is not None:
            reactor.addSystemEventTrigger("before", "shutdown", daemon.stopService)
        working.addBoth(outcome.append)
        working.addCallback(lambda _: _stop(reactor))

    reactor.callWhenRunning(begin)
    reactor.run()
    match outcome:
        case [Failure(value=BaseException() as error), *_]:
            raise error
        case [answer, *_]:
            return cast(T, answer)
    raise KeyboardInterrupt


def _stop(reactor: Any) -> None:
    try:
        reactor.stop()
    except ReactorNotRunning:  # a signal did
        return


def listens(path: Path, within: float = AWAKE_WITHIN) -> bool:
    """Whether a daemon listens there; blocks for a moment. Raises `Refused` where we may not know, or it is overwhelmed."""
    with socket(AF_UNIX) as probe:
        probe.settimeout(within)
        try:
            probe.connect(os.fsencode(path))
        except TimeoutError:
            raise Refused(f"The running pypid ({path}) does not take connections: it hangs. Start it again.") from None
        except OSError as error:
            if error.errno not in (EACCES, EPERM):
                return False
            owner = owner_of(path) or owner_of(path.parent)
            whose = "the user that runs pypid" if owner is None else f"the user that runs pypid, {owner},"
            again = "that user" if owner is None else owner
            raise Refused(f"Only {whose} and root may manage it through {path}: run this command as {again}.") from None
        return True


def account() -> str:
    """The name of the account that runs this: what is written down for what it does."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, in a container
        return f"uid-{os.getuid()}"


def _last(line: bytes) -> Any:
    """The answer that came as the last of several lines."""
    if not line:
        raise _ended()
    answer = msgspec.json.decode(line)
    if answer.get("error"):
        raise Refused(_message(line))
    return answer


def _ended() -> Refused:
    advice = "Whether anything was done is not known: look at the project, and try again."
    return Refused(f"pypid ended before it answered. {advice}")


def _message(body: bytes) -> str:
    try:
        return str(msgspec.json.decode(body)["message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return body.decode(errors="replace").strip()
