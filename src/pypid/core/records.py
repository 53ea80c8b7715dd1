"""What pypid writes down, as JSON: one format, versioned.

Each file has a *record* of what never changes; yank, tombstone and project status are small documents of their own. The
snapshot's lines are whole projects (`dump_project`). Keys are those of the Simple API and the upload API where they
have one. Optional keys are left out, never null. A reader refuses a higher ``format`` and ignores unknown keys.
"""

from __future__ import annotations

from datetime import datetime
from typing import TypeVar

import msgspec

from pypid.core.errors import BadName, Unreadable
from pypid.core.model import File, Heard, Project, Remembered, Status
from pypid.core.names import ProjectName, project_name

FORMAT = 1


class _File(msgspec.Struct, omit_defaults=True, rename="kebab", frozen=True, gc=False):
    filename: str
    version: str
    sha256: str | None = None
    size: int | None = None
    upload_time: datetime | None = None
    requires_python: str | None = None
    core_metadata: str | None = None
    yanked: str | None = None
    source: str | None = None
    key: str | None = None
    md5: str | None = None
    blake2b_256: str | None = None
    uploader: str | None = None
    summary: str | None = None
    signed: bool = False
    attested: bool = False
    seen: datetime | None = None
    provenance: str | None = None
    digest: str | None = None
    metadata_offered: bool = False


class _Record(msgspec.Struct, rename="kebab", frozen=True):
    format: int
    project: str
    file: _File


class _Project(msgspec.Struct, omit_defaults=True, rename="kebab", frozen=True, gc=False):
    name: str
    serial: int = 0
    status: str = "active"
    status_reason: str = ""
    mark: str | None = None
    files: tuple[_File, ...] = ()


class Head(msgspec.Struct, rename="kebab", frozen=True, gc=False):
    """The beginning of a project's line: what a list of projects needs, read without its files."""

    name: str
    serial: int = 0
    status: str = "active"
    mark: str | None = None
    keeps: bool = False


class Yanked(msgspec.Struct, frozen=True):
    """The document beside a yanked file; `reason` may be empty (PEP 592)."""

    reason: str
    format: int = FORMAT


class Deleted(msgspec.Struct, frozen=True):
    """A tombstone: the name was used for bytes of this hash (lower-case hex); only the same bytes may come back."""

    sha256: str
    deleted: datetime
    by: str = ""
    format: int = FORMAT


class ProjectStatus(msgspec.Struct, frozen=True):
    """The document of a project: its status (PEP 792). That it is there makes the project ours."""

    status: Status = Status.ACTIVE
    reason: str = ""
    format: int = FORMAT


class StorageIdentity(msgspec.Struct, frozen=True):
    """Written once into a new storage, so that a snapshot of another storage is never taken for this one's."""

    identity: str
    format: int = FORMAT


_T = TypeVar("_T")
_project_decoder = msgspec.json.Decoder(_Project)
_head_decoder = msgspec.json.Decoder(Head)
_encoder = msgspec.json.Encoder()


def dump(document: msgspec.Struct) -> bytes:
    """The bytes of one of the documents above."""
    return _encoder.encode(document) + b"\n"


def load(kind: type[_T], data: bytes, what: str) -> _T:
    """The document in `data`; raises `Unreadable`, naming `what`, for anything torn, foreign or of a higher format."""
    document = _decode(msgspec.json.Decoder(kind), data, what)
    if getattr(document, "format", FORMAT) != FORMAT:
        raise Unreadable(what, f"format {getattr(document, 'format', None)!r} is not {FORMAT}")
    return document


def dump_record(file: File) -> bytes:
    """The record of `file`: all that never changes (not: yanked)."""
    return dump(_Record(format=FORMAT, project=file.project, file=_from_file(file, yanked=False)))


def load_record(data: bytes, what: str) -> File:
    """The file of a record; raises `Unreadable`."""
    record = load(_Record, data, what)
    try:
        return _to_file(project_name(record.project), record.file)
    except BadName as error:
        raise Unreadable(what, str(error)) from None


def dump_project(project: Project, mark: str | None = None) -> bytes:
    """The project as one line of JSON, without a line end; begins with what `load_head` reads.

    `mark` is the reconciler's fingerprint of the listing that the project was read from.
    """
    return _encoder.encode(
        _Project(
            name=project.name,
            serial=project.serial,
            status=project.status.value,
            status_reason=project.status_reason,
            mark=mark,
            files=tuple(_from_file(file) for file in project.files),
        )
    )


def load_project(line: bytes) -> Project:
    """The project of a line; raises `Unreadable`."""
    document = _decode(_project_decoder, line, "a project's line")
    try:
        name = project_name(document.name)
        return Project(
            name=name,
            files=tuple(_to_file(name, file) for file in document.files),
            status=Status(document.status),
            status_reason=document.status_reason,
            serial=document.serial,
        )
    except (BadName, ValueError) as error:
        raise Unreadable("a project's line", str(error)) from None


def load_head(line: bytes) -> Head:
    """The head of a project's line; raises `Unreadable`."""
    return _decode(_head_decoder, line, "a project's line")


def _decode(decoder: msgspec.json.Decoder[_T], data: bytes, what: str) -> _T:
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unreadable(what, str(error)) from None


def _from_file(file: File, yanked: bool = True) -> _File:
    return _File(
        filename=file.filename,
        version=file.version,
        sha256=file.sha256,
        size=file.size,
        upload_time=file.uploaded,
        requires_python=file.requires_python,
        core_metadata=file.metadata_sha256,
        yanked=file.yanked if yanked else None,
        source=file.source,
        key=file.key,
        md5=file.md5,
        blake2b_256=file.blake2b_256,
        uploader=file.uploader,
        summary=file.summary,
        signed=file.signed,
        attested=file.attested,
        seen=file.seen,
        provenance=file.provenance_url,
        digest=file.digest,
        metadata_offered=file.metadata_offered,
    )


def _to_file(project: ProjectName, file: _File) -> File:
    return File(
        project=project,
        filename=file.filename,
        version=file.version,
        sha256=file.sha256,
        size=file.size,
        uploaded=file.upload_time,
        requires_python=file.requires_python,
        metadata_sha256=file.core_metadata,
        yanked=file.yanked,
        source=file.source,
        key=file.key,
        md5=file.md5,
        blake2b_256=file.blake2b_256,
        uploader=file.uploader,
        summary=file.summary,
        signed=file.signed,
        attested=file.attested,
        seen=file.seen,
        provenance_url=file.provenance,
        digest=file.digest,
        metadata_offered=file.metadata_offered,
    )


# --- theirs -----------------------------------------------------------------------------------------------


class _Said(msgspec.Struct, omit_defaults=True, rename="kebab", frozen=True, gc=False):
    asked: datetime
    index: str
    etag: str | None = None
    status: str = "active"
    status_reason: str = ""
    files: tuple[_File, ...] | None = None


class _Heard(msgspec.Struct, omit_defaults=True, rename="kebab", frozen=True, gc=False):
    name: str
    serial: int = 0
    status: str = "active"  # said once more, and whether anything is kept: for the head
    keeps: bool = False
    said: _Said | None = None
    kept: tuple[_File, ...] = ()
    touched: tuple[tuple[str, int], ...] = ()


_heard_decoder = msgspec.json.Decoder(_Heard)


def dump_heard(heard: Heard) -> bytes:
    """What is known of a project of theirs as one line of JSON, which `load_head` can read the beginning of."""
    said = heard.said
    return _encoder.encode(
        _Heard(
            name=heard.name,
            serial=heard.serial,
            status="active" if said is None else said.status.value,
            keeps=bool(heard.kept),
            said=None
            if said is None
            else _Said(
                asked=said.asked,
                index=said.index,
                etag=said.etag,
                status=said.status.value,
                status_reason=said.status_reason,
                files=None if said.files is None else tuple(map(_from_file, said.files)),
            ),
            kept=tuple(map(_from_file, heard.kept)),
            touched=heard.touched,
        )
    )


def load_heard(line: bytes) -> Heard:
    """What a line of `dump_heard` says; raises `Unreadable`."""
    document = _decode(_heard_decoder, line, "a line of what was heard")
    try:
        name = project_name(document.name)
        said = document.said
        return Heard(
            name=name,
            serial=document.serial,
            said=None
            if said is None
            else Remembered(
                name=name,
                asked=said.asked,
                index=said.index,
                etag=said.etag,
                status=Status(said.status),
                status_reason=said.status_reason,
                files=None if said.files is None else tuple(_to_file(name, file) for file in said.files),
            ),
            kept=tuple(_to_file(name, file) for file in document.kept),
            touched=document.touched,
        )
    except (BadName, ValueError) as error:
        raise Unreadable("a line of what was heard", str(error)) from None
