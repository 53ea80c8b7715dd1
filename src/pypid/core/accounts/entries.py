"""Records about users: accounts, tokens, sessions, audit entries and downloads. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum
from types import MappingProxyType
from typing import Literal, get_args

from attrs import field, frozen

from pypid.core.accounts.owners import account_id
from pypid.core.model import File
from pypid.core.permissions import Identity, Scope

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
"""What an audit entry records: the command that does it, or its noun and a verb where there is no
command.
"""
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
    """Return the name under which downloads of a project are counted: ``INDEX/PROJECT`` for those
    below a named index.
    """
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
        """Return the entry of a download of a file with a known digest, requested below a named
        index if there is one.
        """
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
