"""The key with which pypid signs and digests its own values: sessions, invitations, captchas.
Everything here blocks.

It is derived from ``[server] secret`` if that is set, so that several pypids share it and nothing
has to be stored; else it is created at the first start, and stored in ``session.key`` below
`state`. Removing that file ends all sessions.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

from pypid.access.state_files import written_beside
from pypid.core.errors import CannotStart, Unreadable

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
    with written_beside(path, key) as temporary:
        _publish(temporary, path)


def _publish(temporary: Path, path: Path) -> None:
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        return
    except (
        OSError
    ):  # a file system without hard links; the lock on the state folder keeps other processes out
        temporary.replace(path)
