"""What several nodes agree on: who does a job (by leases in the shared catalog, which expire by
themselves), and whether their settings are the same.

The node that does a job keeps its lease while it goes on, and then as long as the job need not be
repeated. A node that dies in the middle leaves a lease that expires within `HELD`. If two do a job,
because the engine was unavailable, that is waste and no damage.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from hashlib import blake2b, scrypt
from typing import Any

import attrs
from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from pypid.core.configuration.parse import Config
from pypid.core.indexes import values_of
from pypid.core.model import SignedUrl
from pypid.core.times import AHEAD
from pypid.database.engine import CatalogReset, Engine
from pypid.database.places import DatabaseAway, DatabaseUnusable
from pypid.flow import World, shielded, start
from pypid.flow.conditions import ClockedLoop, Periodic

_log = Logger()

HELD, RENEWED = 30.0, 8.0
"""Seconds that a lease is valid while its job goes on, and after which it is renewed."""
RECONCILE, FILL, REFRESH, EVICT, TENDED = "reconcile", "fill", "refresh", "evict", "tidy"
PROVENANCE = "provenance"
"""The names of the leases of jobs."""
PUBLISHING = "publish "
"""The prefix of a publisher's lease, before the place of the file."""
COMPARE = 600.0
"""Seconds between two comparisons with a storage that others write to: all is listed, and what has
not changed is not read.
"""

Job = Callable[[], Awaitable[object]]


class Leases:
    """Runs jobs that only one of several nodes is to do: all of them, for a pypid that shares its
    catalog with no other.
    """

    async def run(self, name: str, job: Job, rest: float = 0.0) -> bool:
        """Do the job, unless another node does it, or did it less than `rest` seconds ago; return
        whether it was done here.

        Raises what the job raises: then another node may do it at once.
        """
        await job()
        return True


@define(eq=False)
class Shared(Leases):
    """The leases of an engine. `holder` differs for each process."""

    engine: Engine
    holder: str
    world: World
    _doing: set[str] = field(factory=set, init=False)

    async def run(self, name: str, job: Job, rest: float = 0.0) -> bool:
        """Do the job if the lease is free, see `Leases.run`. While the engine is unavailable
        nothing is done.
        """
        if name in self._doing:
            return False
        self._doing.add(name)
        try:
            if not await self._take(name, HELD):
                return False
            await self._do(name, job, rest)
        finally:
            self._doing.discard(name)
        return True

    async def _do(self, name: str, job: Job, rest: float) -> None:
        begun = self.world.clock.seconds()
        ends = self._keep(name)
        left = 0.0
        try:
            await job()
            left = rest - (self.world.clock.seconds() - begun)
        finally:
            await shielded(self._ended(name, ends, left))

    @asynccontextmanager
    async def announced(self, place: str) -> AsyncIterator[bool]:
        """Hold the publisher's lease of a file for the block, see `index.context.Announced`."""
        name = PUBLISHING + place
        if not await self._take(name, HELD):
            yield False
            return
        ends = self._keep(name)
        try:
            yield True
        finally:
            await shielded(self._ended(name, ends, 0.0))

    def _keep(self, name: str) -> Callable[[], Deferred[LoopingCall]]:
        """Renew the held lease until the returned function is called."""
        renewing = ClockedLoop(self.world.clock, self._renew, name)
        renewed: Deferred[LoopingCall] = renewing.start(RENEWED, now=False)

        def end() -> Deferred[LoopingCall]:
            renewing.stop()
            return renewed

        return end

    async def _ended(
        self, name: str, ends: Callable[[], Deferred[LoopingCall]], left: float
    ) -> None:
        await ends()
        if left > 0:
            await self._take(name, left)
        else:
            await self._give_back(name)

    def _renew(self, name: str) -> Deferred[bool]:
        return start(self._take(name, HELD))

    async def _take(self, name: str, seconds: float) -> bool:
        """Return whether this process has the lease; False where the engine cannot be asked."""
        try:
            return await self.engine.lease(name, self.holder, seconds)
        except (CatalogReset, DatabaseAway, DatabaseUnusable) as error:
            _log.debug(
                "the lease {name} could not be requested: {reason}", name=name, reason=str(error)
            )
            return False

    async def _give_back(self, name: str) -> None:
        try:
            await self.engine.release(name, self.holder)
        except (CatalogReset, DatabaseAway, DatabaseUnusable):  # it expires by itself
            return


# Whether the nodes of one index agree on the settings that decide who sees what, and on the time
# of day.
#
# They exchange this through the shared catalog. One node leaves a digest of its settings there,
# with a time; the others compare their own with it, and renew it in turn.

LOOK = 30.0
"""Seconds between two comparisons."""
LASTING = timedelta(minutes=3)
"""How long a digest is valid. It is renewed in the second half, by whichever node comes first."""
SETTINGS, CLOCK = "settings", "clock"
"""What nodes may differ in."""
KEY = "pypid node settings"
"""The key of the digest among the links of the catalog: no key of a file has a space."""
_WARNINGS = {
    SETTINGS: (
        "other nodes of this index have other settings ([access], [upstream], [users], [groups], "
        "[projects] or [server] secret): what a client may see depends on which node it asks. Give "
        "all nodes the same configuration."
    ),
    CLOCK: (
        "the clock of this node is behind that of another node by more than a minute: tokens, "
        "sessions and moments depend on the time of day. See that all nodes keep it by NTP."
    ),
}
_UPSTREAM = (
    "mode",
    "url",
    "upstreams",
    "reserved",
    "allow",
    "deny",
    "allow_mixed",
    "cooldown",
    "cooldown_fixes",
    "require_hashes",
    "new_projects",
)
_ACCESS = (
    "backend",
    "read",
    "write",
    "cache_update",
    "collect",
    "overwrite",
    "delete",
    "delete_needs",
    "owners",
    "admins",
    "registration",
)


def digest_of(config: Config, salt: str) -> str:
    """Return a digest of what nodes have to agree on. It does not reveal the secret, however weak
    that is. Takes 50 ms.
    """
    settings: dict[str, Any] = {
        "access": {name: _plain(getattr(config.access, name)) for name in _ACCESS},
        "upstream": {name: _plain(getattr(config.upstream, name)) for name in _UPSTREAM},
        "upstreams": _named_upstreams(config),
        "indexes": {name: values_of(each) for name, each in config.indexes.items()},
        "adopt": _plain(config.storage.adopt),
        **{name: _plain(getattr(config, name)) for name in ("users", "groups", "projects")},
    }
    secret = (config.server.secret or "").encode()
    proof = scrypt(secret, salt=salt.encode(), n=1 << 14, r=8, p=1, dklen=32)
    return blake2b(
        json.dumps(settings, sort_keys=True).encode() + proof, digest_size=16
    ).hexdigest()


def _named_upstreams(config: Config) -> Any:
    """Return what nodes have to agree on of each `[upstream:NAME]`, in their order."""
    keys = ("url", "only", "exclusive", "cooldown", "require_hashes")
    return [
        [name, *(_plain(getattr(settings, key)) for key in keys)]
        for name, settings in config.upstreams.items()
    ]


def _plain(value: Any) -> Any:
    """Return the value as JSON types, and in the same order in each process."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Mapping():
            return {str(key): _plain(each) for key, each in value.items()}
        case set() | frozenset():
            return sorted((_plain(each) for each in value), key=repr)
        case tuple() | list():
            return [_plain(each) for each in value]
        case _ if attrs.has(type(value)):
            return {
                name.name: _plain(getattr(value, name.name)) for name in attrs.fields(type(value))
            }
        case _:
            return str(value)


@define(eq=False)
class Agreement:
    """The comparison of this node with the others. `config` returns its configuration; `salt` is
    the same for all nodes.
    """

    engine: Engine
    world: World
    config: Callable[[], Config]
    salt: str
    differs: frozenset[str] = field(default=frozenset(), init=False)
    """What differs from another node: `SETTINGS`, `CLOCK`."""
    _digest: tuple[Config, str] | None = field(default=None, init=False, repr=False)

    def periodic(self) -> Periodic:
        """Return the service that compares every `LOOK` seconds."""
        what = "comparing the settings with those of other nodes"
        return Periodic(self.world.clock, LOOK, self.look, what)

    async def look(self) -> None:
        """Compare, and warn of new differences. While the catalog is unavailable nothing
        changes.
        """
        digest, now = await self._own(), self.world.now()
        ends = now + LASTING
        try:
            found = await self.engine.keep_link(KEY, SignedUrl(digest, ends), now + LASTING / 2)
        except (CatalogReset, DatabaseAway, DatabaseUnusable):
            return
        differs = {SETTINGS: found.url != digest, CLOCK: found.expires > ends + AHEAD}
        self._note(frozenset(name for name, is_so in differs.items() if is_so))

    async def _own(self) -> str:
        config = self.config()
        if self._digest is None or self._digest[0] is not config:
            self._digest = config, await self.world.thinking(digest_of, config, self.salt)
        return self._digest[1]

    def _note(self, differs: frozenset[str]) -> None:
        for name in sorted(differs - self.differs):
            _log.warn("nodes differ: {text}", text=_WARNINGS[name])
        for name in sorted(self.differs - differs):
            _log.info("the nodes agree again: {what}", what=name)
        self.differs = differs
