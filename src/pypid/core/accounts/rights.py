"""Rights on single projects, as the configuration and the accounts database store them, and the
rules that follow from them; owners, and the records of accounts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum
from types import MappingProxyType
from typing import Literal, get_args

from attrs import evolve, field, frozen

from pypid.core.errors import BadName
from pypid.core.model import File
from pypid.core.packaging.names import (
    NameSet,
    ProjectName,
    ProjectPattern,
    is_glob,
    project_glob,
    project_name,
)
from pypid.core.permissions import (
    NOBODY,
    Grants,
    Identity,
    Principals,
    ProjectOwners,
    ProjectRules,
    Scope,
    account_name,
)


class Whom(Enum):
    """The kind of principal that a right names; the values are pypicloud's words.

    `ADMINS` closes a project: the defaults do not apply to it. It takes the place of the last right
    that is removed, so that nothing opens because a user, a group or a right was removed.
    """

    USER = "user"
    GROUP = "group"
    EVERYONE = "everyone"
    AUTHENTICATED = "authenticated"
    ADMINS = "admins"


NAMED = frozenset({Whom.USER, Whom.GROUP})
"""The kinds that need a name."""

RightKey = tuple[ProjectPattern, Whom, str]
"""The key of a right: there is at most one for each."""


@frozen
class Right:
    """The right to read a project, or to read and `write` it. `name` is the user's or the group's,
    else empty.
    """

    project: ProjectPattern
    whom: Whom
    name: str = ""
    write: bool = False

    @property
    def key(self) -> RightKey:
        """Project, kind and name."""
        return self.project, self.whom, self.name

    @property
    def text(self) -> str:
        """``r`` or ``rw``, as the configuration spells it."""
        return "rw" if self.write else "r"


def sorted_rights(rights: Iterable[Right]) -> tuple[Right, ...]:
    """Return the rights sorted by project, kind and name."""
    return tuple(sorted(rights, key=lambda right: (right.project, right.whom.value, right.name)))


def grants_of(rights: Iterable[Right]) -> ProjectRules:
    """Return the rule of each project and glob that has rights, from all its rights together."""
    readers: dict[ProjectPattern, list[Right]] = {}
    for right in rights:
        readers.setdefault(right.project, []).append(right)
    found = {
        name: Grants(_principals(these), _principals(right for right in these if right.write))
        for name, these in readers.items()
    }
    return ProjectRules.of(found)


def _principals(rights: Iterable[Right]) -> Principals:
    everyone = authenticated = admins = False
    users, groups = [], []
    # ten thousand projects may have rights: allocate no more for each than necessary
    for right in rights:
        match right.whom:
            case Whom.USER:
                users.append(right.name)
            case Whom.GROUP:
                groups.append(right.name)
            case Whom.EVERYONE:
                everyone = True
            case Whom.AUTHENTICATED:
                authenticated = True
            case Whom.ADMINS:
                admins = True
    return Principals(everyone, authenticated, admins, frozenset(users), frozenset(groups))


def parse_right(key: str, value: str) -> Right:
    """Parse one line of ``[projects]``. Raises `ValueError` with all reasons.

    ``<project>.user.<name> = r``: cut at the first ``.user.`` or ``.group.``, else at the last
    ``.everyone`` or ``.authenticated``; to the left is the project's name or a glob, to the right
    the user's or group's name, dots included.
    """
    problems = []
    if value not in ("r", "rw"):
        problems.append(f"invalid value {value[:80]!r} (allowed: r, rw)")
    try:
        project, whom, name = _cut(key)
        pattern = project_pattern(project)
        right = Right(pattern, whom, account_name(name) if whom in NAMED else "", value == "rw")
    except (ValueError, BadName) as error:
        problems.append(str(error))
    if problems:
        raise ValueError("; ".join(problems))
    return right


def project_pattern(text: str) -> ProjectPattern:
    """Return the normalised name or glob. Raises `BadName`, and `ValueError` for a glob."""
    return project_glob(text) if is_glob(text) else project_name(text)


def _cut(key: str) -> tuple[str, Whom, str]:
    cuts = [(at, whom) for whom in NAMED if (at := key.find(f".{whom.value}.")) >= 0]
    if cuts:
        at, whom = min(cuts, key=lambda cut: cut[0])
        return key[:at], whom, key[at + len(whom.value) + 2 :]
    for whom in (Whom.EVERYONE, Whom.AUTHENTICATED):
        if key.endswith(f".{whom.value}"):
            return key[: -len(whom.value) - 1], whom, ""
    raise ValueError(
        "invalid key (allowed: <project>.user.<name>, <project>.group.<name>, <project>.everyone, "
        "<project>.authenticated)"
    )


def repeated(rights: Mapping[str, Right]) -> Mapping[str, str]:
    """Return the keys whose rule repeats an earlier key in another spelling of the project's name,
    each with that earlier key.

    Of two such rules the weaker one would have no effect, and removing the right would mean finding
    both.
    """
    first: dict[Right, str] = {}
    earlier = {
        key: first.setdefault(evolve(right, write=False), key) for key, right in rights.items()
    }
    return {key: other for key, other in earlier.items() if other != key}


def claimed(rules: ProjectRules) -> NameSet:
    """Return the projects that are local by the rules, even if nothing is published yet: those that
    some user may publish. A name that matches a glob with a right to publish is local even if a
    more specific rule lets no user publish it.
    """
    all_rules = (rules.names, rules.globs.values)
    return NameSet.of(
        key for each in all_rules for key, grants in each.items() if grants.write != NOBODY
    )


# Owners of projects, as the accounts database stores them.

OwnerKey = tuple[str, ProjectName]
"""The name of an index (empty: the default one) and a project."""
CLAIM_LASTS = timedelta(minutes=10)
"""How long a first upload reserves a name for its user while nothing is published. An owner that an
administrator has set stays until it is removed.
"""


@frozen
class ProjectOwner:
    """The account that owns a project (`Identity.account`), and since when. `is_claimed`: the first
    upload made it the owner; otherwise an administrator has set it.
    """

    account: str
    since: datetime
    is_claimed: bool = False

    @property
    def user(self) -> str:
        """The name of the user; the account may be gone."""
        return user_of_account(self.account)


def account_id(source: str, user: str, mark: str = "") -> str:
    """Return what identifies an account: its source, its name, and a mark that another account of
    the same name does not have, if the source has one.
    """
    return ":".join(part for part in (source, user, mark) if part)


def user_of_account(account: str) -> str:
    """Return the user name in the result of `account_id`; names have no colon."""
    return account.split(":")[1]


def owners_of(stored: Mapping[OwnerKey, ProjectOwner]) -> ProjectOwners:
    """Return the owners for the rules."""
    return ProjectOwners({key: owner.account for key, owner in stored.items()})


# Records about users: accounts, tokens, sessions, audit entries and downloads. Values only.

_UNIX_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
TOKEN_USER = "__token__"
"""The user of a `Credential` whose password is a token (as on the public index)."""
SESSION_USER = "__session__"
"""The user of a `Credential` whose password is the value of a session cookie: made by the guard,
never read from a header.
"""
AuditAction = Literal[
    "approval approve",
    "approval delete",
    "approval deny",
    "backup",
    "block create",
    "block delete",
    "cache fetch",
    "cache purge",
    "download refuse",
    "export",
    "group add-user",
    "group create",
    "group delete",
    "group remove-user",
    "index create",
    "index delete",
    "index set",
    "invitation create",
    "invitation delete",
    "log-level",
    "project delete",
    "project import",
    "project publish",
    "project set-owner",
    "project set-status",
    "project unreserve",
    "project unyank",
    "project yank",
    "promote",
    "promote --move",
    "reload",
    "right grant",
    "right revoke",
    "storage check --sweep",
    "storage import",
    "storage rebuild",
    "storage tier",
    "token create",
    "token delete",
    "token mint",
    "trust approve",
    "trust reset",
    "user change",
    "user create",
    "user delete",
    "user disable",
    "user enable",
    "user import",
    "user log-in",
    "user log-out",
    "user register",
    "user set-admin",
    "user set-password",
]
"""What an audit entry records: the command that does it, or a noun and a verb."""
ACCOUNTS = "sql"
"""The source of the accounts in the database (`account_id`)."""
AUDIT_ACTIONS: tuple[AuditAction, ...] = get_args(AuditAction)


class AccountStatus(Enum):
    """Whether an account can be used."""

    ACTIVE = "active"
    PENDING = "pending"
    """Registered, and not yet approved by an administrator."""
    DISABLED = "disabled"


@frozen(kw_only=True)
class Account:
    """A user in the accounts database. The password hash does not appear in the repr; empty means
    that the user cannot log in with a password.
    """

    name: str
    hash: str = field(repr=False, default="")
    admin: bool = False
    status: AccountStatus = AccountStatus.ACTIVE
    created: datetime
    changed: datetime
    """When the password, the admin flag or the status last changed: a new password ends the
    sessions begun before it.
    """

    @property
    def id(self) -> str:
        """What identifies the account: not the name alone, which another account may get later."""
        return account_id(ACCOUNTS, self.name, str((self.created - _UNIX_EPOCH) // _MICROSECOND))


@frozen(kw_only=True)
class Token:
    """A token as it is stored: never the secret, only its digest (BLAKE2b of 256 random bits needs
    no slow hash).

    `user` is the owner; for a `publisher` (trusted publishing) it is the text that identifies the
    workflow, which is not an account name.
    """

    id: str
    """Public identifier, shown in lists and in the audit log. 16 letters and digits."""
    digest: str = field(repr=False)
    name: str
    user: str
    scope: Scope
    created: datetime
    expires: datetime | None = None
    used: datetime | None = None
    """When the token was last used, accurate to a minute."""
    used_from: str = ""
    revoked: datetime | None = None
    publisher: bool = False
    as_user: str | None = None
    """The user who becomes the owner of projects that a `publisher` publishes first."""


@frozen
class Minted:
    """A new token for a workflow (trusted publishing), as it is sent to it. The secret does not
    appear in the repr.
    """

    secret: str = field(repr=False)
    expires: datetime


MOST_SESSIONS = 50
"""Maximum sessions of one user at a time: more than a user has browsers, and few enough that
logging in repeatedly cannot fill the memory.
"""


@frozen(kw_only=True)
class Session:
    """A login in a browser. The cookie's value is a secret of which only the digest is stored."""

    digest: str = field(repr=False)
    user: str
    created: datetime
    expires: datetime
    address: str = ""


@frozen(kw_only=True)
class AuditEntry:
    """An action of a user that changed something: one line of the audit log."""

    when: datetime
    who: str
    what: AuditAction
    subject: str
    """The object of the action: a project, ``project/filename``, a user, a token's id."""
    where: str = ""
    """The address that the request came from; empty for the control socket."""
    token: str | None = None
    """The id of the token, if the request used one."""
    details: Mapping[str, str] = MappingProxyType({})
    """Additional data; never a secret."""
    index: str = ""
    """The named index that was changed; empty: the default index, or no index."""
    serial: int = 0
    """Position in the log; 0 before the entry is written."""


def counted_name(index: str, project: str) -> str:
    """Return the name by which downloads are counted: ``INDEX/PROJECT`` below a named index."""
    return f"{index}/{project}" if index else project


@frozen(kw_only=True)
class DownloadEntry:
    """A download of a file by a client."""

    when: datetime
    sha256: str
    project: str
    """The project, or ``INDEX/PROJECT`` (`counted_name`)."""
    filename: str
    who: str
    """The user; ``anonymous`` for a client without credentials."""
    where: str = ""
    token: str | None = None
    serial: int = field(default=0, eq=False)
    """Its number in the download log, ascending; 0 before it is stored."""

    @classmethod
    def of(
        cls, file: File, who: Identity, where: str | None, when: datetime, index: str = ""
    ) -> DownloadEntry:
        """Return the entry of a download of a file, requested below a named index or none."""
        assert file.sha256 is not None
        return cls(
            when=when,
            sha256=file.sha256,
            project=counted_name(index, file.project),
            filename=file.filename,
            who=who.user or "anonymous",
            where=where or "",
            token=who.token,
        )
