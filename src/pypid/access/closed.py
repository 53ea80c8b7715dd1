"""Access that is closed until what it knows people by is there: on a new machine it comes from the
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
    """An `Access` that asks `access` once it `is_open`. Until then nobody can log in: 503, and no
    wrong password.
    """

    access: Access
    is_open: bool = True
    freshly: Callable[[], Awaitable[object] | None] = field(default=lambda: None, repr=False)
    """Comes before each question: looks at what may have changed where nobody would have told of
    it. Raises as `identify`.
    """

    async def identify(self, credential: Credential) -> Identity:
        """As `Access.identify`."""
        if not self.is_open:
            raise StorageDown("the accounts are still being fetched from it.", retry_after=5)
        looking = self.freshly()
        if looking is not None:
            await looking
        return await self.access.identify(credential)


_: type[Access] = ClosedAccess
