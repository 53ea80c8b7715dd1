"""Users that need no database: those of the configuration, the first administrator, the operator on
the control socket.

Users from the configuration's ``[users]``, and the first-run admin.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import UTC, datetime
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from attrs import define, evolve, field, frozen
from twisted.logger import Logger

from pypid.access.passwords import WRONG, Verifier, hash_password, needs_upgrade
from pypid.access.sessions import create_new, written_beside
from pypid.access.tokens import random_text
from pypid.core.accounts.rights import Account
from pypid.core.errors import StorageDown, Unauthenticated, Unreadable
from pypid.core.permissions import Credential, Identity
from pypid.flow import World, shielded
from pypid.ports import Access

# The first run: an index without any user creates its own `admin`, and prints once how to use it.
#
# Only the password's hash is stored, in ``admin.json`` below `state`. The first change of the
# account moves it into the accounts database, and the record stays: without it the next start is a
# first run. Everything here blocks: it runs before the reactor does, or in a thread.

ADMIN = "admin"
RECORD = "admin.json"
FORMAT = 1

_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
"""Without i, l, o, 0 and 1, which are easily confused."""
_GROUPS, _GROUP = 7, 4
"""28 characters out of 31: 138 bits."""


@frozen
class AdminRecord:
    """The first-run admin, as ``admin.json`` holds it."""

    format: int
    user: str
    hash: str = field(repr=False)
    used: bool = False
    """Whether a login with the password has succeeded: a person has seen it."""
    created: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    """Identifies this admin among those of other first runs, also in the accounts database."""
    moved: bool = False
    """Whether the accounts database was seen to have the account: it may be removed there since."""

    @property
    def account(self) -> Account:
        """The account that the accounts database gets."""
        return Account(
            name=self.user, hash=self.hash, admin=True, created=self.created, changed=self.created
        )

    def is_in(self, accounts: Mapping[str, Account]) -> bool:
        """Return whether these accounts of the database have this admin."""
        held = accounts.get(self.user)
        return held is not None and held.created == self.created


def read_admin(state: Path) -> AdminRecord | None:
    """Return the first-run admin, or None if there is none. Raises `Unreadable` for a record that
    is damaged or of a newer format.
    """
    try:
        data = (state / RECORD).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unreadable(
            str(state / RECORD), f"{error.strerror}. Let the user that runs pypid read it."
        ) from None
    advice = "Delete it and start pypid again: that makes a new admin with a new password."
    try:
        record = msgspec.json.decode(data, type=AdminRecord)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # not chained: the text of the cause may quote what it could not read
        raise Unreadable(
            str(state / RECORD), f"it is not a record of the first-run admin. {advice}"
        ) from None
    if record.format != FORMAT:
        raise Unreadable(
            str(state / RECORD),
            f"its format is {record.format}, this pypid knows {FORMAT}. {advice}",
        )
    return record


def first_run(
    state: Path, users: Collection[str], random: Callable[[int], bytes], now: datetime
) -> str | None:
    """Create the admin if this is a first run without any user; return the password, to be printed
    once, or None.

    `users` are the names in ``[users]``. Of several processes that start at once exactly one
    creates the admin and gets the password. Raises `Unreadable` as `read_admin` does.
    """
    if users or read_admin(state) is not None:
        return None
    password = readable_password(random)
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    record = AdminRecord(FORMAT, ADMIN, hash_password(password), created=now)
    return password if create_new(state / RECORD, _encoded(record)) else None


def replace_admin(state: Path, old: AdminRecord, new: AdminRecord) -> AdminRecord | None:
    """Replace the record, unless the file is no longer `old`; return the record that is now stored.

    The file may have been deleted meanwhile, to reset the password, or replaced by another process.
    """
    current = read_admin(state)
    if current != old:
        return current
    with written_beside(state / RECORD, _encoded(new)) as temporary:
        temporary.replace(state / RECORD)
    return new


def note_moved(state: Path, moved: AdminRecord) -> None:
    """Note in the record that the accounts database has this admin. Raises `Unreadable`."""
    record = read_admin(state)
    if record is not None and record.created == moved.created:
        replace_admin(state, record, evolve(record, used=True, moved=True))


def readable_password(random: Callable[[int], bytes]) -> str:
    """Return a password of 138 bits in groups of four, without characters that look alike; it needs
    no quotes in a shell or URL.
    """
    text = random_text(random, _ALPHABET, _GROUPS * _GROUP)
    return "-".join(text[start : start + _GROUP] for start in range(0, len(text), _GROUP))


def _encoded(record: AdminRecord) -> bytes:
    return msgspec.json.encode(record) + b"\n"


_IN_THE_FILE = """\
Users are in [users] of the configuration: put the line there that this prints, and reload pypid:

    {}
"""
_ACCOUNTS = """\
Create accounts for other people, {} or in the browser (--admin: an administrator):

    {}
"""


def greeting(
    base_url: str,
    password: str,
    state: Path | None = None,
    *,
    program: str = "pypid",
    option: str = "",
    folder: Path | None = None,
    readable: bool = True,
    accounts: bool = True,
) -> str:
    """Return what a first run prints: the password, and the commands to publish and install.

    `base_url` is the URL of this index for clients; `state` is the folder whose file resets the
    password. `program` and `option` are before and after each command of pypid, which works in
    `folder` (None: in each). `readable`: everyone may read, so that installing needs no token.
    `accounts`: users of the database can log in. Printed, never logged: it holds the password,
    which is on no command line, as other users see those.
    """
    base = base_url.rstrip("/")
    record = RECORD if state is None else str(state / RECORD)

    def token(action: str) -> str:
        command = f"{program} token create {action} --user {ADMIN} --can {action}"
        return f"$({command} --quiet{option})"

    tokens = f"    export UV_PUBLISH_TOKEN={token('publish')}"
    if not readable:
        address = urlsplit(base)
        authority = f"__token__:{token('read')}@{address.netloc}"
        url = f"{address.scheme}://{authority}{address.path}/simple/"
        tokens += f"\n    export UV_DEFAULT_INDEX={url}"
    users = (
        _ACCOUNTS.format(
            "here" if folder is None else "in the same folder",
            f"{program} user create alice{option}",
        )
        if accounts
        else _IN_THE_FILE.format(f"{program} gen-password alice")
    )
    place = "" if folder is None else f" in the folder {folder}"
    what = "a token" if readable else "tokens"
    return f"""\
This is the first run. pypid created an administrator:

    user      {ADMIN}
    password  {password}

Log in with a browser: {base}/
Keep the password: it is not shown again, and only its hash is stored. Programs use tokens instead.

Open another terminal{place}, and create {what}:

{tokens}

Publish the files in dist/ of your project, with uv or with twine:

    uv publish --publish-url {base}/legacy/ dist/*

    export TWINE_USERNAME=__token__ TWINE_PASSWORD=$UV_PUBLISH_TOKEN
    twine upload --repository-url {base}/legacy/ dist/*

Install PROJECT (write the name of a project), with uv or with pip:

{_installing(base, readable=readable)}
{users}
To get a new password, delete {record} and start pypid again.
"""


def _installing(base: str, *, readable: bool) -> str:
    address = urlsplit(base)
    trust = (
        ""
        if address.scheme == "https" or _is_loopback(address.hostname)
        else f" --trusted-host {_host(address.hostname)}"
    )
    if readable:
        return f"""\
    uv pip install --default-index {base}/simple/ PROJECT

    pip install --index-url {base}/simple/{trust} PROJECT
"""
    return f"""\
    uv pip install PROJECT

    export PIP_INDEX_URL=$UV_DEFAULT_INDEX
    pip install{trust} PROJECT
"""


def _is_loopback(host: str | None) -> bool:
    """Return whether pip trusts the host without TLS (``SECURE_ORIGINS`` in its
    ``network/session.py``).
    """
    if host == "localhost":
        return True
    try:
        return ip_address(host or "").is_loopback
    except ValueError:
        return False


def _host(host: str | None) -> str:
    return f"[{host}]" if host and ":" in host else str(host)


@frozen(kw_only=True)
class UsersSettings:
    """``[users]`` and ``[groups]``. Names are compared exactly. (``[access] admins`` concern all
    sources: see `AccessChain`.)

    `users`: name to password hash; `groups`: name to members, of this source or any other; `state`:
    the folder that may hold the first-run admin.
    """

    users: Mapping[str, str] = field(repr=False)
    state: Path
    groups: Mapping[str, frozenset[str]] = field(factory=dict)


@frozen
class _ConfiguredUsers:
    """All users of the configuration who can log in, at one time."""

    settings: UsersSettings
    first: AdminRecord | None
    groups: Mapping[str, frozenset[str]] = field(init=False)
    """Group names by member."""

    @groups.default
    def _by_member(self) -> Mapping[str, frozenset[str]]:
        found: dict[str, set[str]] = {}
        for group, members in self.settings.groups.items():
            for member in members:
                found.setdefault(member, set()).add(group)
        return {member: frozenset(groups) for member, groups in found.items()}

    def stored(self, user: str) -> str | None:
        if self.is_first(user):
            return self.first.hash if self.first else None
        return self.settings.users.get(user)

    def is_first(self, user: str) -> bool:
        """Return whether this is the first-run admin. The configuration comes first: a user of that
        name in it is another person.
        """
        return (
            self.first is not None and user == self.first.user and user not in self.settings.users
        )

    def is_new(self, user: str) -> bool:
        """Return whether this is the first-run admin, who has not logged in before."""
        return self.first is not None and self.is_first(user) and not self.first.used

    def identity(self, user: str) -> Identity:
        return Identity(user, self.groups.get(user, frozenset()), self.is_first(user))

    def hashes(self) -> list[str]:
        first = [self.first.hash] if self.first and self.is_first(self.first.user) else []
        return [*self.settings.users.values(), *first]


class ConfigPeople:
    """The `People` of the configuration file, with the first-run admin.

    Hashes in the file are read-only: one that is not argon2id with the current parameters is
    verified, and the log advises, once for each user, to create a new one. The first-run admin's
    hash is upgraded in place at a login; the first login is noted there.
    """

    _log = Logger()

    def __init__(
        self,
        settings: UsersSettings,
        world: World,
        verifier: Verifier,
        first: AdminRecord | None = None,
    ) -> None:
        """`first` is the first-run admin, as read by `read_admin`."""
        self._world = world
        self._verifier = verifier
        self._advised: set[str] = set()
        self._upgrading = False
        self._use(_ConfiguredUsers(settings, first))

    async def check(self, credential: Credential) -> Identity | None:
        """Return the identity that the credential proves, or None for an unknown user. Raises
        `Unauthenticated` for a wrong password.
        """
        users = self._users
        stored = users.stored(credential.user)
        if stored is None:
            return None
        if not await self._verifier.check(credential.user, credential.password, stored):
            raise Unauthenticated(WRONG)
        if credential.user not in self._advised and (
            needs_upgrade(stored) or users.is_new(credential.user)
        ):
            await self._renew(users, credential)
        return users.identity(credential.user)

    async def find(self, user: str) -> Identity | None:
        """Return the user's identity without any proof, or None for an unknown user."""
        return None if self._users.stored(user) is None else self._users.identity(user)

    async def groups(self, user: str) -> frozenset[str]:
        """Return the user's groups in ``[groups]``, which may list users of every source."""
        return self._users.groups.get(user, frozenset())

    @property
    def first(self) -> AdminRecord | None:
        """The first-run admin, if this source has it: not once the accounts database does."""
        first = self._users.first
        return first if first is not None and self._users.is_first(first.user) else None

    def leave_first(self, accounts: Mapping[str, Account]) -> AdminRecord | None:
        """Leave the first-run admin to the accounts database if it has the account; return it then,
        once.
        """
        first = self._users.first
        if first is None or not first.is_in(accounts):
            return None
        self._use(evolve(self._users, first=None))
        return first

    async def reload(self, settings: UsersSettings) -> None:
        """Replace the users by these, and read the first-run admin in `state` again.

        Raises `Unreadable` for a damaged record, and then nothing changes.
        """
        self._use(
            _ConfiguredUsers(settings, await self._world.blocking(read_admin, settings.state))
        )

    def _use(self, users: _ConfiguredUsers) -> None:
        if users.first is not None and users.first.moved:
            users = evolve(users, first=None)
        self._users = users
        self._verifier.resemble(users.hashes(), "config")
        if users.first and not users.is_first(users.first.user):
            self._log.warn(
                "[users] has a user {user!r}, so the administrator made at the first run "
                "({record}) is not used. List {user!r} in [access] admins if that user has to be "
                "an administrator, and delete the record.",
                user=users.first.user,
                record=str(users.settings.state / RECORD),
            )

    async def _renew(self, users: _ConfiguredUsers, credential: Credential) -> None:
        if not users.is_first(credential.user):
            self._advised.add(credential.user)
            self._log.info(
                "The password hash of the user {user!r} in [users] is not of the kind that pypid "
                "makes now. It works; better make a new one with `pypid gen-password` and put it "
                "into the configuration.",
                user=credential.user,
            )
        elif users.first and not self._upgrading:
            await shielded(self._upgrade(users.settings.state, users.first, credential.password))

    async def _upgrade(self, state: Path, first: AdminRecord, password: str) -> None:
        self._upgrading = True
        try:
            kept = await self._world.blocking(partial(_rehash, state, first, password))
        except Exception:
            self._advised.add(first.user)  # once is enough; the old hash is still good
            self._log.failure(
                "The login of the first-run administrator could not be noted; the record is "
                "still used as it was"
            )
            return
        finally:
            self._upgrading = False
        if kept is not None and self._users.first == first:
            self._use(evolve(self._users, first=kept))


def _rehash(state: Path, first: AdminRecord, password: str) -> AdminRecord | None:
    hash = hash_password(password) if needs_upgrade(first.hash) else first.hash
    return replace_admin(state, first, evolve(first, hash=hash, used=True))


# Access that stays closed until the accounts are available: a new machine fetches them from the
# bucket.


@define(eq=False)
class ClosedAccess:
    """An `Access` that uses `access` once it `is_open`. Until then every login fails with 503, and
    not as a wrong password.
    """

    access: Access
    is_open: bool = True
    freshly: Callable[[], Awaitable[object] | None] = field(default=lambda: None, repr=False)
    """Called before each question; reads changes that this process is not notified of. Raises as
    `identify`.
    """

    def open(self) -> None:
        """Admit users from now on."""
        self.is_open = True

    async def identify(self, credential: Credential) -> Identity:
        """Return the identity that the credential proves. Raises `StorageDown` until it `is_open`,
        else as `Access.identify`.
        """
        if not self.is_open:
            raise StorageDown("the accounts are still being fetched from it.", retry_after=5)
        looking = self.freshly()
        if looking is not None:
            await looking
        return await self.access.identify(credential)


# Authentication on the control socket.


@frozen
class Operator:
    """The `Access` of the control socket: every process that can open it (mode 0600, in a folder of
    mode 0700) is the operator.
    """

    async def identify(self, credential: Credential) -> Identity:
        """Return an admin, under the name of the account that runs the command. Raises
        `Unauthenticated` without a name.
        """
        if not credential.user:
            raise Unauthenticated()
        return Identity(credential.user, admin=True)
