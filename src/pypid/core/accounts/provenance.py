"""Provenance objects (PEP 740): attestations and their publishers, in the terms that clients know.

The identities are those that `pypi_attestations` has models for; an identity that it cannot verify
again is not written here. Sources: "Index hosted attestations" (packaging.python.org); Fulcio's
``docs/oid-info.md`` for the contents of certificates.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, Literal

import msgspec
from attrs import field, frozen
from packaging.utils import parse_sdist_filename, parse_wheel_filename

from pypid.core.errors import shortened
from pypid.core.packaging.names import LONGEST_FILENAME


class CertificateClaim(Enum):
    """Claims of a Fulcio certificate about the job that received it, by object identifier."""

    ISSUER = "1.3.6.1.4.1.57264.1.8"
    BUILD_SIGNER_URI = "1.3.6.1.4.1.57264.1.9"
    SOURCE_REPOSITORY_URI = "1.3.6.1.4.1.57264.1.12"
    SOURCE_REPOSITORY_DIGEST = "1.3.6.1.4.1.57264.1.13"
    SOURCE_REPOSITORY_REF = "1.3.6.1.4.1.57264.1.14"
    BUILD_CONFIG_URI = "1.3.6.1.4.1.57264.1.18"


class GitHub(msgspec.Struct, tag_field="kind", tag="GitHub", frozen=True):
    """A job of GitHub Actions. The certificate does not contain the environment."""

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


# Check the attestations (PEP 740) of an upload, or those that an upstream index serves: their
# form, and whether they are about the file.
#
# Signatures are verified elsewhere: `pypid.attestations.verification`. Source: "Index hosted
# attestations" (packaging.python.org).

LARGEST = 1 << 20
"""Maximum size in bytes of upstream's provenance objects; those of the public index have 10 KB."""
MOST = 32
"""Maximum number of attestations in one of them."""


class Predicate(Enum):
    """What attestations state about a file, by predicate type. Others are refused."""

    PUBLISH = "https://docs.pypi.org/attestations/publish/v1"
    SLSA_PROVENANCE = "https://slsa.dev/provenance/v1"


class _VerificationMaterial(msgspec.Struct):
    certificate: str
    transparency_entries: list[dict[str, msgspec.Raw]]


class _Envelope(msgspec.Struct):
    statement: str
    signature: str


class _Attestation(msgspec.Struct):
    """An attestation object (PEP 740, "Attestation objects")."""

    version: Literal[1]
    verification_material: _VerificationMaterial
    envelope: _Envelope


class _Subject(msgspec.Struct):
    name: str
    digest: dict[str, str]


class _Statement(msgspec.Struct):
    """A statement (in-toto Attestation Framework, "Statement" v1)."""

    kind: Literal["https://in-toto.io/Statement/v1"] = msgspec.field(name="_type")
    subjects: list[_Subject] = msgspec.field(name="subject")
    predicate_type: str = msgspec.field(name="predicateType")


class ClaimedPublisher(msgspec.Struct):
    """The publisher that a provenance object names, of any kind."""

    kind: str
    repository: str = ""
    workflow: str = ""
    workflow_filepath: str = ""
    email: str = ""
    project_id: str = ""
    vcs_origin: str | None = None


class AttestationBundle(msgspec.Struct):
    """The attestations of one publisher."""

    publisher: ClaimedPublisher
    attestations: list[msgspec.Raw]


class Provenance(msgspec.Struct):
    """A provenance object (PEP 740, "Provenance objects")."""

    version: Literal[1]
    attestation_bundles: list[AttestationBundle]


@frozen
class AttestationSubject:
    """The file that attestations must be about; `sha256` in lower-case hex."""

    filename: str
    sha256: str


@frozen
class Attestations:
    """The attestation `objects` of an upload, each as exact JSON, or the `problems` with them."""

    objects: tuple[bytes, ...] = field(default=(), repr=False)
    problems: tuple[str, ...] = ()


def read_attestations(texts: Sequence[str], about: AttestationSubject) -> Attestations:
    """Read the form field ``attestations``: a JSON array of attestation objects. Never raises."""
    if not texts:
        return Attestations()
    if len(texts) > 1:
        return Attestations(
            (),
            (
                "the field 'attestations' came more than once; send one JSON array with all of "
                "them.",
            ),
        )
    try:
        objects = msgspec.json.decode(texts[0], type=list[msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        return Attestations(
            (),
            (
                f"the field 'attestations' is not a JSON array of attestation objects: "
                f"{_reason(error)}",
            ),
        )
    if not objects:
        return Attestations(
            (), ("the field 'attestations' is an empty array; leave the field out.",)
        )
    if len(objects) > len(Predicate):
        most = f"a file can have {len(Predicate)}, one of each kind."
        return Attestations((), (f"there are {len(objects)} attestations; {most}",))
    problems: list[str] = []
    kinds: list[Predicate] = []
    for number, one in enumerate(objects, 1):
        try:
            kinds.append(check_statement(statement_in(bytes(one)), about))
        except ValueError as error:
            problems.append(f"attestation {number}: {error}")
    if len(set(kinds)) < len(kinds):
        problems.append(
            f"there are several attestations of the kind {kinds[0].value}; a file can have one of "
            "each kind."
        )
    return (
        Attestations((), tuple(problems))
        if problems
        else Attestations(tuple(bytes(one) for one in objects))
    )


def attestations_in(provenance: bytes, about: AttestationSubject) -> Sequence[bytes]:
    """Return the attestation objects in a provenance object, each as exact JSON. Raises
    `ValueError` unless there is one at least, and all are about the file.
    """
    try:
        read = msgspec.json.decode(provenance, type=Provenance)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ValueError(f"it is not a provenance object: {shortened(str(error))}") from None
    objects = [bytes(one) for bundle in read.attestation_bundles for one in bundle.attestations]
    if not 0 < len(objects) <= MOST:
        raise ValueError(f"it has {len(objects)} attestations, and must have 1 to {MOST}")
    for number, one in enumerate(objects, 1):
        try:
            check_subject(statement_in(one), about)
        except ValueError as error:
            raise ValueError(f"attestation {number}: {error}") from None
    return objects


def check_statement(statement: bytes, about: AttestationSubject) -> Predicate:
    """Return the kind of attestation that this in-toto statement makes. Raises `ValueError` with
    all the reasons why it is not valid for the file.
    """
    document = _read_statement(statement)
    problems = list(_subject_problems(document.subjects, about))
    known = {predicate.value: predicate for predicate in Predicate}
    predicate = known.get(document.predicate_type)
    if predicate is None:
        problems.append(
            f"its predicate type is {shortened(document.predicate_type)!r}; known here: "
            f"{', '.join(known)}"
        )
    if problems or predicate is None:
        raise ValueError("; ".join(problems))
    return predicate


def check_subject(statement: bytes, about: AttestationSubject) -> None:
    """Check that this in-toto statement is about the file. Raises `ValueError`."""
    problems = _subject_problems(_read_statement(statement).subjects, about)
    if problems:
        raise ValueError("; ".join(problems))


def _read_statement(statement: bytes) -> _Statement:
    try:
        return msgspec.json.decode(statement, type=_Statement)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ValueError(
            f"its statement is not an in-toto statement v1: {_reason(error)}"
        ) from None


def statement_in(attestation: bytes) -> bytes:
    """Return the statement of an attestation object, as it was signed. Raises `ValueError`."""
    try:
        read = msgspec.json.decode(attestation, type=_Attestation)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise ValueError(
            f"it is not an attestation object of version 1 (PEP 740): {_reason(error)}"
        ) from None
    if not read.verification_material.transparency_entries:
        raise ValueError("it has no entry of a transparency log.")
    encoded = {
        "certificate": read.verification_material.certificate,
        "signature": read.envelope.signature,
        "statement": read.envelope.statement,
    }
    statement = b""
    for name, text in encoded.items():
        try:
            # pydantic before 2.10 wrapped base64 in lines, and so did the attestations made with it
            statement = b64decode(text.replace("\n", ""), validate=True)
        except ValueError:
            raise ValueError(f"its {name} is not base64.") from None
    return statement


def _subject_problems(subjects: Sequence[_Subject], about: AttestationSubject) -> Sequence[str]:
    if len(subjects) != 1:
        return (f"it is about {len(subjects)} files, and has to be about one",)
    [subject] = subjects
    problems = []
    try:
        ours = parsed_filename(about.filename)
    except ValueError:
        return ("only wheels and sdists (.tar.gz, .zip) can have attestations",)
    try:
        # the time to parse the tags of a wheel grows with the cube of its length
        is_same = len(subject.name) <= LONGEST_FILENAME and parsed_filename(subject.name) == ours
    except ValueError:
        is_same = False
    if not is_same:
        problems.append(
            f"it is about the file {shortened(subject.name)!r}, not about {about.filename!r}"
        )
    if subject.digest.get("sha256") != about.sha256:
        digest = shortened(subject.digest.get("sha256", "none"))
        problems.append(
            f"it is about a file with the sha256 digest {digest}, but the content that came has "
            f"{about.sha256}"
        )
    return problems


def parsed_filename(filename: str) -> tuple[Any, ...]:
    """Return the parts of a filename that `pypi_attestations` compares: equal for two spellings of
    one name. Raises `ValueError`.
    """
    parse: Callable[[str], tuple[Any, ...]]
    if filename.endswith(".whl"):
        parse = parse_wheel_filename
    elif filename.endswith((".tar.gz", ".zip")):
        parse = parse_sdist_filename
    else:
        raise ValueError("neither a wheel nor an sdist")
    return parse(filename)


def _reason(error: Exception) -> str:
    return shortened(str(error))
