"""Conversion between rows of the accounts' tables and their values: all of them, or those that
changes have touched.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from attrs import frozen
from sqlalchemy import Column, Connection, Row, Table, select

from pypid.access.sql import tables
from pypid.access.sql.state import AccountsState, Patch, roll_of
from pypid.access.sql.tables import id_of, read_serial
from pypid.core.accounts.rights import (
    Account,
    AccountStatus,
    OwnerKey,
    ProjectOwner,
    Right,
    RightKey,
    Session,
    Token,
    Whom,
)
from pypid.core.packaging.names import ProjectGlob, ProjectName, ProjectPattern, is_glob
from pypid.core.permissions import Action, Scope

AT_ONCE = 500
"""Keys in one query: databases limit their number."""
MOST_TOUCHED = 2000
"""If more keys were touched, everything is read again."""
PART = tables.SCHEMA_PARTS["accounts"]


@frozen
class Touch:
    """A key that a change has touched. `kind`: user, group, right, owner (project and index), token
    (its id) or session (its digest).
    """

    kind: str
    key: str
    whom: str = ""
    name: str = ""


# --- values and rows ---


def account_row(account: Account) -> dict[str, Any]:
    """Return the row of `tables.users` for an account."""
    return {
        "name": account.name,
        "hash": account.hash,
        "admin": account.admin,
        "standing": account.status.value,
        "created": account.created,
        "changed": account.changed,
    }


def account_of(row: Row[Any]) -> Account:
    """Return the account for a row of `tables.users`."""
    return Account(
        name=row.name,
        hash=row.hash,
        admin=row.admin,
        status=AccountStatus(row.standing),
        created=row.created,
        changed=row.changed,
    )


def token_row(token: Token) -> dict[str, Any]:
    """Return the row of `tables.tokens` for a token."""
    return {
        "id": token.id,
        "digest": token.digest,
        "name": token.name,
        "user": token.user,
        "actions": json.dumps(sorted(action.name for action in token.scope.actions)),
        "projects": json.dumps(token.scope.projects),
        "created": token.created,
        "expires": token.expires,
        "used": token.used,
        "used_from": token.used_from,
        "revoked": token.revoked,
        "publisher": token.publisher,
        "as_user": token.as_user,
    }


def token_of(row: Row[Any]) -> Token:
    """Return the token for a row of `tables.tokens`."""
    return Token(
        id=row.id,
        digest=row.digest,
        name=row.name,
        user=row.user,
        scope=Scope(
            frozenset(Action[name] for name in json.loads(row.actions)),
            tuple(json.loads(row.projects)),
        ),
        created=row.created,
        expires=row.expires,
        used=row.used,
        used_from=row.used_from,
        revoked=row.revoked,
        publisher=row.publisher,
        as_user=row.as_user,
    )


def session_row(session: Session) -> dict[str, Any]:
    """Return the row of `tables.sessions` for a session."""
    return {
        "digest": session.digest,
        "user": session.user,
        "created": session.created,
        "expires": session.expires,
        "address": session.address,
    }


def _session_of(row: Row[Any]) -> Session:
    return Session(
        digest=row.digest,
        user=row.user,
        created=row.created,
        expires=row.expires,
        address=row.address,
    )


def _pattern(text: str) -> ProjectPattern:
    return ProjectGlob(text) if is_glob(text) else ProjectName(text)


def right_of(row: Row[Any]) -> Right:
    """Return the right for a row of `tables.rights`."""
    return Right(_pattern(row.project), Whom(row.whom), row.name, row.write)


def _owner_of(row: Row[Any]) -> tuple[OwnerKey, ProjectOwner]:
    index, project, account, since, is_claimed = tuple(row)  # a row has a method called index
    return (index, ProjectName(project)), ProjectOwner(account, since, is_claimed)


# --- all ---


def load(connection: Connection) -> AccountsState:
    """Return the whole state of the accounts. Raises `DatabaseUnusable`."""
    members: dict[str, set[str]] = {
        name: set() for name in connection.scalars(select(tables.groups.c.name))
    }
    for group, user in connection.execute(select(tables.members.c.group, tables.members.c.user)):
        members.setdefault(group, set()).add(user)
    return roll_of(
        _serial(connection),
        map(account_of, connection.execute(select(tables.users))),
        {group: frozenset(users) for group, users in members.items()},
        map(right_of, connection.execute(select(tables.rights))),
        map(token_of, connection.execute(select(tables.tokens))),
        map(_session_of, connection.execute(select(tables.sessions))),
        dict(map(_owner_of, connection.execute(select(tables.owners)))),
        id=id_of(connection),
    )


def _serial(connection: Connection) -> int:
    return read_serial(connection, PART) or 0


def follow(connection: Connection, state: AccountsState) -> AccountsState:
    """Return the current state, read from the changes since `state`: the same object if nothing has
    changed. Raises `DatabaseUnusable`.
    """
    serial = _serial(connection)
    if serial == state.serial:
        return state
    if serial < state.serial or serial - state.serial > MOST_TOUCHED:
        return load(connection)
    changes = tables.changes.c
    rows = connection.execute(
        select(tables.changes).where(changes.serial > state.serial).limit(MOST_TOUCHED + 1)
    ).all()
    touched = {Touch(row.kind, row.key, row.whom, row.name) for row in rows}
    if len(rows) > MOST_TOUCHED or {row.serial for row in rows} != set(
        range(state.serial + 1, serial + 1)
    ):
        return load(connection)
    return state.patched(patch(connection, serial, touched))


def patch(connection: Connection, serial: int, touched: Collection[Touch]) -> Patch:
    """Return the current values of what was touched."""
    kinds = ("user", "group", "right", "owner", "token", "session")
    keys: dict[str, list[str]] = {kind: [] for kind in kinds}
    for touch in touched:
        keys[touch.kind].append(touch.key)
    accounts: dict[str, Account | None] = dict.fromkeys(keys["user"])
    accounts.update(
        (row.name, account_of(row))
        for row in _those(connection, tables.users, "name", keys["user"])
    )
    tokens: dict[str, Token | None] = dict.fromkeys(keys["token"])
    tokens.update(
        (row.id, token_of(row)) for row in _those(connection, tables.tokens, "id", keys["token"])
    )
    sessions: dict[str, Session | None] = dict.fromkeys(keys["session"])
    sessions.update(
        (row.digest, _session_of(row))
        for row in _those(connection, tables.sessions, "digest", keys["session"])
    )
    return Patch(
        serial=serial,
        accounts=accounts,
        members=_members(connection, keys["group"]),
        rights=_rights(connection, touched),
        owners=_owners(connection, touched),
        tokens=tokens,
        sessions=sessions,
    )


def _those(
    connection: Connection, table: Table, column: str, keys: Iterable[str]
) -> Iterator[Row[Any]]:
    wanted = sorted(set(keys))
    key: Column[Any] = table.c[column]
    for begin in range(0, len(wanted), AT_ONCE):
        yield from connection.execute(select(table).where(key.in_(wanted[begin : begin + AT_ONCE])))


def _members(
    connection: Connection, groups: Collection[str]
) -> Mapping[str, frozenset[str] | None]:
    found: dict[str, frozenset[str] | None] = dict.fromkeys(groups)
    users: dict[str, set[str]] = {
        row.name: set() for row in _those(connection, tables.groups, "name", groups)
    }
    for row in _those(connection, tables.members, "group", groups):
        users[row.group].add(row.user)
    found.update((group, frozenset(names)) for group, names in users.items())
    return found


def _rights(connection: Connection, touched: Iterable[Touch]) -> Mapping[RightKey, Right | None]:
    keys = [
        (_pattern(touch.key), Whom(touch.whom), touch.name)
        for touch in touched
        if touch.kind == "right"
    ]
    found: dict[RightKey, Right | None] = dict.fromkeys(keys)
    for row in _those(connection, tables.rights, "project", (project for project, _, _ in keys)):
        right = right_of(row)
        key = (right.project, right.whom, right.name)
        if key in found:
            found[key] = right
    return found


def _owners(
    connection: Connection, touched: Iterable[Touch]
) -> Mapping[OwnerKey, ProjectOwner | None]:
    keys = [(touch.name, ProjectName(touch.key)) for touch in touched if touch.kind == "owner"]
    found: dict[OwnerKey, ProjectOwner | None] = dict.fromkeys(keys)
    for row in _those(connection, tables.owners, "project", (project for _, project in keys)):
        key, owner = _owner_of(row)
        if key in found:
            found[key] = owner
    return found
