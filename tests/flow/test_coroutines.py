"""Coroutines that run to their end: `pypid.flow.coroutines`."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.errors import Busy
from pypid.flow import shielded, start


class ShieldedTests(SynchronousTestCase):
    """What goes on although its client has gone."""

    def end(self, error: Exception | None, *, gone: bool) -> object:
        """What who waits gets of a job that ends so."""
        gate: Deferred[None] = Deferred()

        async def job() -> str:
            await gate
            if error is not None:
                raise error
            return "done"

        async def wait() -> str:
            return await shielded(job())

        waiting = start(wait())
        if gone:
            waiting.cancel()
            self.failureResultOf(waiting, CancelledError)
        gate.callback(None)
        return (
            None
            if gone
            else self.failureResultOf(waiting).value
            if error
            else self.successResultOf(waiting)
        )

    def test_nobody_waits(self) -> None:
        """A mistake of ours is logged even if nobody waits for the job any more; a
        refusal is not.
        """
        self.end(RuntimeError("a mistake"), gone=True)
        [logged] = self.flushLoggedErrors(RuntimeError)
        self.assertEqual(str(logged.value), "a mistake")
        self.end(Busy("Full."), gone=True)
        self.end(None, gone=True)

    def test_somebody_waits(self) -> None:
        """Whoever waits gets the result or the error, and nothing is logged."""
        self.assertEqual(self.end(None, gone=False), "done")
        self.assertEqual(str(self.end(RuntimeError("a mistake"), gone=False)), "a mistake")
