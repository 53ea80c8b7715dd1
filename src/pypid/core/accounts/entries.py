"""What is written down about people: accounts, tokens, sessions, and what they did. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from types import MappingProxyType

from attrs import field, frozen

from pypid.core.permissions import Scope

TOKEN_USER = "__token__"
"""The user of a `Credential` whose password is a token (as on the public index)."""
SESSION_USER = "__session__"
"""The user of a `Credential` whose password is what a session's cookie holds: made by the guard,
never out of a header.
"""


class AccountStatus(Enum):
    """Whether an account can be used."""

    ACTIVE = "active"
    PENDING = "pending"
    """Registered, and an administrator has not approved it yet."""
    DISABLED = "disabled"


@frozen(kw_only=True)
class Account:
    """A user in the accounts database. The password's hash is in no repr; empty: nobody can log in
    with a password.
    """

    name: str
    hash: str = field(repr=False, default="")
    admin: bool = False
    standing: AccountStatus = AccountStatus.ACTIVE
    created: datetime
    changed: datetime
    """When the password, the admin flag or the standing changed last: sessions begun before a new
    password end by it.
    """


@frozen(kw_only=True)
class Token:
    """A token as it is stored: never the secret, only its digest (BLAKE2b of 256 random bits needs
    no slow hash).

    `user` is whose it is; for a `publisher` (trusted publishing) the text that stands for the
    workflow, which is no account's name.
    """

    id: str
    """Public: in lists, in the audit log. 16 letters and digits."""
    digest: str = field(repr=False)
    name: str
    user: str
    scope: Scope
    created: datetime
    expires: datetime | None = None
    used: datetime | None = None
    """When it was used last, within a minute."""
    used_from: str = ""
    revoked: datetime | None = None
    publisher: bool = False


@frozen
class Minted:
    """A token that was made for a workflow (trusted publishing), as it is given to it. The secret
    is in no repr.
    """

    secret: str = field(repr=False)
    expires: datetime


MOST_SESSIONS = 50
"""Of one user at a time: more than anybody has browsers, and few enough that nobody fills the
memory by logging in.
"""


@frozen(kw_only=True)
class Session:
    """A login in a browser. The cookie's value is a secret of which only the digest is kept."""

    digest: str = field(repr=False)
    user: str
    created: datetime
    expires: datetime
    address: str = ""


@frozen(kw_only=True)
class AuditEntry:
    """Something that somebody changed: one line of the audit log."""

    when: datetime
    who: str
    what: str
    """A verb and a noun with a dash: ``publish-file``, ``set-right``, ``revoke-token``,
    ``reload-settings``.
    """
    subject: str
    """What it was done to: a project, ``project/filename``, a user, a token's id."""
    where: str = ""
    """The address that the request came from; empty for the control socket."""
    token: str | None = None
    """The id of the token that was used, if it was one."""
    details: Mapping[str, str] = MappingProxyType({})
    """Never a secret."""
    serial: int = 0
    """Its place in the log; 0 before it stands there."""


@frozen(kw_only=True)
class DownloadEntry:
    """That somebody was given a file."""

    when: datetime
    sha256: str
    project: str
    filename: str
    who: str
    """The user; ``anonymous`` for somebody unknown."""
    where: str = ""
    token: str | None = None
    serial: int = field(default=0, eq=False)
    """Its number in the download log, ascending; 0 before it is stored."""
