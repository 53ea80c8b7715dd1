"""Access that stays closed until the accounts are available: a new machine fetches them from the
bucket.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from attrs import define, field

from pypid.core.errors import StorageDown
from pypid.core.permissions import Credential, Identity
from pypid.ports import Access


@define(eq=False)
class ClosedAccess:
    """An `Access` that uses `access` once it `is_open`. Until then every login fails with 503, and
    not as a wrong password.
    """

    access: Access
    is_open: bool = True
    freshly: Callable[[], Awaitable[object] | None] = field(default=lambda: None, repr=False)
    """Called before each question; reads changes that this process is not notified of. Raises as
    `identify`.
    """

    def open(self) -> None:
        """Admit users from now on."""
        self.is_open = True

    async def identify(self, credential: Credential) -> Identity:
        """Return the identity that the credential proves. Raises `StorageDown` until it `is_open`,
        else as `Access.identify`.
        """
        if not self.is_open:
            raise StorageDown("the accounts are still being fetched from it.", retry_after=5)
        looking = self.freshly()
        if looking is not None:
            await looking
        return await self.access.identify(credential)


_: type[Access] = ClosedAccess
