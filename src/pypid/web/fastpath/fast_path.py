"""The fast path itself: its cache, whether entries still hold, and the accounting of each response.
It answers through its `CachedChannel` objects.
"""

from __future__ import annotations

from operator import itemgetter
from typing import Any

from twisted.internet.interfaces import IDelayedCall
from twisted.web.http import datetimeToString

from pypid.index.store.validity import is_valid
from pypid.ports import Glance
from pypid.web.app.app import App
from pypid.web.app.download_log import note_given
from pypid.web.app.request_context import UNIX
from pypid.web.fastpath.cached_channel import LINES, CachedChannel
from pypid.web.fastpath.open_files import OpenFiles
from pypid.web.fastpath.response_cache import CachedResponse, ResponseCache, ResponseVariant
from pypid.web.http.access_log import AccessLog, LogClient, SharedLogFields, entry_of
from pypid.web.http.response_counts import count_long, count_short

LIMIT = 64 << 20
"""Maximum size of the cache in bytes."""
STEP = 1.0
"""Change in seconds of the difference between the wall clock and the reactor's clock that means
that the wall clock was set.
"""
LATER = 0.1
"""Maximum seconds that lines of the access log wait."""

Line = tuple[str, str | None, LogClient, SharedLogFields]
SAID = itemgetter(3)


class FastPath:
    """The fast path of one app. `access_log` as the site's; None: nothing is logged.

    It needs a catalog that is a `Glance`. `close` it, or let the site `drain`, so that the last
    lines are written.
    """

    def __init__(
        self, app: App, glance: Glance, access_log: AccessLog | None = None, *, limit: int = LIMIT
    ) -> None:
        self.app = app
        self.glance = glance
        self.store = ResponseCache(limit)
        self.files = OpenFiles(app.world.clock, self.store.drop)
        self.log: list[Any] = []
        """Entries that wait to be written and counted: each a `Line`; or a `SharedLogFields`, if no
        log is written.
        """
        self.writes = access_log is not None
        self._counts = app.world.counts
        self._counts.before.append(self.flush)
        self.seconds = app.world.clock.seconds
        self.key = app.world.random(32)
        self.claims = app.index.policy.claims
        self.outage = app.index.gate.breaker
        self.epoch = app.auth_generation
        self.answered = 0
        """The number of requests that were answered here."""
        self.now, self.next_second = 0.0, 0.0
        self._ahead = self._ahead_of(self.seconds())
        self.date, self.moment = b"", ""
        self.quiet = False
        """Whether only short responses were sent since `look_around`: for callers that send several
        in one go.
        """
        self.seen = 0
        self.rights = 0
        """Increases with each change of the rules."""
        self.changes = -1
        self.rules = app.rules
        self.claimed = self.claims.names
        self._access_log = access_log
        self._doorways: dict[tuple[bool, bool, bool], CachedChannel] = {}
        self.due = False
        self._later: IDelayedCall | None = None

    def doorway(self, secure: bool, trusted: bool, strict_host: bool = False) -> CachedChannel:
        """Return the `CachedChannel` for connections with or without TLS, of trusted proxies or
        not, with unknown hosts refused or not.
        """
        kind = (secure, trusted, strict_host)
        if kind not in self._doorways:
            self._doorways[kind] = CachedChannel(self, kind)
        return self._doorways[kind]

    # --- current state ---

    def look(self) -> int:
        """Check for changes; return a number that differs after any change that a response may
        depend on, except time and outages.
        """
        changes, rules, claimed = self.glance.changes, self.app.rules, self.claims.names
        if changes != self.changes or rules is not self.rules or claimed is not self.claimed:
            self.notice()
        return self.seen

    def look_around(self) -> None:
        """Update `now` and check for changes: before each response, unless it is still `quiet` and
        no other code ran either.
        """
        now = self.now = self.seconds()
        if now >= self.next_second:
            self.tick(now)
        self.look()
        self.quiet = True

    def notice(self) -> None:
        """Register a change of the catalog, the rules or the claimed names."""
        self.changes = self.glance.changes
        if self.app.rules is not self.rules or self.claims.names != self.claimed:
            self.rules = self.app.rules
            self.rights += 1
        self.claimed = self.claims.names
        self.seen += 1

    def still_holds(self, answer: CachedResponse) -> bool:
        """Return whether the response would be the same now, although something has changed."""
        if answer.rights != self.rights:
            return False
        if answer.standing is None:
            if answer.changes != self.changes:
                return False
        elif not is_valid(self.glance, answer.standing):
            return False
        answer.seen = self.seen
        return True

    def tick(self, now: float) -> None:
        """Begin another second: update the date of responses and log lines."""
        self.next_second = now // 1 + 1
        ahead = self._ahead_of(now)
        if (
            abs(ahead - self._ahead) > STEP
        ):  # sessions and cooldowns end at a time of day, which is another second now
            self.store.clear()
        self._ahead = ahead
        self.date = datetimeToString()  # type: ignore[no-untyped-call]
        self.moment = "" if self._access_log is None else self._access_log.time()

    def _ahead_of(self, now: float) -> float:
        """Return the wall clock's lead over the reactor's clock, in seconds."""
        return self.app.world.now().timestamp() - now

    # --- accounting ---

    def flush(self) -> None:
        """Write the lines that wait, and count them."""
        if self.log:
            lines, self.log = self.log, []
            count_short(self._counts, map(SAID, lines) if self.writes else lines)
            if self._access_log is not None:
                self._access_log.many(lines)

    def begin_lines(self, log: list[Any]) -> None:
        """Schedule the writing of lines, many at once."""
        if len(log) >= LINES:
            self.flush()
        if not self.due:
            self.due = True
            self._later = self.app.world.clock.callLater(LATER, self._flush_due)

    def _flush_due(self) -> None:
        self.due = False
        self.flush()

    def note_line(
        self, begun: float, client: str | None, asker: LogClient, said: SharedLogFields, size: int
    ) -> None:
        """Log and count a long response that has gone out, or `size` bytes of it. Its line does not
        wait: pypid may be about to stop.
        """
        count_long(self._counts, said, size, self.seconds() - begun)
        if self._access_log is not None:
            self.flush()  # keeps the lines in the order of the responses
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
        """Record the use of a token: once a second for each token and address."""
        noted = (self.date, client)
        if variant.noted != noted and self.app.registry is not None and variant.token is not None:
            variant.noted = noted
            self.quiet = False
            self.app.accounts.token_used(variant.token, client or UNIX)

    def note_given(
        self, answer: CachedResponse, variant: ResponseVariant, client: str | None
    ) -> None:
        """Record the download of a file: consecutive ones of the same client once a second."""
        noted = (self.date, client, variant)
        if answer.noted != noted and answer.file is not None:
            answer.noted = noted
            self.quiet = False
            note_given(self.app, variant.identity, client, answer.file)
            if answer.file.source is not None:
                self.app.index.file_cache.touched(answer.file)
