"""The severity of an advisory: its own label, or the rating of its CVSS base score.

CVSS 2 and 3 scores are computed by their specifications. A CVSS 4 vector without a label and
without a CVSS 3 vector is rated by the CVSS 3 metrics that it corresponds to: an estimate.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from math import ceil


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


def labelled(label: object) -> AdvisorySeverity:
    """Return the severity that a label such as ``MODERATE`` names, or unknown."""
    return (
        _LABELS.get(label.lower(), AdvisorySeverity.UNKNOWN)
        if isinstance(label, str)
        else _LABELS["unknown"]
    )


def rated(scores: Iterable[tuple[str, str]]) -> AdvisorySeverity:
    """Return the severity of CVSS vectors: pairs of the OSV type (``CVSS_V3``) and the vector.

    The exact scores of CVSS 3 are preferred. Vectors that cannot be read count as unknown.
    """
    by_type: dict[str, float] = {}
    for kind, vector in scores:
        score = base_score(vector) if kind in _PREFERRED else None
        if score is not None:
            by_type[kind] = max(score, by_type.get(kind, 0.0))
    for kind in _PREFERRED:
        if kind in by_type:
            return _rating(by_type[kind])
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
