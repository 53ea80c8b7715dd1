"""Changes of the accounts that other nodes make: how they are noticed, and read in time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

from pypid.access.sql.current_accounts import CurrentAccounts
from pypid.core.errors import PeopleUnknown
from pypid.flow import World


class OtherNodes(Protocol):
    """The other nodes that use the same accounts (`daemon.shared_catalog`)."""

    def reported_until(self) -> float:
        """Return until when, on the clock, other nodes would have reported a change."""

    def has_missed(self) -> bool:
        """Return whether other nodes reported a change that cannot be read yet: a project may be
        private by now, or a name local. No client is admitted meanwhile, since public access is
        defined in the accounts, too.
        """


class NoOtherNodes:
    """The nodes of a pypid that is the only one."""

    def reported_until(self) -> float:
        """Return that nothing can be missed."""
        return float("inf")

    def has_missed(self) -> bool:
        """Return False: there is no other node."""
        return False


def read_changes(
    current: CurrentAccounts, nodes: OtherNodes, world: World
) -> Coroutine[Any, Any, None] | None:
    """Return a reading of the accounts, if other nodes may have changed them since the last one."""
    if world.clock.seconds() < nodes.reported_until():
        return None

    async def read() -> None:
        try:
            await current.refresh()
        except PeopleUnknown:  # administrators of the configuration still get in
            current.distrust()

    return read()


def watch(current: CurrentAccounts) -> Callable[[], Awaitable[bool]]:
    """Return a check whether the accounts have changed since now; False where they cannot be
    read.
    """
    known = current.known

    async def has_changed() -> bool:
        try:
            await current.refresh()
        except PeopleUnknown:
            return False
        return current.known is not known

    return has_changed
