"""Import of the users, groups and rights of a pypicloud, as one change. Everything here blocks.

Existing entries stay as they are: only what is missing is added.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from datetime import UTC, datetime
from typing import Any

from attrs import frozen
from sqlalchemy import Connection, Table, and_, insert, select, update

from pypid.access.sql.rows import AT_ONCE, Touch, account_row
from pypid.access.sql.tables import groups, members, once, rights, users
from pypid.core.accounts.acl_dump import Dump, DumpedPerson, Oddity
from pypid.core.accounts.acl_merge import Merged, entered, grown, taken_up
from pypid.core.accounts.acl_rights import KEPT_CLOSED
from pypid.core.accounts.entries import Account, AccountStatus
from pypid.core.accounts.rights import Right, Whom
from pypid.core.errors import BadRequest

FOR_EVER = datetime(9999, 1, 1, tzinfo=UTC)
"""Expiry of the mark that a pypicloud's users were imported."""


def merge(
    connection: Connection, now: datetime, dump: Dump, touch: Callable[[Touch], None]
) -> Merged:
    """Add what is missing here; return what was added. Raises `BadRequest` if a group that must be
    empty has members here.
    """
    before = {row.name: row for row in connection.execute(select(users))}
    here = _Here.of(connection)
    added = [account_of(person, now) for person in dump.users if person.name not in before]
    _insert(connection, users, [account_row(account) for account in added])
    for account in added:
        touch(Touch("user", account.name))
    new_groups, joined = _groups(connection, dump, touch)
    granted, stronger = _rights(connection, dump.rights, touch)
    weaker, other = [], []
    for person in dump.users:
        row = before.get(person.name)
        if row is None:
            continue
        if (person.admin and not row.admin) or (
            not person.pending and row.standing != AccountStatus.ACTIVE.value
        ):
            weaker.append(person.name)
        elif row.admin != person.admin or (
            person.pending and row.standing == AccountStatus.ACTIVE.value
        ):
            other.append(person.name)
    return Merged(
        users=tuple(account.name for account in added),
        there=len(dump.users) - len(added),
        groups=new_groups,
        members=joined,
        rights=granted,
        weaker=tuple(weaker),
        other=tuple(other),
        stronger=tuple(stronger),
        wider=tuple(here.wider(dump, {account.name for account in added})),
    )


@frozen
class _Here:
    """The state before the import: groups with their members, and rights, by name of the group or
    user that has them.
    """

    members: Mapping[str, frozenset[str]]
    granted: Mapping[tuple[str, str], frozenset[tuple[str, bool]]]

    @classmethod
    def of(cls, connection: Connection) -> _Here:
        in_groups: dict[str, set[str]] = {
            name: set() for name in connection.scalars(select(groups.c.name))
        }
        for row in connection.execute(select(members)):
            in_groups.setdefault(row.group, set()).add(row.user)
        granted: dict[tuple[str, str], set[tuple[str, bool]]] = {}
        for row in connection.execute(select(rights)):
            granted.setdefault((row.whom, row.name), set()).add((row.project, row.write))
        return cls(
            {name: frozenset(those) for name, those in in_groups.items()},
            {whose: frozenset(those) for whose, those in granted.items()},
        )

    def wider(self, dump: Dump, added: Set[str]) -> Iterator[Oddity]:
        """Yield the users who get rights that they had neither there nor here, because a name there
        and one here are equal.
        """
        by_dump: dict[tuple[str, str], set[tuple[str, bool]]] = {}
        for right in dump.rights:
            by_dump.setdefault((right.whom.value, right.name), set()).add(
                (right.project, right.write)
            )
        for name in sorted(self.members.keys() | dump.groups.keys()):
            dumped, present = (
                dump.groups.get(name, frozenset()),
                self.members.get(name, frozenset()),
            )
            there, here = (
                by_dump.get((Whom.GROUP.value, name), set()),
                self.granted.get((Whom.GROUP.value, name), frozenset()),
            )
            if present - dumped and _more(there, here):
                yield grown(name, present - dumped)
            if dumped - present and _more(here, there):
                yield entered(name, dumped - present)
        in_some = frozenset[str]().union(
            *(those - dump.groups.get(name, frozenset()) for name, those in self.members.items())
        )
        for name in sorted(added):
            whose = (Whom.USER.value, name)
            if name in in_some or _more(
                self.granted.get(whose, frozenset()), by_dump.get(whose, set())
            ):
                yield taken_up(name)


def _more(these: Set[tuple[str, bool]], those: Set[tuple[str, bool]]) -> bool:
    """Return whether the first set (projects, and whether they may be written) gives more than the
    second in some project.
    """
    return any(
        (project, write) not in those and (project, True) not in those for project, write in these
    )


def account_of(person: DumpedPerson, now: datetime) -> Account:
    """Return the account for a user of the dump."""
    status = AccountStatus.PENDING if person.pending else AccountStatus.ACTIVE
    return Account(
        name=person.name,
        hash=person.hash,
        admin=person.admin,
        status=status,
        created=now,
        changed=now,
    )


def _groups(connection: Connection, dump: Dump, touch: Callable[[Touch], None]) -> tuple[int, int]:
    """Add missing groups and members; return the number of each."""
    there = set(connection.scalars(select(groups.c.name)))
    fresh = sorted(dump.groups.keys() - there)
    _insert(connection, groups, [{"name": name} for name in fresh])
    held = {(row.group, row.user) for row in connection.execute(select(members))}
    for name, those in dump.groups.items():
        if name.startswith(KEPT_CLOSED) and not those and any(group == name for group, _ in held):
            raise BadRequest(
                f"The group {name!r} has members here, and has to be empty: it keeps projects "
                "closed. Take its members out, or rename it, and try again. Nothing was done."
            )
    wanted = {(group, user) for group, those in dump.groups.items() for user in those}
    joining = sorted(wanted - held)
    _insert(connection, members, [{"group": group, "user": user} for group, user in joining])
    for name in {*fresh, *(group for group, _ in joining)}:
        touch(Touch("group", name))
    return len(fresh), len(joining)


def _rights(
    connection: Connection, wanted: Iterable[Right], touch: Callable[[Touch], None]
) -> tuple[int, list[Right]]:
    """Add missing rights; return the number of those added or extended, and those that are greater
    here than in the dump, and stay so.
    """
    held = {
        (row.project, row.whom, row.name): row.write for row in connection.execute(select(rights))
    }
    fresh, greater, stronger = [], [], []
    for right in wanted:
        key = (right.project, right.whom.value, right.name)
        if key not in held:
            fresh.append(right)
        elif right.write and not held[key]:
            greater.append(right)
        elif held[key] and not right.write:
            stronger.append(right)
    for right in greater:
        this = and_(
            rights.c.project == right.project,
            rights.c.whom == right.whom.value,
            rights.c.name == right.name,
        )
        connection.execute(update(rights).where(this).values(write=True))
    rows = [
        {
            "project": right.project,
            "whom": right.whom.value,
            "name": right.name,
            "write": right.write,
        }
        for right in fresh
    ]
    _insert(connection, rights, rows)
    for right in (*fresh, *greater):
        touch(Touch("right", right.project, right.whom.value, right.name))
    return len(fresh) + len(greater), stronger


def _insert(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    for begin in range(0, len(rows), AT_ONCE):
        connection.execute(insert(table), rows[begin : begin + AT_ONCE])


# --- once and never again -------------------------------------------------------------------------


def is_marked(connection: Connection, digest: str) -> bool:
    """Return whether there is the mark that users were imported."""
    return (
        connection.execute(select(once.c.digest).where(once.c.digest == digest)).first() is not None
    )


def is_empty(connection: Connection) -> bool:
    """Return whether there are no users, groups, members and rights."""
    return all(
        connection.execute(select(table).limit(1)).first() is None
        for table in (users, groups, members, rights)
    )
