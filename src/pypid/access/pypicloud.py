"""Users of a pypicloud: read from its database, and imported at the first start in its place, into
the accounts database, which is empty till then.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import unquote

from sqlalchemy import (
    Boolean,
    Connection,
    Engine,
    Select,
    TableClause,
    Text,
    column,
    func,
    inspect,
    select,
    table,
)
from twisted.logger import Logger

from pypid.access.accounts import SqlAccounts
from pypid.core.accounts.acl import MOST, AclDocument, DumpedPackages, DumpedUser, ParsedAcl, taken
from pypid.core.errors import BadRequest, CannotStart, PeopleUnknown, StorageFull
from pypid.database.account_tables import fault, open_engine
from pypid.database.connections import BEGINNING, errors, read_only_engine
from pypid.database.places import DatabaseUnusable, Server, SqliteFile, place_of
from pypid.flow import World

_log = Logger()

MOST_NAMED = 20
"""Projects in a message."""


async def inherit(
    accounts: SqlAccounts,
    url: str,
    folders: tuple[Path, ...],
    world: World,
    asked_first: Container[str] = (),
) -> Mapping[str, str] | None:
    """Read pypicloud's database at `url`, and import its users, if the accounts database is empty
    and there was no import before.

    `asked_first` are users of the configuration, who take precedence over imported users of the
    same name.

    Returns what was imported, for the audit log; None if nothing was read. The log says the same,
    and lists all oddities. Raises `CannotStart`, and then nothing was imported: also if the
    accounts database has other users, and lacks pypicloud's rules of some projects, since the
    defaults would hold for these.
    """
    try:
        if not await accounts.may_inherit():
            if not await accounts.has_inherited():
                await _refuse_without_rules(accounts, url, folders, world)
            return None
        found = await world.blocking(read_people, url, *folders)
        if found is None:
            _log.info(
                "pypicloud's database of users (auth.db.url) was in memory: there are no users "
                "to import."
            )
            return None
        merged = await accounts.inherit(found.dump)
    except PeopleUnknown:
        raise CannotStart(
            "pypid's own accounts database does not answer, so pypicloud's people cannot be taken "
            "over into it. Start pypid when it answers."
        ) from None
    if merged is None:
        return None
    for oddity in found.oddities:
        (_log.warn if oddity.grave else _log.info)(
            "of pypicloud's people: {text}", text=oddity.text
        )
    for name in (name for name in merged.users if name in asked_first):
        _log.warn(
            "the user {name!r} of pypicloud's cannot log in: the configuration has a user of "
            "the same name, who takes precedence",
            name=name,
        )
    counts = {
        "users": str(len(merged.users)),
        "administrators": str(sum(person.admin for person in found.dump.users)),
        "waiting": str(sum(person.pending for person in found.dump.users)),
        "groups": str(merged.groups),
        "rights": str(merged.rights),
    }
    _log.info(
        "pypicloud's people were taken over. Users: {users} (administrators: {administrators}, "
        "waiting for approval: {waiting}), groups: {groups}, rights: {rights}. From now on they "
        "are pypid's own: pypicloud's database is not read again.",
        **counts,
    )
    return counts


async def _refuse_without_rules(
    accounts: SqlAccounts, url: str, folders: tuple[Path, ...], world: World
) -> None:
    """Raise `CannotStart` if a project has rules in pypicloud's database and none in the accounts
    database.
    """
    try:
        found = await world.blocking(read_people, url, *folders)
    except CannotStart as error:
        _log.warn(
            (
                "no users were imported from pypicloud's database; pypid uses those of its own "
                "accounts database: {error}"
            ),
            error=error,
        )
        return
    if found is None:
        return
    missing = sorted(
        {right.project for right in found.dump.rights}
        - {right.project for right in await accounts.rights()}
    )
    if missing:
        named = " ".join(missing[:MOST_NAMED]) + (
            f" and {len(missing) - MOST_NAMED} more" if missing[MOST_NAMED:] else ""
        )
        raise CannotStart(
            "pypid's accounts database already has users, so pypicloud's users (auth.db.url) are "
            "not imported, and the defaults would hold for projects that have rules there: "
            f"{named}. Start with a new [server] state; or with what `pypid convert-config` makes "
            "of this file, bring them by `ppc-export` and `pypid user import`, and go on with it."
        )


# Reader for the users of a pypicloud in its own database (its ``auth.db.url``), which is never
# written. Blocks.
#
# Source: the tables of pypicloud 1.3.12's ``access/sql.py``.

LOCKED = 5.0
"""Seconds to wait while another process locks the file."""
_EXPORT = (
    "Or have its people in another way: run `ppc-export CONFIG > acl.json` where pypicloud runs, "
    "make a file of pypid's by `pypid convert-config CONFIG > pypid.ini`, run `pypid user import "
    "-c pypid.ini -i acl.json`, and start pypid with that file."
)
_DRIVER = re.compile(r"(postgres|postgresql)(\+\w+)?\Z")

_USERS = table(
    "pypicloud_users",
    column("username", Text),
    column("password", Text),
    column("admin", Boolean),
    column("pending", Boolean),
)
_GROUPS = table("pypicloud_groups", column("name", Text))
_MEMBERS = table("pypicloud_user_groups", column("username", Text), column("group", Text))
_RIGHTS_OF_USERS = table(
    "pypicloud_user_permissions",
    *(
        column("package", Text),
        column("username", Text),
        column("read", Boolean),
        column("write", Boolean),
    ),
)
_RIGHTS_OF_GROUPS = table(
    "pypicloud_group_permissions",
    *(
        column("package", Text),
        column("groupname", Text),
        column("read", Boolean),
        column("write", Boolean),
    ),
)
_KEYVALS = table("pypicloud_keyvals", column("key", Text), column("value", Text))
_NEEDED = (_USERS, _GROUPS, _MEMBERS, _RIGHTS_OF_USERS, _RIGHTS_OF_GROUPS)


def read_people(url: str, *folders: Path) -> ParsedAcl | None:
    """Return the contents of the database, with all oddities in it. None for a database in memory,
    which pypicloud did not keep either.

    A relative path of sqlite is relative to pypicloud's working directory; it is looked for in
    `folders`. Raises `CannotStart`, without the URL in it, if it cannot be read as a whole: no
    user's rights may change because a database is unavailable.
    """
    place = _place(url, folders)
    if place is None:
        return None
    try:
        document = _from_file(place) if isinstance(place, SqliteFile) else _from_server(place)
    except DatabaseUnusable as error:
        _refuse(str(error))
    except errors() as error:
        found = fault(place, error)
        _refuse("its disk is full." if isinstance(found, StorageFull) else f"{found}.")
    try:
        return taken(document)
    except BadRequest as error:
        _refuse(str(error))


def _refuse(why: str) -> NoReturn:
    raise CannotStart(
        f"pypicloud's database of people (auth.db.url) cannot be read: {why} Make it readable. "
        f"{_EXPORT}"
    ) from None


def _place(url: str, folders: tuple[Path, ...]) -> SqliteFile | Server | None:
    scheme, _, rest = url.partition(":")
    if scheme == "sqlite" or scheme.startswith("sqlite+"):
        return _file(rest, folders)
    if _DRIVER.match(scheme):
        try:
            place = place_of(f"postgresql:{rest}", Path())
        except CannotStart:
            _refuse("its URL is none of a PostgreSQL.")
        assert isinstance(place, Server)
        return place
    _refuse("pypid reads those of sqlite and PostgreSQL only.")


def _file(rest: str, folders: tuple[Path, ...]) -> SqliteFile | None:
    """Return the file; None for a database in memory."""
    name = unquote(rest.partition("?")[0].removeprefix("///"))
    if rest in ("", "//") or name in ("", ":memory:"):
        return None
    if not rest.startswith("///"):
        _refuse("its URL is none of a file (sqlite:////folder/file).")
    found = list(
        dict.fromkeys(
            path.resolve() for path in (folder / name for folder in folders) if path.exists()
        )
    )
    match found:
        case [path]:
            return SqliteFile(path)
        case []:
            _refuse(
                f"there is no file {name!r} (seen from "
                f"{' and '.join(map(str, dict.fromkeys(folders)))})."
            )
        case _:
            _refuse(f"it may be each of {', '.join(map(str, found))}. Write its whole path.")


def _from_file(place: SqliteFile) -> AclDocument:
    """Read the file; it is opened so that neither the file nor any companion file is written."""
    with place.path.open("rb") as file:
        if file.read(len(BEGINNING)) != BEGINNING:
            raise DatabaseUnusable(f"{place.path} is no database of sqlite.")

    return _read(read_only_engine(place.path, LOCKED, _Utf8Connection))


class _Utf8Connection(sqlite3.Connection):
    """A connection whose texts are decoded by `_decoded`."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.text_factory = _decoded


def _decoded(data: bytes) -> str:
    """Decode a text; SQLite's own error would show it, and it may be the hash of a password."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise DatabaseUnusable("there is text in it that is not UTF-8.") from None


def _from_server(place: Server) -> AclDocument:
    engine, _ = open_engine(place)
    return _read(
        engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    )


def _read(engine: Engine) -> AclDocument:
    try:
        with engine.connect() as connection:
            if (
                connection.dialect.name == "sqlite"
            ):  # all tables in one state; sqlite3 begins no transaction before a SELECT
                connection.exec_driver_sql("BEGIN")
            return _document(connection)
    finally:
        engine.dispose()


def _document(connection: Connection) -> AclDocument:
    there = set(inspect(connection).get_table_names())
    missing = sorted(each.name for each in _NEEDED if each.name not in there)
    if missing:
        raise DatabaseUnusable(f"it has no table {missing[0]}, so it is no pypicloud's.")
    if (
        sum(connection.scalar(select(func.count()).select_from(each)) or 0 for each in _NEEDED)
        > MOST
    ):
        raise DatabaseUnusable(f"it names more than {MOST} people, groups and rights.")
    users: list[DumpedUser] = []
    pending: list[DumpedUser] = []
    for name, hash, admin, waits in connection.execute(select(_USERS).order_by("username")):
        user = DumpedUser(
            username=_text(name), password=None if hash is None else _text(hash), admin=bool(admin)
        )
        (pending if waits else users).append(user)
    groups: dict[str, list[str]] = {
        _text(name): [] for name in connection.scalars(select(_GROUPS).order_by("name"))
    }
    for name, group in connection.execute(select(_MEMBERS).order_by("group", "username")):
        groups.setdefault(_text(group), []).append(_text(name))
    of_users, of_groups = (
        _rights(connection, each) for each in (_RIGHTS_OF_USERS, _RIGHTS_OF_GROUPS)
    )
    query = select(_KEYVALS.c.value).where(_KEYVALS.c.key == "allow_register")
    allows = _KEYVALS.name in there and connection.scalar(query) == "true"
    return AclDocument(
        users=users,
        pending_users=pending,
        groups=groups,
        packages=DumpedPackages(users=of_users, groups=of_groups),
        allow_register=allows,
        complete=True,
    )


def _rights(connection: Connection, of: TableClause) -> dict[str, dict[str, list[str]]]:
    found: dict[str, dict[str, list[str]]] = {}
    query: Select[Any] = select(of).order_by("package")
    for package, name, read, write in connection.execute(query):
        found.setdefault(_text(package), {})[_text(name)] = [
            word for word, is_granted in (("read", read), ("write", write)) if is_granted
        ]
    return found


def _text(value: object) -> str:
    """Return the value if it is a text: SQLite allows any type in any column. Raises
    `DatabaseUnusable`.
    """
    if not isinstance(value, str):
        raise DatabaseUnusable("there is something in it that is no text where a name has to be.")
    return value
