"""What hides files from clients besides the configuration: blocks, advisories, missing approvals,
and changed project status. Pure.

`core.policy` asks here for each view, so that every page, file and list obeys the same rules. Few
projects have any rule; the others cost one lookup.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from datetime import datetime
from enum import Enum
from functools import lru_cache
from hashlib import sha256
from itertools import chain
from typing import TYPE_CHECKING, Protocol

from attrs import define, evolve, field, frozen
from packaging.version import InvalidVersion, Version

from pypid.core.errors import BadRequest, Withheld, shortened
from pypid.core.model import F, File, ListedFile, Status
from pypid.core.packaging.block_spec import tidy_specifier
from pypid.core.packaging.names import ProjectName, VersionKeys, project_name
from pypid.core.records.documents import Document
from pypid.core.simple_api.listed_files import BLOCK, ListedFiles, ShownFiles

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet


_SHA256 = re.compile(rb'"sha256":"([0-9a-f]{64})"')


class HoldKind(Enum):
    """The kinds of reasons to withhold a file; the values are shown to users."""

    BLOCKED = "blocked"
    MALWARE = "reported as malware"
    APPROVAL = "waiting for approval"
    DENIED = "denied"
    TRUST = "held"
    QUARANTINED = "quarantined"


@frozen
class Hold:
    """Why a file is withheld. `reason` is plain text in one line; `reference` is the id of the
    block, the advisory or the request.
    """

    kind: HoldKind
    reason: str
    reference: str = ""

    @property
    def value(self) -> str:
        """The hold in words, after "it is hidden because"."""
        reference = f" ({self.reference})" if self.reference else ""
        return f"it is {self.kind.value}: {self.reason}{reference}"


class FileRule(Protocol):
    """A rule that hides files. Equal rules are equal values, and hashable."""

    @property
    def upstream_only(self) -> bool:
        """Whether it never hides a local file."""

    @property
    def by_version(self) -> bool:
        """Whether `hides` looks at the version of a file only: then listings are not decoded."""

    def hides(self, file: File) -> Hold | None:
        """Return why it hides this file, or None."""


@frozen
class StatusOverride:
    """The status of an upstream project that an administrator has set (PEP 792)."""

    status: Status
    reason: str = ""

    @property
    def hold(self) -> Hold | None:
        """Why the status withholds the files of the project, or None."""
        if self.status.offers_files:
            return None
        return Hold(HoldKind.QUARANTINED, self.reason or DECIDED)


DECIDED = "an administrator of this index decided so"
"""The reason where an administrator gave none."""


@frozen
class ProjectRestrictions:
    """The rules for a project's files, and its changed status; part of views' edition."""

    rules: tuple[FileRule, ...] = ()
    status: StatusOverride | None = None
    fixed: VersionKeys = frozenset()
    """Versions that fix a vulnerability of a version in use, which shortens their cooldown."""
    weight: int = 1
    """How many files one could decode while the rules judge a version."""

    def hold(self, file: File) -> Hold | None:
        """Return why a rule, or the status, hides the file, or None."""
        if self.status is not None and file.source is not None and self.status.hold is not None:
            return self.status.hold
        for rule in self.rules:
            if file.source is None and rule.upstream_only:
                continue
            if (hold := rule.hides(file)) is not None:
                return hold
        return None


@frozen(eq=False)
class _RuleSource:
    projects: Mapping[ProjectName, ProjectRestrictions]
    digests: Mapping[str, FileRule]
    unlisted: Set[ProjectName]


_NO_RULES = _RuleSource({}, {}, frozenset())


@frozen(eq=False)
class Restrictions:
    """All rules in force. Immutable; another object means other rules."""

    _sources: Mapping[str, _RuleSource] = field(factory=dict)
    digests: Mapping[str, FileRule] = field(factory=dict)
    """Rules that hide the files with this SHA-256, of any project."""
    serial: int = 0
    """Changes with `digests`."""
    is_known: bool = True
    """Whether the rules were read: until then no file may be served."""
    unlisted: frozenset[ProjectName] = frozenset()
    """Upstream projects that an administrator put in quarantine: lists omit them. The same object
    until they change.
    """

    def of(self, name: ProjectName) -> ProjectRestrictions | None:
        """Return the restrictions of the project; None if there are none, which is usual."""
        found = [
            restrictions
            for source in self._sources.values()
            if (restrictions := source.projects.get(name)) is not None
        ]
        if len(found) < 2:
            return found[0] if found else None
        rules = tuple(chain.from_iterable(restrictions.rules for restrictions in found))
        statuses = (each.status for each in found if each.status is not None)
        fixed: VersionKeys = frozenset().union(*(each.fixed for each in found))
        weight = sum(restrictions.weight for restrictions in found)
        return ProjectRestrictions(rules, next(statuses, None), fixed, weight)

    def edition(self, name: ProjectName) -> object:
        """Return a hashable value that changes whenever the view of the project may change."""
        return self.of(name), self.serial

    def hold(self, file: File) -> Hold | None:
        """Return why the file is withheld, or None."""
        rule = None if file.sha256 is None else self.digests.get(file.sha256)
        if rule is not None and not (rule.upstream_only and file.source is None):
            hold = rule.hides(file)
            if hold is not None:
                return hold
        restrictions = self.of(file.project)
        return None if restrictions is None else restrictions.hold(file)

    def check(self, file: File) -> None:
        """Raise `Withheld` if a rule withholds the file."""
        hold = self.hold(file)
        if hold is not None:
            raise Withheld(
                file.filename, hold.kind.value, hold.reason, hold.reference, file.project
            )

    def hides_any(self, name: ProjectName) -> bool:
        """Return whether a rule may hide files of this project."""
        restrictions = self.of(name)
        return bool(self.digests) or (
            restrictions is not None
            and bool(restrictions.rules or (restrictions.status and restrictions.status.hold))
        )

    def changed_names(self, before: Restrictions) -> frozenset[ProjectName] | None:
        """Return the projects whose restrictions differ from those before; None for all."""
        if self is before:
            return frozenset()
        if self.serial != before.serial:
            return None
        changed = (
            (now, then)
            for id in self._sources.keys() | before._sources.keys()
            if (now := self._sources.get(id, _NO_RULES).projects)
            is not (then := before._sources.get(id, _NO_RULES).projects)
        )
        return frozenset(
            name
            for now, then in changed
            for name in now.keys() | then.keys()
            if now.get(name) != then.get(name)
        )

    def judged(self, files: ListedFiles) -> int:
        """Return the cost of applying the rules to a listing: as many files decoded."""
        restrictions = self.of(files.project)
        # a search for digests takes a quarter of the time
        searched = len(files) // 4 if self.digests else 0
        if restrictions is None or not restrictions.rules:
            return searched
        judged = len(files.runs) * restrictions.weight
        if any(not rule.by_version for rule in restrictions.rules):
            return max(len(files), judged)
        return judged + searched


@define(eq=False)
class RestrictionsInForce:
    """The rules in force: `current` is replaced as a whole. Each source of rules ("blocks",
    "malware", "status", "approvals", "trust") replaces its own source.
    """

    current: Restrictions = field(factory=Restrictions)
    on_change: list[Callable[[], object]] = field(factory=list, init=False, repr=False)
    """Called after each change of rules."""

    def replace(
        self,
        source: str,
        projects: Mapping[ProjectName, ProjectRestrictions],
        digests: Mapping[str, FileRule] | None = None,
        unlisted: Set[ProjectName] = frozenset(),
    ) -> None:
        """Replace the rules of this source: those of projects, which are not looked at here, and
        those of digests. `unlisted`: the projects that it puts in quarantine.
        """
        old, new = self.current, _RuleSource(projects, digests or {}, unlisted)
        sources = {**old._sources, source: new}
        if not (projects or digests):
            del sources[source]
        is_wide = new.digests != old._sources.get(source, _NO_RULES).digests
        every = {digest: rule for each in sources.values() for digest, rule in each.digests.items()}
        hidden = frozenset[ProjectName]().union(*(each.unlisted for each in sources.values()))
        kept = old.unlisted if hidden == old.unlisted else hidden
        self.current = Restrictions(sources, every, old.serial + is_wide, old.is_known, kept)
        for callback in self.on_change:
            callback()

    def set_known(self, is_known: bool) -> None:
        """State whether the rules were read from the storage."""
        old = self.current
        if old.is_known is not is_known:
            self.current = evolve(old, is_known=is_known)


def unrestricted(restrictions: Restrictions, files: Sequence[F]) -> Sequence[F]:
    """Return the files of one project that no rule hides."""
    return tuple(file for file in files if restrictions.hold(file) is None)


def withheld_files(
    restrictions: Restrictions, files: Sequence[File]
) -> Iterator[tuple[File, Hold]]:
    """Yield the hidden files of a project with the reasons, decoding as few as possible."""
    if isinstance(files, ListedFiles):
        files = ShownFiles(files)
    if isinstance(files, ShownFiles):
        positions = sorted(set(withheld_positions(restrictions, files)))
        files = tuple(files[position] for position in positions)
    for file in files:
        hold = restrictions.hold(file)
        if hold is not None:
            yield file, hold


def withheld_positions(restrictions: Restrictions, shown: ShownFiles) -> Iterator[int]:
    """Yield the positions of the files that a rule hides, decoding as few as possible."""
    listed = shown.listed
    found = restrictions.of(listed.project)
    if restrictions.digests:
        yield from _by_digest(restrictions, shown)
    if found is None:
        return
    by_version = ProjectRestrictions(tuple(rule for rule in found.rules if rule.by_version))
    start = 0
    for version, count in listed.runs:
        # a stand-in for the files of the version: the rules look at nothing else
        file = ListedFile(
            project=listed.project, filename="", version=version, sha256=None, size=None, source="-"
        )
        if by_version.hold(file) is not None:
            yield from range(start, start + count)
        start += count
    by_file = ProjectRestrictions(tuple(rule for rule in found.rules if not rule.by_version))
    if by_file.rules:
        for position, file in enumerate(listed):
            if by_file.hold(shown.replaced.get(position, file)) is not None:
                yield position


def _by_digest(restrictions: Restrictions, shown: ShownFiles) -> Iterator[int]:
    for number, block in enumerate(shown.listed.blocks):
        # one of the digests may be that of metadata
        if any(
            match[1].decode() in restrictions.digests for match in _SHA256.finditer(block.text())
        ):
            for index, entry in enumerate(block.read(), number * BLOCK):
                rule = restrictions.digests.get(entry.hashes.get("sha256", ""))
                if rule is not None and rule.hides(shown.listed[index]) is not None:
                    yield index
    for position, file in shown.replaced.items():
        rule = None if file.sha256 is None else restrictions.digests.get(file.sha256)
        if rule is not None and rule.hides(file) is not None:
            yield position


# Approval of upstream projects (`[upstream] new_projects`): the decisions of administrators, and
# the rule that they make. Pure.
#
# A decision is about the versions that a specifier matches. Denials win. A project with an
# approval offers only approved versions; one without any waits for approval unless files of it are
# cached (`core.policy`).

LONGEST_SPECIFIER = 200
"""Maximum length of a specifier in characters: what is matched with each version is short."""
LONGEST_SPEC = 400
"""Maximum length of a name with a specifier."""
WAITING = Hold(HoldKind.APPROVAL, "an administrator has to approve the project first")
"""Why the files of a project that waits are withheld."""


class ApprovalVerdict(Enum):
    """What an administrator decided."""

    APPROVED = "approved"
    DENIED = "denied"


class ApprovalDocument(Document, frozen=True, kw_only=True):
    """A decision as it is stored. `specifier` is PEP 440, "" for all versions."""

    project: str
    specifier: str
    verdict: ApprovalVerdict
    reason: str
    by: str
    decided: datetime


@frozen
class Decision:
    """The part of a decision that the rule uses."""

    verdict: ApprovalVerdict
    specifier: str
    reason: str


@frozen
class ApprovalRule:
    """Hides the files whose versions are denied or, if any versions are approved, are not among
    them (`restrictions.FileRule`).
    """

    decisions: tuple[Decision, ...]
    upstream_only: bool = True
    by_version: bool = True

    @property
    def approves(self) -> bool:
        """Whether any version is approved."""
        return any(each.verdict is ApprovalVerdict.APPROVED for each in self.decisions)

    def hides(self, file: File) -> Hold | None:
        """Return why the rule hides the file, or None."""
        fitting = [each for each in self.decisions if matches(each.specifier, file.version)]
        for each in fitting:
            if each.verdict is ApprovalVerdict.DENIED:
                return Hold(HoldKind.DENIED, each.reason or DECIDED)
        if fitting or not self.approves:
            return None
        return Hold(HoldKind.APPROVAL, "an administrator has to approve this version first")


def rules_of(
    documents: Iterable[ApprovalDocument],
) -> Mapping[ProjectName, ProjectRestrictions]:
    """Return the restrictions of the projects that there are decisions about."""
    found: dict[ProjectName, list[Decision]] = {}
    for each in documents:
        decision = Decision(each.verdict, each.specifier, each.reason)
        found.setdefault(ProjectName(each.project), []).append(decision)
    return {
        name: ProjectRestrictions((ApprovalRule(tuple(decisions)),))
        for name, decisions in found.items()
    }


def is_approved(restrictions: ProjectRestrictions | None) -> bool:
    """Return whether there is an approval of any version among the restrictions."""
    return restrictions is not None and any(
        isinstance(rule, ApprovalRule) and rule.approves for rule in restrictions.rules
    )


def approval_id(project: ProjectName, specifier: str) -> str:
    """Return the id of the decision about these versions: the project's name, with a digest of the
    specifier if there is one. The order of its clauses does not matter.
    """
    if not specifier:
        return project
    ordered = ",".join(sorted(specifier.split(",")))
    return f"{project}.{sha256(ordered.encode()).hexdigest()[:8]}"


_SPEC = re.compile(r"\s*([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*([=<>!~].*)?\Z", re.ASCII)


def parse_spec(text: str) -> tuple[ProjectName, str]:
    """Return the project and specifier of ``name==1.2``. Raises `BadRequest`, `BadName`."""
    found = _SPEC.match(text) if len(text) <= LONGEST_SPEC else None
    if found is None:
        raise BadRequest(
            f"{shortened(text)!r} does not name a project: write 'name', 'name==1.2' or "
            "'name>=1,<2'."
        )
    return project_name(found[1]), parse_specifier((found[2] or "").strip())


def parse_specifier(text: str) -> str:
    """Return the specifier as `tidy_specifier` writes it. Raises `BadRequest`."""
    from packaging.specifiers import InvalidSpecifier, SpecifierSet  # not needed by a start

    try:
        if len(text) > LONGEST_SPECIFIER:
            raise InvalidSpecifier()
        SpecifierSet(text)
    except InvalidSpecifier:
        raise BadRequest(
            f"{shortened(text)!r} is not a version specifier: write '==1.2' or '>=1,<2' (PEP 440)."
        ) from None
    return tidy_specifier(text)


@lru_cache(maxsize=256)
def _specifier(text: str) -> SpecifierSet:
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(text)


def matches(specifier: str, version: str) -> bool:
    """Return whether the specifier matches the version, pre-releases included; "" matches each,
    also one that is not PEP 440.
    """
    if not specifier:
        return True
    try:
        return _specifier(specifier).contains(Version(version), prereleases=True)
    except InvalidVersion:
        return False
