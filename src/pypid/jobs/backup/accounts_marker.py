"""The marker that accounts have existed: an accounts database that is empty or missing must not
open the projects that it closed.

A file in the state folder, `FILE`, says ``yes`` as soon as the database has tables. Everything here
blocks.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from attrs import frozen

from pypid.databases.faults import DatabaseUnusable
from pypid.jobs.backup.marker import read_marker
from pypid.jobs.backup.records import ACCOUNTS, put

FILE = "accounts-known"
_YES, _NO = b"yes", b"no"
CHANGES = (
    "add-group",
    "add-user",
    "change-user",
    "end-session",
    "import-people",
    "inherit-people",
    "join-group",
    "leave-group",
    "make-token",
    "mint-token",
    "register-user",
    "remove-group",
    "remove-right",
    "remove-user",
    "revoke-token",
    "set-password",
    "set-right",
)
"""The actions in the audit log that change the accounts."""


@frozen
class AccountsMarker:
    """What the state folder says of its accounts database, which is stored at `path`."""

    state: Path
    path: Path

    @property
    def is_noted(self) -> bool:
        """Return whether it says anything: it does not where an older pypid has run alone."""
        return (self.state / FILE).exists()

    def note(self) -> None:
        """Note that accounts exist. Raises `OSError`."""
        if not self._says_so():
            put(self.state, FILE, _YES + b"\n")

    def refuse_loss(self) -> None:
        """Raise `DatabaseUnusable`, with advice, if accounts have existed. Call it where the
        database is empty or missing.
        """
        if not self._says_so():
            return
        raise DatabaseUnusable(
            f"{self.path} is {'empty' if self.path.exists() else 'not there'}, but accounts have "
            "existed here. Without them, projects that were closed would be open. Restore it from "
            "a backup. Or, to begin without any users, groups, rights and tokens, write the word "
            f"{_NO.decode()} into {self.state / FILE}."
        )

    def _says_so(self) -> bool:
        with suppress(FileNotFoundError):
            return (self.state / FILE).read_bytes().strip() != _NO
        return False

    def is_lost(self) -> bool:
        """Return whether the database is missing, or an empty file."""
        return not self.path.exists() or not self.path.stat().st_size

    def was_copied(self) -> bool:
        """Return whether the note on copies in the bucket names the accounts. Raises `OSError`."""
        marker = read_marker(self.state)
        return marker is not None and ACCOUNTS in marker.copied
