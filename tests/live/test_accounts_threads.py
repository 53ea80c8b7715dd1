"""The threads of a database."""

from __future__ import annotations

import threading
import time
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import gatherResults
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from pypid.databases.threads import Threads

reactor: Any = installed


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


class RunningTests(TestCase):
    """With the real reactor."""

    async def test_few(self) -> None:
        """No more calls than allowed go on at once, off the reactor thread, and none of the threads
        is left at the end.
        """
        await deferLater(reactor, 0)
        threads = Threads(reactor, "of-this-test", most=2)
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

        names = await gatherResults([threads(call) for _ in range(10)])
        self.assertEqual(max(at_once), 2)
        self.assertTrue(all("of-this-test" in name for name in names))
        threads.stop()
        self.assertEqual(
            [thread for thread in threading.enumerate() if "of-this-test" in thread.name], []
        )
        self.assertEqual(await threads(int, "7"), 7)
