"""Circuit breakers: send nothing to a server that does not answer, but probes until it does."""

from __future__ import annotations

from datetime import datetime, timedelta

from attrs import define, field
from twisted.logger import Logger

from pypid.core.errors import UpstreamDown
from pypid.flow import World

_log = Logger()

FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=5), timedelta(seconds=60)
"""How long no request is sent after a breaker opened; doubled with each probe that fails."""
STRIKES = 3
"""Consecutive failures that open a breaker, where a connection was made."""


@define(eq=False)
class CircuitBreaker:
    """The circuit breaker of one server. `error` is what the server failed with while the breaker
    is open.
    """

    world: World
    server: str = "the upstream index"
    """Its name in the log."""
    refusals: int = 1
    """Consecutive failures to connect that open the breaker."""
    error: UpstreamDown | None = field(default=None, init=False)
    since: datetime | None = field(default=None, init=False)
    """When the breaker opened."""
    _strikes: int = field(default=0, init=False)
    _pause: timedelta = field(default=FIRST_PAUSE, init=False)
    _again: float | None = field(default=None, init=False)
    """When the next probe may be sent, in seconds of the monotonic clock."""

    @property
    def is_down(self) -> bool:
        """Whether the breaker is open."""
        return self.error is not None

    def may_probe(self) -> bool:
        """Return whether the caller may send a request although the breaker is open. At most one
        caller for each pause may.
        """
        now = self.world.clock.seconds()
        if self._again is not None and now < self._again:
            return False
        self._again = now + self._pause.total_seconds()
        return True

    def refuse_unless_probe(self) -> None:
        """Raise the server's last failure if the breaker is open and it is not time for a probe."""
        if self.error is not None and not self.may_probe():
            raise self.error.with_traceback(None)  # else each raise adds to its traceback

    def answered(self) -> None:
        """Record an answer: the breaker closes."""
        if self.error is not None:
            _log.info("{server} is available again", server=self.server)
        self.error, self.since, self._again = None, None, None
        self._strikes, self._pause = 0, FIRST_PAUSE

    def failed(self, error: UpstreamDown) -> None:
        """Record a failure. An answer about this one question, such as 403, shows that the server
        works.
        """
        if error.secondary:
            return
        if error.is_refusal:
            self.answered()
            return
        self._strikes += 1
        if self._strikes < (self.refusals if error.unreachable else STRIKES):
            return
        if self.error is None:
            self.since = self.world.now()
            _log.warn(
                "{server} is unavailable and is only probed until it answers: {error}",
                server=self.server,
                error=error,
            )
        else:
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
        self.error = error
        self._again = self.world.clock.seconds() + self._pause.total_seconds()
