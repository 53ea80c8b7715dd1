"""Deadlines for what a client sends: a time limit for the head of a request, and a minimum rate for
its body.

A timeout of silence alone is renewed by each byte, so a client that sends a byte a minute would
hold a connection for ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from pypid.web.http.linger import LingeringChannel

if TYPE_CHECKING:
    from pypid.web.http.connections import ConnectionSettings

WINDOW = 30.0
"""Seconds over which the rate of a body is measured."""


class TimedChannel(LingeringChannel):
    """A `LingeringChannel` that closes connections of clients that send too slowly."""

    deadlines: ConnectionSettings
    _head_deadline: IDelayedCall | None = None
    _body_check: IDelayedCall | None = None
    _body_bytes = 0
    """Bytes of the body that came since the last check of its rate."""
    _body_excused = False
    """Whether the server held up the body since then."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._head_is_in()
        self._body_is_in()
        super().connectionLost(reason)

    # --- the head ---

    def _head_begins(self, seconds: float | None = None) -> None:
        """Start the deadline of a head whose first bytes have come."""
        if self._head_deadline is None:
            patience = self.deadlines.header_timeout if seconds is None else seconds
            self._head_deadline = self.callLater(patience, self._head_is_late)

    def _head_is_in(self) -> None:
        """Stop the deadline of a head that is complete or will never be."""
        if self._head_deadline is not None:
            deadline, self._head_deadline = self._head_deadline, None
            if deadline.active():
                deadline.cancel()

    def _head_is_late(self) -> None:
        """Close the connection."""
        self._head_deadline = None
        self.timeoutConnection()

    # --- the body ---

    def _body_begins(self, *, excused: bool) -> None:
        """Start the rate checks of a body. `excused`: the client waits for the server before it
        sends the body.
        """
        if self.deadlines.min_body_rate:
            self._body_bytes, self._body_excused = 0, excused
            self._body_check = self.callLater(WINDOW, self._check_body)

    def _excuse_body(self) -> None:
        """Skip the next rate check, since reading is paused."""
        self._body_excused = True

    def _body_is_in(self) -> None:
        """Stop the rate checks of a body that is complete or read no further."""
        if self._body_check is not None:
            check, self._body_check = self._body_check, None
            if check.active():
                check.cancel()

    def _check_body(self) -> None:
        self._body_check = None
        if self._body_bytes < self.deadlines.min_body_rate * WINDOW and not self._body_excused:
            self.setTimeout(None)
            self.timeoutConnection()
        else:
            self._body_begins(excused=self._body_stands)

    @property
    def _body_stands(self) -> bool:
        """Whether the server holds up the body: reading is paused, or the client waits for 100
        Continue.
        """
        raise NotImplementedError
