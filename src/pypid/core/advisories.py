"""Security advisories in the OSV format, as pure values and rules."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from functools import lru_cache
from math import ceil
from typing import Any
from urllib.parse import unquote

import msgspec
from attrs import frozen
from packaging.utils import canonicalize_version

from pypid.core.errors import BadRequest
from pypid.core.packaging.names import ProjectName, valid_name, version_key, version_of
from pypid.core.simple_api.listed_files import plain

# The severity of an advisory: its own label, or the rating of its CVSS base score.
#
# CVSS 2 and 3 scores are computed by their specifications. A CVSS 4 vector without a label and
# without a CVSS 3 vector is rated by the CVSS 3 metrics that it corresponds to: an estimate.


class AdvisorySeverity(Enum):
    """How severe an advisory is; the values are shown to users. `rank` orders them."""

    UNKNOWN = "unknown"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for unknown, 4 for critical."""
        return _RANKS[self]


_RANKS = {severity: number for number, severity in enumerate(AdvisorySeverity)}
_LABELS = {
    **{severity.value: severity for severity in AdvisorySeverity},
    "moderate": AdvisorySeverity.MEDIUM,  # GitHub's
    "important": AdvisorySeverity.HIGH,
    "none": AdvisorySeverity.LOW,
}
_PREFERRED = ("CVSS_V3", "CVSS_V4", "CVSS_V2")


def rated(scores: Sequence[tuple[str, str]]) -> AdvisorySeverity:
    """Return the severity of CVSS vectors: pairs of the OSV type (``CVSS_V3``) and the vector.

    The exact scores of CVSS 3 are preferred. Vectors that cannot be read count as unknown.
    """
    for kind in _PREFERRED:
        found = [base_score(vector) for each, vector in scores if each == kind]
        if known := [score for score in found if score is not None]:
            return _rating(max(known))
    return AdvisorySeverity.UNKNOWN


def _rating(score: float) -> AdvisorySeverity:
    if score >= 9:
        return AdvisorySeverity.CRITICAL
    if score >= 7:
        return AdvisorySeverity.HIGH
    return AdvisorySeverity.MEDIUM if score >= 4 else AdvisorySeverity.LOW


def base_score(vector: str) -> float | None:
    """Return the base score of a CVSS vector, 0 to 10, or None for an invalid one."""
    if len(vector) > 300:
        return None
    metrics = dict(part.partition(":")[::2] for part in vector.split("/"))
    try:
        if metrics.get("CVSS", "").startswith("3"):
            return _base_score_3(metrics)
        if metrics.get("CVSS", "").startswith("4"):
            return _base_score_3(_as_version_3(metrics))
        return _base_score_2(metrics)
    except KeyError:
        return None


_ATTACK_VECTOR = {"N": 0.85, "A": 0.62, "L": 0.55, "P": 0.2}
_COMPLEXITY = {"L": 0.77, "H": 0.44}
_PRIVILEGES = {"N": 0.85, "L": 0.62, "H": 0.27}
_PRIVILEGES_CHANGED = {"N": 0.85, "L": 0.68, "H": 0.5}
_INTERACTION = {"N": 0.85, "R": 0.62}
_IMPACT = {"H": 0.56, "L": 0.22, "N": 0.0}


def _base_score_3(metrics: Mapping[str, str]) -> float:
    """Return the base score by section 7.1 of the CVSS 3.1 specification."""
    changed = {"U": False, "C": True}[metrics["S"]]
    kept = (1 - _IMPACT[metrics["C"]]) * (1 - _IMPACT[metrics["I"]]) * (1 - _IMPACT[metrics["A"]])
    lost = 1 - kept
    impact = 7.52 * (lost - 0.029) - 3.25 * (lost - 0.02) ** 15 if changed else 6.42 * lost
    privileges = _PRIVILEGES_CHANGED if changed else _PRIVILEGES
    exploitability = (
        8.22
        * _ATTACK_VECTOR[metrics["AV"]]
        * _COMPLEXITY[metrics["AC"]]
        * privileges[metrics["PR"]]
        * _INTERACTION[metrics["UI"]]
    )
    if impact <= 0:
        return 0.0
    total = impact + exploitability
    return _rounded_up(min(1.08 * total if changed else total, 10.0))


def _rounded_up(score: float) -> float:
    """Round up to one decimal, as appendix A of the CVSS 3.1 specification does."""
    whole = round(score * 100_000)
    return whole / 100_000 if whole % 10_000 == 0 else ceil(whole / 10_000) / 10


def _as_version_3(metrics: Mapping[str, str]) -> dict[str, str]:
    subsequent = {metrics["SC"], metrics["SI"], metrics["SA"]}
    return {
        "AV": metrics["AV"],
        "AC": "H" if metrics["AT"] == "P" else metrics["AC"],
        "PR": metrics["PR"],
        "UI": "N" if metrics["UI"] == "N" else "R",
        "S": "U" if subsequent == {"N"} else "C",
        "C": metrics["VC"],
        "I": metrics["VI"],
        "A": metrics["VA"],
    }


_IMPACT_2 = {"N": 0.0, "P": 0.275, "C": 0.66}


def _base_score_2(metrics: Mapping[str, str]) -> float:
    """Return the base score by section 3.2.1 of the CVSS 2 specification."""
    kept = 1.0
    for each in "CIA":
        kept *= 1 - _IMPACT_2[metrics[each]]
    impact = 10.41 * (1 - kept)
    exploitability = (
        20
        * {"L": 0.395, "A": 0.646, "N": 1.0}[metrics["AV"]]
        * {"H": 0.35, "M": 0.61, "L": 0.71}[metrics["AC"]]
        * {"M": 0.45, "S": 0.56, "N": 0.704}[metrics["Au"]]
    )
    factor = 1.176 if impact else 0.0
    return round((0.6 * impact + 0.4 * exploitability - 1.5) * factor, 1)


# Records of the OSV schema 1.7 (https://ossf.github.io/osv-schema/), and which versions of a PyPI
# project they affect.
#
# Versions are compared by PEP 440. A local version (``2.0+cu118``) counts as its public version
# where a record names that, as in PEP 440's ``==`` and ``<=``.

ECOSYSTEM = "PyPI"
MALWARE = "MAL-"
"""The prefix of the ids of the OpenSSF's malicious packages."""
LONGEST_SUMMARY = 300
"""Characters of a summary that are kept in memory."""
LONGEST_TIME = 64
"""Characters of a time that are kept in memory: it is in each answer to a batch of queries."""
MOST_ALIASES = 1000
"""Aliases that are kept in memory."""
MOST_HASHES = 1000
"""SHA-256 hashes of malicious files that one record may name."""
MOST_VERSIONS = 10_000
"""Versions that one record may name."""
MOST_EVENTS = 500
"""Events of ranges that one record may name: each question compares its version with all."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+-]{0,199}\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_PLAIN = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))*\Z", re.ASCII).match
_ZEROS = re.compile(r"(?:\.0)+\Z")
_RANGE_TYPES = ("ECOSYSTEM", "SEMVER")
_EVENTS = ("introduced", "fixed", "last_affected", "limit")
_CLAUSES = {"introduced": ">=", "fixed": "<", "last_affected": "<=", "limit": "<"}
_HASH_KEYS = ("sha256", "hashes", "file_hashes")
_ALL_VERSIONS = ((("introduced", "0"),),)


class InvalidRecord(ValueError):
    """The bytes are not a record of the OSV schema; the text says why."""


# --- records as sources have them -----------------------------------------------------------------


class OsvPackage(msgspec.Struct, frozen=True):
    """The package of an affected entry."""

    ecosystem: str = ""
    name: str = ""


class OsvRange(msgspec.Struct, frozen=True):
    """A range of versions; each event has one of the keys in `_EVENTS`."""

    type: str = ""
    events: list[dict[str, str | None]] | None = None


class OsvSeverity(msgspec.Struct, frozen=True):
    """A score, as a rule a CVSS vector."""

    type: str = ""
    score: str = ""


class OsvAffected(msgspec.Struct, frozen=True):
    """The affected versions of one package."""

    package: OsvPackage | None = None
    versions: list[str] | None = None
    ranges: list[OsvRange] | None = None
    severity: list[OsvSeverity] | None = None
    database_specific: Any = None
    ecosystem_specific: Any = None


class OsvReference(msgspec.Struct, frozen=True):
    """A link of a record."""

    url: str = ""


class OsvReferences(msgspec.Struct, frozen=True):
    """The links of a record, which only its page needs."""

    references: list[OsvReference] | None = None


class OsvRecord(msgspec.Struct, frozen=True):
    """A record, as far as pypid uses it; unknown keys are ignored.

    Times stay text: a record with a wrong date still tells which versions are affected.
    """

    id: str
    modified: str = ""
    published: str | None = None
    withdrawn: str | None = None
    aliases: list[str] | None = None
    summary: str | None = None
    details: str | None = None
    severity: list[OsvSeverity] | None = None
    affected: list[OsvAffected] | None = None
    database_specific: Any = None


_decoder = msgspec.json.Decoder(OsvRecord)


def parse_record(data: bytes) -> OsvRecord:
    """Return the record in a JSON document. Raises `InvalidRecord`."""
    try:
        return _checked(_decoder.decode(data))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRecord(f"no OSV record: {error}") from None


def record_of(document: object) -> OsvRecord:
    """Return the record in a decoded document, as YAML gives it. Raises `InvalidRecord`."""
    try:
        return _checked(msgspec.convert(document, OsvRecord))
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidRecord(f"no OSV record: {error}") from None


def _checked(record: OsvRecord) -> OsvRecord:
    if not _ID.match(record.id):
        raise InvalidRecord(
            "its id is missing, or has other characters than letters, digits, -._:+"
        )
    affected = record.affected or ()
    versions = sum(len(entry.versions or ()) for entry in affected)
    events = sum(
        len(each.events or ())
        for entry in affected
        for each in entry.ranges or ()
        if each.type in _RANGE_TYPES
    )
    for named, what, most in (
        (versions, "versions", MOST_VERSIONS),
        (events, "events of ranges", MOST_EVENTS),
    ):
        if named > most:
            raise InvalidRecord(f"it names {named} {what}, more than {most}")
    return record


# --- what is known of a project -------------------------------------------------------------------


class AdvisorySummary(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """An advisory of one project, as the index in memory has it."""

    id: str
    summary: str = ""
    severity: AdvisorySeverity = AdvisorySeverity.UNKNOWN
    aliases: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()
    """The affected versions that the record enumerates, spelled as `canonical` does."""
    ranges: tuple[tuple[tuple[str, str], ...], ...] = ()
    """Ranges of affected versions: pairs of an event (``introduced``, ``fixed``, ``last_affected``,
    ``limit``) and its version, in the order of the versions.
    """
    fixed: tuple[str, ...] = ()
    """The versions that fix it, in ascending order."""
    published: str = ""
    modified: str = ""
    withdrawn: str = ""
    """When it was withdrawn; "": it is in force. A withdrawn advisory hits no version."""
    private: bool = False
    """Whether it comes from `[advisories] own`."""
    hashes: tuple[str, ...] = ()
    """SHA-256 of malicious files, where the record names them."""
    is_shared: bool = False
    """Whether it is private and its record names other projects, too: the text may be about them.
    """

    @property
    def is_malware(self) -> bool:
        """Whether the advisory reports malware, not a vulnerability."""
        return self.id.startswith(MALWARE)

    def affects(self, candidate: Candidate) -> bool:
        """Return whether this version is affected, withdrawn or not."""
        return candidate.is_named(self.versions) or any(
            candidate.is_within(events) for events in self.ranges
        )


class Candidate(msgspec.Struct, frozen=True):
    """A version that is compared with those of records; made by `of`."""

    key: tuple[int, Any]
    public: tuple[int, Any]
    """The key without the local part."""
    spellings: frozenset[str]
    """The version with and without its local part, as `canonical` spells it."""

    @classmethod
    def of(cls, version: str) -> Candidate:
        """Return the candidate for a version, which may be invalid by PEP 440."""
        key = version_key(version)
        public = version.partition("+")[0]
        spellings = frozenset((canonical(version), canonical(public)))
        return cls(key, key if public == version else version_key(public), spellings)

    def is_named(self, versions: Iterable[str]) -> bool:
        """Return whether the versions, as `canonical` spells them, contain this one."""
        return not self.spellings.isdisjoint(versions)

    def is_within(self, events: Sequence[tuple[str, str]]) -> bool:
        """Return whether a range contains this version: the evaluation algorithm of the OSV
        schema. The events are in the order of their versions.
        """
        limits = [version for event, version in events if event == "limit"]
        if limits and not any(limit == "*" or self.key < version_key(limit) for limit in limits):
            return False
        affected = False
        for event, version in events:
            if event == "introduced":
                affected = affected or version == "0" or self.key >= version_key(version)
            elif event == "fixed":
                affected = affected and self.key < version_key(version)
            elif event == "last_affected":
                affected = affected and self._comparable(version) <= version_key(version)
        return affected

    def _comparable(self, version: str) -> tuple[int, Any]:
        return self.key if "+" in version else self.public


@lru_cache(maxsize=4096)
def canonical(version: str) -> str:
    """Return the spelling that equal versions share, such as ``1`` for ``v1.0.0``; versions that
    are invalid by PEP 440 stay as they are.
    """
    if _PLAIN(version):
        return _ZEROS.sub("", version)
    try:
        return canonicalize_version(version_of(version))
    except ValueError:
        return version


def _position(event: tuple[str, str]) -> tuple[int, Any]:
    """Return where an event comes in its range: ``introduced`` with 0 before all versions."""
    return (-1, "") if event == ("introduced", "0") else version_key(event[1])


def range_text(events: Iterable[tuple[str, str]]) -> str:
    """Return a range of `AdvisorySummary.ranges` in words: ``>=1.0, <1.5``, or ``all versions``."""
    spans: list[list[str]] = []
    for event, version in events:
        if event == "introduced" or not spans:
            spans.append([])
        if (event, version) not in (("introduced", "0"), ("limit", "*")):
            spans[-1].append(f"{_CLAUSES[event]}{version}")
    return " or ".join(", ".join(clauses) or "all versions" for clauses in spans)


def summaries_of(
    record: OsvRecord, *, private: bool = False
) -> Mapping[ProjectName, AdvisorySummary]:
    """Return what the record says of each PyPI project that it names."""
    return dict(summaries_in(record, private=private))


def summaries_in(
    record: OsvRecord, *, private: bool = False
) -> Iterator[tuple[ProjectName, AdvisorySummary]]:
    """Yield what `summaries_of` returns, for a record that may be hostile: a record of four
    megabytes can make gigabytes.
    """
    by_name: dict[ProjectName, list[OsvAffected]] = {}
    for affected in record.affected or ():
        name = _project(affected.package)
        if name is not None:
            by_name.setdefault(name, []).append(affected)
    for name, found in by_name.items():
        summary = _summary(record, found, private)
        is_shared = private and len(by_name) > 1
        yield name, msgspec.structs.replace(summary, is_shared=True) if is_shared else summary


def _project(package: OsvPackage | None) -> ProjectName | None:
    if package is None or package.ecosystem.partition(":")[0] != ECOSYSTEM:
        return None
    return valid_name(package.name)


def _summary(record: OsvRecord, affected: list[OsvAffected], private: bool) -> AdvisorySummary:
    ranges = tuple(dict.fromkeys(events for entry in affected for events in _ranges(entry)))
    if record.id.startswith(MALWARE) and any(not (e.versions or e.ranges) for e in affected):
        ranges = _ALL_VERSIONS  # malware without any version: better all than none
    fixes = {version for events in ranges for event, version in events if event == "fixed"}
    # only a malware record's hashes are those of malicious files
    malicious = record.id.startswith(MALWARE)
    return AdvisorySummary(
        id=record.id,
        summary=_first_line(record.summary or record.details or ""),
        severity=_severity(record, affected),
        aliases=tuple(alias for alias in (record.aliases or ())[:MOST_ALIASES] if _ID.match(alias)),
        versions=tuple(
            dict.fromkeys(canonical(v) for entry in affected for v in entry.versions or ())
        ),
        ranges=ranges,
        fixed=tuple(sorted(fixes, key=version_key)),
        published=(record.published or "")[:LONGEST_TIME],
        modified=record.modified[:LONGEST_TIME],
        withdrawn=(record.withdrawn or "")[:LONGEST_TIME],
        private=private,
        hashes=_hashes(record, affected) if malicious else (),
    )


def _first_line(text: str) -> str:
    line = plain(text[: 4 * LONGEST_SUMMARY]).partition("\n")[0]
    return line if len(line) <= LONGEST_SUMMARY else line[: LONGEST_SUMMARY - 1] + "…"


def _ranges(affected: OsvAffected) -> Iterator[tuple[tuple[str, str], ...]]:
    for each in affected.ranges or ():
        if each.type in _RANGE_TYPES:
            events = tuple(
                (event, version)
                for pair in each.events or ()
                for event in _EVENTS
                if (version := pair.get(event))
            )
            if events:
                yield tuple(sorted(events, key=_position))


def _severity(record: OsvRecord, affected: list[OsvAffected]) -> AdvisorySeverity:
    places = (record.database_specific, *(entry.database_specific for entry in affected))
    for place in places:
        label = str(place.get("severity") or "") if isinstance(place, dict) else ""
        severity = _LABELS.get(label.lower(), AdvisorySeverity.UNKNOWN)
        if severity is not AdvisorySeverity.UNKNOWN:
            return severity
    scores = [*(record.severity or ()), *(s for entry in affected for s in entry.severity or ())]
    found = rated([(each.type, each.score) for each in scores])
    if found is AdvisorySeverity.UNKNOWN and record.id.startswith(MALWARE):
        return AdvisorySeverity.CRITICAL
    return found


def _hashes(record: OsvRecord, affected: list[OsvAffected]) -> tuple[str, ...]:
    """Return the SHA-256 of the malicious files.

    The ``sha256`` of ``malicious-packages-origins`` is not among them: it is the hash of a report.
    """
    found: dict[str, None] = {}
    places = [record.database_specific]
    for entry in affected:
        places += (entry.database_specific, entry.ecosystem_specific)
    for place in places:
        for key in _HASH_KEYS if isinstance(place, dict) else ():
            for digest in _digests(place.get(key)):
                found[digest] = None
                if len(found) == MOST_HASHES:
                    return tuple(found)
    return tuple(found)


def _digests(value: object) -> Iterator[str]:
    """Yield each SHA-256 in a text, a list of texts, or a mapping with the key ``sha256``."""
    if isinstance(value, str):
        digest = value.lower().removeprefix("sha256:")
        if _SHA256.match(digest):
            yield digest
    elif isinstance(value, list):
        for each in value:
            yield from _digests(each.get("sha256") if isinstance(each, dict) else each)
    elif isinstance(value, dict):
        yield from _digests(value.get("sha256"))


# Requests and answers of the OSV API (https://google.github.io/osv.dev/api/), as ``pip-audit`` and
# ``uv audit`` use it. Pure.

MOST_QUERIES = 1000
"""Queries in one batch, as in the OSV API."""
MOST_FOUND = 1000
"""Advisories in one answer to a query; a page token leads to the others."""
LONGEST_VERSION = 256
"""Characters of a version; no release has a longer one."""

_PURL = "pkg:pypi/"
_ALWAYS_SHOWN = ("schema_version", "id", "published", "modified", "withdrawn", "severity")
"""The keys of a private record that say nothing of the projects that it names."""


class OsvQueryPackage(msgspec.Struct):
    """The package of a query: by name and ecosystem, or by its package URL."""

    name: str = ""
    ecosystem: str = ""
    purl: str = ""


class OsvQuery(msgspec.Struct):
    """A query. Without a version, all advisories of the package are found."""

    package: OsvQueryPackage | None = None
    version: str | None = None
    commit: str | None = None
    page_token: str | None = None


class OsvBatch(msgspec.Struct):
    """Several queries, answered in their order."""

    queries: list[OsvQuery] = []


@frozen
class OsvTarget:
    """What a query asks for. `project` None: nothing that this index has advisories of."""

    project: ProjectName | None
    version: str | None = None
    skip: int = 0
    """Advisories that earlier pages contained."""


def target_of(query: OsvQuery) -> OsvTarget:
    """Return what a query asks for. Raises `BadRequest` for an invalid query."""
    if (query.package is None) == (query.commit is None):
        raise BadRequest("A query has either a package or a commit.")
    if query.package is None:
        return OsvTarget(None)
    name, version = _named(query.package, query.version)
    return OsvTarget(name, version, _skipped(query.page_token))


def _named(package: OsvQueryPackage, version: str | None) -> tuple[ProjectName | None, str | None]:
    name, ecosystem = package.name, package.ecosystem
    if package.purl:
        if name or ecosystem:
            raise BadRequest("A package is named by its name and ecosystem, or by its purl.")
        rest = package.purl.partition("?")[0].partition("#")[0]
        name, _, of_purl = rest.removeprefix(_PURL).partition("@")
        if version and of_purl:
            raise BadRequest("A query has one version: in its purl, or beside it.")
        name, version = unquote(name), version or unquote(of_purl)
        ecosystem = ECOSYSTEM if rest.startswith(_PURL) else "other"
    if not name or not ecosystem:
        raise BadRequest("A package has a name and an ecosystem, such as PyPI.")
    if ecosystem != ECOSYSTEM or len(version or "") > LONGEST_VERSION:
        return None, None
    return valid_name(name), version or None


def _skipped(token: str | None) -> int:
    if not token:
        return 0
    if len(token) > 9 or not (token.isascii() and token.isdigit()):
        raise BadRequest("This page_token is not from this server: begin without one.")
    return int(token)


def visible_record(
    document: bytes, projects: Sequence[ProjectName], sees: Callable[[ProjectName], bool]
) -> bytes | None:
    """Return a private record as far as a viewer may see it: None if the viewer may read none of
    its projects.

    A record that also names projects which the viewer may not read loses them, and all text,
    since text may name them too.
    """
    if projects and all(map(sees, projects)):
        return document
    if not any(map(sees, projects)):
        return None
    record: dict[str, Any] = msgspec.json.decode(document)
    kept = {key: record[key] for key in _ALWAYS_SHOWN if key in record}
    kept["affected"] = [
        {key: affected[key] for key in ("package", "ranges", "versions") if key in affected}
        for affected in record.get("affected") or ()
        if _is_seen(affected, sees)
    ]
    return msgspec.json.encode(kept)


def _is_seen(affected: dict[str, Any], sees: Callable[[ProjectName], bool]) -> bool:
    package = affected.get("package") or {}
    name = valid_name(package.get("name") or "")
    is_here = package.get("ecosystem", "").partition(":")[0] == ECOSYSTEM
    return is_here and name is not None and sees(name)
