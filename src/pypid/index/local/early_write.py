"""Write the bytes of an upload to the storage while its client is still sending them.

A bucket is slow to fill, and a client waits for its answer. The bytes go to the spool, as always,
and from there to the bucket at the same time. The write ends only when the upload has passed all
checks, and a write that has not ended stores nothing: no other client ever sees bytes that were
refused.
"""

from __future__ import annotations

import os

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from pypid.core.errors import CatalogDown, PypidError
from pypid.core.model import Blob, Project
from pypid.core.packaging.names import Distribution
from pypid.core.records.layout import key
from pypid.flow import start
from pypid.flow.coroutines import is_patient
from pypid.flow.growing_file import GrowingFile
from pypid.flow.spool import Spool
from pypid.index.context import IndexContext

_log = Logger()

EARLIEST = 8 << 20
"""Number of bytes after which a write begins early. A smaller file is one request to a bucket."""


@define(eq=False)
class EarlyWrite:
    """The early write of one upload; use it with ``async with``, which gives up a write that was
    not finished.

    `most` is the maximum size of the file in bytes. Nothing is begun where `is_useful` is False.
    """

    _context: IndexContext
    _most: int
    is_useful: bool = True
    _key: str | None = field(default=None, init=False)
    _spool: Spool | None = field(default=None, init=False, repr=False)
    _body: GrowingFile | None = field(default=None, init=False, repr=False)
    _writing: Deferred[Blob] | None = field(default=None, init=False, repr=False)
    _was_sole: bool = field(default=False, init=False)

    async def __aenter__(self) -> EarlyWrite:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.discard()

    async def begin(self, distribution: Distribution, spool: Spool) -> None:
        """Begin once enough bytes are in the spool, unless the index already has a file of this
        name: then most uploads are refused, or store nothing.
        """
        if not self.is_useful or self._spool is not None:
            return
        try:
            ours = await self._context.catalog.local.get(distribution.project)
            is_away = await self._context.catalog.is_away()
        except CatalogDown:
            return
        if is_away or (isinstance(ours, Project) and ours.file(distribution.filename) is not None):
            return
        self._key = key(distribution.project, distribution.filename)
        self._spool = spool

    def grew(self, written: int) -> None:
        """Note that so many bytes are in the spool's file (`Spool`, `written`)."""
        if self._spool is None or self._key is None:
            return
        if self._body is None and written > EARLIEST:
            self._start(self._spool, self._key)
        if self._body is not None:
            self._body.grew(written)

    def _start(self, spool: Spool, key: str) -> None:
        try:
            file = os.fdopen(spool.descriptor_of_its_own(), "rb")
        except (OSError, RuntimeError):
            return  # the next bytes try again
        self._body = body = GrowingFile(file, self._context.world.blocking, self._most)
        self._was_sole = self._context.is_sole()
        before = is_patient.set(True)  # as in `Publisher.publish`
        try:
            self._writing = start(self._context.blobs.write(key, body))
        finally:
            is_patient.reset(before)
        self._writing.addErrback(self._failed, key)

    def _failed(self, failure: Failure, key: str) -> Failure | None:
        """Note a failure. Before `finish` it is no failure of the upload: its bytes are written
        again, from the spool.
        """
        if self._body is not None and self._body.is_whole:
            return failure
        if self._writing is None:  # given up
            return None
        self._writing = None
        error = failure.value
        if isinstance(error, Exception) and not isinstance(error, (PypidError, CancelledError)):
            _log.failure("the early write of {key} failed", failure=failure, key=key)
        _log.info("{key} is written after it was received: {error}", key=key, error=error)
        return None

    async def finish(self, key: str, size: int) -> Blob | None:
        """End the write, so that the bytes are stored under the key, and return the blob. Return
        None if no such write is under way, or the lease under which it began was lost; then nothing
        was stored.

        Raises as `Blobs.write`.
        """
        is_lost = self._was_sole and not self._context.is_sole()
        if self._writing is None or self._body is None or self._key != key or is_lost:
            return None
        writing, self._writing = self._writing, None
        self._body.end(size)
        return await writing

    def discard(self) -> None:
        """Give up a write that was not finished: the storage keeps nothing of it."""
        writing, self._writing = self._writing, None
        self._spool = None
        if writing is not None:
            writing.addErrback(lambda _: None)
            writing.cancel()
