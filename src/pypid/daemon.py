"""The life of a running pypid: start, reload, drain, stop."""

from __future__ import annotations

import gc
import signal
from collections.abc import Callable
from typing import Any

from attrs import define, field, frozen
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.internet.task import deferLater
from twisted.logger import Logger

from pypid import __version__
from pypid.catalog.snapshot import Snapshot
from pypid.core.errors import CannotStart, StorageDown
from pypid.flow import Periodic, World, start
from pypid.index import Index
from pypid.sdnotify import READY, STOPPING, reloading, status
from pypid.state import State
from pypid.tls import Certificate
from pypid.web.channel import Site

_log = Logger()

DRAIN = 10.0
"""Seconds that requests under way get to end when pypid stops."""
LOOK_AT_CERTIFICATE = 5.0
"""Seconds between two looks at the certificate's files."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds between two tries to compare with a storage that is away."""


@frozen
class Listening:
    """One endpoint: its Twisted string, what speaks on it, and whether it speaks TLS."""

    endpoint: str
    factory: IProtocolFactory


@define(slots=False, eq=False)
class Daemon(MultiService):
    """All that runs. `startService` raises `CannotStart`; `stopService` ends when all that was acknowledged is safe."""

    index: Index
    snapshot: Snapshot | None
    snapshot_interval: float
    sites: tuple[Site, ...]
    listening: tuple[Listening, ...]
    certificate: Certificate | None
    state: State
    world: World
    reactor: Any
    notify: Callable[[str], object]
    reload_people: Callable[[], Deferred[None]]
    _ports: list[IListeningPort] = field(factory=list, init=False)
    _stopping: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's services are not annotated
        if self.snapshot is not None:
            self._add(self.snapshot_interval, self.snapshot.write, "writing the snapshot")
        if self.certificate is not None:
            self._add(LOOK_AT_CERTIFICATE, self._look_at_certificate, "looking at the TLS certificate")

    def _add(self, interval: float, job: Callable[[], Any], what: str) -> None:
        Periodic(self.world.clock, interval, job, what).setServiceParent(self)  # type: ignore[no-untyped-call]

    def startService(self) -> None:
        _settle()
        for listening in self.listening:
            self._listen(listening)
            _log.info("pypid {version} listens on {endpoint}", version=__version__, endpoint=listening.endpoint)
        super().startService()  # type: ignore[no-untyped-call]
        signal.signal(signal.SIGHUP, lambda *_: self.reactor.callFromThread(self.reload))
        self.reactor.callWhenRunning(self._run)

    def _listen(self, listening: Listening) -> None:
        failures: list[str] = []
        endpoint = serverFromString(self.reactor, listening.endpoint)  # type: ignore[no-untyped-call]
        listened = endpoint.listen(listening.factory)
        listened.addCallbacks(self._ports.append, lambda failure: failures.append(failure.getErrorMessage()))
        if failures:
            raise CannotStart(
                f"pypid cannot listen on {listening.endpoint}: {failures[0]} "
                "Stop what uses that address, or choose another in [server] listen."
            )

    def _run(self) -> None:
        self.notify(READY)
        start(self._reconcile()).addErrback(lambda failure: _log.failure("comparing with the storage failed", failure))

    async def _reconcile(self) -> None:
        """Compare with the storage, until it worked once: only then is an absence proven."""
        pause = FIRST_PAUSE
        while not self._stopping:
            try:
                found = await self.index.reconcile()
            except StorageDown as error:
                _log.error("{error} Trying again in {pause} s.", error=error, pause=pause)
                await deferLater(self.world.clock, pause)
                pause = min(pause * 2, LONGEST_PAUSE)
                continue
            self.notify(status(f"{found.projects} projects"))
            _settle()
            _log.info(
                "compared with the storage: {projects} projects, {changed} of them read anew{strays}",
                projects=found.projects,
                changed=found.changed,
                strays=f"; {len(found.strays)} files have no record: `pypid rebuild` takes them in" if found.strays else "",
            )
            return

    def reload(self) -> None:
        """SIGHUP: read the certificate and the people again; connections stay open."""
        self.notify(reloading(self.world.clock.seconds()))
        if self.certificate is not None:
            self.certificate.reload()
        self.reload_people().addBoth(lambda _: self.notify(READY))

    async def _look_at_certificate(self) -> None:
        assert self.certificate is not None
        await self.world.blocking(self.certificate.reload_if_changed)

    def stopService(self) -> Deferred[None]:
        self._stopping = True
        self.notify(STOPPING)
        return start(self._stop())

    async def _stop(self) -> None:
        for port in self._ports:
            await _ended(port.stopListening())
        await self._drain()
        await _ended(super().stopService())  # type: ignore[no-untyped-call]
        if self.snapshot is not None:
            await self.snapshot.write()
        self.state.release()

    async def _drain(self) -> None:
        """Idle connections are closed at once; requests under way get `DRAIN` seconds."""
        left = DRAIN
        for site in self.sites:
            site.drain()
        while left > 0 and any(site.busy for site in self.sites):
            await deferLater(self.reactor, 0.05)
            left -= 0.05
        for site in self.sites:
            site.abort()


def _settle() -> None:
    """What is known now lives long: the collector need not look at it again and again (it held up the reactor for 20 ms)."""
    gc.collect()
    gc.freeze()


async def _ended(result: Any) -> None:
    if isinstance(result, Deferred):
        await result
