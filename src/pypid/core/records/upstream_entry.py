"""The known state of an upstream project as the catalog stores it; and how a new listing is merged
with what is known from earlier ones.

The listed files, which are many and seldom change, are apart from all else. So a revalidation, or a
newly cached file, costs a few hundred bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import chain, islice

import msgspec
from attrs import evolve
from msgspec.structs import replace

from pypid.core.errors import BadName, Unreadable
from pypid.core.model import (
    MOST_DELETED,
    Event,
    File,
    FileHistory,
    ListedFile,
    Listing,
    RecordedFile,
    Status,
    UpstreamEntry,
    as_listed,
    in_bounds,
    in_order,
    with_event,
)
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.records.documents import (
    decoded,
    stored,
    stored_file,
)
from pypid.core.records.layout import project_of
from pypid.core.simple_api.listed_files import FileBlock, ListedFiles, ListingFacts, packed, runs_of

_WHAT = "a line of an upstream project"


class _StoredListing(msgspec.Struct, omit_defaults=True, rename="kebab", frozen=True, gc=False):
    confirmed: datetime = msgspec.field(name="asked")
    index: str
    etag: str | None = None
    status: str = "active"
    status_reason: str = ""


class _Packed(msgspec.Struct, omit_defaults=True, rename="kebab", frozen=True, gc=False):
    """What is known of `ListedFiles` beside their blocks."""

    counts: tuple[int, ...]
    versions: tuple[tuple[str, int], ...]
    facts: ListingFacts
    seen: tuple[tuple[datetime | None, int], ...] = ()
    metadata: dict[str, str] = {}


class _Heading(msgspec.Struct, omit_defaults=True, rename="kebab", frozen=True, gc=False):
    name: str
    listing: _StoredListing | None = msgspec.field(default=None, name="said")
    kept: tuple[RecordedFile, ...] = ()
    touched: tuple[tuple[str, int], ...] = ()
    history: tuple[FileHistory, ...] = ()
    since: datetime | None = None
    blocks: _Packed | None = None
    """What the compressed blocks of the listed files are. None: there is no list of files, which
    differs from an empty one.
    """


_heading = msgspec.json.Decoder(_Heading)
_listed = msgspec.msgpack.Decoder(list[bytes])


def dump_heading(entry: UpstreamEntry, key: str = "") -> bytes:
    """Return all that is known of an upstream project but its listed files, and its serial, as
    JSON. `key` is that of the catalog's table (`table_keys`), where that is not the project's name.
    """
    listing = entry.listing
    files = None if listing is None else listing.files
    heading = _Heading(
        name=key or entry.name,
        listing=None
        if listing is None
        else _StoredListing(
            confirmed=listing.confirmed,
            index=listing.index,
            etag=listing.etag,
            status=listing.status.value,
            status_reason=listing.status_reason,
        ),
        kept=tuple(map(stored, entry.kept)),
        touched=entry.touched,
        history=entry.history,
        since=entry.since,
        blocks=None if files is None else _packed(packed(files)),
    )
    return msgspec.json.encode(heading)


def dump_listed(files: Sequence[ListedFile] | None) -> bytes:
    """Return the listed files, compressed as they are: b"" for None."""
    if files is None:
        return b""
    blocks = packed(files).blocks
    return msgspec.msgpack.encode(
        [part for block in blocks for part in (block.entries, block.rest)]
    )


def load_entry(heading: bytes, listed: bytes) -> UpstreamEntry:
    """Return the state that `dump_heading` and `dump_listed` wrote. Raises `Unreadable`."""
    document = decoded(_heading, heading, _WHAT)
    listing = document.listing
    try:
        name = project_name(project_of(document.name))
        return UpstreamEntry(
            name=name,
            listing=None
            if listing is None
            else Listing(
                name=name,
                confirmed=listing.confirmed,
                index=listing.index,
                etag=listing.etag,
                status=Status(listing.status),
                status_reason=listing.status_reason,
                files=None if document.blocks is None else _files(name, document.blocks, listed),
            ),
            kept=tuple(stored_file(name, file) for file in document.kept),
            touched=document.touched,
            history=document.history,
            since=document.since,
        )
    except (BadName, ValueError) as error:
        raise Unreadable(_WHAT, str(error)) from None


def _packed(files: ListedFiles) -> _Packed:
    return _Packed(
        tuple(block.count for block in files.blocks),
        files.runs,
        files.facts,
        files.seen,
        dict(files.learnt),
    )


def _files(name: ProjectName, blocks: _Packed, listed: bytes) -> ListedFiles:
    try:
        columns = _listed.decode(listed)
    except msgspec.DecodeError as error:
        raise Unreadable(_WHAT, str(error)) from None
    versions = sum(count for _, count in blocks.versions)
    if (len(columns), versions) != (2 * len(blocks.counts), sum(blocks.counts)):
        raise ValueError("it has another number of blocks or files than it says")
    return ListedFiles(
        name,
        tuple(map(FileBlock, blocks.counts, columns[::2], columns[1::2])),
        blocks.versions,
        blocks.facts,
        blocks.seen,
        blocks.metadata,
    )


MOST = 2000
"""Maximum number of files of an upstream project whose history is held."""
LONGEST = 200
"""Characters of a yank's reason in the history, which holds each change of it."""
_THE_PROJECT = ""


def with_listing(entry: UpstreamEntry, listing: Listing) -> UpstreamEntry:
    """Return `entry` with this listing, and the changes since the last one in its history."""
    before, now = entry.listing, merged(listing, entry.listing)
    since = entry.since or (listing if before is None else before).confirmed
    return evolve(
        entry, listing=now, history=_history_with_changes(entry.history, before, now), since=since
    )


def with_cached(listing: Listing, entry: UpstreamEntry) -> Listing:
    """Return a doubtful listing with the cached files: an error page never hides them."""
    kept = {file.filename: file for file in entry.kept}
    if entry.listing is None:
        files = tuple(as_listed(file) for file in entry.kept)
    else:
        files = tuple(file for file in entry.listing.files or () if file.filename in kept)
    return evolve(listing, files=packed(in_order(files)), is_doubtful=False)


def _history_with_changes(
    history: tuple[FileHistory, ...], before: Listing | None, now: Listing
) -> tuple[FileHistory, ...]:
    """Return the history with the changes as of now. Additions are not recorded, since files have
    upload times; a first listing has no changes.
    """
    if before is None or before.files is now.files:
        return history
    histories = {file_history.filename: file_history for file_history in history}
    were, are = _changed_files(before.files, now.files)
    events: dict[str, list[Event]] = {}
    if before.files is None or now.files is None:
        events[_THE_PROJECT] = _project_events(histories.get(_THE_PROJECT), now)
    for name in were.keys() | histories.keys() | (are.keys() if histories else set()):
        if were.get(name) != are.get(name):
            events[name] = _file_events(
                histories.get(name, FileHistory(name)), were.get(name), are.get(name), now.confirmed
            )
    if not any(events.values()):
        return history
    for name, its in events.items():
        for event in its:
            histories[name] = with_event(histories.get(name, FileHistory(name)), event)
    names = now.files.names() if isinstance(now.files, ListedFiles) else are.keys()
    return in_bounds(histories.values(), {*names, _THE_PROJECT}, MOST)


def _changed_files(
    before: Sequence[ListedFile] | None, now: Sequence[ListedFile] | None
) -> tuple[dict[str, ListedFile], dict[str, ListedFile]]:
    """Return the files that were listed, and those that are, by name, except some in both."""
    if isinstance(before, ListedFiles) and isinstance(now, ListedFiles):
        here, there = now.changed_blocks(before)
        were = chain.from_iterable(before.files_of(there))
        are = chain.from_iterable(now.files_of(here))
        return {file.filename: file for file in were}, {file.filename: file for file in are}
    # limits the histories held of a project that was removed as a whole
    last = (before or ())[-MOST_DELETED if now is None else 0 :]
    return {file.filename: file for file in last}, {file.filename: file for file in now or ()}


def _project_events(history: FileHistory | None, now: Listing) -> list[Event]:
    if now.files is None:
        return [Event(now.confirmed, gone=True)]
    return (
        [Event(now.confirmed, back=True)] if history is not None and history.events[-1].gone else []
    )


def _file_events(
    history: FileHistory, was: File | None, now: File | None, at: datetime
) -> list[Event]:
    """Return the events of a file that was listed as `was`, and is as `now`."""
    if was is None:
        is_back = now is not None and bool(history.events) and history.events[-1].gone
        return [Event(at, history.events[-1].yanked, _yank(now), back=True)] if is_back else []
    before, after = _yank(was), _yank(now)
    went = Event(
        at,
        before,
        before,
        gone=True,
        sha256=was.sha256,
        begun=history.since(was.uploaded or was.seen),
    )
    if now is None:
        return [went]
    if was.sha256 is not None and now.sha256 is not None and was.sha256 != now.sha256:
        return [went, Event(at, before, after, back=True)]
    return [] if before == after else [Event(at, before, after)]


def _yank(file: File | None) -> str | None:
    return None if file is None or file.yanked is None else file.yanked[:LONGEST]


def merged(listing: Listing, before: Listing | None) -> Listing:
    """Return `listing` with what was learnt before about files that are unchanged.

    That is when a file without upload time was first seen here, and the hash of metadata for which
    upstream gives none. If no file has changed, the files are the same object as before: comparing
    them again is free, and they are in memory once.
    """
    if listing.files is None:
        return listing
    old = before.files if before is not None and before.files is not None else ()
    if listing.files is old:
        return listing
    files = packed(listing.files)
    if isinstance(old, ListedFiles) and files.same_listing(old) and not files.learnt:
        return evolve(listing, files=old)
    if not old and not files.learnt:
        return evolve(listing, files=files.first_seen(listing.confirmed))
    return evolve(listing, files=_merged_files(files, packed(old), listing.confirmed))


def _merged_files(files: ListedFiles, old: ListedFiles, now: datetime) -> ListedFiles:
    """Return the files with what was learnt before; only blocks that changed are read."""
    numbers, before = files.changed_blocks(old)
    if files.learnt or files.seen:
        numbers, before = [*range(len(files.blocks))], [*range(len(old.blocks))]
    known = {file.filename: file for file in chain.from_iterable(old.files_of(before))}
    listed = dict(zip(numbers, files.files_of(numbers), strict=True))
    merged = {
        number: [_merged_file(file, known.get(file.filename), now) for file in some]
        for number, some in listed.items()
    }
    changed = [*chain.from_iterable(merged.values())]
    if len(changed) == len(known) and all(known.get(file.filename) == file for file in changed):
        return old
    learnt = {
        file.filename: file.metadata_sha256
        for file, plain in zip(changed, chain.from_iterable(listed.values()), strict=True)
        if file.metadata_sha256 is not None and plain.metadata_sha256 is None
    }
    kept = {name: sha256 for name, sha256 in old.learnt.items() if name not in known}
    return evolve(files, seen=_seen(files, old, merged), learnt={**kept, **files.learnt, **learnt})


def _seen(
    files: ListedFiles, old: ListedFiles, merged: Mapping[int, Sequence[ListedFile]]
) -> tuple[tuple[datetime | None, int], ...]:
    """Return when the files were first seen: those of other blocks than `merged` as in `old`."""
    seen: list[datetime | None] = []
    before = [*islice(old.seen_times(), len(files))]
    for number, block in enumerate(files.blocks):
        start = len(seen)
        seen += (
            [file.seen for file in merged[number]]
            if number in merged
            else before[start : start + block.count]
        )
    return runs_of(seen)


def is_compared_quickly(listing: Listing, before: Listing | None) -> bool:
    """Return whether `with_listing` can skip the files: a first or an unchanged listing."""
    files, old = listing.files, None if before is None else before.files
    if not isinstance(files, ListedFiles):
        return False
    if isinstance(old, ListedFiles) and old:
        return not files.learnt and files.same_listing(old)
    return before is None and files.facts.dated


def _merged_file(file: ListedFile, before: ListedFile | None, now: datetime) -> ListedFile:
    if before is not None and before.sha256 != file.sha256:
        before = None
    seen = file.seen
    if file.uploaded is None:
        seen = (before.seen if before is not None else None) or now
    metadata = file.metadata_sha256
    if metadata is None and before is not None and before.sha256 is not None:
        metadata = before.metadata_sha256
    if seen != file.seen or metadata != file.metadata_sha256:
        file = replace(file, seen=seen, metadata_sha256=metadata)
    return before if before is not None and before == file else file
