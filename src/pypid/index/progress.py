"""How far a long job is: a line every few seconds, for the log and for whoever asked for the job."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

_log = Logger()

EVERY = 5.0
"""Seconds between two lines."""

Tell = Callable[[str], None]
"""Hears one line; may be called at any time until the job ends."""


@define
class Progress:
    """Says how far a job is, not more often than `EVERY`; a job shorter than that says nothing."""

    clock: IReactorTime
    tell: Tell | None = None
    _last: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._last = self.clock.seconds()

    def at(self, line: Callable[[], str]) -> None:
        """Call this often; `line` is asked for only when it is time."""
        if self.clock.seconds() - self._last < EVERY:
            return
        self._last = self.clock.seconds()
        said = line()
        _log.info("{said}", said=said)
        if self.tell is not None:
            self.tell(said)
