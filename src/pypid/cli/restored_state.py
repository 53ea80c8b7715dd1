"""The state folder during a restore: the note that it did not end, and the files moved aside.

A restore that is killed leaves the note, and pypid does not start until it was repeated.
Everything here blocks.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from attrs import define, field

from pypid.core.errors import CannotStart
from pypid.daemon.state import UNFINISHED_RESTORE
from pypid.daemon.stores import DOWNLOADS
from pypid.jobs.backup.backup_file import OTHER_FILES
from pypid.jobs.backup.records import OF_RECORD, put

REPLACED = tuple(dict.fromkeys((*(record.name for record in OF_RECORD), *OTHER_FILES)))
"""The files that a restore replaces only with `--force`."""


def is_unfinished(folder: Path) -> bool:
    """Return whether a restore into this state folder did not end."""
    return (folder / UNFINISHED_RESTORE).exists()


@define(eq=False)
class RestoredState:
    """The state folder of one restore. `only`: the part that is restored, "state" or "storage";
    empty: all.

    The note has the id of the backup, the folder of the files while they are moved aside, and
    `only`, a line each.
    """

    folder: Path
    backup_id: str
    only: str = ""
    aside: Path | None = field(default=None, init=False)

    def check_scope(self) -> None:
        """Raise `CannotStart` if this restore would end one that restores more: pypid would start
        without its accounts or its records.
        """
        if is_unfinished(self.folder) and self.only not in ("", self._noted()[2]):
            scope = self._noted()[2]
            wanted = f"with --only {scope}" if scope else "without --only"
            raise CannotStart(
                f"A restore into {self.folder} did not end that restores more. Run it again, "
                f"{wanted}."
            )

    def check(self) -> None:
        """Raise `CannotStart` if only `--force` allows this restore."""
        if is_unfinished(self.folder):
            if self._noted()[0] != self.backup_id:
                raise CannotStart(
                    f"The restore of another backup into {self.folder} did not end. Restore that "
                    "one again, or use --force."
                )
        elif found := self._found(REPLACED):
            raise CannotStart(
                f"The state folder {self.folder} has {', '.join(found)}. With --force they are "
                "moved into a folder beside them, and replaced."
            )

    def begin(self, now: datetime) -> None:
        """Write the note, then move the files aside. A repeated restore completes the move. Raises
        `OSError`.
        """
        noted, aside, _ = self._noted()
        if noted != self.backup_id:
            is_used = bool(self._found((*REPLACED, DOWNLOADS)))
            aside = f"before-restore-{now:%Y%m%dT%H%M%SZ}" if is_used else ""
        if aside:
            self._write_note(aside)
            self._move(self.folder / aside)
        self._write_note()

    def end(self) -> None:
        """Remove the note. Raises `OSError`."""
        (self.folder / UNFINISHED_RESTORE).unlink()

    def _noted(self) -> tuple[str, str, str]:
        """Return the id in the note, the name of the folder, and `only`; all empty without a
        note.
        """
        if not is_unfinished(self.folder):
            return "", "", ""
        lines = (self.folder / UNFINISHED_RESTORE).read_text().split("\n")
        backup_id, aside, only, *_ = (*lines, "", "")
        return backup_id, aside, only

    def _write_note(self, aside: str = "") -> None:
        put(self.folder, UNFINISHED_RESTORE, "\n".join((self.backup_id, aside, self.only)).encode())

    def _found(self, names: Iterable[str]) -> list[str]:
        if self.only == "storage":
            return []
        return [name for name in names if (self.folder / name).exists()]

    def _move(self, aside: Path) -> None:
        aside.mkdir(mode=0o700, exist_ok=True)
        self.aside = aside
        for name in (*REPLACED, DOWNLOADS):
            for suffix in ("", "-wal", "-shm", "-journal"):
                with suppress(FileNotFoundError):
                    (self.folder / f"{name}{suffix}").rename(aside / f"{name}{suffix}")
