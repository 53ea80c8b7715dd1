"""What happened to a file since it was first there: yanked, un-yanked, taken away, put back.
Written down, and bounded.

When a file came is known without this (its upload time), and so most files have no past. Of ours an
event is noted by whoever makes the change, of theirs when another index is seen to say something
else. `core.records.history` tells from it how things stood.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime

import msgspec

MOST_EVENTS = 32
"""Of one file; the oldest go. What was before the oldest that is known is told by its `was`."""
MOST_DELETED = 100
"""Files of a project that are not there any more, and whose past is still held: those that were
last.
"""


class Event(msgspec.Struct, omit_defaults=True, rename="kebab", frozen=True, gc=False):
    """One change. Whatever it was, it says whether the file was yanked before and after: `was` and
    `yanked`, as `File.yanked`.

    `gone`: from then on it was not there, or other bytes were; these, of the hash `sha256`, had
    been there since `begun` (None: for ever). `back`: from then on it was there again, though it
    says another upload time (of theirs only: a file of ours that comes back has a new one).
    """

    at: datetime
    was: str | None = None
    yanked: str | None = None
    gone: bool = False
    back: bool = False
    sha256: str | None = None
    begun: datetime | None = None


class FileHistory(msgspec.Struct, omit_defaults=True, rename="kebab", frozen=True, gc=False):
    """What happened to one file, in order. Of theirs, the one without a `filename` is the project's
    as a whole.
    """

    filename: str
    events: tuple[Event, ...] = ()

    def since(self, uploaded: datetime | None) -> datetime | None:
        """When it came for the last time, where it says `uploaded` (None: nobody knows)."""
        for event in reversed(self.events):
            if event.back:
                return event.at
            if event.gone:
                break
        return uploaded


def noted(past: FileHistory, event: Event) -> FileHistory:
    """`past` with one more event.

    A change is noted before it is made, and may then not have been made: the last event is not so
    if it says another thing of the yank than this one says was so, or that those bytes had gone
    already which go now.
    """
    events = past.events
    if events and _is_void(events[-1], event):
        events = events[:-1]
    return FileHistory(past.filename, (*events, event)[-MOST_EVENTS:])


def _is_void(last: Event, event: Event) -> bool:
    if last.gone:
        return event.gone and last.begun == event.begun
    return last.yanked != event.was


def of_file(history: Iterable[FileHistory], filename: str) -> FileHistory:
    """What happened to the file of this name; an empty one where nothing did."""
    return next((past for past in history if past.filename == filename), FileHistory(filename))


def in_bounds(
    history: Iterable[FileHistory], there: Collection[str], most: int | None = None
) -> tuple[FileHistory, ...]:
    """The pasts by name, each once (the last one counts), without the oldest of files that are not
    `there`.

    Of them all only the `most` that changed last, where that is given.
    """
    by_name = {past.filename: past for past in history if past.events}
    gone = sorted((past.events[-1].at, name) for name, past in by_name.items() if name not in there)
    for _, name in gone[:-MOST_DELETED]:
        del by_name[name]
    if most is not None and len(by_name) > most:
        oldest = sorted((past.events[-1].at, name) for name, past in by_name.items())
        for _, name in oldest[:-most]:
            del by_name[name]
    return tuple(by_name[name] for name in sorted(by_name))
