"""The daemon: its process, its life (start, reload, drain, stop), what systemd hears, and the first
comparison with the storage.
"""

from __future__ import annotations

import atexit
import gc
import linecache
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

from attrs import define, evolve, field
from twisted.application.service import MultiService, Service
from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.error import ReactorNotRunning
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from pypid import __version__, prefork
from pypid.core.errors import CannotStart, StorageDown
from pypid.daemon.identities import Identities
from pypid.daemon.listeners import Certificate, Listener, url_of
from pypid.daemon.sd_notify import READY, STOPPING, WATCHDOG, reloading, status
from pypid.daemon.state import StateFolder
from pypid.flow import World, start
from pypid.flow.conditions import Condition, PeriodicJobs
from pypid.flow.derived import ReloadOutcome, Signals
from pypid.index import Index
from pypid.index.store.reconcile import Reconciled
from pypid.jobs.cache_maintenance import CacheMaintenance, CleanStop
from pypid.jobs.leases import COMPARE, FILL, RECONCILE
from pypid.prefork.messages import ListeningSocket
from pypid.web.app.route_table import FILES, HEALTH, UPLOADS, RouteTable
from pypid.web.http.site import Site

if TYPE_CHECKING:
    from pypid.blobs.signed_urls import WrittenLinks
    from pypid.catalog.shared import SharedCatalog
    from pypid.daemon.shared_catalog import Sharing
    from pypid.jobs.stateless_node import StatelessNode
    from pypid.prefork.supervisor import Supervisor


# The reconciliation of the catalog with the storage when pypid starts, and when nodes restart
# their shared catalog.

_log = Logger()

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds between two attempts to compare with a storage that is unavailable."""


@define(eq=False)
class Comparing:
    """The reconciliation at start: `begin` it once the reactor runs, `end` it before the end.

    `is_prepared` is called when the records of the state folder are there.
    """

    index: Index
    world: World
    notify: Callable[[str], object]
    signals: Signals
    is_prepared: Callable[[], object]
    stateless_node: StatelessNode | None = None
    sharing: Sharing | None = None
    _running: Deferred[None] | None = field(default=None, init=False)
    _ended: bool = field(default=False, init=False)

    def begin(self) -> None:
        """Compare with the storage until it has worked once: only then is an absence proven."""
        self.signals.catalog_reset.connect(self.again)
        self._running = start(self._begin())
        self._running.addErrback(_trap_cancelled)

    def again(self) -> None:
        """Fill the shared catalog again, after it was reset."""
        if self._running is not None and self._running.called and not self._ended:
            self._running = start(self._compare())
            self._running.addErrback(_trap_cancelled)

    def end(self) -> None:
        """Cancel the comparison."""
        self._ended = True
        if self._running is not None:
            self._running.cancel()

    async def _begin(self) -> None:
        if self.sharing is not None:
            try:
                await self.sharing.begin()
            except CannotStart as error:
                self._fail(error)
                return
        await self._compare()

    async def _compare(self) -> None:
        pause = FIRST_PAUSE
        while not self._ended and not await self._compared(pause):
            await deferLater(self.world.clock, pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _compared(self, pause: float) -> bool:
        """Return whether it is done."""
        try:
            if self.stateless_node is not None:
                await self.stateless_node.prepare()
                self.is_prepared()
            found = await self._reconciled()
        except CannotStart as error:
            self._fail(error)
            return False
        except StorageDown as error:
            _log.error(
                "{error} Comparing with it is tried again in {pause} s.", error=error, pause=pause
            )
            return False
        except CancelledError:  # pypid stops: not a failure
            raise
        except Exception:
            _log.failure(
                "comparing with the storage failed; next attempt in {pause} s", pause=pause
            )
            return False
        if found is None and not await self.index.catalog.is_complete():
            return False
        self._say(found)
        _settle()
        if self.stateless_node is not None:
            await self.stateless_node.compared()
        return True

    async def _reconciled(self) -> Reconciled | None:
        """Return the result; None if another node has compared, or is comparing."""
        if self.sharing is None:
            return await self.index.maintenance.reconcile()
        found: list[Reconciled] = []

        async def compare() -> None:
            found.append(await self.index.maintenance.reconcile())

        # an earlier comparison says nothing of a catalog that was reset since
        job = (RECONCILE, COMPARE * 0.9) if await self.index.catalog.is_complete() else (FILL, 0.0)
        if not await self.sharing.leases.run(job[0], compare, job[1]):
            return None
        return found[0] if await self.index.catalog.is_complete() else None

    def _say(self, found: Reconciled | None) -> None:
        if found is None:
            _log.info("storage not compared: another node compared the shared catalog recently")
            return
        self.notify(status(f"{found.projects} projects"))
        strays = len(found.strays) + sum(map(len, found.named_strays.values()))
        _log.info(
            (
                "compared with the storage: {projects} projects, {read} of them read again, "
                "{changed} changed{strays}"
            ),
            projects=found.projects,
            read=found.read,
            changed=found.changed,
            strays=f"; {strays} files have no record: run `pypid storage rebuild`"
            if strays
            else "",
        )

    def _fail(self, error: CannotStart) -> None:
        self._ended = True
        self.signals.cannot_continue.emit(error)


def _settle() -> None:
    """Exclude the known objects, which live long, from garbage collection (it held up the reactor
    for 20 ms).
    """
    gc.collect()
    gc.freeze()


def _trap_cancelled(failure: Failure) -> None:
    failure.trap(CancelledError)  # type: ignore[no-untyped-call]


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
WRITE_LINKS = 60.0
"""Seconds between two writes of the signed URLs."""
_RELOAD_FAILED = "reloading failed; the settings in force are unchanged"
_M_ARENA_MAX = -8
"""The parameter of glibc's ``mallopt`` (malloc.h)."""
SWITCH = 0.001
"""Seconds after which a computing thread yields Python's lock to the reactor (Python's default: 5
ms).
"""


@define(slots=False, eq=False)
class Daemon(PeriodicJobs):
    """The service that contains all others. `startService` raises `CannotStart`; `stopService` ends
    when all acknowledged writes are safe.
    """

    index: Index
    signals: Signals
    catalog: SharedCatalog
    signed_urls: tuple[WrittenLinks, ...]
    """Written to disk periodically, and at the end."""
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
    """Set where the next start may trust the catalog after this stop."""
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
        for links in self.signed_urls:
            self.add_job(WRITE_LINKS, links.write, "writing the snapshot of signed URLs")
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
            for links in self.signed_urls:
                await links.write()
            if self.clean_stop is not None and self.index.maintenance.is_up_to_date:
                await self.clean_stop.leave(await self.catalog.following.engine.state())
            if self.stateless_node is not None:
                await self.stateless_node.end()
            await self.catalog.close()
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

    `pypid serve` collects garbage from here on; see `cli.server`.
    """
    linecache.clearcache()  # the source of what attrs made: a megabyte
    gc.freeze()
    gc.enable()


async def _ended(result: Any) -> None:
    if isinstance(result, Deferred):
        await result


# The daemon as a process: the signals that it handles, and how it ends where it cannot start.


class ProcessEnded(SystemExit, Exception):
    """The end of a process that has nothing to run; the text was logged.

    For an `Exception` twistd cleans up (its pid file, the process that waits for a daemon); for a
    `SystemExit` Python prints no traceback.
    """

    __module__ = "pypid"  # twistd prints 100 bytes of "module.Class: text": leave room for text

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.code = 1


class Process(MultiService):
    """A service that runs one `Daemon`, and handles signals.

    SIGTERM and SIGINT: stop, with status 0, since a stop was requested; a second time: do not wait
    for requests under way. SIGHUP: reload. SIGUSR1: `rotate` the log file, if there is one, as
    twistd does.
    """

    def __init__(
        self, daemon: Daemon, reactor: Any, rotate: Callable[[], object] | None = None
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's services are not annotated
        self._daemon = daemon
        self._reactor = reactor
        self._rotate = rotate
        daemon.setServiceParent(self)  # type: ignore[no-untyped-call]

    def startService(self) -> None:
        self._reactor.addSystemEventTrigger("after", "shutdown", self._has_ended)
        # By then the reactor has set its own handlers, which make twistd end itself by the signal.
        # Before the daemon starts, since a SIGHUP may come as soon as it says READY.
        self._reactor.callWhenRunning(self._heed)
        try:
            super().startService()  # type: ignore[no-untyped-call]
        except CannotStart as error:
            _log.critical("{error}", error=error)
            raise ProcessEnded(str(error)) from None

    def _heed(self) -> None:
        heeded: list[tuple[signal.Signals, Callable[[], object]]] = [
            (signal.SIGTERM, self._end),
            (signal.SIGINT, self._end),
            (signal.SIGHUP, self._daemon.reload),
        ]
        if self._rotate is not None:
            heeded.append((signal.SIGUSR1, self._rotate))
        for number, job in heeded:
            signal.signal(number, lambda *_, job=job: self._reactor.callFromThread(job))

    def _has_ended(self) -> None:
        """End with status 1 if the daemon failed: neither twistd nor a reactor has another
        status than 0.
        """
        if self._daemon.failed:
            atexit.register(_end_with_failure)

    def _end(self) -> None:
        if self._daemon.stopping:
            self._daemon.hurry()
        else:
            self.end()

    def end(self) -> None:
        """Stop in order."""
        try:
            self._reactor.stop()
        except ReactorNotRunning:  # something else has stopped it
            return


class WorkerProgram(Process):
    """A further worker. SIGTERM, also from systemd, which signals all processes: stop in order.
    Everything else comes from the first worker.
    """

    def _heed(self) -> None:
        signal.signal(signal.SIGTERM, lambda *_: self._reactor.callFromThread(self.end))


def _end_with_failure() -> None:
    """End the process, after the pid file was removed and all is written."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)
