"""What the core has to know of a request."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from attrs import field, frozen

from pypid.core.errors import PypidError


@frozen
class RequestContext:
    """What a request may cause.

    `via`: the pypids that it has passed through (``Via``). `refusal`: the error to raise if
    upstream would have to be asked and this user may not cause that (`[access] cache_update`);
    stored files are still served. `local`: only stored files are wanted, and upstream is not asked
    (``/local/``). `before`: the index is wanted as it was before this time (``/at/``).
    """

    via: tuple[str, ...] = ()
    refusal: PypidError | None = None
    local: bool = False
    before: datetime | None = None
    spend: Callable[[], None] | None = field(default=None, eq=False, repr=False)
    """Spends one name that was never looked up upstream from the client's budget, or raises `Busy`;
    None: there is no limit.
    """

    @property
    def may_reach_out(self) -> bool:
        """Whether upstream may be asked on behalf of this request."""
        return self.refusal is None and not self.local


DIRECT = RequestContext()
"""The context of a direct request, or of an internal one, without restrictions."""
