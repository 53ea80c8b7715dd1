"""What is kept for sessions in the state folder: the key that signs them, and those that a new
password ended.

The key with which pypid signs and digests its own values: sessions, invitations, captchas.
Everything here blocks.

It is derived from ``[server] secret`` if that is set, so that several pypids share it and nothing
has to be stored; else it is created at the first start, and stored in ``session.key`` below
`state`. Removing that file ends all sessions.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from hashlib import blake2b
from pathlib import Path
from tempfile import mkstemp

import msgspec
from attrs import define, field
from twisted.logger import Logger

from pypid.access.accounts import SqlAccounts
from pypid.core.errors import CannotStart, PypidError, Unreadable
from pypid.database.places import Server
from pypid.flow import World

# Writing small files below the state folder: durable, atomic, mode 0600. All of it blocks.


@contextmanager
def written_beside(path: Path, data: bytes) -> Iterator[Path]:
    """Yield a new file with this content in the folder of `path`; its name goes away at the end.

    The content is on the disk by then, and so is whatever name the caller gave to the file.
    """
    descriptor, name = mkstemp(prefix=f".{path.name}-", dir=path.parent)  # mode 0600
    try:
        fill(descriptor, data)
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)
        sync_folder(path.parent)


def create_new(path: Path, data: bytes) -> bool:
    """Write a file durably and atomically under a name that must be free; return whether it was
    free.
    """
    with written_beside(path, data) as temporary:
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links
            return _create_in_place(path, data)
    return True


def _create_in_place(path: Path, data: bytes) -> bool:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    fill(descriptor, data)
    return True


def fill(descriptor: int, data: bytes) -> None:
    """Write the content of a file, and close it once it is on the disk."""
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Have the names in the folder on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


RECORD = "session.key"
SIZE = 32


def session_key(state: Path, secret: str | None, random: Callable[[int], bytes]) -> bytes:
    """Return 32 bytes, the same at every start. Of several processes that create it at once all get
    the same key.

    Raises `Unreadable` for a file that holds no key, `CannotStart` if it cannot be read or written.
    """
    if secret is not None:
        return blake2b(secret.encode(), digest_size=SIZE, person=b"pypid key").digest()
    path = state / RECORD
    try:
        try:
            return _read(path)
        except FileNotFoundError:
            _make(path, random(SIZE))
            return _read(path)
    except OSError as error:
        advice = f"Let the user that runs pypid read and write {state}, or set [server] secret."
        raise CannotStart(f"The key {path} cannot be used: {error.strerror}. {advice}") from None


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        key = file.read(SIZE + 1)
    if len(key) != SIZE:
        raise Unreadable(
            str(path),
            (
                f"it has to have {SIZE} bytes. Delete it: the next start makes a new one, and ends "
                f"all sessions."
            ),
        )
    return key


def _make(path: Path, key: bytes) -> None:
    """Write the key durably and atomically, and never in place of another one."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    create_new(path, key)


# Sessions that must not outlive a password: those of users of the configuration file whose
# password has changed, or who were removed or added.
#
# The file's passwords are remembered below `state`, as digests of their hashes: so changes that
# were made while pypid was stopped are found, too.

_log = Logger()

FILE = "passwords-seen.json"


class _Seen(msgspec.Struct, frozen=True):
    """Contents of the file: digests of the users' hashes."""

    users: dict[str, str]


@define(eq=False)
class OutdatedSessions:
    """Ends such sessions; what fails is done the next time `end` is called."""

    accounts: SqlAccounts
    state: Path
    world: World
    _since: dict[str, datetime] = field(factory=dict, init=False, repr=False)
    """Users, and when their change of password was seen: sessions that began later stay.

    A session from the future began before the clock was set back: it ends, too.
    """
    _unwritten: _Seen | None = field(default=None, init=False, repr=False)
    """Written to the file once those sessions have ended."""

    async def use(self, users: Mapping[str, str]) -> None:
        """Use these users of the file from now on, with their hashes."""
        before = self._unwritten or await self.world.blocking(_read_seen, self.state)
        seen = _Seen(
            {
                user: blake2b(hash.encode(), digest_size=16).hexdigest()
                for user, hash in users.items()
            }
        )
        if before is not None:
            # also new users: a user of another source may be logged in under that name
            changed = {user for user, _ in before.users.items() ^ seen.users.items()}
            self._since |= dict.fromkeys(changed, self.world.now())
        if seen != before:
            self._unwritten = seen
        await self.end()

    async def end(self) -> None:
        """End the sessions, and store that it is done. Failures are logged."""
        if self._unwritten is None and not self._since:
            return
        current, since, now = self.accounts.current, dict(self._since), self.world.now()
        if since and not current.is_open and isinstance(current.database.place, Server):
            return
        try:
            for session in list(current.known.sessions.values()):
                if session.user in since and not since[session.user] < session.created <= now:
                    await self.accounts.end_session(session.digest)
            self._since = {
                user: when for user, when in self._since.items() if since.get(user) != when
            }
            if not self._since and self._unwritten is not None:
                written = self._unwritten
                await self.world.blocking(_write, self.state, written)
                self._unwritten = None if self._unwritten is written else self._unwritten
        except (PypidError, OSError) as error:
            _log.warn(
                "The sessions of users with a new password in [users] cannot be ended yet: {error}",
                error=error,
            )


def _read_seen(state: Path) -> _Seen | None:
    try:
        return msgspec.json.decode((state / FILE).read_bytes(), type=_Seen)
    except (
        OSError,
        msgspec.DecodeError,
        UnicodeDecodeError,
    ):  # there is no record to compare with
        return None


def _write(state: Path, seen: _Seen) -> None:
    with written_beside(state / FILE, msgspec.json.encode(seen) + b"\n") as temporary:
        temporary.replace(state / FILE)
