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
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
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

SCHEMA_PARTS = {
    part.name: part
    for part in (
        SchemaPart("accounts", 2, _accounts),
        SchemaPart("journal", 3, _journal),
        SchemaPart("downloads", 2, _downloads),
    )
}
