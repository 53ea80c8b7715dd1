"""On whose behalf something is looked up: what the middle has to know of a request."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from attrs import field, frozen

from pypid.core.errors import PypidError


@frozen
class RequestContext:
    """What a request may cause.

    `via` are the pypids that it has come through (``Via``). `refusal` is what to raise where other
    indexes would have to be asked for an answer, and this person may not make us ask (`[access]
    cache_update`): stored files are served all the same. `local`: only what is stored is wanted,
    and nobody is asked (``/local/``). `before`: the index is wanted as it was before this moment
    (``/at/``).
    """

    via: tuple[str, ...] = ()
    refusal: PypidError | None = None
    local: bool = False
    before: datetime | None = None
    spend: Callable[[], None] | None = field(default=None, eq=False, repr=False)
    """Takes one name that was never asked upstream out of the client's budget, or raises `Busy`;
    None: there is no limit.
    """

    @property
    def may_reach_out(self) -> bool:
        """Whether other indexes may be asked on behalf of this request."""
        return self.refusal is None and not self.local


DIRECT = RequestContext()
"""By a client itself, or by ourselves, with nothing in the way."""
