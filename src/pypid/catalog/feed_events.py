"""The common part of all feeds: they report beats, and log when the feed is lost and when it is
back.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field
from twisted.logger import Logger

from pypid.catalog.engine import Beat

_log = Logger()

SILENCE = 1.0
"""Seconds without an answer after which the connection is given up: nodes no longer trust this
feed.
"""
AGAIN = 0.2
"""Seconds between two attempts to reconnect."""


@define(eq=False)
class FeedEvents:
    """The receiver of a feed's events; it calls `on_beat` for each beat. After `stopped` nothing is
    reported or logged.
    """

    on_beat: Callable[[Beat], None]
    stopped: bool = field(default=False, init=False)
    _lost: bool = field(default=False, init=False)

    def stop(self) -> bool:
        """Report and log nothing from now on; return whether it reported until now."""
        reported, self.stopped = not self.stopped, True
        return reported

    def report(self, beat: Beat) -> None:
        """Report a state; an exception of `on_beat` is only logged."""
        if self.stopped:
            return
        if self._lost:
            _log.info("The feed of the shared catalog is available again.")
            self._lost = False
        try:
            self.on_beat(beat)
        except Exception:
            _log.failure("a change reported by the shared catalog could not be applied")

    def lose(self, error: Exception) -> None:
        """Log that the engine is unavailable, once."""
        if not self._lost and not self.stopped:
            reason = str(error).rstrip(".")
            _log.warn(
                "The feed of the shared catalog is unavailable: {reason}. pypid reconnects.",
                reason=reason,
            )
        self._lost = True

    def fail(self) -> None:
        """Log an unexpected exception."""
        _log.failure("the feed of the shared catalog failed; pypid reconnects")
        self._lost = True
