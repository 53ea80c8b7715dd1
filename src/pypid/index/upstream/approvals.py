"""Approval of upstream projects: decisions of administrators, and the requests that wait for one
(`[upstream] new_projects`). Documents of record, below ``.pypid/approvals/`` and
``.pypid/approval-requests/``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from attrs import define, evolve, field, frozen
from twisted.logger import Logger

from pypid.core.accounts.sessions import place_of
from pypid.core.configuration.choices import NewProjects
from pypid.core.errors import NoSuchResource, StorageDown, StorageFull, shortened
from pypid.core.indexes import absolute
from pypid.core.model import File, Presence, Project, Status
from pypid.core.packaging.names import ProjectName
from pypid.core.packaging.releases import choose_release, release_of, releases
from pypid.core.policy import Policy, view
from pypid.core.records.documents import Document
from pypid.core.restrictions import (
    ApprovalDocument,
    ApprovalVerdict,
    ProjectRestrictions,
    RestrictionsInForce,
    StatusOverride,
    approval_id,
    matches,
    parse_specifier,
    rules_of,
)
from pypid.flow import World
from pypid.flow.derived import Locks
from pypid.index.decisions import DecisionFolder, Decisions
from pypid.index.index import Index
from pypid.index.local.manage import check_reason
from pypid.index.upstream.public_names import source_of

_log = Logger()

DECIDED, REQUESTS = "approvals", "approval-requests"
"""The folders of the documents."""
SOURCE = "approvals"
"""The name of these rules in `RestrictionsInForce.replace`."""
MOST_REQUESTS = 1000
"""Maximum number of projects that wait; further ones are refused like them, and not listed."""
MOST_OF_ONE = 100
"""Maximum number of projects that wait because of one user or address; an IPv6 address counts as
its /64.
"""
MOST_NAMED = 10
"""Maximum number of users that one request names."""
RENEWED = timedelta(minutes=1)
"""How often a request that is repeated is written again."""
EXPIRY = timedelta(days=30)
"""How long a project waits after the last request for it."""
MOST_REMOVED = 16
"""Maximum number of expired requests that a new one removes: its client waits for that."""


class RequestDocument(Document, frozen=True, kw_only=True):
    """A project that waits, as it is stored under its name. `by`: users, or addresses of clients
    without a user, the first one first. `count`: the number of requests, approximate if several
    nodes receive them.
    """

    by: tuple[str, ...]
    first: datetime
    last: datetime
    count: int = 1


@frozen
class WaitingProject:
    """A project that waits for approval, and who requested it."""

    name: ProjectName
    request: RequestDocument


@frozen
class ListedFacts:
    """What an upstream lists of a project. `first`: when its oldest file was uploaded; `newest`: a
    file of the release that installers would choose.
    """

    releases: int
    first: datetime | None
    newest: File | None


@define(eq=False)
class Approvals:
    """The decisions in force, and the queue of requests."""

    decisions: DecisionFolder[ApprovalDocument]
    requests: DecisionFolder[RequestDocument]
    policy: Policy
    world: World
    _locks: Locks[ProjectName] = field(factory=Locks, init=False, repr=False)
    _counted: dict[ProjectName, RequestDocument] = field(factory=dict, init=False, repr=False)
    """Requests that were repeated and not written yet."""
    _adding: dict[ProjectName, str] = field(factory=dict, init=False, repr=False)
    """Requests that are being written, and their users."""

    def __attrs_post_init__(self) -> None:
        self.decisions.changed.connect(self.apply)
        self.apply()

    @property
    def asks(self) -> bool:
        """Whether new projects need an approval."""
        return self.policy.new_projects is NewProjects.ASK

    def apply(self) -> None:
        """Put the decisions in force."""
        decided = [*self.decisions.all.values(), *self._unreadable()] if self.asks else ()
        self.policy.restrictions.replace(SOURCE, rules_of(decided))

    def _unreadable(self) -> Iterator[ApprovalDocument]:
        """Yield a denial for each document that cannot be read: it may have been one."""
        for id in self.decisions.unreadable.keys() - self.decisions.all.keys():
            yield ApprovalDocument(
                project=id.partition(".")[0],
                specifier="",
                verdict=ApprovalVerdict.DENIED,
                reason="a decision about it cannot be read",
                by="",
                decided=self.world.now(),
            )

    # --- requests ---

    async def request(self, name: ProjectName, by: str, version: str | None = None) -> None:
        """Record that a client requested a project, or one of its versions, that needs an approval.

        Only the first request is written at once. The queue is bounded, and so is what one user may
        add; a storage failure is logged, since the client is refused anyway.
        """
        if not self.asks or self._is_denied(name, version):
            return
        now, written = self.world.now(), self.requests.all.get(name)
        if written is not None and self._has_expired(written):
            written = None
        # what another process has removed from the queue counts no more
        known = None if written is None else self._counted.get(name, written)
        if self._locks.held(name) or (written is not None and now < written.last + RENEWED):
            if known is not None:  # else it is being written for the first time
                self._counted[name] = _repeated(known, by, now)
            return
        if known is None and self._is_full(by):
            return
        self._adding[name] = by
        try:
            async with self._locks.hold(name):
                self._counted.pop(name, None)
                await self.requests.put(name, _repeated(known, by, now))
            if known is None:
                old = self.requests.all.keys() - self._unexpired().keys()
                await self.requests.delete(*sorted(old)[:MOST_REMOVED])
        except (StorageDown, StorageFull) as error:
            _log.warn(
                "the request for approval of {name} was not stored: {error}",
                name=name,
                error=error,
            )
        finally:
            self._adding.pop(name, None)

    def _is_denied(self, name: ProjectName, version: str | None) -> bool:
        return any(
            each.verdict is ApprovalVerdict.DENIED
            and (not each.specifier or (version is not None and matches(each.specifier, version)))
            for each in self.of(name)
        )

    def _is_full(self, by: str) -> bool:
        first = {name: "".join(each.by[:1]) for name, each in self._unexpired().items()}
        first.update(self._adding)
        if len(first) >= MOST_REQUESTS:
            return True
        place = place_of(by)
        return sum(place_of(user) == place for user in first.values()) >= MOST_OF_ONE

    def _unexpired(self) -> Mapping[ProjectName, RequestDocument]:
        """Return the requests, as they were written last, that have not expired."""
        return {
            ProjectName(name): each
            for name, each in self.requests.all.items()
            if not self._has_expired(each)
        }

    def _has_expired(self, request: RequestDocument) -> bool:
        return request.last < self.world.now() - EXPIRY

    def waiting(self) -> Sequence[WaitingProject]:
        """Return the projects that wait, the latest request first; none without the setting."""
        if not self.asks:
            return ()
        found = [
            WaitingProject(name, self._counted.get(name, request))
            for name, request in self._unexpired().items()
        ]
        return sorted(found, key=lambda each: (each.request.last, each.name), reverse=True)

    # --- decisions ---

    def of(self, name: ProjectName) -> Sequence[ApprovalDocument]:
        """Return the decisions about a project."""
        return [each for each in self.decisions.all.values() if each.project == name]

    async def decide(
        self, name: ProjectName, specifier: str, verdict: ApprovalVerdict, reason: str, by: str
    ) -> ApprovalDocument:
        """Approve or deny the versions that the specifier matches; the project no longer waits.
        Replaces a decision about the same specifier. Raises `BadRequest`, `StorageDown`.
        """
        check_reason(reason)
        document = ApprovalDocument(
            project=name,
            specifier=parse_specifier(specifier),
            verdict=verdict,
            reason=" ".join(reason.split()),
            by=by,
            decided=self.world.now(),
        )
        await self.decisions.put(approval_id(name, document.specifier), document)
        await self._forget_request(name)
        return document

    async def delete(self, id: str) -> ApprovalDocument | None:
        """Delete a decision, or a request that waits; return the decision, if it was one that can
        be read. Raises `NoSuchResource`, `StorageDown`.
        """
        document = self.decisions.all.get(id)
        if document is not None or id in self.decisions.unreadable:
            await self.decisions.delete(id)
            return document
        if id not in self.requests.all:
            raise NoSuchResource(
                f"There is no decision or request {shortened(id)!r}. `pypid approval list` shows "
                "all."
            )
        await self._forget_request(ProjectName(id))
        return None

    async def _forget_request(self, name: ProjectName) -> None:
        async with self._locks.hold(name):
            self._counted.pop(name, None)
            if name in self.requests.all:
                await self.requests.delete(name)


def _repeated(known: RequestDocument | None, by: str, now: datetime) -> RequestDocument:
    if known is None:
        return RequestDocument(by=(by,), first=now, last=now)
    named = known.by if by in known.by or len(known.by) >= MOST_NAMED else (*known.by, by)
    return RequestDocument(by=named, first=known.first, last=now, count=known.count + 1)


async def undecided(index: Index, name: ProjectName) -> Project:
    """Return an upstream project as its last listing describes it, as if each version was approved.
    Upstream is not asked. Raises `StorageDown`.
    """
    source = await source_of(index, name)
    restrictions = RestrictionsInForce(source.context.policy.restrictions.current)
    restrictions.replace(SOURCE, {})
    policy = evolve(source.context.policy, new_projects=NewProjects.OPEN, restrictions=restrictions)
    state = evolve(await source.listings.known(name), reachable=True)
    now = index.context.world.now()
    found = await index.context.world.thinking(view, policy, Presence.ABSENT, state, now, name)
    return absolute(found, source.context.prefix)


async def upstream_facts(index: Index, name: ProjectName) -> ListedFacts:
    """Return what is known of an upstream project by its last listing. Raises `StorageDown`."""
    return await index.context.world.thinking(_facts_of, await undecided(index, name))


def _facts_of(project: Project) -> ListedFacts:
    version = choose_release(project)
    newest = None if version is None else release_of(project, version)
    return ListedFacts(
        len(releases(project)),
        min((file.uploaded for file in project.files if file.uploaded), default=None),
        None if newest is None else newest.files[0],
    )


# The decisions of administrators about upstream projects, and the status that they set:
# quarantine, deprecation, archive, or a note (PEP 792). The status of a project is a document of
# record below ``.pypid/upstream-status/``.

STATUSES = "upstream-status"
"""The folder of the documents."""
STATUS_SOURCE = "status"
"""The name of these rules in `RestrictionsInForce.replace`."""


_UNREADABLE = StatusOverride(Status.QUARANTINED, "the document of its status cannot be read")


class OverrideDocument(Document, frozen=True, kw_only=True):
    """The status of an upstream project, as it is stored under the project's name."""

    status: Status
    reason: str
    by: str
    changed: datetime


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
        self.policy.restrictions.replace(STATUS_SOURCE, projects, unlisted=quarantined)

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
