"""Approval of upstream projects (`[upstream] new_projects`): the decisions of administrators, and
the rule that they make. Pure.

A decision is about the versions that a specifier matches. Denials win. A project with an approval
offers only approved versions; one without any waits for approval unless files of it are cached
(`core.policy`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import Enum
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING

import msgspec
from attrs import frozen
from packaging.version import InvalidVersion, Version

from pypid.core.errors import BadRequest, shortened
from pypid.core.model import File
from pypid.core.packaging.block_spec import tidy_specifier
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.records.documents import FORMAT
from pypid.core.restrictions import DECIDED, Hold, HoldKind, ProjectRestrictions

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

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


class ApprovalDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A decision as it is stored. `specifier` is PEP 440, "" for all versions."""

    project: str
    specifier: str
    verdict: ApprovalVerdict
    reason: str
    by: str
    decided: datetime
    format: int = FORMAT


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
    """Return the project and the specifier of ``name``, ``name==1.2`` or ``name>=1,<2``. Raises
    `BadRequest`, `BadName`.
    """
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
