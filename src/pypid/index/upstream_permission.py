"""What a request may cause at the upstream indexes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from attrs import field, frozen

from pypid.core.errors import PypidError


@frozen
class UpstreamPermission:
    """What a request may cause upstream, and which part of the index it is for.

    `via`: the pypid instances that the request has passed through (``Via``). `refusal`: the error
    to raise if an upstream request would be necessary and this user may not cause one
    (`[access] cache_update`); stored files are still served. `local`: only stored files are
    requested, and there are no upstream requests (``/local/``). `before`: the index is requested as
    it was before this time (``/at/``).
    """

    via: tuple[str, ...] = ()
    refusal: PypidError | None = None
    local: bool = False
    before: datetime | None = None
    spend: Callable[[], None] | None = field(default=None, eq=False, repr=False)
    """Deducts one name that was never looked up upstream from the client's budget, or raises
    `Busy`; None: there is no limit.
    """

    @property
    def may_reach_out(self) -> bool:
        """Whether there may be upstream requests on behalf of this request."""
        return self.refusal is None and not self.local


DIRECT = UpstreamPermission()
"""The permission of a direct request, or of an internal one, without restrictions."""
