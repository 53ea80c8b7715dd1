"""The state of the fast path: its cache, whether entries still hold, and the accounting of each
response.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Any, Protocol

from twisted.internet.interfaces import IDelayedCall
from twisted.web.http import datetimeToString

from pypid.core.accounts.entries import DownloadEntry
from pypid.core.errors import PypidError
from pypid.flow import World
from pypid.flow.signals import Signal
from pypid.index.index import Index
from pypid.index.store.validity import is_valid
from pypid.ports import Accounts, Downloads, Glance
from pypid.web.fastpath.open_files import OpenFiles
from pypid.web.fastpath.response_cache import CachedResponse, KnownClient, ResponseCache
from pypid.web.http.access_log import AccessLog, LogClient, SharedLogFields, entry_of
from pypid.web.http.request import UNIX
from pypid.web.http.response_counts import count_long, count_short
from pypid.web.http.running_downloads import RunningDownloads

LIMIT = 64 << 20
"""Maximum size of the cache in bytes."""
LINES = 2000
"""Maximum number of access log lines that wait."""
STEP = 1.0
"""Change in seconds of the difference between the wall clock and the reactor's clock that means
that the wall clock was set.
"""
LATER = 0.1
"""Maximum seconds that lines of the access log wait."""

Line = tuple[str, str | None, LogClient, SharedLogFields]
_LOG_FIELDS = itemgetter(3)


class IdentityGeneration(Protocol):
    """The generation of identities: those verified in an earlier one are not trusted."""

    @property
    def must_wait(self) -> Callable[[str], bool]: ...

    @property
    def changes(self) -> int: ...

    @property
    def lease(self) -> float: ...

    @property
    def until(self) -> float: ...


class IndexSettingsSignal(Protocol):
    """The part of the named indexes that the fast path uses."""

    @property
    def changed(self) -> Signal[[]]:
        """Emitted after the settings of an index have changed."""


class CachedApp(Protocol):
    """The app whose responses are cached, as the fast path uses it."""

    @property
    def world(self) -> World: ...

    @property
    def index(self) -> Index: ...

    @property
    def rules(self) -> object:
        """Another object after each change of rights."""

    @property
    def running(self) -> RunningDownloads: ...

    @property
    def indexes(self) -> IndexSettingsSignal: ...

    @property
    def closed(self) -> PypidError | None:
        """Why only administrators are let in, if so."""

    @property
    def auth_generation(self) -> IdentityGeneration: ...

    @property
    def registry(self) -> object | None:
        """The registry of accounts; without one, `accounts` and `downloads` cannot be used."""

    @property
    def accounts(self) -> Accounts: ...

    @property
    def downloads(self) -> Downloads: ...


class FastPathState:
    """The state of the fast path of one app. `access_log` as the site's; None: nothing is logged.

    It needs a catalog that is a `Glance`. `close` it, or let the site `drain`, so that the last
    lines are written.
    """

    now = next_second = 0.0
    """The time of the last `refresh` and the next full second, on the reactor's clock."""
    date, log_time = b"", ""
    """The current date, for responses and for lines of the access log."""
    quiet = False
    """Whether only short responses were sent since `refresh`: for callers that send several in one
    go.
    """
    version = 0
    """Increases with each change that a response may depend on, except time and outages."""
    rights = 0
    """Increases with each change of the rules or restrictions: no response is valid after it."""
    changes = -1
    due = False
    """Whether lines wait to be written."""
    _writing: IDelayedCall | None = None

    def __init__(
        self,
        app: CachedApp,
        glance: Glance,
        access_log: AccessLog | None = None,
        *,
        limit: int = LIMIT,
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
        self.restrictions = app.index.policy.restrictions
        self.circuit_breaker = app.index.gate.breaker
        self.generation = app.auth_generation
        self._ahead = self._ahead_of(self.seconds())
        self.rules = app.rules
        self.claimed = self.claims.names
        self.restricted = self.restrictions.current
        self._access_log = access_log
        app.indexes.changed.connect(self.notice_indexes)

    # --- current state ---

    def check(self) -> int:
        """Check for changes; return the `version`."""
        changes, rules, claimed = self.glance.changes, self.app.rules, self.claims.names
        if (
            changes != self.changes
            or rules is not self.rules
            or claimed is not self.claimed
            or self.restrictions.current is not self.restricted
        ):
            self.notice()
        return self.version

    def refresh(self) -> None:
        """Update `now` and check for changes: before each response, unless it is still `quiet` and
        no other code ran either.
        """
        now = self.now = self.seconds()
        if now >= self.next_second:
            self.tick(now)
        self.check()
        self.quiet = True

    def interrupt(self) -> None:
        """End the quiet time: other code may run before the next response."""
        self.quiet = False

    def notice(self) -> None:
        """Register a change of the catalog, the rules, the claimed names or the restrictions."""
        self.changes = self.glance.changes
        restricted = self.restrictions.current
        if (
            self.app.rules is not self.rules
            or self.claims.names != self.claimed
            or restricted is not self.restricted
        ):
            self.rules = self.app.rules
            self.rights += 1
        self.claimed = self.claims.names
        self.restricted = restricted
        self.version += 1

    def notice_indexes(self) -> None:
        """Invalidate responses after a change of the settings of named indexes."""
        self.rights += 1
        self.version += 1

    def still_holds(self, response: CachedResponse) -> bool:
        """Return whether the response would be the same now, although something has changed."""
        if response.rights != self.rights:
            return False
        if response.validity is None:
            if response.changes != self.changes:
                return False
        elif not is_valid(self.glance, response.validity):
            return False
        response.confirm(self.version)
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
        self.log_time = "" if self._access_log is None else self._access_log.time()

    def _ahead_of(self, now: float) -> float:
        """Return the wall clock's lead over the reactor's clock, in seconds."""
        return self.app.world.now().timestamp() - now

    # --- accounting ---

    def flush(self) -> None:
        """Write the lines that wait, and count them."""
        if self.log:
            lines, self.log = self.log, []
            count_short(self._counts, map(_LOG_FIELDS, lines) if self.writes else lines)
            if self._access_log is not None:
                self._access_log.many(lines)

    def begin_lines(self, log: list[Any]) -> None:
        """Schedule the writing of lines, many at once."""
        if len(log) >= LINES:
            self.flush()
        if not self.due:
            self.due = True
            self._writing = self.app.world.clock.callLater(LATER, self._flush_due)

    def _flush_due(self) -> None:
        self.due = False
        self.flush()

    def note_line(
        self,
        begun: float,
        address: str | None,
        log_client: LogClient,
        log_fields: SharedLogFields,
        size: int,
    ) -> None:
        """Log and count a long response that has gone out, or `size` bytes of it. Its line does not
        wait: pypid may be about to stop.
        """
        seconds = self.seconds() - begun
        count_long(self._counts, log_fields, size, seconds)
        if self._access_log is not None:
            self.flush()  # keeps the lines in the order of the responses
            took = round(seconds * 1000, 1)
            log = self._access_log
            log.write(
                entry_of(log.time(), address, log_client, log_fields, size, took, log.ids.next())
            )

    def close(self) -> None:
        """Write the lines that wait, and close the files."""
        if self.due and self._writing is not None:
            self._writing.cancel()
            self.due = False
        self.flush()
        self.files.close()

    def record_use(self, token: str, address: str | None) -> None:
        """Record the use of a token."""
        self.quiet = False
        if self.app.registry is not None:
            self.app.accounts.token_used(token, address or UNIX)

    def record_download(
        self, response: CachedResponse, client: KnownClient, address: str | None
    ) -> None:
        """Record the download of the response's file."""
        self.quiet = False
        file = response.file
        assert file is not None
        if self.app.registry is not None and file.sha256 is not None:
            self.app.downloads.note(
                DownloadEntry.of(file, client.identity, address, self.app.world.now())
            )
        if file.source is not None:
            self.app.index.file_cache.touched(file)
