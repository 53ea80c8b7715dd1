"""What every feed does with what it finds: it tells of it, and the log of when it is lost and when
it is back.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field
from twisted.logger import Logger

from pypid.catalog.engine import Beat

_log = Logger()

SILENCE = 1.0
"""Seconds without an answer after which the connection is given up: nobody believes in this feed
any longer.
"""
AGAIN = 0.2
"""Seconds between two attempts to find back."""


@define(eq=False)
class Hearing:
    """`heard` is whoever follows. After `stopped` nothing is told, and nothing is said of what is
    lost.
    """

    heard: Callable[[Beat], None]
    stopped: bool = False
    _lost: bool = field(default=False, init=False)

    def tell(self, beat: Beat) -> None:
        """There is a state; what is made of it is no concern of the feed."""
        if self.stopped:
            return
        if self._lost:
            _log.info("The feed of the shared catalog is back.")
            self._lost = False
        try:
            self.heard(beat)
        except Exception:
            _log.failure("news of the shared catalog were not taken in")

    def lose(self, error: Exception) -> None:
        """The engine cannot be asked, which is said once."""
        if not self._lost and not self.stopped:
            reason = str(error).rstrip(".")
            _log.warn(
                "The feed of the shared catalog is lost: {reason}. It is tried again.",
                reason=reason,
            )
        self._lost = True

    def fail(self) -> None:
        """Called where something was raised that nobody foresaw."""
        _log.failure("the feed of the shared catalog failed; it is tried again")
        self._lost = True
