"""The other workers as the first one keeps them, on a clock that stands still and with processes
that are none.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pypid.prefork.messages import MOST, ListeningSocket, Message, MessageParser, Siblings, encode
from pypid.prefork.supervisor import (
    BROADCAST,
    HEARS,
    HURRY,
    LONGEST_PAUSE,
    ORDER,
    PATIENCE,
    READY,
    RELOAD,
    SOCKETS,
    STATE,
    STEADY,
    STOP,
    TELLS,
    Command,
    Supervisor,
    WorkerProcess,
    make_scales,
)


class Pipe:
    """What a worker would read."""

    def __init__(self) -> None:
        self.lines = MessageParser()
        self.read: list[Message] = []
        self.producer: Any = None

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.producer = producer

    def write(self, data: bytes) -> None:
        self.read += self.lines.feed(data)


class Spawned:
    """A process that is none: the transport of its protocol."""

    def __init__(
        self, member: WorkerProcess, pid: int, arguments: list[str], more: dict[str, Any]
    ) -> None:
        self.member, self.pid, self.arguments, self.more = member, pid, arguments, more
        self.pipe = Pipe()
        self.pipes = {HEARS: self.pipe}
        self.signals: list[str] = []

    def signalProcess(self, name: str) -> None:
        self.signals.append(name)

    def says(self, message: Message) -> None:
        """It writes a message."""
        self.member.childDataReceived(TELLS, encode(message))

    def is_ready(self) -> None:
        """It answers."""
        self.says({STATE: READY})

    def ends(self, status: int | None = None, signal: int | None = None) -> None:
        """It ends so."""
        error = ProcessDone(0) if status == 0 else ProcessTerminated(exitCode=status, signal=signal)
        self.member.processEnded(Failure(error))  # type: ignore[no-untyped-call]

    @property
    def heard(self) -> list[Message]:
        """What it was told after its first orders."""
        return self.pipe.read[1:]


class Reactor(Clock):
    """Starts such processes."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.spawned: list[Spawned] = []
        self.trouble: OSError | None = None

    def spawnProcess(
        self, member: WorkerProcess, program: str, arguments: list[str], **more: Any
    ) -> Spawned:
        if self.trouble is not None:
            raise self.trouble
        process = Spawned(member, 100 + len(self.spawned), arguments, more)
        self.spawned.append(process)
        member.makeConnection(process)  # type: ignore[arg-type]
        return process


class CrewCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = Reactor()
        self.lines: list[str] = []
        self.siblings = Siblings()
        made = TemporaryDirectory()
        self.addCleanup(made.cleanup)
        self.scales = make_scales(Path(made.name), lambda: 0)
        self.events: list[Any] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def crew(self, count: int = 3) -> Supervisor:
        """Begun, with two sockets."""
        command = Command(
            arguments=("python", "-m", "x"),
            environ={"A": "b"},
            folder="/",
            orders=lambda: {"config": "c"},
            text=9,
        )
        crew = Supervisor(
            count, command, self.siblings, self.scales, self.reactor, self.lines.append
        )
        crew.begin([ListeningSocket("tcp:1", 20, 2), ListeningSocket("unix:/x", 21, 1)])
        return crew

    def said(self) -> str:
        """The log."""
        return "\n".join(event["log_format"].format(**event) for event in self.events)


class StartTests(CrewCase):
    def test_orders(self) -> None:
        """Each is told all that it needs, gets the sockets by number, and nothing but its number is
        for all to see.
        """
        self.crew()
        first, second = self.reactor.spawned
        self.assertEqual(
            [each.arguments for each in (first, second)],
            [["python", "-m", "x", "2"], ["python", "-m", "x", "3"]],
        )
        sockets = [{"text": "tcp:1", "family": 2}, {"text": "unix:/x", "family": 1}]
        self.assertEqual(second.pipe.read, [{"config": "c", "worker": 3, "sockets": sockets}])
        given = first.more["childFDs"]
        self.assertEqual(
            (given[SOCKETS], given[SOCKETS + 1], given[1], given[2]), (20, 21, "r", "r")
        )

    def test_once(self) -> None:
        """To begin again begins nothing."""
        crew = self.crew()
        crew.begin([])
        self.assertEqual(len(self.reactor.spawned), 2)

    def test_no_process(self) -> None:
        """Where the system has no process left that is said, and tried again."""
        self.reactor.trouble = OSError(11, "Resource temporarily unavailable")
        self.crew()
        self.assertIn("worker 2 cannot be started: Resource temporarily unavailable", self.said())
        self.reactor.trouble = None
        self.reactor.advance(1)
        self.assertEqual(len(self.reactor.spawned), 2)


class EndTests(CrewCase):
    def test_steady(self) -> None:
        """One that has answered for a while is replaced at once, under its number."""
        self.crew()
        self.reactor.spawned[0].is_ready()
        self.reactor.advance(STEADY)
        self.reactor.spawned[0].ends(signal=9)
        self.reactor.advance(0)
        self.assertEqual(self.reactor.spawned[2].arguments[-1], "2")
        self.assertIn(
            "worker 2 (process 100) was ended by SIGKILL; another takes its place", self.said()
        )

    def test_pauses(self) -> None:
        """One that cannot start is tried again after pauses that grow, up to a minute; a good one
        makes them short again.
        """
        self.crew(2)
        for expected in (1, 2, 4, 8, 16, 32, 60, 60):
            began = len(self.reactor.spawned)
            self.reactor.spawned[-1].ends(1)
            self.reactor.advance(expected - 0.5)
            self.assertEqual(len(self.reactor.spawned), began)
            self.reactor.advance(0.5)
            self.assertEqual(len(self.reactor.spawned), began + 1)
        self.assertEqual(expected, LONGEST_PAUSE)
        self.assertIn(
            "could not start (status 1; its own lines say why); another is started in 60 s",
            self.said(),
        )
        self.reactor.spawned[-1].is_ready()
        self.reactor.advance(STEADY)
        self.reactor.spawned[-1].ends(0)
        self.reactor.advance(0)
        self.reactor.spawned[-1].ends(1)
        self.reactor.advance(1)
        self.assertEqual(len(self.reactor.spawned), 11)

    def test_told(self) -> None:
        """That one ended is told to all, the first one among them, with its number."""
        heard: list[Message] = []
        self.siblings.on("ended", heard.append)
        self.crew()
        self.reactor.spawned[0].ends(signal=11)
        self.assertEqual(heard, [{"kind": "ended", "worker": 2}])
        self.assertEqual(self.reactor.spawned[1].heard, [{BROADCAST: heard[0]}])


class MessageTests(CrewCase):
    def test_all(self) -> None:
        """What any of them tells reaches all others, and it itself not again; what the first one
        tells reaches all.
        """
        heard: list[Message] = []
        self.siblings.on("a", heard.append)
        self.crew()
        first, second = self.reactor.spawned
        first.says({BROADCAST: {"kind": "a", "from": 2}})
        self.assertEqual(
            (heard, first.heard, second.heard),
            ([{"kind": "a", "from": 2}], [], [{BROADCAST: {"kind": "a", "from": 2}}]),
        )
        self.siblings.tell({"kind": "a"})
        self.assertEqual(len(heard), 2)
        self.assertEqual(
            (first.heard[-1], second.heard[-1]),
            ({BROADCAST: {"kind": "a"}}, {BROADCAST: {"kind": "a"}}),
        )

    def test_garbled(self) -> None:
        """One that cannot be understood is ended."""
        self.crew()
        self.reactor.spawned[0].member.childDataReceived(TELLS, b"no\n")
        self.assertEqual(self.reactor.spawned[0].signals, ["KILL"])

    def test_deaf(self) -> None:
        """What one does not read is kept for it, but not without end: then it is ended."""
        self.crew()
        first, second = self.reactor.spawned
        first.pipe.producer.pauseProducing()
        for number in range(MOST):
            self.siblings.tell({"kind": "a", "number": number})
        self.assertEqual((len(first.heard), len(second.heard), first.signals), (0, MOST, []))
        first.pipe.producer.resumeProducing()
        self.assertEqual(first.heard, second.heard)
        first.pipe.producer.pauseProducing()
        for _ in range(MOST + 1):
            self.siblings.tell({"kind": "a"})
        self.assertEqual(first.signals, ["KILL"])

    def test_reload(self) -> None:
        """All reload, and so does who starts after that: the configuration that it starts with is
        older.
        """
        crew = self.crew()
        self.reactor.spawned[0].is_ready()
        crew.reload()
        self.assertEqual(self.reactor.spawned[0].heard, [{ORDER: RELOAD}])
        self.reactor.spawned[0].ends(signal=9)
        self.reactor.advance(1)
        self.reactor.spawned[2].is_ready()
        self.assertEqual(self.reactor.spawned[2].heard, [{ORDER: RELOAD}])

    def test_lines(self) -> None:
        """Lines are passed on whole, however they come; what goes to the standard error is logged;
        a line without end, too.
        """
        self.crew()
        member = self.reactor.spawned[0].member
        for piece in (b"one\ntw", b"o", b"\nthree\nfo\xff"):
            member.childDataReceived(1, piece)
        self.assertEqual(self.lines, ["one\n", "two\nthree\n"])
        member.childDataReceived(2, b"Fatal Python error\n")
        self.assertIn("worker 2 (process 100): Fatal Python error", self.said())
        self.reactor.spawned[0].ends(signal=6)
        self.assertEqual(self.lines[2:], ["fo\\xff\n"])


class StopTests(CrewCase):
    def stopped(self, crew: Supervisor) -> list[None]:
        """One element once all have ended."""
        ended: list[None] = []
        crew.stop().addCallback(ended.append)
        return ended

    def test_stop(self) -> None:
        """Those that answer are told to, others are killed; it is over when all have ended, and
        none is replaced.
        """
        crew = self.crew()
        first, second = self.reactor.spawned
        first.is_ready()
        ended = self.stopped(crew)
        self.assertEqual((first.heard, second.signals), ([{ORDER: STOP}], ["KILL"]))
        second.ends(signal=9)
        self.assertEqual(ended, [])
        crew.hurry()
        self.assertEqual(first.heard[-1], {ORDER: HURRY})
        first.ends(0)
        self.assertEqual(ended, [None])
        self.reactor.advance(100)
        self.assertEqual(len(self.reactor.spawned), 2)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_waiting(self) -> None:
        """Who waits for the next try does not start any more."""
        crew = self.crew(2)
        self.reactor.spawned[0].ends(1)
        self.assertEqual(self.stopped(crew), [None])
        self.reactor.advance(100)
        self.assertEqual(len(self.reactor.spawned), 1)

    def test_patience(self) -> None:
        """One that does not end is killed."""
        crew = self.crew(2)
        self.reactor.spawned[0].is_ready()
        self.stopped(crew)
        self.reactor.advance(PATIENCE)
        self.assertEqual(self.reactor.spawned[0].signals, ["KILL"])

    def test_none(self) -> None:
        """Before they have begun there is nothing to wait for, and they do not begin any more."""
        command = Command(arguments=("python",), environ={}, folder="/", orders=dict, text=9)
        crew = Supervisor(3, command, self.siblings, self.scales, self.reactor, self.lines.append)
        self.assertEqual(self.stopped(crew), [None])
        crew.begin([])
        self.assertEqual(self.reactor.spawned, [])
