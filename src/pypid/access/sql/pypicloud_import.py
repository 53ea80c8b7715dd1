"""Import at the first start in place of a pypicloud: its users are added to the accounts database,
which is empty till then.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.logger import Logger

from pypid.access.sql.accounts import SqlAccounts
from pypid.core.errors import CannotStart, PeopleUnknown
from pypid.flow import World

if TYPE_CHECKING:
    from pypid.core.accounts.acl_dump import ParsedAcl

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
        found = await world.blocking(_read, url, folders)
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
        message = (
            "the user {name!r} of pypicloud's cannot log in: the configuration has a user of "
            "the same name, who takes precedence"
        )
        _log.warn(message, name=name)
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
        found = await world.blocking(_read, url, folders)
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


def _read(url: str, folders: tuple[Path, ...]) -> ParsedAcl | None:
    from pypid.access.sql.pypicloud_people import read_people

    return read_people(url, *folders)
