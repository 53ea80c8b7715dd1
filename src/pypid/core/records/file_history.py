"""The history of a file since it first existed: yanked, un-yanked, deleted, restored. Stored, and
bounded.

The upload time of a file is known without this, so most files have no history. Events of local
files are recorded by the code that makes the change, those of upstream files when a changed listing
is seen. `core.records.history` reconstructs former states from it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime

import msgspec

MOST_EVENTS = 32
"""Maximum number of events per file; the oldest are dropped. The state before the oldest known
event is its `was`.
"""
MOST_DELETED = 100
"""Maximum number of deleted files of a project whose history is still held: the most recent
ones.
"""


class Event(msgspec.Struct, omit_defaults=True, rename="kebab", frozen=True, gc=False):
    """One change. Each has the yank before and after it: `was` and `yanked`, as `File.yanked`.

    `gone`: from then on the file did not exist, or had other bytes; the former ones, of the hash
    `sha256`, had existed since `begun` (None: always). `back`: from then on it existed again,
    though it has another upload time (upstream files, and local ones that were promoted from
    another index: an uploaded file that comes back has a new one).
    """

    at: datetime
    was: str | None = None
    yanked: str | None = None
    gone: bool = False
    back: bool = False
    sha256: str | None = None
    begun: datetime | None = None


class FileHistory(msgspec.Struct, omit_defaults=True, rename="kebab", frozen=True, gc=False):
    """The history of one file, in order. For upstream, the one without a `filename` is the
    project's as a whole.
    """

    filename: str
    events: tuple[Event, ...] = ()

    def since(self, uploaded: datetime | None) -> datetime | None:
        """Return when the file last appeared, if its upload time is `uploaded`; None if it is
        unknown.
        """
        for event in reversed(self.events):
            if event.back:
                return event.at
            if event.gone:
                break
        return uploaded


def with_event(history: FileHistory, event: Event) -> FileHistory:
    """Return `history` with one more event.

    A change is recorded before it is made, and may then not have been made: the last event is
    dropped if the yank after it is not the one before this event, or if both remove the same bytes.
    """
    events = history.events
    if events and _is_void(events[-1], event):
        events = events[:-1]
    return FileHistory(history.filename, (*events, event)[-MOST_EVENTS:])


def _is_void(last: Event, event: Event) -> bool:
    if last.gone:
        return event.gone and last.begun == event.begun
    return last.yanked != event.was


def of_file(history: Iterable[FileHistory], filename: str) -> FileHistory:
    """Return the history of the file of this name; an empty one if it has none."""
    return next(
        (file_history for file_history in history if file_history.filename == filename),
        FileHistory(filename),
    )


def in_bounds(
    history: Iterable[FileHistory], there: Collection[str], most: int | None = None
) -> tuple[FileHistory, ...]:
    """Return the histories by name, each once (the last one counts), without the oldest of files
    that are not `there`.

    With `most`, only that many are kept, the most recently changed ones.
    """
    by_name = {
        file_history.filename: file_history for file_history in history if file_history.events
    }
    gone = sorted(
        (file_history.events[-1].at, name)
        for name, file_history in by_name.items()
        if name not in there
    )
    for _, name in gone[:-MOST_DELETED]:
        del by_name[name]
    if most is not None and len(by_name) > most:
        oldest = sorted(
            (file_history.events[-1].at, name) for name, file_history in by_name.items()
        )
        for _, name in oldest[:-most]:
            del by_name[name]
    return tuple(by_name[name] for name in sorted(by_name))
