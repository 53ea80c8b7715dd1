"""Sessions that must not outlive a password: those of users of the configuration file whose
password has changed, or who were removed or added.

The file's passwords are remembered below `state`, as digests of their hashes: so changes that were
made while pypid was stopped are found, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from hashlib import blake2b
from pathlib import Path

import msgspec
from attrs import define, field
from twisted.logger import Logger

from pypid.access.sql.accounts import SqlAccounts
from pypid.access.sql.place import Server
from pypid.access.state_files import written_beside
from pypid.core.errors import PypidError
from pypid.flow import World

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
        before = self._unwritten or await self.world.blocking(_read, self.state)
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


def _read(state: Path) -> _Seen | None:
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
