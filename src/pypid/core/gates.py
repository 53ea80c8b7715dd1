"""The gates of promotions: what a release needs before an index takes it from another one. Pure."""

from __future__ import annotations

import re

from attrs import frozen

from pypid.core.errors import shortened

ATTESTED = "attested"
NO_CRITICAL_ADVISORY = "no-critical-advisory"
APPROVED_BY = "approved-by:"
_APPROVER = re.compile(r"(?:(?P<user>[^\s/]{1,100})/)?(?P<token>[^\s/]{1,100})\Z")


@frozen
class Approver:
    """The approval that a gate requires: from a token of this name, which belongs to any user, or
    to `user`.
    """

    token: str
    user: str | None = None

    def accepts(self, user: str, token: str) -> bool:
        """Return whether the approval of this user's token counts."""
        return token == self.token and self.user in (None, user)


def approver_of(gate: str) -> Approver | None:
    """Return the approver that the gate names; None for another gate."""
    found = _APPROVER.match(gate.removeprefix(APPROVED_BY))
    if found is None or not gate.startswith(APPROVED_BY):
        return None
    return Approver(found["token"], found["user"])


def check_gate(gate: str) -> str:
    """Return the gate. Raises `ValueError` if pypid does not know it."""
    if gate in (ATTESTED, NO_CRITICAL_ADVISORY) or approver_of(gate) is not None:
        return gate
    raise ValueError(
        f"{shortened(gate)!r} is not a gate: use {ATTESTED}, {NO_CRITICAL_ADVISORY}, "
        f"{APPROVED_BY}TOKEN or {APPROVED_BY}USER/TOKEN"
    )
