"""Signed URLs in the engine that nodes share: so that all of them give the same one, which clients'
caches know.
"""

from __future__ import annotations

from collections.abc import Coroutine
from datetime import datetime
from hashlib import blake2b
from typing import Any, TypeVar

from attrs import frozen
from twisted.internet.defer import TimeoutError

from pypid.catalog.engine import Anew, DatabaseAway, DatabaseUnusable
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
    """A `SharedLinks`. `signer` tells of all that makes another URL of the same key: whose keys,
    how long, which host.
    """

    following: ReplicaFollower
    signer: str

    async def link(self, key: str, good_after: datetime) -> SignedUrl | None:
        return await self._asked(self.following.engine.link(self._named(key), good_after))

    async def keep_link(self, key: str, link: SignedUrl, good_after: datetime) -> SignedUrl:
        return await self._asked(
            self.following.engine.keep_link(self._named(key), link, good_after)
        )

    def _named(self, key: str) -> str:
        """Under what it is kept: short, however long the key is, and without a name of a file."""
        return blake2b(f"{self.signer}\0{key}".encode(), digest_size=32).hexdigest()

    async def _asked(self, question: Coroutine[Any, Any, T]) -> T:
        """What the engine answers. Raises `CatalogDown`, at once where it is known to be away."""
        if self.following.away is not None:
            question.close()
            raise CatalogDown
        try:
            return await start(question).addTimeout(PATIENCE, self.following.world.clock)
        except (DatabaseAway, DatabaseUnusable, Anew, TimeoutError) as error:
            raise CatalogDown from error


_: type[SharedLinks] = EngineLinks
