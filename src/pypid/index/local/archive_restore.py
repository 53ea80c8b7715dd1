"""Requests a restore, once, of archived files that a client wants."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

from attrs import define, field
from twisted.logger import Logger

from pypid.core.caches import Recent
from pypid.core.errors import PypidError
from pypid.flow import shielded
from pypid.flow.derived import Flights
from pypid.ports import Bucket

_log = Logger()

PATIENCE = timedelta(hours=12)
"""How long a restore is not requested again: the slowest archive takes as long."""
MOST = 10_000
"""Maximum number of remembered keys."""


@define(eq=False)
class ArchiveRestores:
    """Requests restores of blobs from an archive. `bucket` is the store, or None if there are no
    archives.
    """

    bucket: Callable[[], Awaitable[Bucket]] | None
    seconds: Callable[[], float]
    """Returns the monotonic clock."""
    _requested: Recent[str, float] = field(
        factory=lambda: Recent(MOST, MOST), init=False, repr=False
    )
    _flights: Flights[str, None] = field(factory=Flights, init=False, repr=False)

    async def request(self, key: str) -> None:
        """Have the blob restored, unless that was requested recently. Failures are logged; the next
        call tries again.
        """
        requested = self._requested.get(key)
        if self.bucket is None or (
            requested is not None and self.seconds() < requested + PATIENCE.total_seconds()
        ):
            return
        await self._flights.single(key, lambda: shielded(self._request(key)))

    async def _request(self, key: str) -> None:
        assert self.bucket is not None
        try:
            await (await self.bucket()).restore(key)
        except PypidError as error:
            _log.error(
                "{key} is archived, and its restore could not be requested: {error}",
                key=key,
                error=error,
            )
            return
        _log.info("{key} is archived; a restore was requested", key=key)
        self._requested.put(key, self.seconds())
