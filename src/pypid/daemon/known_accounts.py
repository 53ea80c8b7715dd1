"""The note in the storage which accounts belong to it: without their rights, projects that they
closed would be open.

The accounts database has a random id, and the storage a document that names it. Both are written
before the first user, group, right, owner or token, the database first: then a crash between the
two leaves nothing that a start would miss.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from attrs import frozen
from twisted.logger import Logger

from pypid.access.sql.accounts import SqlAccounts
from pypid.access.sql.place import Server
from pypid.core.errors import (
    CannotStart,
    Exists,
    PeopleUnknown,
    StorageDown,
    StorageFull,
    Unreadable,
)
from pypid.core.records.documents import KnownAccountsDocument, dump
from pypid.core.records.layout import ACCOUNTS_KNOWN
from pypid.flow import BytesBody, World
from pypid.index.store.records import read_document
from pypid.ports import Blobs

_log = Logger()

FORMER = "accounts-known"
"""The file in the state folder by which a former version noted that accounts exist."""
_LOST = -1
"""The id of no accounts."""


@frozen
class KnownAccounts:
    """The note in `blobs` on the `accounts`. `place`: where it is stored, for display; `state`: the
    state folder.
    """

    blobs: Blobs
    accounts: SqlAccounts
    place: str
    state: Path
    world: World

    async def check(self) -> None:
        """Open the accounts, which have to be those of the storage. A former version wrote no note:
        it is written now. Raises `CannotStart`, `StorageDown`.
        """
        current, is_noted = self.accounts.current, await self._read()
        await self.accounts.open()
        if is_noted:
            return
        if current.known.is_empty:
            if await self.world.blocking((self.state / FORMER).exists):
                current.require(_LOST, self._advice(str(self.state / FORMER)))
                await self.accounts.open()
            return
        try:
            await self.note()
            _log.info("noted which accounts belong to this storage: {place}", place=self.place)
        except (StorageDown, StorageFull, PeopleUnknown) as error:
            _log.warn(
                "cannot note which accounts belong to this storage; the next change of them, or "
                "start, tries again: {error}",
                error=error,
            )

    async def note(self) -> None:
        """Write the note unless it is known to be there. Raises `StorageDown`, `StorageFull`,
        `PeopleUnknown`, also if it names other accounts by now.
        """
        current = self.accounts.current
        if current.is_required:
            return
        id = await current.identify(int.from_bytes(self.world.random(8)) >> 1)
        with suppress(Exists):
            await self.blobs.write(ACCOUNTS_KNOWN, BytesBody(dump(KnownAccountsDocument(id))))
        await self._read()  # another node may have been faster, with another database
        await current.refresh()

    async def _read(self) -> bool:
        """Require the accounts that the note names; return whether there is one."""
        try:
            found = await read_document(self.blobs, KnownAccountsDocument, ACCOUNTS_KNOWN)
        except Unreadable as error:
            raise CannotStart(f"{error}. {_way_out(self.place)}") from None
        if found is not None:
            self.accounts.current.require(found.accounts, self._advice(self.place))
        return found is not None

    def _advice(self, note: str) -> str:
        place = self.accounts.current.database.place
        name = "the database of [access] url" if isinstance(place, Server) else str(place.path)
        return (
            f"{name} does not have the users, groups, rights and tokens that belong to this "
            "storage. Without them, projects that they closed would be open. If this is another "
            "database than before, correct [access] url or [server] state; if they are lost, "
            "restore them from a backup. "
            f"{_way_out(note)}"
        )


def _way_out(note: str) -> str:
    return f"To go on with the accounts that are there now, or with none: remove {note}"
