"""Messages between pypid and the processes that write pages: MessagePack, each after its length in
eight bytes (big-endian).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby, islice
from typing import IO

import msgspec
from msgspec import Raw

from pypid.core.model import File, ListedFile, Project, Status, StoredFile
from pypid.core.packaging.names import ProjectName
from pypid.export.options import ExportOptions
from pypid.export.pages import ShownProject
from pypid.export.written_projects import WrittenProject

BLOCK = 256
"""Files that are encoded in one call: in a thread, other threads run after each."""
_HEAD = 8


class Task(msgspec.Struct, frozen=True, array_like=True):
    """The first message: the folder of the tree, the options, and the process id of pypid."""

    root: str
    options: ExportOptions
    parent: int


class _Sent(msgspec.Struct, frozen=True, array_like=True):
    name: ProjectName
    status: Status
    status_reason: str
    serial: int
    files: list[tuple[int, Raw]]
    """Blocks of files of one type each (`_TYPES`)."""
    metadata: Mapping[str, bytes]
    urls: Mapping[str, str] | None
    copies: frozenset[str]
    light: bool


class _Batch(msgspec.Struct, frozen=True, array_like=True):
    since: datetime
    projects: list[_Sent]


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """The answer to a batch; `failed`: the arguments of an `OSError`."""

    done: list[WrittenProject] = []
    failed: tuple[int | None, str, str | None] | None = None


_encoder = msgspec.msgpack.Encoder()
_task = msgspec.msgpack.Decoder(Task)
_batch = msgspec.msgpack.Decoder(_Batch)
_answer = msgspec.msgpack.Decoder(Answer)
_TYPES: tuple[type[File], ...] = (StoredFile, ListedFile, File)
_blocks = (
    msgspec.msgpack.Decoder(list[StoredFile]),
    msgspec.msgpack.Decoder(list[ListedFile]),
    msgspec.msgpack.Decoder(list[File]),
)


def encoded(message: Task | Answer) -> bytes:
    """Return the message's bytes."""
    return _encoder.encode(message)


def encoded_batch(projects: Sequence[ShownProject], since: datetime) -> bytes:
    """Return the bytes of a message: projects to write."""
    return _encoder.encode(_Batch(since, [_sent(shown) for shown in projects]))


def _sent(shown: ShownProject) -> _Sent:
    project = shown.project
    return _Sent(
        project.name,
        project.status,
        project.status_reason,
        project.serial,
        list(_in_blocks(project.files)),
        shown.metadata,
        shown.urls,
        shown.copies,
        shown.light,
    )


def _in_blocks(files: Iterable[File]) -> Iterator[tuple[int, Raw]]:
    for of_type, group in groupby(files, type):
        number = _TYPES.index(of_type)
        while block := list(islice(group, BLOCK)):
            yield number, Raw(_encoder.encode(block))


def read_task(data: bytes) -> Task:
    """Return the task of a message."""
    return _task.decode(data)


def read_batch(data: bytes) -> tuple[list[ShownProject], datetime]:
    """Return the projects to write, and `since` (`news_of_project`)."""
    batch = _batch.decode(data)
    return [_shown(sent) for sent in batch.projects], batch.since


def _shown(sent: _Sent) -> ShownProject:
    project = Project(
        name=sent.name,
        files=tuple(file for number, block in sent.files for file in _blocks[number].decode(block)),
        status=sent.status,
        status_reason=sent.status_reason,
        serial=sent.serial,
    )
    return ShownProject(project, sent.metadata, sent.urls, sent.copies, sent.light)


def read_answer(data: bytes) -> Answer:
    """Return the answer of a message. Raises `msgspec.DecodeError`."""
    return _answer.decode(data)


def send(stream: IO[bytes], data: bytes) -> None:
    """Write a message."""
    stream.write(len(data).to_bytes(_HEAD, "big"))
    stream.write(data)
    stream.flush()


def receive(stream: IO[bytes]) -> bytes | None:
    """Return the next message; None at the end."""
    head = stream.read(_HEAD)
    length = int.from_bytes(head, "big")
    data = stream.read(length) if len(head) == _HEAD else b""
    return data if head and len(data) == length else None
