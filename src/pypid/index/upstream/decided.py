"""The decisions of administrators about upstream projects, and the status that they set:
quarantine, deprecation, archive, or a note (PEP 792). The status of a project is a document of
record below ``.pypid/upstream-status/``.
"""

from __future__ import annotations

from datetime import datetime

import msgspec
from attrs import define, frozen

from pypid.core.approvals import ApprovalDocument
from pypid.core.model import Status
from pypid.core.packaging.names import ProjectName
from pypid.core.policy import Policy
from pypid.core.records.documents import FORMAT
from pypid.core.restrictions import ProjectRestrictions, StatusOverride
from pypid.flow import World
from pypid.index.decisions import DecisionFolder, Decisions
from pypid.index.local.manage import check_reason
from pypid.index.upstream.approvals import DECIDED, REQUESTS, Approvals, RequestDocument

STATUSES = "upstream-status"
"""The folder of the documents."""
SOURCE = "status"
"""The name of these rules in `RestrictionsInForce.replace`."""


_UNREADABLE = StatusOverride(Status.QUARANTINED, "the document of its status cannot be read")


class OverrideDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The status of an upstream project, as it is stored under the project's name."""

    status: Status
    reason: str
    by: str
    changed: datetime
    format: int = FORMAT


@define(eq=False)
class StatusOverrides:
    """Sets and removes the status of upstream projects."""

    folder: DecisionFolder[OverrideDocument]
    policy: Policy
    world: World

    def __attrs_post_init__(self) -> None:
        self.folder.changed.connect(self.apply)
        self.apply()

    def apply(self) -> None:
        """Put the documents in force. An unreadable one counts as a quarantine, since it may be
        one.
        """
        found = dict.fromkeys(self.folder.unreadable, _UNREADABLE)
        for name, document in self.folder.all.items():
            found[name] = StatusOverride(document.status, document.reason)
        projects = {
            ProjectName(name): ProjectRestrictions(status=override)
            for name, override in found.items()
        }
        quarantined = {name for name in projects if not found[name].status.offers_files}
        self.policy.restrictions.replace(SOURCE, projects, unlisted=quarantined)

    async def set(self, name: ProjectName, status: Status, reason: str, by: str) -> None:
        """Set the status; ``active`` without a reason removes it. Raises `BadRequest`,
        `StorageDown`.
        """
        check_reason(reason)
        reason = " ".join(reason.split())
        if status is Status.ACTIVE and not reason:
            await self.folder.delete(name)
            return
        document = OverrideDocument(status=status, reason=reason, by=by, changed=self.world.now())
        await self.folder.put(name, document)


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
