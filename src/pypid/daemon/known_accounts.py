"""The notes in the storage which accounts belong to it, and which projects they closed: without
their rights, these would be open.

The accounts database has a random id, and the storage a document that names it. Both are written
before the first user, group, right, owner or token, the database first: then a crash between the
two leaves nothing that a start would miss.

The accounts may be a copy that is older than a right. So ``.pypid/closed/<project or glob>`` is
written before the first right on it, and removed before an administrator opens it: what it names
and has no right was closed by a right that is lost. ``.pypid/owners/<index>/<project>`` names the
owner: it is written after a claim, before the first file, and removed before the owner is. A
project that has it and no owner lost the owner.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import aclosing, suppress
from functools import partial

from attrs import define, field
from twisted.logger import Logger

from pypid.access.sql.accounts import SqlAccounts
from pypid.access.sql.audit import AT_ONCE as ENTRIES
from pypid.access.sql.place import Server
from pypid.core.accounts.entries import AuditEntry
from pypid.core.accounts.owners import OwnerKey, ProjectOwner
from pypid.core.accounts.rights import Right, project_pattern
from pypid.core.errors import (
    MOST_NAMED,
    BadName,
    CannotStart,
    Exists,
    PeopleUnknown,
    StorageDown,
    StorageFull,
    Unreadable,
)
from pypid.core.indexes import DEFAULT
from pypid.core.packaging.globs import ProjectPattern
from pypid.core.packaging.names import project_name
from pypid.core.records.documents import KnownAccountsDocument, NotedOwner, dump
from pypid.core.records.layout import ACCOUNTS_KNOWN, CLOSED, OWNERS
from pypid.flow import BytesBody, World
from pypid.index.job_group import all_of
from pypid.index.store.records import read_document
from pypid.ports import Blobs, Journal

_log = Logger()

AT_ONCE = 16
"""Small objects that are written at the same time."""


@define(eq=False)
class KnownAccounts:
    """The notes in `blobs` on the `accounts`. `place`: where the one on the id is stored, for
    display.
    """

    blobs: Blobs
    accounts: SqlAccounts
    journal: Journal
    place: str
    world: World
    _rights: Sequence[Right] | None = field(default=None, init=False, repr=False)
    """The rights that `compare` saw last."""
    _owners: Mapping[OwnerKey, ProjectOwner] | None = field(default=None, init=False, repr=False)
    """The owners that `compare` saw last."""

    async def check(self) -> None:
        """Open the accounts, which have to be those of the storage. A note that is missing is
        written. Raises `CannotStart`, `StorageDown`.
        """
        current, is_noted = self.accounts.current, await self._read()
        await self.accounts.open()
        if not is_noted and not current.known.is_empty and await self._try_to_note():
            _log.info("noted which accounts belong to this storage: {place}", place=self.place)

    async def _try_to_note(
        self, closed: Collection[ProjectPattern] = (), owned: Collection[OwnerKey] = ()
    ) -> bool:
        """Write the notes that are missing; return whether that is done."""
        try:
            await self.note(closed)
            await all_of([partial(self.note_owner, each) for each in owned], AT_ONCE)
        except (StorageDown, StorageFull, PeopleUnknown) as error:
            _log.warn(
                "cannot note which accounts belong to this storage; the next change of them, or "
                "start, tries again: {error}",
                error=error,
            )
            return False
        return True

    @property
    def are_compared(self) -> bool:
        """Whether no project is open whose right is lost."""
        return self._rights is not None and self._owners is not None

    async def compare(self) -> None:
        """Close the projects that the storage knows as closed and that have no right, and give
        those that have no owner back to the one that it names; note what it does not know. Does
        nothing unless it is the first time or a project has lost its rights or its owner. Raises
        `StorageDown`, `StorageFull`, `PeopleUnknown`.
        """
        await self._compare_rights()
        await self._compare_owners()

    async def _compare_rights(self) -> None:
        rights, before = self.accounts.current.state().rights, self._rights
        if rights is before:
            return
        named, named_before = ({each.project for each in those} for those in (rights, before or ()))
        if before is None or named_before - named:
            noted = await self._closed()
            await self._close(noted - named)
            if named - noted:
                await self._try_to_note(named - noted)
        self._rights = rights

    async def _closed(self) -> set[ProjectPattern]:
        """Return the projects that the storage knows as closed."""
        found = set()
        async with aclosing(self.blobs.list(CLOSED)) as listing:
            async for blob in listing:
                with suppress(BadName, ValueError):  # not pypid's
                    found.add(project_pattern(blob.key.removeprefix(CLOSED)))
        return found

    async def _close(self, lost: Collection[ProjectPattern]) -> None:
        """Leave to administrators the projects whose rights are lost."""
        closed = await self.accounts.close_projects(lost) if lost else ()
        if not closed:
            return
        _log.warn(
            "Only administrators can use these projects now: their rights are not in the accounts, "
            "which seem to be an older copy: {names}{more}. Grant the rights again (`pypid right "
            "grant`), or open a project to all (`pypid right revoke PROJECT admins`).",
            names=" ".join(closed[:MOST_NAMED]),
            more=f" and {len(closed) - MOST_NAMED} more" if closed[MOST_NAMED:] else "",
        )
        now, details = self.world.now(), {"whom": "admins", "right": "rw"}
        entries = [
            AuditEntry(when=now, who="pypid", what="right grant", subject=each, details=details)
            for each in closed
        ]
        await all_of([partial(self.journal.note, each) for each in entries], ENTRIES)

    async def _compare_owners(self) -> None:
        owners, before = self.accounts.current.state().owners, self._owners
        if owners is before:
            return
        if before is None or before.keys() - owners.keys():
            noted = await self._owned()
            await self._give_back(noted - owners.keys())
            if (missing := owners.keys() - noted) and await self._try_to_note(owned=missing):
                _log.info(
                    "noted the owners of {count} projects in the storage; if the accounts are an "
                    "older copy, owners of before this start may be missing",
                    count=len(missing),
                )
        self._owners = owners

    async def _owned(self) -> set[OwnerKey]:
        """Return the projects whose owner the storage names."""
        found = set()
        async with aclosing(self.blobs.list(OWNERS)) as listing:
            async for blob in listing:
                index, _, name = blob.key.removeprefix(OWNERS).partition("/")
                with suppress(BadName):  # not pypid's
                    found.add(("" if index == DEFAULT else index, project_name(name)))
        return found

    async def _give_back(self, lost: Collection[OwnerKey]) -> None:
        """Make the accounts that the storage names the owners of projects that lost theirs."""
        owners: dict[OwnerKey, ProjectOwner] = {}

        async def read(key: OwnerKey) -> None:
            found = await read_document(self.blobs, NotedOwner, _owner_note(key))
            if found is not None:  # else it was removed meanwhile
                owners[key] = ProjectOwner(found.account, self.world.now(), found.is_claimed)

        await all_of([partial(read, each) for each in lost], AT_ONCE)
        if not owners:
            return
        await self.accounts.give_back(owners)
        _log.warn(
            "Gave these projects back to their owners. The accounts, which seem to be an older "
            "copy, do not name them: {names}{more}. Set another owner: `pypid project set-owner`.",
            names=" ".join(sorted(name for _, name in owners)[:MOST_NAMED]),
            more=f" and {len(owners) - MOST_NAMED} more" if len(owners) > MOST_NAMED else "",
        )
        for (index, name), owner in owners.items():
            details = {"user": owner.user}
            entry = AuditEntry(
                when=owner.since,
                who="pypid",
                what="project set-owner",
                subject=name,
                details=details,
                index=index,
            )
            await self.journal.note(entry)

    async def note(self, closing: Collection[ProjectPattern] = ()) -> None:
        """Write the note on the id unless it is known to be there, and one on each project of
        `closing`. Raises `StorageDown`, `StorageFull`, `PeopleUnknown`, also if it names other
        accounts by now.
        """
        if not self.accounts.current.is_required:
            await self._identify()
        await all_of([partial(self._mark, each) for each in closing], AT_ONCE)

    async def _mark(self, project: ProjectPattern) -> None:
        with suppress(Exists):
            await self.blobs.write(f"{CLOSED}{project}", BytesBody(project.encode()))

    async def forget(self, project: ProjectPattern) -> None:
        """Remove the note that the project is closed. Raises `StorageDown`."""
        await self.blobs.delete(f"{CLOSED}{project}")

    async def forget_owners(self, projects: Collection[OwnerKey]) -> None:
        """Remove the notes who owns the projects. Raises `StorageDown`."""
        await all_of([partial(self.blobs.delete, _owner_note(each)) for each in projects], AT_ONCE)

    async def note_owner(self, project: OwnerKey) -> None:
        """Note who owns the project. Raises `StorageDown`, `StorageFull`, `PeopleUnknown`."""
        owner = self.accounts.current.state().owners.get(project)
        if owner is not None:
            body = BytesBody(dump(NotedOwner(owner.account, owner.is_claimed)))
            await self.blobs.write(_owner_note(project), body, replace=True)

    async def _identify(self) -> None:
        current = self.accounts.current
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
            self.accounts.current.require(found.accounts, self._advice())
        return found is not None

    def _advice(self) -> str:
        place = self.accounts.current.database.place
        name = "the database of [access] url" if isinstance(place, Server) else str(place.path)
        return (
            f"{name} does not have the users, groups, rights and tokens that belong to this "
            "storage. Without them it is unknown who may use which project. If this is another "
            "database than before, correct [access] url or [server] state; if they are lost, "
            "restore them from a backup. "
            f"{_way_out(self.place)}"
        )


def _owner_note(key: OwnerKey) -> str:
    return f"{OWNERS}{key[0] or DEFAULT}/{key[1]}"


def _way_out(note: str) -> str:
    return (
        f"To go on with the accounts that are there now, or with none: remove {note}; projects "
        "that lost their rights are then left to administrators"
    )
