"""Uploads: a form and a file become an `Upload`, or a list of all their problems.

Two steps, so that problems of the form are reported before the archive is opened:
`distribution_of`, then `check` with what `inspection.inspect` found. Source: the legacy upload API
as PyPI documents it and as its clients use it (each oddity below names its client). The metadata
inside the file is authoritative; the form is compared with it and fills gaps.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum

from attrs import field, frozen

from pypid.core.accounts.provenance import Attestations, AttestationSubject, read_attestations
from pypid.core.archives.inspection import Inside
from pypid.core.errors import (
    INVALID_ATTESTATIONS,
    AttestationsRejected,
    BadFilename,
    BadName,
    BadRequest,
    UploadRejected,
    shortened,
)
from pypid.core.model import Checksum, Digests, Upload
from pypid.core.packaging.core_metadata import (
    KNOWN_VERSIONS,
    CoreMetadata,
    is_metadata_version,
    python_specifier,
    read_metadata,
    requirement_problems,
    summary_line,
)
from pypid.core.packaging.names import (
    Distribution,
    Packagetype,
    parse_filename,
    project_name,
    same_version,
)
from pypid.core.permissions import is_account_name

_SAYS_NOTHING = ("", "UNKNOWN", "None")
"""What distutils (``UNKNOWN``, later ``None``) and pdm (empty) send for absent fields."""
_MD5, _BLAKE2 = "md5_digest", "blake2_256_digest"
_BLAKE2_512 = re.compile(r"[0-9A-Fa-f]{128}\Z")
"""What distutils of Python 3.8 to 3.11 sends as ``blake2_256_digest``; MD5 and SHA-256 are sent
with it, and are compared.
"""
_RESOLVED_BY = frozenset({"name", "version", "requires-dist", "requires-python", "provides-extra"})
"""The fields by which an installer resolves dependencies."""


class FormAction(Enum):
    """The action that a form requests with ``:action``."""

    FILE_UPLOAD = "file_upload"
    SUBMIT = "submit"
    """Register a project (``setup.py register``, and poetry before the first upload)."""
    DOC_UPLOAD = "doc_upload"
    UNKNOWN = "unknown"


@frozen(kw_only=True)
class UploadFields:
    """The contents of the form, without the file but its `filename` and hashes."""

    fields: Mapping[str, tuple[str, ...]] = field(repr=False)
    """The text fields; a name that came several times has several values."""
    filename: str | None
    """As in the part ``content``; None if there was no such part."""
    content_digests: Digests | None
    """The hashes of the content as received; None if there was none."""

    def values(self, name: str) -> tuple[str, ...]:
        """Return the values of the fields of this name, each once, without empty ones."""
        return _informative(self.fields.get(name, ()))

    def identifiers(self, name: str) -> tuple[str, ...]:
        """Return the values of a field that identifies the file, each once, including those that
        count as empty elsewhere.
        """
        return tuple(dict.fromkeys(text.strip() for text in self.fields.get(name, ())))

    def value(self, name: str) -> str | None:
        """Return the first of `values`, or None."""
        return next(iter(self.values(name)), None)


def action_of(form: UploadFields, query_action: str | None) -> FormAction:
    """Return the action; old clients have it in the URL's query (`query_action`)."""
    action = form.value(":action") or query_action
    match action:
        case "file_upload":
            return FormAction.FILE_UPLOAD
        case "submit" | "submit_pkg_info":
            return FormAction.SUBMIT
        case "doc_upload":
            return FormAction.DOC_UPLOAD
        case _:
            return FormAction.UNKNOWN


def checksums_in(fields: Mapping[str, Sequence[str]]) -> frozenset[Checksum]:
    """Return the checksums that these form fields contain, besides SHA-256."""
    names = {_MD5: Checksum.MD5, _BLAKE2: Checksum.BLAKE2B_256}
    return frozenset(
        checksum
        for name, checksum in names.items()
        if any(_is_compared(name, value) for value in _informative(fields.get(name, ())))
    )


def distribution_of(form: UploadFields) -> Distribution:
    """Return the distribution of the content's file name, if the form agrees with it.

    Raises `UploadRejected` with all contradictions, `AttestationsRejected` if only the attestations
    are invalid.
    """
    if form.filename is None or form.content_digests is None:
        raise UploadRejected(
            (
                "the form has no file in its part 'content'; upload with twine, uv or another "
                "upload tool.",
            )
        )
    try:
        distribution = parse_filename(form.filename)
    except BadFilename as error:
        raise UploadRejected((str(error),), form.filename) from None
    attested = _attestations(form, distribution).problems
    problems = _form_problems(form, distribution)
    if problems:
        raise UploadRejected(
            (*problems, *(INVALID_ATTESTATIONS + problem for problem in attested)), form.filename
        )
    if attested:
        raise AttestationsRejected(attested, form.filename)
    return distribution


def check(form: UploadFields, distribution: Distribution, inside: Inside) -> Upload:
    """Return the upload, ready to be published. Raises `UploadRejected` with all the problems of
    form, archive and metadata.

    `distribution` comes from `distribution_of`, `inside` from `inspection.inspect` of the content.
    """
    metadata = CoreMetadata() if inside.metadata is None else read_metadata(inside.metadata)
    attestations = _attestations(form, distribution)
    problems = [
        *_form_problems(form, distribution),
        *(INVALID_ATTESTATIONS + problem for problem in attestations.problems),
    ]
    problems += inside.problems
    problems += [*metadata.problems, *contradictions(distribution, metadata)]
    served = served_metadata(distribution, inside.metadata)
    if served is not None:
        problems += requirement_problems(metadata)
    requires_python = metadata.requires_python or python_specifier(
        _fallback(form, distribution, "requires_python"), problems
    )
    if inside.metadata is None and not problems:
        problems.append(
            "the file has no metadata that can be read: build it again with a current build tool."
        )
    if problems or metadata.version is None or form.content_digests is None:
        raise UploadRejected(tuple(dict.fromkeys(problems)), distribution.filename)
    return Upload(
        distribution=distribution,
        version=metadata.version,
        digests=form.content_digests,
        metadata=served,
        requires_python=requires_python,
        summary=metadata.summary or summary_line(_fallback(form, distribution, "summary")),
        attestations=attestations.objects,
    )


def contradictions(distribution: Distribution, metadata: CoreMetadata) -> tuple[str, ...]:
    """Return where the metadata inside the file contradicts its name."""
    problems = []
    if metadata.project is not None and metadata.project != distribution.project:
        problems.append(
            f"the metadata in the file is of the project {metadata.project!r}, its name is of "
            f"{distribution.project!r}; do not rename distributions."
        )
    if metadata.version is not None and not same_version(metadata.version, distribution.version):
        problems.append(
            f"the metadata in the file says version {metadata.version}, its name says "
            f"{distribution.version}; do not rename distributions."
        )
    return tuple(problems)


def served_metadata(distribution: Distribution, metadata: bytes | None) -> bytes | None:
    """Return the exact bytes to serve as ``<file>.metadata`` (PEP 658, PEP 714), or None if clients
    must open the file.

    Of wheels always. Of sdists only what the build cannot change: Metadata-Version 2.2 or later
    with no ``Dynamic`` field that resolution depends on (PEP 643). Of eggs never: no installer
    requests it.
    """
    if metadata is None or distribution.packagetype is Packagetype.EGG:
        return None
    if distribution.packagetype is Packagetype.WHEEL:
        return metadata
    parsed = read_metadata(metadata)
    is_static = parsed.is_since(2, 2) and not parsed.dynamic & _RESOLVED_BY
    return metadata if is_static and not parsed.problems else None


# --- files of another index -----------------------------------------------------------------------
# The administrator trusts them, as adopted files: an unusual file that the other index served
# is imported, and every problem is reported.

LONGEST_UPLOADER = 200
NOT_SERVED = "it is served without core metadata (PEP 658)."


@frozen(kw_only=True)
class ImportedFile:
    """What the other index recorded about a file."""

    distribution: Distribution
    uploaded: datetime | None
    uploader: str | None
    yanked: str | None
    """The reason of a yank, perhaps empty; None: the file is not yanked."""


def imported_file(form: UploadFields, now: datetime) -> ImportedFile:
    """Return what the form says. Raises `UploadRejected` if the bytes are not those of its hashes,
    or the file is of another project; `BadRequest` for a malformed field.
    """
    distribution = distribution_of(form)
    if form.content_digests is None or form.content_digests.size == 0:
        raise UploadRejected(("the file is empty.",), distribution.filename)
    uploader = form.value("uploader")
    if uploader is not None and not is_account_name(uploader, LONGEST_UPLOADER):
        raise BadRequest(f"uploader: {shortened(uploader)!r} is not the name of a user.")
    return ImportedFile(
        distribution=distribution,
        uploaded=_time(form.value("uploaded"), now),
        uploader=uploader,
        yanked=next(iter(form.fields.get("yanked", ())), None),
    )


def _time(text: str | None, now: datetime) -> datetime | None:
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise BadRequest(f"uploaded: {shortened(text)!r} is not a time such as {now.isoformat()}.")
    return min(time.astimezone(UTC), now)


def imported_upload(
    form: UploadFields, distribution: Distribution, inside: Inside
) -> tuple[Upload, tuple[str, ...]]:
    """Return the upload, and what is unusual about it. `distribution` is that of `imported_file`,
    `inside` what `inspection.inspect` found in the content.
    """
    assert form.content_digests is not None
    metadata = CoreMetadata() if inside.metadata is None else read_metadata(inside.metadata)
    wrong = contradictions(distribution, metadata)
    problems = (*wrong, *inside.problems, *metadata.problems)
    if inside.metadata is None and not problems:
        problems = ("it has no metadata that can be read.",)
    is_sound = inside.metadata is not None and not wrong
    upload = Upload(
        distribution=distribution,
        version=(metadata.version if is_sound else None) or distribution.version,
        digests=form.content_digests,
        metadata=served_metadata(distribution, inside.metadata) if is_sound else None,
        requires_python=metadata.requires_python,
        summary=metadata.summary,
    )
    return upload, problems if is_sound else (*problems, NOT_SERVED)


# --- what the form alone shows --------------------------------------------------------------------


def _form_problems(form: UploadFields, distribution: Distribution) -> list[str]:
    return [
        *_protocol_problems(form),
        *_digest_problems(form),
        *_type_problems(form, distribution),
        *_name_problems(form, distribution),
        *_metadata_version_problems(form),
    ]


def _protocol_problems(form: UploadFields) -> list[str]:
    # Python 2.7's distutils sends protcol_version, which is not a field and so not read
    return [
        f"protocol_version {shortened(v)!r} is not known here: 1 is."
        for v in form.values("protocol_version")
        if v != "1"
    ]


def _digest_problems(form: UploadFields) -> list[str]:
    """All digests sent must match; none is required: TLS and archives have checks of their own."""
    digests = form.content_digests
    if digests is None:
        return []
    ours = {_MD5: digests.md5, "sha256_digest": digests.sha256, _BLAKE2: digests.blake2b_256}
    return [
        f"{name} of the form is {shortened(digest)!r}, but the content that came has {true}: "
        "upload it again."
        for name, true in ours.items()
        for digest in form.values(name)
        if digest.lower() != true and _is_compared(name, digest)
    ]


def _is_compared(name: str, digest: str) -> bool:
    return not (name == _BLAKE2 and _BLAKE2_512.match(digest))


def _informative(values: Iterable[str]) -> tuple[str, ...]:
    texts = (text.strip() for text in values)
    return tuple(dict.fromkeys(text for text in texts if text not in _SAYS_NOTHING))


def _type_problems(form: UploadFields, distribution: Distribution) -> list[str]:
    right = distribution.packagetype.value
    problems = [
        f"filetype of the form is {shortened(value)!r}, but a file of this name is a {right}."
        for value in form.identifiers("filetype")
        if value != right
    ]
    if distribution.packagetype is Packagetype.SDIST:  # flit and distutils send none
        problems += [
            f"pyversion of the form is {shortened(value)!r}; for an sdist it is 'source'."
            for value in form.values("pyversion")
            if value != "source"
        ]
    return problems


def _name_problems(form: UploadFields, distribution: Distribution) -> list[str]:
    problems = []
    for value in form.identifiers("name"):
        try:
            if project_name(value) != distribution.project:
                problems.append(
                    f"name of the form is {shortened(value)!r}, but the file name says "
                    f"{distribution.project!r}."
                )
        except BadName as error:
            problems.append(str(error))
    problems += [
        f"version of the form is {shortened(value)!r}, but the file name says "
        f"{distribution.version}."
        for value in form.identifiers("version")
        if not same_version(value, distribution.version)
    ]
    return problems


def _metadata_version_problems(form: UploadFields) -> list[str]:
    """Return problems with the form's metadata_version. Not compared with the file: flit sends 2.3
    and distutils 1.0 whatever the file says.
    """
    return [
        f"metadata_version {shortened(value)!r} of the form is not known here: {KNOWN_VERSIONS}."
        for value in form.values("metadata_version")
        if not is_metadata_version(value)
    ]


def _attestations(form: UploadFields, distribution: Distribution) -> Attestations:
    sha256 = "" if form.content_digests is None else form.content_digests.sha256
    return read_attestations(
        form.values("attestations"), AttestationSubject(distribution.filename, sha256)
    )


def _fallback(form: UploadFields, distribution: Distribution, name: str) -> str | None:
    """Return the form's value if the file cannot have one: PKG-INFO of old tools lacks fields
    (Requires-Python came with 1.2); METADATA of wheels is complete.
    """
    return None if distribution.packagetype is Packagetype.WHEEL else form.value(name)
