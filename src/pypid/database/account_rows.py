"""Conversion between rows of the accounts' tables and their values: all of them, or those that
changes have touched.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from typing import Any, TypeVar

from attrs import asdict, frozen
from sqlalchemy import Column, Connection, Row, select

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
from pypid.database import account_tables as tables
from pypid.database.account_state import AccountsState, Patch
from pypid.database.account_tables import id_of, read_serial

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

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


def _pattern(text: str) -> ProjectPattern:
    return ProjectGlob(text) if is_glob(text) else ProjectName(text)


def _right_of(row: Row[Any]) -> tuple[RightKey, Right]:
    right = Right(_pattern(row.project), Whom(row.whom), row.name, row.write)
    return right.key, right


def right_row(right: Right) -> dict[str, Any]:
    """Return the row of `tables.rights` for a right."""
    return {**asdict(right, recurse=False), "whom": right.whom.value}


def _owner_of(row: Row[Any]) -> tuple[OwnerKey, ProjectOwner]:
    index, project, account, since, is_claimed = tuple(row)  # a row has a method called index
    return (index, ProjectName(project)), ProjectOwner(account, since, is_claimed)


# --- all of them, or those that were touched ---


def load(connection: Connection) -> AccountsState:
    """Return the whole state of the accounts. Raises `DatabaseUnusable`."""
    state = AccountsState(id=id_of(connection))
    return state.patched(_patch(connection, _serial(connection), None))


def _serial(connection: Connection) -> int:
    return read_serial(connection, PART) or 0


def follow(connection: Connection, state: AccountsState | None) -> AccountsState:
    """Return the current state, read from the changes since `state`: the same object if nothing has
    changed; None: read everything. Raises `DatabaseUnusable`.
    """
    if state is None:
        return load(connection)
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
    return state.patched(_patch(connection, serial, touched))


def _patch(connection: Connection, serial: int, touched: Collection[Touch] | None) -> Patch:
    """Return the current values of what was touched; None: of everything."""

    def keys(kind: str, key: Callable[[Touch], Any] = _key) -> Mapping[Any, str] | None:
        if touched is None:
            return None
        return {key(touch): touch.key for touch in touched if touch.kind == kind}

    def values(
        column: Column[Any], of: Callable[[Row[Any]], V], keys: Any
    ) -> Mapping[str, V | None]:
        return _values(connection, column, lambda row: (row._mapping[column], of(row)), keys)

    rights = keys("right", lambda touch: (_pattern(touch.key), Whom(touch.whom), touch.name))
    owners = keys("owner", lambda touch: (touch.name, ProjectName(touch.key)))
    return Patch(
        serial=serial,
        accounts=values(tables.users.c.name, account_of, keys("user")),
        members=_members(connection, keys("group")),
        rights=_values(connection, tables.rights.c.project, _right_of, rights),
        owners=_values(connection, tables.owners.c.project, _owner_of, owners),
        tokens=values(tables.tokens.c.id, token_of, keys("token")),
        sessions=values(tables.sessions.c.digest, _session_of, keys("session")),
    )


def _key(touch: Touch) -> str:
    return touch.key


def _session_of(row: Row[Any]) -> Session:
    return Session(**row._mapping)


def _values(
    connection: Connection,
    column: Column[Any],
    of: Callable[[Row[Any]], tuple[K, V]],
    touched: Mapping[K, str] | None,
) -> Mapping[K, V | None]:
    """Return the values by key, None for removed ones: of the touched keys, each with its text in
    the column, or of all.
    """
    found: dict[K, V | None] = dict.fromkeys(touched or ())
    found.update(map(of, _rows(connection, column, touched)))
    return found


def _rows(
    connection: Connection, column: Column[Any], touched: Mapping[Any, str] | None
) -> Iterator[Row[Any]]:
    if touched is None:
        yield from connection.execute(select(column.table))
        return
    wanted = sorted(set(touched.values()))
    for begin in range(0, len(wanted), AT_ONCE):
        some = column.in_(wanted[begin : begin + AT_ONCE])
        yield from connection.execute(select(column.table).where(some))


def _members(
    connection: Connection, touched: Mapping[str, str] | None
) -> Mapping[str, frozenset[str] | None]:
    users: dict[str, set[str]] = {
        row.name: set() for row in _rows(connection, tables.groups.c.name, touched)
    }
    for row in _rows(connection, tables.members.c.group, touched):
        users[row.group].add(row.user)
    found: dict[str, frozenset[str] | None] = dict.fromkeys(touched or ())
    found.update((group, frozenset(names)) for group, names in users.items())
    return found
