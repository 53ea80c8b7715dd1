"""Progress of a long job: a line every few seconds, for the log and for the client that started the
job.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from pypid.flow.periodic import ClockedLoop

_log = Logger()

EVERY = 5.0
"""Seconds between two lines."""

Tell = Callable[[str], None]
"""Callback that receives one line; may be called at any time until the job ends."""


@define
class Progress:
    """Reports the progress of a job, at most every `EVERY` seconds; a shorter job reports
    nothing.
    """

    clock: IReactorTime
    tell: Tell | None = None
    _last: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._last = self.clock.seconds()

    def at(self, line: Callable[[], str]) -> None:
        """Report `line()` if it is time. Call this often; `line` is only called when needed."""
        if self.clock.seconds() - self._last < EVERY:
            return
        self._last = self.clock.seconds()
        text = line()
        _log.info("{said}", said=text)
        if self.tell is not None:
            self.tell(text)


class Repeated(ClockedLoop):
    """Calls `say` at once and then every `interval` seconds, for as long as the ``with`` block
    lasts.
    """

    def __init__(self, clock: IReactorTime, interval: float, say: Callable[[], object]) -> None:
        super().__init__(clock, say)
        self._seconds = interval

    def __enter__(self) -> None:
        self.start(self._seconds).addErrback(
            lambda failure: _log.failure("reporting progress failed", failure=failure)
        )

    def __exit__(self, *of_the_block: object) -> None:
        if self.running:
            self.stop()
