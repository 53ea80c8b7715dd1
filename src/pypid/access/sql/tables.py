"""The tables, as SQLAlchemy Core has them. Their names begin with ``pypid_``: a PostgreSQL may hold
tables of other applications as well.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

from pypid.access.sql.schema import SchemaPart

_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class TimestampColumn(TypeDecorator[datetime]):
    """An aware time, as microseconds since 1970: exact, and the same in every database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        return None if value is None else (value - _UNIX_EPOCH) // timedelta(microseconds=1)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        return None if value is None else _UNIX_EPOCH + timedelta(microseconds=value)


_accounts = MetaData()

users = Table(
    "pypid_users",
    _accounts,
    Column("name", Text, primary_key=True),
    Column("hash", Text, nullable=False),
    Column("admin", Boolean, nullable=False),
    Column("standing", Text, nullable=False),
    Column("created", TimestampColumn, nullable=False),
    Column("changed", TimestampColumn, nullable=False),
)
groups = Table("pypid_groups", _accounts, Column("name", Text, primary_key=True))
members = Table(  # not only of users who have an account here
    "pypid_members",
    _accounts,
    Column("group", Text, ForeignKey("pypid_groups.name", ondelete="CASCADE"), primary_key=True),
    Column("user", Text, primary_key=True),
    Index("pypid_members_user", "user"),
)
rights = Table(
    "pypid_rights",
    _accounts,
    Column("project", Text, primary_key=True),
    Column("whom", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("write", Boolean, nullable=False),
    Index("pypid_rights_name", "name"),
)
owners = Table(
    "pypid_owners",
    _accounts,
    Column("index", Text, primary_key=True),  # empty: the default one
    Column("project", Text, primary_key=True),
    Column("account", Text, nullable=False),
    Column("since", TimestampColumn, nullable=False),
    Column("claimed", Boolean, nullable=False),
    Index("pypid_owners_account", "account"),
)
tokens = Table(
    "pypid_tokens",
    _accounts,
    Column("id", Text, primary_key=True),
    Column("digest", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("user", Text, nullable=False, index=True),
    Column("actions", Text, nullable=False),
    Column("projects", Text, nullable=False),
    Column("created", TimestampColumn, nullable=False),
    Column("expires", TimestampColumn),
    Column("used", TimestampColumn),
    Column("used_from", Text, nullable=False),
    Column("revoked", TimestampColumn),
    Column("publisher", Boolean, nullable=False),
    Column("as_user", Text),
)
sessions = Table(
    "pypid_sessions",
    _accounts,
    Column("digest", Text, primary_key=True),
    Column("user", Text, nullable=False, index=True),
    Column("created", TimestampColumn, nullable=False),
    Column("expires", TimestampColumn, nullable=False),
    Column("address", Text, nullable=False),
)
once = Table(
    "pypid_once",
    _accounts,
    Column("digest", Text, primary_key=True),
    Column("until", TimestampColumn, nullable=False, index=True),
)
changes = Table(  # what each change has touched, so that other nodes read only that again
    "pypid_changes",
    _accounts,
    Column("serial", BigInteger, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("whom", Text, primary_key=True),
    Column("name", Text, primary_key=True),
)

_journal = MetaData()

audit_entries = Table(
    "pypid_deeds",
    _journal,
    Column("serial", BigInteger, primary_key=True),
    Column("when", TimestampColumn, nullable=False),
    Column("who", Text, nullable=False),
    Column("what", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("head", Text, nullable=False),
    Column("where", Text, nullable=False),
    Column("token", Text),
    Column("details", Text, nullable=False),
    Column("index", Text, nullable=False, server_default=""),  # empty: the default one, or none
    Index("pypid_deeds_who", "who", "serial"),
    Index("pypid_deeds_what", "what", "serial"),
    Index("pypid_deeds_head", "head", "serial"),
    Index("pypid_deeds_index", "index", "serial"),
)

_downloads = MetaData()

downloads = Table(
    "pypid_downloads",
    _downloads,
    Column(
        "id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    ),
    Column("when", TimestampColumn, nullable=False, index=True),
    Column("sha256", Text, nullable=False),
    Column("project", Text, nullable=False),
    Column("filename", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("where", Text, nullable=False),
    Column("token", Text),
    Index("pypid_downloads_sha256", "sha256", "id"),
)
# number of downloads of a project on a day: a million of them cannot be counted while a page waits
days = Table(
    "pypid_downloads_days",
    _downloads,
    Column("project", Text, primary_key=True),
    Column("day", Integer, primary_key=True, autoincrement=False),  # since 1970, in UTC
    Column("count", BigInteger, nullable=False),
    Index("pypid_downloads_days_day", "day"),
    sqlite_with_rowid=False,
)
# one row at most: up to this id downloads are older than `days`, and not counted in it yet
uncounted = Table(
    "pypid_downloads_uncounted",
    _downloads,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
)


def _with_days(connection: Connection) -> None:
    """Migrate from version 1. Counting ten million downloads would exceed the time limit of a
    server: see `download_counts.count_older`.
    """
    for table in (days, uncounted):
        table.create(connection)
    newest = connection.scalar(select(func.max(downloads.c.id)))
    if newest is not None:
        connection.execute(insert(uncounted).values(id=newest))


def _with_owners(connection: Connection) -> None:
    """Migrate from version 1, which had no owners of projects."""
    owners.create(connection)
    connection.execute(text("ALTER TABLE pypid_tokens ADD COLUMN as_user TEXT"))


def _with_index(connection: Connection) -> None:
    """Migrate from version 1, which had no named indexes."""
    added = """ALTER TABLE pypid_deeds ADD COLUMN "index" TEXT NOT NULL DEFAULT ''"""
    connection.execute(text(added))
    next(each for each in audit_entries.indexes if each.name == "pypid_deeds_index").create(
        connection
    )


_FORMER_ACTIONS = {
    "add-group": "group create",
    "add-user": "user create",
    "adopt": "storage import",
    "approve": "approval approve",
    "approve-publisher": "trust approve",
    "approve-release": "promote --approve",
    "begin-session": "user log-in",
    "change-index": "index set",
    "change-user": "user change",
    "collect": "cache fetch",
    "create-backup": "backup",
    "create-block": "block create",
    "create-index": "index create",
    "delete-approval": "approval delete",
    "delete-block": "block delete",
    "delete-file": "project delete",
    "delete-index": "index delete",
    "delete-project": "project delete",
    "delete-release": "project delete",
    "delete-snapshot": "snapshot delete",
    "deny": "approval deny",
    "end-session": "user log-out",
    "export-people": "acl export",
    "import-file": "project import",
    "import-people": "acl import",
    "inherit-people": "acl import",
    "join-group": "group add-user",
    "leave-group": "group remove-user",
    "make-invitation": "invitation create",
    "make-snapshot": "snapshot create",
    "make-token": "token create",
    "mint-token": "token mint",
    "publish-file": "project publish",
    "purge-cache": "cache purge",
    "rebuild": "storage rebuild",
    "refuse-download": "download refuse",
    "register-user": "user register",
    "release-name": "project unreserve",
    "reload-settings": "reload",
    "remove-group": "group delete",
    "remove-promoted": "promote --move",
    "remove-right": "right revoke",
    "remove-user": "user delete",
    "reset-publishers": "trust reset",
    "restore-backup": "restore",
    "revoke-token": "token delete",
    "set-log-level": "log-level",
    "set-owner": "project set-owner",
    "set-password": "user set-password",
    "set-right": "right grant",
    "set-status": "project set-status",
    "sweep": "storage check --sweep",
    "tier": "storage tier",
    "unyank": "project unyank",
    "withdraw-invitation": "invitation delete",
    "yank": "project yank",
}


def _with_commands(connection: Connection) -> None:
    """Migrate from version 2, whose actions had names of their own instead of the commands'."""
    for former, action in _FORMER_ACTIONS.items():
        connection.execute(
            update(audit_entries).where(audit_entries.c.what == former).values(what=action)
        )


SCHEMA_PARTS = {
    part.name: part
    for part in (
        SchemaPart("accounts", 2, _accounts, {1: _with_owners}),
        SchemaPart("journal", 3, _journal, {1: _with_index, 2: _with_commands}),
        SchemaPart("downloads", 2, _downloads, {1: _with_days}),
    )
}
