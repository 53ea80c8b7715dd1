"""The index of advisories in memory: the encoded summaries of each project."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from functools import lru_cache

from attrs import field, frozen

from pypid.advisories.database import (
    MALWARE_RANK,
    AdvisoryDatabase,
    decoded_summaries,
    joined,
    rank_of,
)
from pypid.core.advisories import AdvisorySummary, Candidate
from pypid.core.configuration.choices import BlockedAdvisories
from pypid.core.model import File
from pypid.core.packaging.names import ProjectName
from pypid.core.restrictions import FileRule, Hold, HoldKind, ProjectRestrictions

DECODED = 256
"""Projects whose decoded advisories are cached."""

UNREADABLE = (sqlite3.Error, ValueError)
"""What reading a damaged database raises."""


@frozen(eq=False)
class AdvisoryIndex:
    """What is known of each project, and when it was read."""

    encoded: Mapping[ProjectName, bytes] = field(factory=dict, repr=False)
    ranks: Mapping[ProjectName, int] = field(factory=dict, repr=False)
    """The highest rank (`database.rank_of`) of each project's advisories, where it is 1 or more."""
    count: int = 0
    """The number of records."""
    generation: str = ""
    """Changes with each change of the records."""

    def of(self, name: ProjectName) -> tuple[AdvisorySummary, ...]:
        """Return all advisories of a project, also those withdrawn; nearly always ()."""
        encoded = self.encoded.get(name)
        return () if encoded is None else _decoded(encoded)

    def hits(
        self, name: ProjectName, version: str, *, private: bool = True
    ) -> tuple[AdvisorySummary, ...]:
        """Return the advisories in force that affect a version, as `Advisories.hits` does."""
        found = self.of(name)
        if not private:
            found = tuple(each for each in found if not each.private)
        return hitting(found, version) if found else ()


def hitting(advisories: tuple[AdvisorySummary, ...], version: str) -> tuple[AdvisorySummary, ...]:
    """Return those of a project's advisories that affect a version and are not withdrawn."""
    candidate = Candidate.of(version)
    return tuple(
        advisory
        for advisory in advisories
        if not advisory.withdrawn and advisory.affects(candidate)
    )


NOTHING = AdvisoryIndex()


def read_index(database: AdvisoryDatabase) -> AdvisoryIndex:
    """Return a database's index. Blocks. Raises `sqlite3.Error`, and `ValueError` for damage."""
    facts = database.meta()
    if not facts:
        return NOTHING
    encoded: dict[ProjectName, bytes] = {}
    ranks: dict[ProjectName, int] = {}
    name, of_name = ProjectName(""), list[bytes]()
    for batch in database.summaries():
        for project, rank, summary in batch:
            if project != name:
                if of_name:
                    encoded[name] = joined(of_name)
                name, of_name = ProjectName(project), []
            of_name.append(summary)
            if rank > 0:
                ranks[name] = max(rank, ranks.get(name, 0))
    if of_name:
        encoded[name] = joined(of_name)
    return AdvisoryIndex(encoded, ranks, database.count(), facts.get("generation", ""))


# The rules by which advisories hide upstream files (`[advisories] block`).

_LEVELS = {
    BlockedAdvisories.LOW: 1,
    BlockedAdvisories.MEDIUM: 2,
    BlockedAdvisories.HIGH: 3,
    BlockedAdvisories.CRITICAL: 4,
    BlockedAdvisories.MALWARE: MALWARE_RANK,
}

FILE_BYTES = 700
"""Bytes of encoded advisories that a version is compared with while one file is decoded."""


def ranks_of(block: tuple[BlockedAdvisories, ...]) -> frozenset[int]:
    """Return the ranks (`database.rank_of`) that `[advisories] block` blocks: a severity includes
    those above it, and malware is blocked by its own word only.
    """
    if BlockedAdvisories.NOTHING in block:
        return frozenset()
    blocked = {_LEVELS[each] for each in block}
    least = min(blocked - {MALWARE_RANK}, default=MALWARE_RANK)
    return frozenset(blocked | set(range(least, MALWARE_RANK)))


@frozen
class AdvisoryRule:
    """Hides the versions of one project that its advisories of these ranks affect."""

    encoded: bytes
    ranks: frozenset[int]

    upstream_only = True
    by_version = True

    def hides(self, file: File) -> Hold | None:
        """Return why the file is hidden, or None."""
        advisory = _blocking(self, file.version)
        return None if advisory is None else hold_of(advisory)


@lru_cache(maxsize=4096)
def _blocking(rule: AdvisoryRule, version: str) -> AdvisorySummary | None:
    found = hitting(_decoded(rule.encoded), version)
    blocking = [each for each in found if rank_of(each) in rule.ranks]
    return max(blocking, key=rank_of, default=None)


@lru_cache(maxsize=DECODED)
def _decoded(encoded: bytes) -> tuple[AdvisorySummary, ...]:
    return decoded_summaries(encoded)


@frozen
class MaliciousDigest:
    """Hides each upstream file with the digest of a malicious one, whatever its project."""

    advisory: AdvisorySummary

    upstream_only = True
    by_version = False

    def hides(self, file: File) -> Hold | None:
        """Return why the file is hidden, or None. A client that may read the file's project may
        perhaps not read those of a private advisory.
        """
        if self.advisory.private:
            return Hold(HoldKind.MALWARE, "its hash is that of malware")
        return hold_of(self.advisory)


def hold_of(advisory: AdvisorySummary) -> Hold:
    """Return the hold of a file that the advisory blocks. Clients that may read the file's project
    may perhaps not read the other projects of the advisory.
    """
    text = "see the advisory" if advisory.is_shared else advisory.summary or "no summary"
    if advisory.is_malware:
        return Hold(HoldKind.MALWARE, text, advisory.id)
    reason = f"{advisory.severity.value} vulnerability: {text}"
    return Hold(HoldKind.BLOCKED, reason, advisory.id)


@frozen(eq=False)
class BlockedProjects(Mapping[ProjectName, ProjectRestrictions]):
    """The rules of all projects with a blocking advisory, each made when it is looked up: there are
    tens of thousands, and nearly none is ever requested.
    """

    index: AdvisoryIndex
    names: frozenset[ProjectName]
    ranks: frozenset[int]

    def __getitem__(self, name: ProjectName) -> ProjectRestrictions:
        if name not in self.names:
            raise KeyError(name)
        encoded = self.index.encoded[name]
        rule = AdvisoryRule(encoded, self.ranks)
        return ProjectRestrictions((rule,), weight=1 + len(encoded) // FILE_BYTES)

    def __iter__(self) -> Iterator[ProjectName]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


@frozen(eq=False)
class AdvisoryRestrictions:
    """What `[advisories] block` restricts."""

    projects: Mapping[ProjectName, ProjectRestrictions]
    digests: Mapping[str, FileRule]


def restrictions_of(
    index: AdvisoryIndex, block: tuple[BlockedAdvisories, ...]
) -> AdvisoryRestrictions:
    """Return the restrictions by an index. Takes milliseconds for ten thousand projects."""
    ranks = ranks_of(block)
    least = min(ranks, default=MALWARE_RANK + 1)
    names = frozenset(name for name, rank in index.ranks.items() if rank >= least)
    digests: dict[str, FileRule] = {}
    if MALWARE_RANK in ranks:
        malicious = (name for name in names if index.ranks[name] == MALWARE_RANK)
        for name in malicious:
            for advisory in decoded_summaries(index.encoded[name]):
                if not advisory.withdrawn and advisory.hashes:
                    rule = MaliciousDigest(advisory)
                    digests.update(dict.fromkeys(advisory.hashes, rule))
    return AdvisoryRestrictions(BlockedProjects(index, names, ranks), digests)
