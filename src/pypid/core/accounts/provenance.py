"""Provenance objects (PEP 740): attestations and their publishers, in the terms that clients know.

The identities are those that `pypi_attestations` has models for; an identity that it cannot verify
again is not written here. Sources: "Index hosted attestations" (packaging.python.org); Fulcio's
``docs/oid-info.md`` for the contents of certificates.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import Enum

import msgspec
from attrs import field, frozen


class CertificateClaim(Enum):
    """Claims of a Fulcio certificate about the job that received it; the values are object
    identifiers.
    """

    ISSUER = "1.3.6.1.4.1.57264.1.8"
    BUILD_SIGNER_URI = "1.3.6.1.4.1.57264.1.9"
    SOURCE_REPOSITORY_URI = "1.3.6.1.4.1.57264.1.12"
    SOURCE_REPOSITORY_DIGEST = "1.3.6.1.4.1.57264.1.13"
    SOURCE_REPOSITORY_REF = "1.3.6.1.4.1.57264.1.14"
    BUILD_CONFIG_URI = "1.3.6.1.4.1.57264.1.18"


class GitHub(msgspec.Struct, tag_field="kind", tag="GitHub", frozen=True):
    """A job of GitHub Actions. The environment is unknown because the certificate does not contain
    it.
    """

    repository: str
    workflow: str
    environment: None = None


class GitLab(msgspec.Struct, tag_field="kind", tag="GitLab", frozen=True):
    """A job of gitlab.com."""

    repository: str
    workflow_filepath: str
    environment: None = None


class Google(msgspec.Struct, tag_field="kind", tag="Google", frozen=True):
    """A service account of Google Cloud."""

    email: str


class CircleCI(msgspec.Struct, tag_field="kind", tag="CircleCI", frozen=True):
    """A job of CircleCI."""

    project_id: str
    pipeline_definition_id: str
    vcs_origin: str | None = None
    vcs_ref: str | None = None


Publisher = GitHub | GitLab | Google | CircleCI
KINDS = "GitHub Actions, gitlab.com, Google Cloud and CircleCI"

_GITHUB, _GITLAB = "https://github.com/", "https://gitlab.com/"
_CIRCLECI_SIGNER = re.compile(
    r"https://circleci\.com/api/v2/projects/([^/]+)/pipeline-definitions/([^/]+)"
)


@frozen
class Signed:
    """An attestation (its JSON) whose signature was verified, and its publisher."""

    publisher: Publisher
    attestation: bytes = field(repr=False)


def publisher_of(claims: Mapping[CertificateClaim, str], email: str | None) -> Publisher | None:
    """Return the publisher that a certificate identifies; None for an identity that a provenance
    object cannot express.

    `email` is the certificate's subject alternative name, if it is an address.
    """
    match claims.get(CertificateClaim.ISSUER):
        case "https://token.actions.githubusercontent.com":
            return _github(claims)
        case "https://gitlab.com":
            return _gitlab(claims)
        case "https://accounts.google.com":
            return Google(email) if email else None
        case "https://oidc.circleci.com":
            return _circleci(claims)
        case _:
            return None


def _github(claims: Mapping[CertificateClaim, str]) -> Publisher | None:
    repository = _repository(claims, _GITHUB)
    workflow = _build_config(claims, f"{_GITHUB}{repository}/.github/workflows/")
    return GitHub(repository, workflow) if repository and workflow else None


def _gitlab(claims: Mapping[CertificateClaim, str]) -> Publisher | None:
    repository = _repository(claims, _GITLAB)
    path = _build_config(claims, f"{_GITLAB}{repository}//")
    # clients check both, so a certificate without one of them could never be verified again
    complete = (
        CertificateClaim.SOURCE_REPOSITORY_DIGEST in claims
        and CertificateClaim.SOURCE_REPOSITORY_REF in claims
    )
    return GitLab(repository, path) if repository and path and complete else None


def _circleci(claims: Mapping[CertificateClaim, str]) -> Publisher | None:
    signer = _CIRCLECI_SIGNER.fullmatch(claims.get(CertificateClaim.BUILD_SIGNER_URI, ""))
    if signer is None:
        return None
    origin, ref = (
        claims.get(CertificateClaim.SOURCE_REPOSITORY_URI),
        claims.get(CertificateClaim.SOURCE_REPOSITORY_REF),
    )
    return CircleCI(signer[1], signer[2], origin or None, ref or None)


def _repository(claims: Mapping[CertificateClaim, str], host: str) -> str:
    url = claims.get(CertificateClaim.SOURCE_REPOSITORY_URI, "")
    return url.removeprefix(host) if url.startswith(host) else ""


def _build_config(claims: Mapping[CertificateClaim, str], before: str) -> str:
    """Return the path of the build configuration, between `before` and the revision; empty if it
    belongs to another project.
    """
    uri = claims.get(CertificateClaim.BUILD_CONFIG_URI, "")
    for claim in (
        CertificateClaim.SOURCE_REPOSITORY_REF,
        CertificateClaim.SOURCE_REPOSITORY_DIGEST,
    ):
        after = f"@{claims.get(claim, '')}"
        if (
            uri.startswith(before)
            and uri.endswith(after)
            and after != "@"
            and len(uri) >= len(before) + len(after)
        ):
            return uri[len(before) : -len(after)]
    return ""


def provenance_object(signed: Sequence[Signed]) -> bytes:
    """Return the provenance object to serve, as JSON: one bundle for each publisher."""
    bundles = [
        {
            "publisher": publisher,
            "attestations": [
                msgspec.Raw(one.attestation) for one in signed if one.publisher == publisher
            ],
        }
        for publisher in dict.fromkeys(one.publisher for one in signed)
    ]
    return msgspec.json.encode({"version": 1, "attestation_bundles": bundles})
