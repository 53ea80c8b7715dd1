"""The signers of a file, read from its provenance object (PEP 740).

Only for objects whose signatures pypid has verified: those of local files
(`core.accounts.provenance`), and those of upstream files with a verdict (`core.trust`).
"""

from __future__ import annotations

import re
from urllib.parse import quote

import msgspec
from attrs import frozen

from pypid.core.accounts.provenance import ClaimedPublisher, Provenance
from pypid.core.presentation.project_view import line

MOST = 4
"""Maximum number of publishers of one file that are shown."""
_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?:/[A-Za-z0-9][A-Za-z0-9._-]*)+\Z")
_FORGES = {
    "GitHub": ("GitHub Actions", "https://github.com/"),
    "GitLab": ("GitLab CI", "https://gitlab.com/"),
}


@frozen
class Signer:
    """A signer of a file: the service, the repository (or account), and the workflow."""

    service: str
    source: str
    url: str | None = None
    """URL of the repository."""
    workflow: str = ""
    problem: str = ""
    """Why the attestations of an upstream file prove nothing; there is no signer then."""


def signers_in(provenance: bytes) -> tuple[Signer, ...]:
    """Return the signers that a provenance object names; none if it cannot be parsed."""
    try:
        read = msgspec.json.decode(provenance, type=Provenance)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return ()
    return tuple(
        dict.fromkeys(_signer(bundle.publisher) for bundle in read.attestation_bundles[:MOST])
    )


def claimed_publishers(provenance: bytes) -> frozenset[str]:
    """Return the publishers that a provenance object claims, as in rules. Raises `ValueError`."""
    try:
        read = msgspec.json.decode(provenance, type=Provenance)
    except msgspec.MsgspecError as error:
        raise ValueError(f"its publishers cannot be read: {error}") from None
    return frozenset(_claim(bundle.publisher) for bundle in read.attestation_bundles)


def _claim(publisher: ClaimedPublisher) -> str:
    name = publisher.repository or publisher.email or publisher.project_id
    return f"{publisher.kind}:{line(name, 200) or 'unknown'}".lower()


def _signer(publisher: ClaimedPublisher) -> Signer:
    if publisher.kind in _FORGES:
        service, forge = _FORGES[publisher.kind]
        repository = line(publisher.repository, 200) or "unknown"
        url = f"{forge}{quote(repository)}" if _REPOSITORY.match(repository) else None
        return Signer(
            service,
            repository,
            url,
            line(publisher.workflow or publisher.workflow_filepath, 200) or "",
        )
    if publisher.kind == "Google":
        return Signer("Google Cloud", line(publisher.email, 200) or "unknown")
    if publisher.kind == "CircleCI":
        return Signer(
            "CircleCI", line(publisher.vcs_origin or publisher.project_id, 200) or "unknown"
        )
    return Signer(
        line(publisher.kind, 80) or "unknown",
        line(publisher.repository or publisher.email, 200) or "unknown",
    )
