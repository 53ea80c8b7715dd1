"""What the JSON API says of the machine: the configuration in force, what projects take, other
indexes.
"""

from __future__ import annotations

from typing import TypedDict

from pypid.core.configuration.choices import Mode
from pypid.web.app.descriptions import Moment


class KeyDocument(TypedDict):
    """A key of the configuration. `value` is ``(set)`` for a secret; `origin`: a file and line, a
    variable, or ``default``.

    `takes_effect` by a ``reload`` or a ``restart``; `waits`: the file says something else by now,
    which waits for a restart.
    """

    key: str
    value: str
    origin: str
    takes_effect: str
    waits: bool


class SectionDocument(TypedDict):
    """A section of the configuration."""

    section: str
    keys: list[KeyDocument]


class ConfigurationDocument(TypedDict):
    """The configuration in force. `text` is what ``pypid check-config`` prints."""

    text: str
    sections: list[SectionDocument]


class DiskDocument(TypedDict):
    """The disk that a folder lies on, in bytes."""

    total: int
    free: int


class UseDocument(TypedDict):
    """What a project takes. `files` and `size` are ours, `kept` and `kept_size` theirs; sizes in
    bytes.
    """

    name: str
    files: int
    size: int
    kept: int
    kept_size: int


class CountingDocument(TypedDict):
    """How far a count is, in projects."""

    done: int
    of: int


class StorageDocument(TypedDict):
    """What the storage holds, as the catalog knows it; sizes in bytes, without metadata and
    records.

    `place`: a folder, or ``s3://bucket/prefix``. `limit`: of what is kept, or null. `counting` is
    null where all is counted; else what is told is what was counted last, and null where nothing
    was yet. A disk is null where it does not answer, or where there is none. `projects`: those that
    take most, the largest first.
    """

    place: str
    limit: int | None
    files: int | None
    size: int | None
    kept: int | None
    kept_size: int | None
    counting: CountingDocument | None
    state_disk: DiskDocument | None
    storage_disk: DiskDocument | None
    projects: list[UseDocument]


class OutageDocument(TypedDict):
    """Since when upstream does not answer, as far as it was noticed, and how."""

    since: Moment | None
    error: str


class UpstreamDocument(TypedDict):
    """What is in force for what is not ours. `outage` is null where upstream answered the last time
    that it was asked.

    `ttl` and `cooldown` are spelt as in the configuration; `limit`, in bytes, is of what is kept,
    or null.
    """

    mode: Mode
    indexes: list[str]
    outage: OutageDocument | None
    ttl: str
    cooldown: str
    reserved: list[str]
    allow: list[str]
    deny: list[str]
    blend: list[str]
    limit: int | None
    kept: int | None
    kept_size: int | None
