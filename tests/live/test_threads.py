"""Threads for calls that block: `pypid.flow.world`."""

from __future__ import annotations

import threading
import time
import weakref
from contextvars import ContextVar
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import CancelledError, gatherResults
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from pypid.flow import world as threads_module
from pypid.flow.world import Threads

reactor: Any = installed
request: ContextVar[str] = ContextVar("request", default="")


class Standing(Clock):
    """A reactor that does not run."""

    running = False


class AtOnceTests(SynchronousTestCase):
    """Without a running reactor."""

    def test_at_once(self) -> None:
        """Calls are made here and now, and what they raise comes back; there are no threads to
        stop.
        """
        threads = Threads(Standing(), "none")
        self.assertIs(
            self.successResultOf(threads(threading.current_thread)), threading.current_thread()
        )
        self.failureResultOf(threads(int, "x"), ValueError)
        threads.stop()


class Unstartable(threading.Thread):
    """A thread that a system without free threads refuses."""

    def start(self) -> None:
        raise RuntimeError("can't start new thread")


class Argument:
    """What a call refers to."""


class RunningTests(TestCase):
    """With the real reactor."""

    def setUp(self) -> None:
        self.threads = Threads(reactor, "of-this-test", most=2)
        self.addCleanup(self.threads.stop)

    def numbers(self) -> tuple[int, int, int]:
        return self.threads.busy, self.threads.idle, self.threads.waiting

    async def test_few(self) -> None:
        """No more calls than allowed go on at once, off the reactor thread, and none of the threads
        is left at the end.
        """
        await deferLater(reactor, 0)
        at_once: list[int] = []
        now = 0
        lock = threading.Lock()

        def call() -> str:
            nonlocal now
            with lock:
                now += 1
                at_once.append(now)
            time.sleep(0.01)
            with lock:
                now -= 1
            return threading.current_thread().name

        names = await gatherResults([self.threads(call) for _ in range(10)])
        self.assertEqual(max(at_once), 2)
        self.assertTrue(all("of-this-test" in name for name in names))
        self.threads.stop()
        self.assertEqual(
            [thread for thread in threading.enumerate() if "of-this-test" in thread.name], []
        )
        self.assertEqual(await self.threads(int, "7"), 7)

    async def test_results(self) -> None:
        """A call runs in another thread, in the context of its caller; its result, and what it
        raises, come to the reactor thread.
        """
        await deferLater(reactor, 0)
        request.set("7")
        self.assertEqual(await self.threads(request.get), "7")
        self.assertIsNot(await self.threads(threading.current_thread), threading.current_thread())
        with self.assertRaises(ValueError):
            await self.threads(int, "x")
        with self.assertRaises(SystemExit):
            await self.threads(exit_, 3)
        settled: list[threading.Thread] = []
        done = self.threads(int, "7")
        done.addCallback(lambda _: settled.append(threading.current_thread()))
        await done
        self.assertEqual(settled, [threading.current_thread()])

    async def test_numbers(self) -> None:
        """Busy and idle threads, and calls that wait, are counted; a cancelled call still runs."""
        await deferLater(reactor, 0)
        gate = threading.Event()
        self.addCleanup(gate.set)
        calls = [self.threads(gate.wait) for _ in range(3)]
        self.assertEqual(self.numbers(), (2, 0, 1))
        calls[0].cancel()
        with self.assertRaises(CancelledError):
            await calls[0]
        self.assertEqual(self.numbers(), (2, 0, 1))
        gate.set()
        for call in calls[1:]:
            await call
        while self.threads.busy:  # with the cancelled call
            await deferLater(reactor, 0)
        self.assertEqual(self.numbers(), (0, 2, 0))

    async def test_no_thread(self) -> None:
        """A call for which the system gives no thread fails, and does not count."""
        await deferLater(reactor, 0)
        self.patch(threads_module, "Thread", Unstartable)
        with self.assertRaises(RuntimeError):
            await self.threads(int)
        self.assertEqual(self.numbers(), (0, 0, 0))

    async def test_idle_threads_keep_nothing(self) -> None:
        """What a call refers to is freed when it has ended."""
        await deferLater(reactor, 0)
        argument = Argument()
        known = weakref.ref(argument)
        await self.threads(id, argument)
        del argument
        await self.threads(int)
        self.assertIsNone(known())

    async def test_work_is_done_before_the_end(self) -> None:
        """Calls that wait when the threads are stopped are done first."""
        await deferLater(reactor, 0)
        done: list[int] = []
        calls = [self.threads(done.append, number) for number in range(20)]
        stopping = Threads(reactor, "stopping", most=1)
        self.addCleanup(stopping.stop)
        await self.threads.finish(stopping)
        self.assertEqual(sorted(done), list(range(20)))
        for call in calls:
            await call
        self.assertIs(await self.threads(threading.current_thread), threading.current_thread())


def exit_(status: int) -> None:
    """Raise what is no `Exception`."""
    raise SystemExit(status)
