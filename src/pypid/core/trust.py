"""Whom the files of upstream projects must be attested by (``[trust]``). Pure.

Two rules: ``require`` names the publishers of projects; ``ratchet`` remembers the publishers that
attested a project's releases, and doubts later files of others, or without attestation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from datetime import datetime
from enum import Enum
from fnmatch import fnmatchcase

import msgspec
from attrs import field, frozen

from pypid.core.accounts.provenance import CircleCI, GitHub, GitLab, Google, Publisher
from pypid.core.model import File
from pypid.core.packaging.names import ProjectName, first_match
from pypid.core.records.documents import Document
from pypid.core.restrictions import Hold, HoldKind, ProjectRestrictions

# The rules of ``[trust]`` about the publishers of files, as the configuration has them.

SERVICES = ("github", "gitlab", "google", "circleci", "*")
"""The services of publishers, before the colon; `*` alone is any publisher."""


class Ratchet(Enum):
    """What happens to a file that is not attested by the publishers of its project so far."""

    WARN = "warn"
    HOLD = "hold"
    OFF = "off"


@frozen
class RequiredPublisher:
    """A rule of ``require``: the publishers of projects, each a name or a glob."""

    projects: str
    publisher: str


@frozen
class TrustRules:
    """The rules of ``[trust]``."""

    require: tuple[RequiredPublisher, ...] = ()
    ratchet: Ratchet = Ratchet.OFF

    def required(self, name: ProjectName) -> tuple[str, ...]:
        """Return the publishers that the project's files need, of which one suffices: those of the
        first entry that the name matches, and of the others with the same name or glob.
        """
        found = first_match(name, dict.fromkeys(rule.projects for rule in self.require))
        return tuple(rule.publisher for rule in self.require if rule.projects == found)


MOST_PUBLISHERS = 50
"""Maximum number of publishers of one project that are remembered."""
MOST_APPROVED = 400
"""Maximum number of approved files of one project."""


def publisher_text(publisher: Publisher) -> str:
    """Return the publisher as it is written in rules: ``github:acme/spam``."""
    match publisher:
        case GitHub(repository=repository):
            return f"github:{repository}".lower()
        case GitLab(repository=repository):
            return f"gitlab:{repository}".lower()
        case Google(email=email):
            return f"google:{email}".lower()
        case CircleCI(project_id=project):
            return f"circleci:{project}".lower()


def publisher_fits(publishers: Iterable[str], patterns: Iterable[str]) -> bool:
    """Return whether one of the publishers matches one of the patterns."""
    wanted = [pattern.lower() for pattern in patterns]
    return any(fnmatchcase(found, pattern) for found in publishers for pattern in wanted)


class PublisherVerdict(msgspec.Struct, frozen=True):
    """The result of the verification of a provenance object: its `publishers`, or the `problem` for
    which it proves nothing.
    """

    publishers: tuple[str, ...] = ()
    problem: str = ""


class TrustDocument(Document, frozen=True):
    """What is remembered of an upstream project: the `publishers` that attested its files, the
    upload time of the first of these, and the files that were approved, by SHA-256.
    """

    project: str
    publishers: tuple[str, ...] = ()
    since: datetime | None = None
    approved: tuple[str, ...] = ()
    by: str = ""

    def with_verdict(self, verdict: PublisherVerdict, uploaded: datetime) -> TrustDocument:
        """Return the document after a file with this upload time was verified: another publisher is
        remembered only of a file that is older than all known ones.
        """
        since = self.since
        if not verdict.publishers or (since is not None and uploaded >= since):
            return self
        publishers = tuple(dict.fromkeys((*self.publishers, *verdict.publishers)))
        return msgspec.structs.replace(
            self, publishers=publishers[:MOST_PUBLISHERS], since=uploaded
        )

    def approving(self, file: File, verdict: PublisherVerdict | None, by: str) -> TrustDocument:
        """Return the document after the file was approved, and with it its verified publishers."""
        new = () if verdict is None else verdict.publishers
        publishers = tuple(dict.fromkeys((*self.publishers, *new)))[-MOST_PUBLISHERS:]
        approved = tuple(dict.fromkeys((*self.approved, file.sha256 or file.filename)))
        return msgspec.structs.replace(
            self, publishers=publishers, approved=approved[-MOST_APPROVED:], by=by
        )


_UNREADABLE = (
    "the document of its publishers cannot be read; an administrator can end this with "
    "`pypid trust reset`"
)


@frozen
class TrustRule:
    """The rules for the files of one upstream project, with what is known of it. A value."""

    required: tuple[str, ...] = ()
    publishers: frozenset[str] = frozenset()
    since: datetime | None = None
    approved: frozenset[str] = frozenset()
    verdicts: frozenset[tuple[str, PublisherVerdict]] = frozenset()
    """The verified files, by SHA-256."""
    holds: bool = True
    """Whether files that the ratchet doubts are held."""
    problem: str = ""
    """Why the publishers of earlier releases are not known, though they were recorded."""
    upstream_only: bool = True
    by_version: bool = False
    _verdicts: Mapping[str, PublisherVerdict] = field(init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_verdicts", dict(self.verdicts))

    def hides(self, file: File) -> Hold | None:
        """Return why it hides this file, or None."""
        problem = self.missing(file) or (self.doubt(file) if self.holds else "")
        return Hold(HoldKind.TRUST, problem) if problem else None

    def applies_to(self, file: File) -> bool:
        """Return whether the publisher of the file matters."""
        if (file.sha256 or file.filename) in self.approved:
            return False
        return bool(self.required) or self._is_later(file)

    def missing(self, file: File) -> str:
        """Return why the file does not have a publisher of ``require``; "" if it has, or if its
        provenance was not verified yet.
        """
        if not self.required or not self.applies_to(file):
            return ""
        wanted = f"[trust] require asks for {' or '.join(self.required)}"
        if lack := _lack(file):
            return f"{lack}; {wanted}"
        verdict = self._verdicts.get(file.sha256 or "")
        if verdict is None or publisher_fits(verdict.publishers, self.required):
            return ""
        return f"{_described(verdict)}; {wanted}"

    def doubt(self, file: File) -> str:
        """Return why the file differs from earlier ones of its project; "" if it does not, or if
        its provenance was not verified yet.
        """
        if self.problem:
            return self.problem
        if not self.applies_to(file) or not self._is_later(file):
            return ""
        known = f"earlier releases were attested by {' and '.join(sorted(self.publishers))}"
        if lack := _lack(file):
            return f"{lack}; {known}"
        verdict = self._verdicts.get(file.sha256 or "")
        if verdict is None or not self.publishers.isdisjoint(verdict.publishers):
            return ""
        return f"{_described(verdict)}; {known}"

    def is_judged(self, file: File) -> bool:
        """Return whether nothing else has to be known to decide on the file."""
        unknown = file.sha256 not in self._verdicts and not _lack(file)
        return not (unknown and self.applies_to(file))

    def _is_later(self, file: File) -> bool:
        if self.since is None or not self.publishers:
            return False
        uploaded = file.uploaded or file.seen
        return uploaded is None or uploaded > self.since


def _lack(file: File) -> str:
    """Return what the file lacks to be verified; "" if nothing."""
    if file.provenance_url is None and not file.attested:
        return "it has no attestation"
    return "" if file.sha256 else "it is listed without the SHA-256 that attestations are about"


def _described(verdict: PublisherVerdict) -> str:
    if verdict.publishers:
        return f"its attestation is by {' and '.join(verdict.publishers)}"
    return f"its attestation proves nothing: {verdict.problem}"


@frozen(eq=False)
class TrustedProjects(Mapping[ProjectName, ProjectRestrictions]):
    """The rules by project, made when they are asked for: globs match any number of names."""

    rules: TrustRules
    documents: Mapping[str, TrustDocument]
    verdicts: Mapping[ProjectName, Mapping[str, PublisherVerdict]]
    unreadable: Set[str] = frozenset()
    """Projects whose document has never been readable: with ``hold`` their files are held."""
    _made: dict[ProjectName, ProjectRestrictions | None] = field(factory=dict, repr=False)

    def following(self, before: TrustedProjects) -> TrustedProjects:
        """Return these rules with those that `before` has made, as far as they are the same."""
        made = {
            name: restrictions
            for name, restrictions in before._made.items()
            if self.documents.get(name) is before.documents.get(name)
            and self.verdicts.get(name) is before.verdicts.get(name)
            and (name in self.unreadable) is (name in before.unreadable)
        }
        return TrustedProjects(self.rules, self.documents, self.verdicts, self.unreadable, made)

    def rule(self, name: ProjectName) -> TrustRule:
        """Return the rule for the project, also if it holds nothing."""
        document = self.documents.get(name) if self.rules.ratchet is not Ratchet.OFF else None
        approved = self.documents.get(name)
        return TrustRule(
            self.rules.required(name),
            frozenset(document.publishers) if document is not None else frozenset(),
            document.since if document is not None else None,
            frozenset(approved.approved) if approved is not None else frozenset(),
            frozenset(self.verdicts.get(name, {}).items()),
            self.rules.ratchet is Ratchet.HOLD,
            _UNREADABLE if name in self.unreadable else "",
        )

    def __getitem__(self, name: ProjectName) -> ProjectRestrictions:
        if name not in self._made:
            if len(self._made) >= _MOST_MADE:
                self._made.clear()
            self._made[name] = self._make(name)
        found = self._made[name]
        if found is None:
            raise KeyError(name)
        return found

    def _make(self, name: ProjectName) -> ProjectRestrictions | None:
        rule = self.rule(name)
        can_hold = rule.required or (rule.holds and (rule.publishers or rule.problem))
        return ProjectRestrictions((rule,)) if can_hold else None

    def __iter__(self) -> Iterator[ProjectName]:
        names = (ProjectName(name) for name in (*self.documents, *self.verdicts, *self.unreadable))
        return (name for name in dict.fromkeys(names) if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        return bool(self.rules.require) or self.rules.ratchet is Ratchet.HOLD


_MOST_MADE = 20_000
"""Number of rules that are kept: those of all documents, and as many others."""
