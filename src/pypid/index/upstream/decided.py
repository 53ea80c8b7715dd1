"""What administrators decided about upstream projects, together."""

from __future__ import annotations

from attrs import frozen

from pypid.core.approvals import ApprovalDocument
from pypid.core.policy import Policy
from pypid.flow import World
from pypid.index.decisions import Decisions
from pypid.index.upstream.approvals import DECIDED, REQUESTS, Approvals, RequestDocument
from pypid.index.upstream.status_overrides import STATUSES, OverrideDocument, StatusOverrides


@frozen
class UpstreamDecisions:
    """The status of upstream projects, and their approvals."""

    overrides: StatusOverrides
    approvals: Approvals

    @classmethod
    def of(cls, decisions: Decisions, policy: Policy, world: World) -> UpstreamDecisions:
        """Return those in a storage; before `Decisions.begin`."""
        overrides = StatusOverrides(decisions.folder(STATUSES, OverrideDocument), policy, world)
        decided = decisions.folder(DECIDED, ApprovalDocument)
        requests = decisions.folder(REQUESTS, RequestDocument)
        return cls(overrides, Approvals(decided, requests, policy, world))
