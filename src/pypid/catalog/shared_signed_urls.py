"""Signed URLs in the engine that nodes share: all nodes return the same URL, so that clients'
caches recognize it.
"""

from __future__ import annotations

from collections.abc import Coroutine
from datetime import datetime
from hashlib import blake2b
from typing import Any, TypeVar

from attrs import frozen
from twisted.internet.defer import TimeoutError

from pypid.catalog.engine import CatalogReset, DatabaseAway, DatabaseUnusable
from pypid.catalog.replica_follower import ReplicaFollower
from pypid.catalog.signed_urls import SharedLinks
from pypid.core.errors import CatalogDown
from pypid.core.model import SignedUrl
from pypid.flow import start

T = TypeVar("T")

PATIENCE = 1.0
"""Seconds that a client waits for an engine that does not answer: then it gets a URL of this node's
own.
"""


@frozen
class EngineLinks:
    """A `SharedLinks` in the engine. `signer` covers all that leads to another URL for the same
    key: whose keys, how long, which host.
    """

    following: ReplicaFollower
    signer: str

    async def link(self, key: str, good_after: datetime) -> SignedUrl | None:
        return await self._answer(self.following.engine.link(self._engine_key(key), good_after))

    async def keep_link(self, key: str, link: SignedUrl, good_after: datetime) -> SignedUrl:
        return await self._answer(
            self.following.engine.keep_link(self._engine_key(key), link, good_after)
        )

    def _engine_key(self, key: str) -> str:
        """Return the engine's key: short, however long `key` is, and without a filename."""
        return blake2b(f"{self.signer}\0{key}".encode(), digest_size=32).hexdigest()

    async def _answer(self, question: Coroutine[Any, Any, T]) -> T:
        """Return the engine's answer. Raises `CatalogDown`, at once if it is known to be
        unavailable.
        """
        if self.following.away is not None:
            question.close()
            raise CatalogDown
        try:
            return await start(question).addTimeout(PATIENCE, self.following.world.clock)
        except (DatabaseAway, DatabaseUnusable, CatalogReset, TimeoutError) as error:
            raise CatalogDown from error


_: type[SharedLinks] = EngineLinks
