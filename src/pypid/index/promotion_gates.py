"""The gates of promotions: evidence from the storage and from the advisories, approvals, and the
publishers that ``require`` of the target asks for.

The name of an approval's document contains the hashes of the files, so the approval ends when a
file of the release changes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from functools import partial

from attrs import frozen
from twisted.logger import Logger

from pypid.core.errors import BadRequest, Unreadable, shortened
from pypid.core.gates import NO_CRITICAL_ADVISORY, approver_of
from pypid.core.model import StoredFile
from pypid.core.packaging.names import ProjectName, version_key
from pypid.core.promotion_rules import (
    PromotionObstacle,
    ReleaseEvidence,
    closed_gates,
)
from pypid.core.records.promotions import ReleaseApproval, approval_key, approvals_prefix
from pypid.flow import World
from pypid.index.job_group import all_of
from pypid.index.promotion_checks import AT_ONCE, IndexPart
from pypid.index.store import records
from pypid.ports import Blobs

MOST_APPROVALS = 1000
"""Maximum number of approvals of one release that are read."""
_log = Logger()

Critical = Callable[[ProjectName, str], tuple[str, ...] | None]
"""Returns the ids of the critical advisories of a version; None if they are unknown."""


"""Returns the publishers of which one must have attested each file of the project in the index."""


def no_advisories(name: ProjectName, version: str) -> None:
    """Return that no advisories are known."""


@frozen
class PromotionGates:
    """Checks releases by the gates of the index into which they are promoted. `gates_of` returns
    the gates of an index by its name.
    """

    blobs: Blobs
    world: World
    gates_of: Callable[[str], Sequence[str]]
    critical: Critical = no_advisories

    async def obstacles(
        self,
        source: IndexPart,
        target: IndexPart,
        files: Mapping[ProjectName, Sequence[StoredFile]],
    ) -> Sequence[PromotionObstacle]:
        """Return the obstacles that the gates of the target find in these files of the source.
        Raises `StorageDown`.
        """
        if not self.gates_of(target.name):
            return ()
        judging = [
            partial(self._judged, source.name, target.name, release) for release in _releases(files)
        ]
        return [obstacle for found in await all_of(judging, AT_ONCE) for obstacle in found]

    async def _judged(
        self, source: str, target: str, files: tuple[StoredFile, ...]
    ) -> Sequence[PromotionObstacle]:
        gates, name, version = self.gates_of(target), files[0].project, files[0].version
        approvals: frozenset[tuple[str, str]] = frozenset()
        if any(approver_of(gate) is not None for gate in gates):
            approvals = frozenset([pair async for pair in self._approvals(target, files)])
        critical = self.critical(name, version) if NO_CRITICAL_ADVISORY in gates else ()
        evidence = ReleaseEvidence(source, target, name, version, files, critical, approvals)
        return list(closed_gates(gates, evidence))

    async def approve(
        self,
        target: IndexPart,
        files: Mapping[ProjectName, Sequence[StoredFile]],
        user: str,
        token: str,
    ) -> None:
        """Store that a token of the user approves exactly these files of each release. Raises
        `BadRequest` if no gate of the target asks for it.
        """
        gates = self.gates_of(target.name)
        approvers = [approver for gate in gates if (approver := approver_of(gate)) is not None]
        if not any(approver.accepts(user, token) for approver in approvers):
            raise BadRequest(
                f"No gate of the index {target.name!r} needs an approval by the token "
                f"{shortened(token)!r} of {shortened(user)!r}. Its gates: "
                f"{' '.join(gates) or 'none'}. Name the target index (--to INDEX), and the token "
                "as in `gates`."
            )
        for release in _releases(files):
            name, version = release[0].project, release[0].version
            document = ReleaseApproval(target.name, name, version, user, token, self.world.now())
            where = approval_key(target.name, name, release, user, token)
            await records.write_document(self.blobs, where, document)

    async def _approvals(
        self, target: str, files: Sequence[StoredFile]
    ) -> AsyncIterator[tuple[str, str]]:
        prefix = approvals_prefix(target, files[0].project, files)
        async with aclosing(self.blobs.list(prefix)) as listing:
            found = [blob.key async for blob in listing]
        for where in found[:MOST_APPROVALS]:
            try:
                document = await records.read_document(self.blobs, ReleaseApproval, where)
            except Unreadable as error:
                _log.error("{error}; the approval does not count", error=error)
                continue
            if document is not None:
                yield document.user, document.token


def _releases(
    files: Mapping[ProjectName, Sequence[StoredFile]],
) -> list[tuple[StoredFile, ...]]:
    """Return the files of each release."""
    found: dict[object, list[StoredFile]] = {}
    for name, of_project in files.items():
        for file in of_project:
            found.setdefault((name, version_key(file.version)), []).append(file)
    return [tuple(each) for each in found.values()]
