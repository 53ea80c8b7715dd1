"""The credentials for signing: from the configuration, or from botocore's chain.

The chain (environment, shared files, web identity, container, instance) blocks: it reads files and
sends requests to AWS's services by itself. So it runs in threads, at the start, and again in time
before keys expire.
"""

# botocore is not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from datetime import timedelta
from typing import Any, Protocol

import botocore.session
from attrs import frozen
from botocore.exceptions import BotoCoreError, ClientError
from twisted.logger import Logger

from pypid.blobs.s3.signatures import Keys
from pypid.core.errors import StorageDown
from pypid.flow import World, start
from pypid.flow.single_flight import Flights

EARLY = timedelta(minutes=15)
"""How long before their expiry new keys are fetched, while the old ones are still used. botocore's
chain does likewise.
"""
LATE = timedelta(minutes=2)
"""How long before their expiry keys are no longer used."""
PAUSE = timedelta(seconds=20)
"""How long to wait before trying again to fetch new keys, while the old ones are valid or the chain
has no others.
"""
_log = Logger()


class Credentials(Protocol):
    """The keys for signing."""

    @property
    def known(self) -> Keys | None:
        """The current keys, as far as they are known without waiting."""

    async def current(self) -> Keys:
        """Return keys that stay valid for some time. Raises `StorageDown` if there are none."""

    async def renewed(self, refused: Keys) -> Keys:
        """Return keys other than those, which the store refused; the same if there are no
        others.
        """


@frozen
class FixedCredentials:
    """Keys from the configuration."""

    keys: Keys

    @property
    def known(self) -> Keys | None:
        return self.keys

    async def current(self) -> Keys:
        return self.keys

    async def renewed(self, refused: Keys) -> Keys:
        return self.keys


class BotocoreChain:
    """Keys from botocore's standard chain, fetched when they are needed."""

    def __init__(self, world: World, session: Any = botocore.session.Session) -> None:
        self._world = world
        self._session = session
        self._source: Any = None
        self._keys: Keys | None = None
        self._fetched: float | None = None
        self._in_vain: float | None = None
        """When other keys than refused ones were last looked for in vain (seconds of the clock)."""
        self._flights: Flights[None, Keys] = Flights()

    @property
    def known(self) -> Keys | None:
        return self._keys

    async def current(self) -> Keys:
        keys = self._keys
        if keys is None:
            return await self._fetch(fresh=False)
        now = self._world.now()
        if keys.expires is None or keys.expires - now > EARLY:
            return keys
        if keys.expires - now <= LATE:
            return await self._fetch(fresh=False)
        if not self._tried_lately():
            self._fetched = self._world.clock.seconds()
            start(self._fetch(fresh=False)).addErrback(
                lambda _: None
            )  # already logged; the old ones are valid for a while
        return keys

    async def renewed(self, refused: Keys) -> Keys:
        if self._keys is not None and self._keys != refused:
            return self._keys
        now, vain = self._world.clock.seconds(), self._in_vain
        if self._keys is not None and vain is not None and now - vain < PAUSE.total_seconds():
            return self._keys
        found = refused
        try:
            found = await self._fetch(fresh=True)
        finally:
            self._in_vain = now if found == refused else None
        return found

    def _tried_lately(self) -> bool:
        return (
            self._fetched is not None
            and self._world.clock.seconds() - self._fetched < PAUSE.total_seconds()
        )

    async def _fetch(self, *, fresh: bool) -> Keys:
        return await self._flights.single(None, lambda: self._flight(fresh))

    async def _flight(self, fresh: bool) -> Keys:
        try:
            self._keys = await self._world.blocking(self._resolve, fresh)
        finally:
            self._fetched = self._world.clock.seconds()
        return self._keys

    def _resolve(self, fresh: bool) -> Keys:
        """Return the chain's keys. Blocks. botocore renews keys that are about to expire; `fresh`:
        run the whole chain again.
        """
        try:
            if self._source is None or fresh:
                self._source = self._session().get_credentials()
            if self._source is None:
                raise LookupError(
                    "the AWS chain has none: set access_key and secret_key, or see that it finds "
                    "some"
                )
            found = self._source.get_frozen_credentials()
            expires = getattr(self._source, "_expiry_time", None)
        except (
            BotoCoreError,
            ClientError,
            LookupError,
            OSError,
            RuntimeError,
            ValueError,
        ) as error:
            _log.error("No credentials for S3: {error}", error=error)
            raise StorageDown("its credentials cannot be had.") from error
        return Keys(found.access_key, found.secret_key, found.token, expires)


def of(access: str | None, secret: str | None, token: str | None, world: World) -> Credentials:
    """Return the given credentials, else the chain's. Raises `ValueError` if only half of them is
    given.
    """
    if not access and not secret:
        if token:
            raise ValueError(
                "session_token belongs to access_key and secret_key, which are not set"
            )
        return BotocoreChain(world)
    if not access or not secret:
        raise ValueError(
            "access_key and secret_key belong together: set both, or none for the standard AWS "
            "chain"
        )
    return FixedCredentials(Keys(access, secret, token or None))
