"""The first run: an index without any user creates its own `admin`, and prints once how to use it.

Only the password's hash is stored, in ``admin.json`` below `state`. The first change of the account
moves it into the accounts database, and the record stays: without it the next start is a first run.
Everything here blocks: it runs before the reactor does, or in a thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from attrs import evolve, field, frozen

from pypid.access.passwords import hash_password
from pypid.access.state_files import fill, written_beside
from pypid.access.tokens import random_text
from pypid.core.accounts.entries import Account
from pypid.core.errors import Unreadable

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
    return password if _create(state / RECORD, record) else None


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


def _create(path: Path, record: AdminRecord) -> bool:
    """Write the record durably and atomically under a name that must be free; return whether it was
    free.
    """
    with written_beside(path, _encoded(record)) as temporary:
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links
            return _create_in_place(path, record)
    return True


def _create_in_place(path: Path, record: AdminRecord) -> bool:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    fill(descriptor, _encoded(record))
    return True


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
