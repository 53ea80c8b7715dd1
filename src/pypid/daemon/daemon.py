"""The lifecycle of a running pypid: start, reload, drain, stop."""

from __future__ import annotations

import gc
import linecache
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from attrs import define, evolve, field
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from pypid import __version__, prefork
from pypid.core.errors import CannotStart
from pypid.daemon.identities import Identities
from pypid.daemon.listeners import Listener, url_of
from pypid.daemon.reconcile import Comparing
from pypid.daemon.sd_notify import READY, STOPPING, WATCHDOG, reloading
from pypid.daemon.state import StateFolder
from pypid.daemon.tls import Certificate
from pypid.flow import World, start
from pypid.flow.conditions import Condition
from pypid.flow.periodic import PeriodicJobs
from pypid.flow.signals import ReloadOutcome, Signals
from pypid.index import Index
from pypid.jobs.cache_maintenance import CacheMaintenance
from pypid.jobs.clean_stop import CleanStop
from pypid.prefork.sockets import ListeningSocket
from pypid.web.app.route_table import FILES, HEALTH, UPLOADS, RouteTable
from pypid.web.http.site import Site

if TYPE_CHECKING:
    from pypid.daemon.shared_catalog import Sharing  # where it is configured
    from pypid.jobs.stateless_node import StatelessNode  # for buckets only
    from pypid.prefork.supervisor import Supervisor  # for several workers only

_log = Logger()

DRAIN = 10.0
"""Seconds that requests under way get to finish when pypid stops."""
_LOOK = 0.05
"""Seconds between two checks whether they have finished."""
FIRST_PAGE, FIRST_PAGES = 0.2, 3.0
"""Seconds after the start that are reserved for the first page, and for further ones: imports in a
thread take their share of the processor.
"""
LOOK_AT_CERTIFICATE = 3.0
"""Seconds between two checks of the certificate's files; see `Certificate.reload_if_changed`."""
_RELOAD_FAILED = "reloading failed; the settings in force are unchanged"
_M_ARENA_MAX = -8
"""The parameter of glibc's ``mallopt`` (malloc.h)."""
SWITCH = 0.001
"""Seconds after which a computing thread yields Python's lock to the reactor (Python's default: 5
ms).
"""


class PeriodicDump(Protocol):
    """Data that is written to disk periodically, and at the end."""

    async def write(self) -> bool:
        """Write what changed; return whether all is written now. Never fails: errors are logged."""


@define(slots=False, eq=False)
class Daemon(PeriodicJobs):
    """The service that contains all others. `startService` raises `CannotStart`; `stopService` ends
    when all acknowledged writes are safe.
    """

    index: Index
    signals: Signals
    dumps: tuple[PeriodicDump, ...]
    dump_interval: float
    maintenance: CacheMaintenance
    sites: tuple[Site, ...]
    routes: RouteTable
    listening: tuple[Listener, ...]
    certificate: Certificate | None
    state: StateFolder
    world: World
    reactor: Any
    notify: Callable[[str], object]
    reload_people: Callable[[], Awaitable[ReloadOutcome]]
    people: Identities
    condition: Condition = field(factory=Condition)
    watchdog: float | None = None
    """Seconds without a notification after which the service manager takes this process for
    dead.
    """
    stateless_node: StatelessNode | None = None
    """Set where the storage is a bucket."""
    sharing: Sharing | None = None
    """Set where several nodes share the catalog."""
    supervisor: Supervisor | None = None
    """The other workers, set in the first of several."""
    clean_stop: CleanStop | None = None
    """Set where the next start may trust the dump that this stop writes."""
    welcome: Callable[[], object] | None = None
    """Creates the administrator of a first run, and prints the password. Called once pypid listens:
    a taken port must not leave a password that belongs to no running index.
    """
    further_services: tuple[Service, ...] = ()
    """Services that run as long as the daemon does."""
    prepare_upstream: Callable[[], Awaitable[object]] | None = None
    """Imports what the first request to an upstream index needs."""
    _sockets: list[ListeningSocket] = field(factory=list, init=False)
    failed: bool = field(default=False, init=False)
    """Whether the daemon found, once it ran, that it cannot continue."""
    stopping: bool = field(default=False, init=False)
    _ports: list[IListeningPort] = field(factory=list, init=False)
    _turn: DeferredLock = field(factory=DeferredLock, init=False)
    _comparing: Comparing = field(init=False)
    _loading_routes: Deferred[None] | None = field(default=None, init=False)
    _left: float = field(default=DRAIN, init=False)

    def __attrs_post_init__(self) -> None:
        super().__init__(self.world.clock)
        self.signals.cannot_continue.connect(self._fail)
        self.signals.reload_requested.connect(lambda outcome: self.reload().chainDeferred(outcome))
        self._comparing = Comparing(
            self.index,
            self.world,
            self.notify,
            self.signals,
            self._start_workers,
            self.stateless_node,
            self.sharing,
        )
        for dump in self.dumps:
            self.add_job(self.dump_interval, dump.write, "writing the snapshot")
        for service in (
            self.maintenance,
            self.people,
            self.stateless_node,
            self.sharing,
            *self.further_services,
        ):
            if service is not None:
                service.setServiceParent(self)  # type: ignore[no-untyped-call]
        if self.watchdog is not None:
            self.add_job(
                self.watchdog / 2, self._bark, "telling the service manager that we are alive"
            )
        if self.certificate is not None:
            self.add_job(
                LOOK_AT_CERTIFICATE, self._look_at_certificate, "looking at the TLS certificate"
            )

    # --- start ------------------------------------------------------------------------------------

    def startService(self) -> None:
        answer_soon()
        _keep()
        for listening in self.listening:
            port = listening.listen()
            self._ports.append(port)
            if self.supervisor is not None and listening.text:
                self._sockets.append(ListeningSocket.of(listening.text, port))
            if listening.text and prefork.number() == 1:
                _log.info(
                    "pypid {version} answers at {url}",
                    version=__version__,
                    url=url_of(port, secure=listening.secure),
                )
        if self.welcome is not None:
            self.welcome()
        super().startService()  # type: ignore[no-untyped-call]
        self.reactor.callWhenRunning(self._run)

    def _run(self) -> None:
        self.notify(READY)
        if self.stateless_node is None or self.people.access.is_open:
            self._start_workers()
        self._loading_routes = start(self._load_routes())
        self._loading_routes.addErrback(_trap_cancelled)
        self._comparing.begin()

    async def _load_routes(self) -> None:
        """Import what most clients need; then, after the first pages were answered, what uploads
        and requests to upstream indexes need: later there may be no descriptor to open the files
        with. The other modules with routes take 10 MB: they wait for a request.
        """
        await deferLater(self.world.clock, FIRST_PAGE)
        await self.routes.load(self.world, (HEALTH, FILES))
        await deferLater(self.world.clock, FIRST_PAGES)
        await self.routes.load(self.world, (UPLOADS,))
        if self.prepare_upstream is not None:
            await self.prepare_upstream()

    def _start_workers(self) -> None:
        """Start the other workers once the records of the state folder are there. This worker
        answers meanwhile.
        """
        if self.supervisor is not None and not self.stopping:
            self.supervisor.begin(self._sockets)

    def _fail(self, error: CannotStart) -> None:
        """Stop, since the configured setup turned out not to work."""
        _log.critical("{error}", error=error)
        self.failed = True
        self.reactor.stop()

    # --- reload -----------------------------------------------------------------------------------

    def reload(self) -> Deferred[ReloadOutcome]:
        """Read the certificate and the users again (SIGHUP, `pypid reload`), one reload after the
        other; connections stay open.
        """
        return self._turn.run(lambda: start(self._reload()))

    async def _reload(self) -> ReloadOutcome:
        if self.stopping:
            return ReloadOutcome(("pypid is stopping.",))
        self.notify(reloading(monotonic()))  # systemd's clock, which is not the reactor's
        if self.supervisor is not None:
            self.supervisor.reload()
        problem, outcome = None, ReloadOutcome((f"{_RELOAD_FAILED}. See the log for the reason.",))
        try:
            if self.certificate is not None:
                problem = await self.world.blocking(self.certificate.reload)
            outcome = await self.reload_people()
        except Exception:
            _log.failure(_RELOAD_FAILED)
        if not self.stopping:
            self.notify(READY)
        return (
            outcome if problem is None else evolve(outcome, problems=(problem, *outcome.problems))
        )

    async def _bark(self) -> None:
        """Notify the watchdog from the reactor: a process that hangs does not, and is restarted."""
        self.notify(WATCHDOG)

    async def _look_at_certificate(self) -> None:
        assert self.certificate is not None
        await self.world.blocking(self.certificate.reload_if_changed)

    # --- stop -------------------------------------------------------------------------------------

    def stopService(self) -> Deferred[None]:
        self.stopping = True
        self.condition.begin_to_stop()
        self.notify(STOPPING)
        self._comparing.end()
        if self._loading_routes is not None:
            self._loading_routes.cancel()
        return start(self._stop())

    def hurry(self) -> None:
        """Stop waiting for requests under way."""
        self._left = 0.0
        if self.supervisor is not None:
            self.supervisor.hurry()

    async def _stop(self) -> None:
        try:
            others = None if self.supervisor is None else self.supervisor.stop()
            await self._drain([port.stopListening() for port in self._ports])
            await _ended(others)  # before the lock is released, and records are copied
            await _ended(super().stopService())  # type: ignore[no-untyped-call]
            await self.maintenance.end()
            await self.people.end()
            is_written = [await dump.write() for dump in self.dumps]
            if (
                self.clean_stop is not None
                and all(is_written)
                and self.index.maintenance.may_trust_dump
            ):
                await self.clean_stop.leave()
            if self.stateless_node is not None:
                await self.stateless_node.end()
            if self.sharing is not None:
                await self.sharing.end()
        finally:
            self.state.release()
        _log.info("pypid has stopped; all changes that it confirmed are stored")

    async def _drain(self, closing: list[Any]) -> None:
        """Close idle connections at once; give requests under way `DRAIN` seconds."""
        for site in self.sites:
            site.drain()
        for closed in closing:
            # if a socket's file was removed, Twisted fails or never reports the end
            with suppress(TimedOut, OSError):
                await _ended(
                    closed.addTimeout(1, self.world.clock)
                    if isinstance(closed, Deferred)
                    else closed
                )
        if any(site.busy for site in self.sites):
            _log.info("stopping: requests under way get {seconds:.0f} s to end", seconds=DRAIN)
        while self._left > 0 and any(site.busy for site in self.sites):
            await deferLater(self.world.clock, _LOOK)
            self._left -= _LOOK
        for site in self.sites:
            site.abort()


def use_one_arena() -> None:
    """Have all threads allocate memory from one arena of malloc. Call it before the first thread.

    glibc gives each thread an arena of its own, which keeps what was freed there: verifying
    passwords in several threads leaves 8 MiB in each.
    """
    import ctypes

    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL("libc.so.6").mallopt(_M_ARENA_MAX, 1)


def answer_soon() -> None:
    """Shorten the GIL switch interval so that worker threads do not stall the reactor."""
    sys.setswitchinterval(SWITCH)


def _keep() -> None:
    """Exclude the objects made at start from garbage collection: scanning them would delay the
    first page.

    `pypid serve` collects garbage from here on; see `cli.starting`.
    """
    linecache.clearcache()  # the source of what attrs made: a megabyte
    gc.freeze()
    gc.enable()


def _trap_cancelled(failure: Failure) -> None:
    failure.trap(CancelledError)  # type: ignore[no-untyped-call]


async def _ended(result: Any) -> None:
    if isinstance(result, Deferred):
        await result
