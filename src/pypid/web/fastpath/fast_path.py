"""The door itself: what it keeps, whether that still holds, and what is noted of each answer. It
answers in its doorways.
"""

from __future__ import annotations

from operator import itemgetter
from typing import Any

from twisted.internet.interfaces import IDelayedCall
from twisted.web.http import datetimeToString

from pypid.index.store.validity import stands
from pypid.ports import Glance
from pypid.web.app.app import App
from pypid.web.app.download_log import note_given
from pypid.web.app.guard import UNIX
from pypid.web.fastpath.cached_channel import LINES, CachedChannel
from pypid.web.fastpath.open_files import OpenFiles
from pypid.web.fastpath.response_cache import CachedResponse, ResponseCache, ResponseVariant
from pypid.web.http.access_log import AccessLog, LogClient, SharedLogFields, entry_of
from pypid.web.http.response_counts import count_long, count_short

LIMIT = 64 << 20
"""Bytes of all that is kept."""
STEP = 1.0
"""Seconds by which the wall clock and the reactor's clock differ more than before: then the wall
clock was set.
"""
LATER = 0.1
"""Seconds that the lines of the access log wait at most."""

Line = tuple[str, str | None, LogClient, SharedLogFields]
SAID = itemgetter(3)


class FastPath:
    """The front door of one face. `access_log` as the site's; None: nothing is logged.

    For a catalog that is a `Glance`. `close` it, or let the site `drain`, so that the last lines
    are written.
    """

    def __init__(
        self, face: App, glance: Glance, access_log: AccessLog | None = None, *, limit: int = LIMIT
    ) -> None:
        self.face = face
        self.glance = glance
        self.store = ResponseCache(limit)
        self.files = OpenFiles(face.world.clock, self.store.drop)
        self.log: list[Any] = []
        """What waits to be written and counted: each a `Line`; or a `SharedLogFields`, where
        nothing is written.
        """
        self.writes = access_log is not None
        self._counts = face.world.counts
        self._counts.before.append(self.flush)
        self.seconds = face.world.clock.seconds
        self.key = face.world.random(32)
        self.claims = face.index.policy.claims
        self.outage = face.index.envoy.outage
        self.epoch = face.epoch
        self.answered = 0
        """How many requests were answered here."""
        self.now, self.next_second = 0.0, 0.0
        self._ahead = self._ahead_of(self.seconds())
        self.date, self.moment = b"", ""
        self.quiet = False
        """Whether nothing but giving short answers was done since `look_around`: for whoever gives
        several in one go.
        """
        self.seen = 0
        self.rights = 0
        """Grows with each change of the rules."""
        self.changes = -1
        self.rules = face.rules
        self.claimed = self.claims.names
        self._access_log = access_log
        self._doorways: dict[tuple[bool, bool, bool], CachedChannel] = {}
        self.due = False
        self._later: IDelayedCall | None = None

    def doorway(self, secure: bool, trusted: bool, strict_host: bool = False) -> CachedChannel:
        """The one for connections with TLS or without, of trusted proxies or not, with unknown
        hosts refused or not.
        """
        kind = (secure, trusted, strict_host)
        if kind not in self._doorways:
            self._doorways[kind] = CachedChannel(self, kind)
        return self._doorways[kind]

    # --- what is so now ---

    def look(self) -> int:
        """Look around; another number after anything has changed that an answer may depend on, but
        time and outages.
        """
        changes, rules, claimed = self.glance.changes, self.face.rules, self.claims.names
        if changes != self.changes or rules is not self.rules or claimed is not self.claimed:
            self.notice()
        return self.seen

    def look_around(self) -> None:
        """See what is so `now`: before each answer, unless it is still `quiet` and nobody else was
        at work either.
        """
        now = self.now = self.seconds()
        if now >= self.next_second:
            self.tick(now)
        self.look()
        self.quiet = True

    def notice(self) -> None:
        """Something has changed."""
        self.changes = self.glance.changes
        if self.face.rules is not self.rules or self.claims.names != self.claimed:
            self.rules = self.face.rules
            self.rights += 1
        self.claimed = self.claims.names
        self.seen += 1

    def still_holds(self, answer: CachedResponse) -> bool:
        """Whether it would be made again as it is, though something has changed."""
        if answer.rights != self.rights:
            return False
        if answer.standing is None:
            if answer.changes != self.changes:
                return False
        elif not stands(self.glance, answer.standing):
            return False
        answer.seen = self.seen
        return True

    def tick(self, now: float) -> None:
        """Another second has begun: it is said in each answer, and in each line of the log."""
        self.next_second = now // 1 + 1
        ahead = self._ahead_of(now)
        if (
            abs(ahead - self._ahead) > STEP
        ):  # what ends at a time of day (a session, a cooldown) ends at another second now
            self.store.clear()
        self._ahead = ahead
        self.date = datetimeToString()  # type: ignore[no-untyped-call]
        self.moment = "" if self._access_log is None else self._access_log.time()

    def _ahead_of(self, now: float) -> float:
        """Return the wall clock's lead over the reactor's clock, in seconds."""
        return self.face.world.now().timestamp() - now

    # --- what was done ---

    def flush(self) -> None:
        """Write the lines that wait, and count them."""
        if self.log:
            lines, self.log = self.log, []
            count_short(self._counts, map(SAID, lines) if self.writes else lines)
            if self._access_log is not None:
                self._access_log.many(lines)

    def begin_lines(self, log: list[Any]) -> None:
        """There are lines to be written, soon; many at once."""
        if len(log) >= LINES:
            self.flush()
        if not self.due:
            self.due = True
            self._later = self.face.world.clock.callLater(LATER, self._flush_due)

    def _flush_due(self) -> None:
        self.due = False
        self.flush()

    def note_line(
        self, begun: float, client: str | None, asker: LogClient, said: SharedLogFields, size: int
    ) -> None:
        """A long answer has gone out, or this much of it. Its line does not wait: pypid may be
        about to stop.
        """
        count_long(self._counts, said, size, self.seconds() - begun)
        if self._access_log is not None:
            self.flush()  # the lines come in the order of the answers
            took = round((self.seconds() - begun) * 1000, 1)
            log = self._access_log
            log.write(entry_of(log.time(), client, asker, said, size, took, log.ids.next()))

    def close(self) -> None:
        """Write the lines that wait, and close the files."""
        if self.due and self._later is not None:
            self._later.cancel()
            self.due = False
        self.flush()
        self.files.close()

    def note_use(self, variant: ResponseVariant, client: str | None) -> None:
        """A token was used: once a second that is noted for each, and from each address."""
        noted = (self.date, client)
        if variant.noted != noted and self.face.registry is not None and variant.token is not None:
            variant.noted = noted
            self.quiet = False
            self.face.accounts.token_used(variant.token, client or UNIX)

    def note_given(
        self, answer: CachedResponse, variant: ResponseVariant, client: str | None
    ) -> None:
        """A file was given: once a second that is noted, of one after the other to
        the same client.
        """
        noted = (self.date, client, variant)
        if answer.noted != noted and answer.file is not None:
            answer.noted = noted
            self.quiet = False
            note_given(self.face, variant.identity, client, answer.file)
            if answer.file.source is not None:
                self.face.index.keeper.touched(answer.file)
