"""A stateless node: the files are in a bucket, and so is all that makes its machine disposable.

At the start the records are fetched into a new state folder, before any user can log in. Then, for
as long as it runs, they are kept up to date, and the bucket is compared again, to see what others
put there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import timedelta
from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.logger import Logger
from twisted.python.failure import Failure

from pypid.access.config import ClosedAccess
from pypid.core.errors import PypidError
from pypid.core.model import Blob
from pypid.flow import World, start
from pypid.flow.conditions import PeriodicJobs
from pypid.index import Index
from pypid.index.local.adoption import Result
from pypid.index.local.publish import UNDER_WAY
from pypid.jobs.backup import copies
from pypid.jobs.backup.copies import Backup
from pypid.jobs.backup.records import is_new, present
from pypid.jobs.leases import COMPARE, RECONCILE, Leases
from pypid.jobs.storage_lease import StorageLease

_log = Logger()

LAST_WORDS = 10.0
"""Seconds that the last writes into the bucket may take at the end."""
BY = "pypid"
"""The name under which files that other tools put into the bucket are adopted."""
SHORT = 32
"""Characters that a secret should have."""
_MOST_REPORTED = 10_000


@define(slots=False, eq=False)
class StatelessNode(PeriodicJobs):
    """The jobs of a stateless node. `backup` copies the records to the bucket; None leaves them
    alone (in a process that is not the first, or that runs one command).

    `access` admits no users until the records are restored, if the state folder is new, and
    `open_accounts` has compared the accounts with the bucket. `close` releases what the storage has
    open.
    """

    index: Index
    access: ClosedAccess
    close: Callable[[], Awaitable[object]]
    backup: Backup | None = None
    leases: Leases = field(factory=Leases)
    lease: StorageLease | None = None
    """The lease of the bucket: without it nothing is written there."""
    open_accounts: Callable[[], Awaitable[object]] | None = None
    takes_lease: bool = True
    """Whether the lease is taken at the start, and not only for a write."""
    _copying: bool = field(default=False, init=False)
    _complete: bool = field(default=False, init=False)
    _reported: set[tuple[str, str]] = field(factory=set, init=False, repr=False)
    """The strays that were logged as impossible to adopt."""
    _running: set[Deferred[object]] = field(factory=set, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        super().__init__(self._world.clock)

    @property
    def _world(self) -> World:
        return self.index.context.world

    def _add(
        self, interval: float, job: Callable[[], Coroutine[Any, Any, object]], what: str
    ) -> None:
        def run() -> Deferred[object]:
            running = start(job())
            self._running.add(running)
            running.addBoth(self._ended, running)
            return running

        self.add_job(interval, run, what)

    def _ended(self, result: Any, running: Deferred[object]) -> Any:
        self._running.discard(running)
        if (
            isinstance(result, Failure)
            and isinstance(result.value, CancelledError)
            and not self.running
        ):  # pypid stops
            return None
        return result

    def stopService(self) -> Deferred[Any]:
        """Cancel the jobs under way: `end` does what has to be done."""
        stopped = super().stopService()  # type: ignore[no-untyped-call]
        for running in list(self._running):
            running.cancel()
        return stopped  # type: ignore[no-any-return]

    # --- the start ---

    async def prepare(self) -> None:
        """Do what comes before the first comparison. Raises `StorageDown`, to be tried again, and
        `CannotStart`.
        """
        if self.lease is not None and self.takes_lease:
            await self.lease.look()
        if not self.access.is_open:
            await self._open()
        self._begin_to_copy()

    async def _open(self) -> None:
        backup = self.backup
        restored = []
        if backup is not None and await self._world.blocking(is_new, backup.state):
            restored = await backup.restore()
        if restored:
            _log.info("The state was restored from the bucket: {names}", names=", ".join(restored))
        if self.open_accounts is not None:
            await self.open_accounts()
        self.access.open()

    def _begin_to_copy(self) -> None:
        """Begin to copy once it is known what the bucket has, not after a comparison: that may take
        long, or fail while a project is unreadable.
        """
        if self._copying or self.backup is None or self.backup.secret is None:
            return
        self._copying = True
        self._add(copies.EVERY, self._copy, "copying what is of record to the bucket")

    @property
    def _may_write(self) -> bool:
        return self.lease is None or self.lease.is_held

    async def _copy(self) -> None:
        if self.backup is not None and self._may_write:
            await self.backup.copy()

    async def compared(self) -> None:
        """Begin to compare the bucket again, after the first comparison."""
        if self._complete or self.backup is None:
            return
        self._complete = True
        await self._warn(self.backup)
        self._add(COMPARE, self._look_around, "comparing with the bucket")
        await self._copy()

    async def _warn(self, backup: Backup) -> None:
        names = await self._world.blocking(present, backup.state)
        if backup.secret is not None and len(backup.secret) < SHORT:
            _log.warn(
                "[server] secret is so short that it could be guessed. `pypid gen-secret` makes a "
                "better one."
            )
        if backup.secret is None and names:
            _log.warn(
                "[server] secret is not set, so the state is not copied to the bucket and is "
                "lost with this machine: {names} in {state}. `pypid gen-secret` makes a "
                "secret.",
                names=", ".join(names),
                state=str(backup.state),
            )

    # --- files of other tools ---

    async def _look_around(self) -> None:
        await self.leases.run(RECONCILE, self.look_around, COMPARE * 0.9)

    async def look_around(self) -> None:
        """Compare again, and adopt the files of other tools, but not those that another node is
        publishing.
        """
        try:
            found = await self.index.maintenance.reconcile()
            adopted = await self._take_in(found.strays)
            for prefix, strays in found.named_strays.items():
                adopted += await self._take_in(strays, prefix)
        except PypidError as error:
            _log.error(
                "{error} The next comparison with it is in {every}.",
                error=error,
                every=timedelta(seconds=COMPARE),
            )
            return
        if found.changed or adopted:
            message = (
                "compared with the storage: {read} of {projects} projects read again, {adopted} "
                "files adopted"
            )
            _log.info(message, read=found.read, projects=found.projects, adopted=adopted)

    async def _take_in(self, strays: Sequence[Blob], prefix: str = "") -> int:
        """Adopt strays of the index that has this prefix; return how many were adopted."""
        now = self._world.now()
        resting = [
            blob
            for blob in strays
            if now - blob.modified > UNDER_WAY
            and (prefix + blob.key, blob.etag) not in self._reported
        ]
        etags = {prefix + blob.key: blob.etag for blob in resting}
        taken = 0
        for adopted in await self.index.maintenance.take_in(resting, BY, prefix):
            if adopted.outcome is Result.ADOPTED:
                taken += 1
                continue
            _log.warn(
                "{key} is not restored: {why}", key=adopted.key, why=" ".join(adopted.problems)
            )
            if len(self._reported) < _MOST_REPORTED:
                self._reported.add((adopted.key, etags[adopted.key]))
        return taken

    # --- the end ---

    async def end(self) -> None:
        """Write what is not in the bucket yet, as far as it answers, and close it; call it after
        the last request.
        """
        try:
            if self.backup is not None and self.access.is_open and self._may_write:
                await self._in_time(self.backup.copy(), "what is of record")
            if self.lease is not None:
                await self._in_time(self.lease.end(), "that the lease is given back")
        finally:
            await self.close()

    def _in_time(self, job: Coroutine[Any, Any, object], what: str) -> Deferred[object]:
        def late(failure: Failure) -> None:
            failure.trap(TimedOut)  # type: ignore[no-untyped-call]
            _log.error("{what} could not be written into the bucket in time", what=what)

        writing = start(job)
        writing.addTimeout(LAST_WORDS, self._world.clock)
        return writing.addErrback(late)
