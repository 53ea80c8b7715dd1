"""One connection: txredisapi's protocol, with additions for what it lacks.

* Its own pool (`RedisFactory`) reconnects after up to ten seconds, in Twisted's global reactor, and
  logs the server's reply to a refused login; so `catalog.redis.connections` makes connections, when
  they are needed.
* It reports "Lost connection" for every reason; here the reason is kept: a certificate error, or
  the refusal of a server that has too many clients.
* An unreadable answer is an error in Twisted's log; here it ends the connection.
* An unrequested answer would be taken for that to the next question; here it ends the connection.
* Its parser in Python takes an iteration of the reactor for each value, and splits megabytes line
  by line; so hiredis is needed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import txredisapi
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from pypid.catalog.engine import DatabaseAway, DatabaseFull
from pypid.catalog.redis.faults import loss, refusal
from pypid.catalog.redis.place import RedisPlace
from pypid.catalog.redis.scripts import Script

PATIENCE = 5.0
"""Seconds without a byte of the server, while an answer is awaited, after which the connection is
cut.
"""

Word = bytes | str | int


class RedisWire(txredisapi.HiredisProtocol):  # type: ignore[misc]  # it is not annotated
    """A connection for one question at a time. `run`: the server's process (its ``run_id``), once
    it was asked for.

    Questions raise `DatabaseAway`, `DatabaseUnusable` and `DatabaseFull`; a caller that is
    cancelled or times out cuts the connection.
    """

    run = ""

    def __init__(self, place: RedisPlace, clock: IReactorTime) -> None:
        super().__init__(charset=None, convertNumbers=False)
        self.place = place
        self.ended: Deferred[None] = Deferred()
        self._clock = clock
        self._last_received = 0.0
        self._end_reason: BaseException | None = None
        """Why it ended, if that is known."""

    @property
    def is_open(self) -> bool:
        """Whether a question can be asked."""
        return bool(self.connected) and not self.ended.called and self._end_reason is None

    def silent_for(self) -> float:
        """Return the seconds since it was used last."""
        return self._clock.seconds() - self._last_received

    def cut(self) -> None:
        """End the connection now: the question under way fails."""
        self._end_reason = self._end_reason or ConnectionAborted()
        self.transport.abortConnection()

    # --- asking ---

    async def ask(self, *words: Word, patience: float = PATIENCE) -> Any:
        """Return the answer to a command."""
        try:
            return await self._answer(words, patience)
        except txredisapi.ResponseError as error:
            raise self._refused(error) from None

    async def log_in(self, patience: float = PATIENCE) -> Mapping[str, str]:
        """Authenticate, select the database, and return what the server says of itself (``INFO``);
        afterwards `run` is known.
        """
        place = self.place
        if place.password:
            user = [place.user] if place.user else []
            await self.ask("AUTH", *user, place.password, patience=patience)
        if place.database:
            await self.ask("SELECT", place.database, patience=patience)
        answer = await self.ask("INFO", patience=patience)
        text = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else ""
        info = dict(re.findall(r"^(\w+):(.*?)\r?$", text, re.MULTILINE))
        self.run = info.get("run_id", "")
        return info

    async def run_script(
        self, script: Script, keys: Sequence[bytes], *words: Word, patience: float = PATIENCE
    ) -> Any:
        """Return the result of the script."""
        rest = (len(keys), *keys, *words)
        try:
            try:
                return await self._answer(("EVALSHA", script.digest, *rest), patience)
            except txredisapi.ResponseError as error:
                if not str(error).startswith("NOSCRIPT"):
                    raise
            return await self._answer(("EVAL", script.text, *rest), patience)
        except txredisapi.ResponseError as error:
            raise self._refused(error) from None

    def _refused(self, error: Exception) -> Exception:
        found = refusal(self.place, str(error))
        if isinstance(found, DatabaseAway) and not isinstance(found, DatabaseFull):
            self.cut()  # perhaps another server answers at that address by now
        return found

    async def _answer(self, words: Sequence[Word], patience: float) -> Any:
        if not self.is_open:
            raise self._lost()
        self._last_received = self._clock.seconds()
        self._late = self._clock.callLater(patience, self._look, patience)
        try:
            return await self.execute_command(*words)
        except txredisapi.ResponseError:
            raise
        except txredisapi.RedisError:
            raise self._lost() from None
        except BaseException:  # the caller was cancelled; the answer would be taken for another one
            self.cut()
            raise
        finally:
            if self._late.active():
                self._late.cancel()

    def _look(self, patience: float) -> None:
        """Cut the connection, unless data arrived meanwhile: long answers take their time."""
        left = self._last_received + patience - self._clock.seconds()
        if left <= 0:
            self._end_reason = self._end_reason or TimeoutError()
            self.cut()
        else:
            self._late = self._clock.callLater(left, self._look, patience)

    def _lost(self) -> Exception:
        reason = self._end_reason or ConnectionDone()
        return (
            refusal(self.place, str(reason))
            if isinstance(reason, txredisapi.ResponseError)
            else loss(self.place, reason)
        )

    # --- txredisapi's ---

    def dataReceived(self, data: bytes, unpause: bool = False) -> None:
        self._last_received = self._clock.seconds()
        try:
            super().dataReceived(data, unpause)
        except txredisapi.RedisError as error:
            self._end_reason = self._end_reason or error
            self.cut()

    def replyReceived(self, reply: Any) -> None:
        if self.replyQueue.waiting:
            super().replyReceived(reply)
        elif self.connected:
            self._end_reason = (
                reply
                if isinstance(reply, txredisapi.ResponseError)
                else txredisapi.InvalidData("it speaks unasked")
            )
            self.cut()

    def connectionLost(self, why: Failure = connectionDone) -> None:
        self._end_reason = self._end_reason or why.value
        super().connectionLost(why)
        if not self.ended.called:
            self.ended.callback(None)
