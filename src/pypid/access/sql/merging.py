"""Taking over people whom somebody else wrote down (a pypicloud), as one change. Everything here blocks.

Whoever and whatever is there already stays as it is: what is added is only what is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Table, and_, insert, select, update

from pypid.access.sql.rows import AT_ONCE, Touch, account_row
from pypid.access.sql.tables import groups, members, once, rights, users
from pypid.core.acl import Dump, Merged, Person
from pypid.core.aclrights import KEPT_CLOSED
from pypid.core.errors import BadRequest
from pypid.core.people import Account, Standing
from pypid.core.rights import Right

FOR_EVER = datetime(9999, 1, 1, tzinfo=UTC)
"""Until when it is known that a pypicloud's people were taken over."""


def merge(connection: Connection, now: datetime, dump: Dump, touch: Callable[[Touch], None]) -> Merged:
    """Add what is not there. Raises `BadRequest` where a group that shall be empty has members here."""
    before = {row.name: row for row in connection.execute(select(users))}
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
        if (person.admin and not row.admin) or (not person.pending and row.standing != Standing.ACTIVE.value):
            weaker.append(person.name)
        elif row.admin != person.admin or (person.pending and row.standing == Standing.ACTIVE.value):
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
    )


def account_of(person: Person, now: datetime) -> Account:
    """The account to be."""
    standing = Standing.PENDING if person.pending else Standing.ACTIVE
    return Account(name=person.name, hash=person.hash, admin=person.admin, standing=standing, created=now, changed=now)


def _groups(connection: Connection, dump: Dump, touch: Callable[[Touch], None]) -> tuple[int, int]:
    """How many there were not yet, and how many members."""
    there = set(connection.scalars(select(groups.c.name)))
    fresh = sorted(dump.groups.keys() - there)
    _insert(connection, groups, [{"name": name} for name in fresh])
    held = {(row.group, row.user) for row in connection.execute(select(members))}
    for name, those in dump.groups.items():
        if name.startswith(KEPT_CLOSED) and not those and any(group == name for group, _ in held):
            raise BadRequest(
                f"The group {name!r} has members here, and has to be empty: it keeps projects closed. Take its members out, or "
                "rename it, and try again. Nothing was done."
            )
    wanted = {(group, user) for group, those in dump.groups.items() for user in those}
    joining = sorted(wanted - held)
    _insert(connection, members, [{"group": group, "user": user} for group, user in joining])
    for name in {*fresh, *(group for group, _ in joining)}:
        touch(Touch("group", name))
    return len(fresh), len(joining)


def _rights(connection: Connection, wanted: Iterable[Right], touch: Callable[[Touch], None]) -> tuple[int, list[Right]]:
    """How many were given, or became greater; and those that are greater here than in the dump, and stay so."""
    held = {(row.project, row.whom, row.name): row.write for row in connection.execute(select(rights))}
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
        this = and_(rights.c.project == right.project, rights.c.whom == right.whom.value, rights.c.name == right.name)
        connection.execute(update(rights).where(this).values(write=True))
    rows = [{"project": right.project, "whom": right.whom.value, "name": right.name, "write": right.write} for right in fresh]
    _insert(connection, rights, rows)
    for right in (*fresh, *greater):
        touch(Touch("right", right.project, right.whom.value, right.name))
    return len(fresh) + len(greater), stronger


def _insert(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    for begin in range(0, len(rows), AT_ONCE):
        connection.execute(insert(table), rows[begin : begin + AT_ONCE])


# --- once and never again -----------------------------------------------------------------------------------------


def is_marked(connection: Connection, digest: str) -> bool:
    """Whether the mark is there that people were taken over."""
    return connection.execute(select(once.c.digest).where(once.c.digest == digest)).first() is not None


def is_empty(connection: Connection) -> bool:
    """Whether nobody and nothing is written down."""
    return all(connection.execute(select(table).limit(1)).first() is None for table in (users, groups, members, rights))
