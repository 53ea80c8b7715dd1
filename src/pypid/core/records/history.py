"""The state of a project at a time, reconstructed from its present state and its history. Pure.

Only the existence and the yanks of files are of that time. Visibility, denied files, quarantine,
cooldown and local names are those of now: the result passes through `policy.view` of today. A file
whose bytes are no longer available is not shown, since a page never lists what cannot be
downloaded; it is counted.

A time is given by its end, `before`: what happened earlier than that counts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from operator import itemgetter

from attrs import evolve, frozen
from msgspec.structs import replace

from pypid.core.cooldown import BEGINNING
from pypid.core.model import (
    F,
    File,
    FileHistory,
    ListedFile,
    Listing,
    Presence,
    Project,
    StoredFile,
    Summary,
    UpstreamEntry,
    as_listed,
    in_order,
    of_file,
)
from pypid.core.packaging.names import ProjectName
from pypid.core.policy import Policy, UpstreamState, is_listed, may_show_upstream, view

Spans = tuple[tuple[datetime, datetime | None], ...]
"""Time spans: from, and up to."""
REMOVED_EARLY = timedelta(days=14)
"""A file that upstream removes within this time of its upload is taken for malware."""
THE_PROJECT = ""
"""In place of a file name: the upstream project as a whole."""


@frozen(kw_only=True)
class ObservedPeriod:
    """A period from `begun` (None: always) until `ended` in which a name had these bytes."""

    begun: datetime | None
    ended: datetime | None
    sha256: str | None

    def covers(self, before: datetime) -> bool:
        """Return whether the period includes this time."""
        return (self.begun is None or self.begun < before) and (
            self.ended is None or before <= self.ended
        )


@frozen(kw_only=True)
class AsOfState:
    """What a client could see of a project at a time.

    `gone`: number of further files whose bytes are no longer available. `apart`: files that
    upstream has removed since; they are cached, and the current view of the project does not have
    them. `since`: from when on changes were recorded, if that was later; None: all of them were, or
    it is unknown.
    """

    project: Project
    gone: int = 0
    apart: frozenset[str] = frozenset()
    since: datetime | None = None


def periods(history: FileHistory, file: File | None) -> Iterator[ObservedPeriod]:
    """Yield a file name's periods, the ended ones first; `file` is the present one."""
    for event in history.events:
        if event.gone:
            yield ObservedPeriod(begun=event.begun, ended=event.at, sha256=event.sha256)
    if file is not None:
        begun = history.since(file.uploaded or file.seen)
        if begun is not None:  # without a known start, existence at any time cannot be shown
            yield ObservedPeriod(begun=begun, ended=None, sha256=file.sha256)


def yanked_as_of(history: FileHistory, now: str | None, before: datetime) -> str | None:
    """Return the yank of the file at that time (as `File.yanked`); it is `now` today."""
    events = history.events
    if not events:
        return now
    if events[0].at >= before:
        return events[0].was
    last = max(number for number, event in enumerate(events) if event.at < before)
    # since the last change the present state counts: the recorded change may not have been made
    return now if last == len(events) - 1 else events[last].yanked


def file_as_of(file: F, history: FileHistory, before: datetime) -> F | None:
    """Return the file as it was then; None if it was not there, or had bytes that are gone."""
    period = _period_at(history, file, before)
    if period is None or not _same(period.sha256, file.sha256):
        return None
    # a period that has ended may be that of an earlier upload; a promoted file keeps its time
    is_earlier = file.source is None and period.ended is not None
    uploaded = period.begun or file.uploaded if is_earlier else file.uploaded
    return _changed(file, yanked_as_of(history, file.yanked, before), uploaded)


def _period_at(history: FileHistory, file: File | None, before: datetime) -> ObservedPeriod | None:
    """Return the period that includes the time; the last one if periods overlap (clocks differ)."""
    return next(
        (period for period in reversed([*periods(history, file)]) if period.covers(before)), None
    )


def _same(one: str | None, other: str | None) -> bool:
    return one is None or other is None or one == other


def _changed(file: F, yanked: str | None, uploaded: datetime | None) -> F:
    if (file.yanked, file.uploaded) == (yanked, uploaded):
        return file
    return replace(file, yanked=yanked, uploaded=uploaded)


# --- a local project ------------------------------------------------------------------------------


def files_as_of(
    files: Iterable[F], history: Iterable[FileHistory], before: datetime
) -> tuple[F, ...]:
    """Return the local files that existed then."""
    histories = _by_name(history)
    found = (_file_as_of(file, histories, before) for file in files)
    return tuple([file for file in found if file is not None])


def _file_as_of(file: F, histories: Mapping[str, FileHistory], before: datetime) -> F | None:
    history = histories.get(file.filename)
    if history is not None:
        return file_as_of(file, history, before)
    begun = file.uploaded or file.seen
    return file if begun is not None and begun < before else None


def _by_name(history: Iterable[FileHistory]) -> Mapping[str, FileHistory]:
    return {file_history.filename: file_history for file_history in history}


def _lost(
    history: Iterable[FileHistory], there: Callable[[str], File | None], before: datetime
) -> int:
    """Return how many names had bytes then that are not available now."""
    count = 0
    for file_history in history:
        file = there(file_history.filename)
        period = (
            _period_at(file_history, file, before) if file_history.filename != THE_PROJECT else None
        )
        count += period is not None and (file is None or not _same(period.sha256, file.sha256))
    return count


def had_begun(project: Project, before: datetime) -> bool:
    """Return whether the local project had a file before this time, including deleted files. True
    for a project without known files: its former files are unknown.
    """
    begun = first_begun(project)
    return begun is None or begun < before


def first_begun(project: Project) -> datetime | None:
    """Return when the local project got its first file, deleted ones too; None: unknown."""
    begun = [period.begun for _, its in _periods_by_name(project) for period in its]
    known = [time for time in begun if time is not None]
    return min(known) if known and len(known) == len(begun) else None


def names_as_of(project: Project, before: datetime) -> frozenset[str]:
    """Return the names of the files that the local project had then, including deleted files."""
    return frozenset(
        filename
        for filename, its in _periods_by_name(project)
        if any(period.covers(before) for period in its)
    )


def _periods_by_name(project: Project) -> Iterator[tuple[str, list[ObservedPeriod]]]:
    present = {file.filename: file for file in project.files}
    histories = _by_name(project.history)
    for filename in present.keys() | histories.keys():
        history = histories.get(filename, FileHistory(filename))
        yield filename, list(periods(history, present.get(filename)))


# --- an upstream project --------------------------------------------------------------------------


def listing_as_of(
    listing: Listing,
    kept: Iterable[StoredFile],
    history: tuple[FileHistory, ...],
    before: datetime,
    restored: Collection[str] = (),
) -> Listing:
    """Return the upstream listing of that time, as far as it is available: files removed since only
    if they are cached.

    A file that was removed within `REMOVED_EARLY` of its upload is left out, unless its name is in
    `restored`.
    """
    if listing.files is None:
        return listing
    if not _was_there(of_file(history, THE_PROJECT), before):
        return evolve(listing, files=())
    histories = _by_name(history)
    now = files_as_of(listing.files, history, before)
    names = {file.filename for file in listing.files}
    left = [
        found
        for file in kept
        if file.filename not in names and file.filename in histories
        if _may_be_shown(file, histories, restored)
        if (found := _left(file, histories[file.filename], before)) is not None
    ]
    return evolve(listing, files=in_order((*now, *left)) if left else now)


def _was_removed_early(file: File, history: FileHistory) -> bool:
    """Return whether upstream removed this cached file for good within `REMOVED_EARLY` of its
    upload, or of its first sight.

    A file that is still listed was not removed. One of unknown age counts as removed early.
    """
    if not history.events or not history.events[-1].gone:
        return False
    removal = history.events[-1]
    begun = file.uploaded or file.seen or removal.begun
    return begun is None or removal.at - begun < REMOVED_EARLY


def _left(file: StoredFile, history: FileHistory, before: datetime) -> ListedFile | None:
    """Return a cached file that upstream has removed, if it was listed then."""
    period = _period_at(history, None, before)
    if period is None or not _same(period.sha256, file.sha256):
        return None
    # its provenance is determined by the current view
    left = replace(file, yanked=yanked_as_of(history, None, before), attested=False)
    return as_listed(left)


def _was_there(history: FileHistory, before: datetime) -> bool:
    """Return whether upstream had the project: `gone` and `back` of it as a whole."""
    for event in reversed(history.events):
        if event.at < before:
            return not event.gone
    return True


# --- visible state --------------------------------------------------------------------------------


def view_as_of(
    policy: Policy,
    local: Project | Presence,
    upstream: UpstreamState | None,
    now: datetime,
    name: ProjectName,
    before: datetime,
    recorded: datetime | None,
) -> AsOfState:
    """Return what a client may see today of the project as it was; `recorded`: since when changes
    of local files are recorded, if not always.
    """
    own = local if isinstance(local, Project) else None
    then, apart, gone, since = upstream, frozenset[str](), 0, recorded if own is not None else None
    if (
        upstream is not None
        and may_show_upstream(policy, name, local)
        and upstream.listing is not None
    ):
        listing = listing_as_of(
            upstream.listing, upstream.kept, upstream.history, before, policy.restored
        )
        then = evolve(upstream, listing=listing)
        listed_now = {file.filename for file in upstream.listing.files or ()}
        apart = frozenset(
            file.filename for file in listing.files or () if file.filename not in listed_now
        )
        since = max((each for each in (since, upstream.since) if each is not None), default=None)
        histories = _by_name(upstream.history)
        kept = [file for file in upstream.kept if _may_be_shown(file, histories, policy.restored)]
        held = {file.filename: file for file in (*kept, *(upstream.listing.files or ()))}
        gone = (
            _lost(upstream.history, held.get, before) if upstream.listing.status.offers_files else 0
        )
    elif (
        upstream is not None and upstream.listing is None
    ):  # cached, but never listed: use the stored files
        then = evolve(upstream, kept=files_as_of(upstream.kept, (), before))
    seen = view(policy, local, then, now, name)
    if own is None:
        return AsOfState(project=seen, gone=gone, apart=apart, since=_later(since, before))
    if not own.status.offers_files:
        return AsOfState(project=seen)
    were = files_as_of(own.files, own.history, before)
    others = [file for file in seen.files if file.source is not None] if then is not None else []
    files = in_order((*were, *others)) if others else were
    gone += (
        _lost(own.history, {file.filename: file for file in own.files}.get, before)
        if own.history
        else 0
    )
    return AsOfState(
        project=evolve(seen, files=files), gone=gone, apart=apart, since=_later(since, before)
    )


def _later(since: datetime | None, before: datetime) -> datetime | None:
    return since if since is not None and since >= before else None


def _may_be_shown(
    file: File, histories: Mapping[str, FileHistory], restored: Collection[str]
) -> bool:
    """Return whether a cached file is in any as-of view: not if it was removed early."""
    history = histories.get(file.filename)
    return history is None or file.filename in restored or not _was_removed_early(file, history)


def spans(
    own: Project | None, entry: UpstreamEntry | None, restored: Collection[str] = ()
) -> Spans:
    """Return when the project had any of the files that are stored now, for a list of projects. In
    order, and disjoint.
    """
    found: list[ObservedPeriod] = []
    if own is not None:
        histories = _by_name(own.history)
        for file in own.files:
            found += _of_these(
                file.sha256, periods(histories.get(file.filename, FileHistory(file.filename)), file)
            )
    if entry is not None:
        for _, its in _periods_of_cached(entry, restored):
            found += its
    return _merged(found)


def _periods_of_cached(
    entry: UpstreamEntry, restored: Collection[str]
) -> Iterator[tuple[str, Sequence[ObservedPeriod]]]:
    """Yield the names of the cached files that may be shown, each with the periods in which
    upstream had these very bytes under it.
    """
    histories, listing = _by_name(entry.history), entry.listing
    is_listed = listing is not None and listing.files is not None
    listed = (
        {file.filename: file for file in (listing.files if listing is not None else None) or ()}
        if entry.kept
        else {}
    )
    for file in entry.kept:
        if not _may_be_shown(file, histories, restored):
            continue
        now = listed.get(file.filename) if is_listed else file
        yield (
            file.filename,
            tuple(
                _of_these(
                    file.sha256,
                    periods(histories.get(file.filename, FileHistory(file.filename)), now),
                )
            ),
        )


def _of_these(sha256: str | None, periods: Iterable[ObservedPeriod]) -> Iterator[ObservedPeriod]:
    """Return the periods with these very bytes."""
    return (period for period in periods if _same(period.sha256, sha256))


def _merged(periods: Iterable[ObservedPeriod]) -> Spans:
    merged: list[tuple[datetime, datetime | None]] = []
    for begun, ended in sorted(
        ((period.begun or BEGINNING, period.ended) for period in periods), key=itemgetter(0)
    ):
        if merged and (merged[-1][1] is None or begun <= merged[-1][1]):
            first, last = merged.pop()
            merged.append((first, None if last is None or ended is None else max(last, ended)))
        else:
            merged.append((begun, ended))
    return tuple(merged)


def was_any(spans: Spans, before: datetime) -> bool:
    """Return whether the time is in one of the spans."""
    return any(begun < before and (ended is None or before <= ended) for begun, ended in spans)


# --- lists as of a time ---------------------------------------------------------------------------


@frozen
class AsOfNames:
    """The projects of a list as of a time, each part by name. `open`: projects that other indexes
    may have provided then, so that their pages decide (`AsOfViews.had_files`).
    """

    listed: Sequence[Summary]
    open: Sequence[Summary]


@frozen
class ProvidedSpans:
    """When a project had any file in the index that provides it today. `begun`: when this index got
    its first file of it, if it is a named one: before, another index provided the project.
    """

    spans: Spans = ()
    begun: datetime | None = None
    local_of: str | None = None
    """The index that has it as a local project; None: an upstream."""
    is_mixed: bool = False
    """Whether its page may list files of other indexes, too."""


def provided(local: Project | None, its: Spans, index: str, *, is_named: bool) -> ProvidedSpans:
    """Return the spans of a project that this index provides; `local`: its local project."""
    if local is None:
        return ProvidedSpans(its)
    return ProvidedSpans(its, first_begun(local) if is_named else None, local_of=index)


def as_of_names(
    names: Iterable[tuple[Summary, ProvidedSpans]], before: datetime, own: str | None
) -> AsOfNames:
    """Return the list as of a time. `own`: the index, for those who may not read all bases."""
    listed, unknown = list[Summary](), list[Summary]()
    for summary, its in names:
        if its.begun is not None and its.begun >= before:
            unknown.append(summary)
        elif is_listed(summary):
            had_any = was_any(its.spans, before)
            if had_any and (not its.is_mixed or own in (None, its.local_of)):
                listed.append(summary)
            elif its.is_mixed:
                unknown.append(summary)
    return AsOfNames(listed, unknown)
