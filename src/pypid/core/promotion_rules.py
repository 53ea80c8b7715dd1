"""The obstacles to the promotion of a release from one index to another. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum

from attrs import define, frozen

from pypid.core.errors import PypidError
from pypid.core.model import LocalProject, StoredFile
from pypid.core.records.documents import Deleted
from pypid.core.restrictions import Restrictions

MOST_SHOWN = 20
"""Largest number of obstacles in the text of a refusal."""
AGAIN = 30
"""Seconds after which the leases of a process that crashed have ended."""


class ObstacleKind(Enum):
    """The kinds of obstacles; the values are identifiers for programs."""

    OTHER_BYTES = "other-bytes"
    USED_UP = "name-used-up"
    CLOSED = "project-closed"
    SOURCE_CLOSED = "source-closed"
    YANKED = "yanked"
    WITHHELD = "withheld"
    UNDER_WAY = "under-way"
    STRAY = "stray-bytes"


@frozen
class PromotionObstacle:
    """One reason why a promotion is refused. `subject`: a file name, or a project with a
    version.
    """

    kind: ObstacleKind
    subject: str
    text: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.text}"


@define(slots=False, repr=False)
class PromotionRefused(PypidError, status=409):
    """The promotion is refused as a whole; nothing was changed."""

    obstacles: Sequence[PromotionObstacle]
    was_tried: bool = True
    """Whether a promotion was requested, and not only a check."""

    @property
    def retry_after(self) -> int | None:
        """After how many seconds the same promotion may succeed; None: not without a change."""
        is_temporary = all(each.kind is ObstacleKind.UNDER_WAY for each in self.obstacles)
        return AGAIN if is_temporary else None

    def text(self) -> str:
        what = "Nothing was promoted" if self.was_tried else "The promotion would be refused"
        lines, count = [str(each) for each in self.obstacles[:MOST_SHOWN]], len(self.obstacles)
        if count == 1:
            return f"{what}. {lines[0]}"
        lines += [f"and {count - len(lines)} more"] * (count > len(lines))
        return "\n".join([f"{what}, for {count} reasons:", *(f"- {line}" for line in lines)])


# --- obstacles ------------------------------------------------------------------------------------


def file_obstacles(
    files: Iterable[StoredFile],
    target: LocalProject | None,
    tombstones: Mapping[str, Deleted],
    restrictions: Sequence[Restrictions],
) -> Iterator[PromotionObstacle]:
    """Yield what prevents the files of one project from being listed in the target index.
    `tombstones`: by file name; `restrictions`: the rules of both indexes.
    """
    if target is not None and not target.status.takes_uploads:
        text = f"the project is {target.status.value} in the target index"
        yield PromotionObstacle(ObstacleKind.CLOSED, target.name, text)
    for file in files:
        found = _obstacle(file, target, tombstones.get(file.filename), restrictions)
        if found is not None:
            yield PromotionObstacle(found[0], file.filename, found[1])


def _obstacle(
    file: StoredFile,
    target: LocalProject | None,
    tombstone: Deleted | None,
    restrictions: Sequence[Restrictions],
) -> tuple[ObstacleKind, str] | None:
    hold = next((hold for each in restrictions if (hold := each.hold(file)) is not None), None)
    if hold is not None:
        return ObstacleKind.WITHHELD, hold.value
    if file.yanked is not None:
        return ObstacleKind.YANKED, "it is yanked in the source index"
    older = None if target is None else target.file(file.filename)
    if older is not None and older.sha256 != file.sha256:
        return ObstacleKind.OTHER_BYTES, "the target index has other content under this name"
    if older is None and tombstone is not None and tombstone.sha256 != file.sha256:
        text = "the target index had other content under this name, and deleted it"
        return ObstacleKind.USED_UP, text
    return None


def to_promote(files: Iterable[StoredFile], target: LocalProject | None) -> tuple[StoredFile, ...]:
    """Return the files that the target index does not list yet."""
    if target is None:
        return tuple(files)
    return tuple(file for file in files if target.file(file.filename) is None)
