"""The folder for what pypid itself keeps: lock, spool, snapshot, control socket, first-run admin. Mode 0700."""

from __future__ import annotations

import fcntl
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from attrs import field, frozen

from pypid.core.choices import Store
from pypid.core.config import Config
from pypid.core.errors import CannotStart


def default_state(ini: Path, state_directory: str | None) -> Path:
    """Where state lies when `[server] state` is empty.

    systemd's ``$STATE_DIRECTORY`` if there is one; ``var`` beside the folder of ``etc/pypid.ini``; else ``pypid-state`` beside
    the
    ini. For the system's own ``/etc`` it is ``/var/lib/pypid``.
    """
    if state_directory:
        return Path(state_directory.split(":")[0])
    folder = ini.resolve().parent
    if folder == Path("/etc") or folder.parent == Path("/etc"):
        return Path("/var/lib/pypid")
    return folder.parent / "var" if (folder.name, ini.name) == ("etc", "pypid.ini") else folder / "pypid-state"


@frozen
class Where:
    """Folders and files, made absolute."""

    state: Path
    storage: Path | None
    certificate: Path | None
    key: Path | None


def where(config: Config, environ: Mapping[str, str]) -> Where:
    """Paths in the configuration are relative to its file."""
    ini = Path(config.source).resolve()

    def absolute(text: str | None) -> Path | None:
        return None if text is None else ini.parent / text

    state = absolute(config.server.state) or default_state(ini, environ.get("STATE_DIRECTORY"))
    storage = absolute(config.storage.path) or state / "packages"
    return Where(
        state=state,
        storage=storage if config.storage.backend is Store.FILES else None,
        certificate=absolute(config.server.tls_certificate),
        key=absolute(config.server.tls_key),
    )


@frozen
class State:
    """The state folder, locked for this process until it ends."""

    folder: Path
    _lock: IO[str] = field(repr=False)

    @property
    def spool(self) -> Path:
        """Uploads under way. Cleared at each start."""
        return self.folder / "spool"

    @property
    def control_socket(self) -> Path:
        """Where the running daemon listens for `pypid` commands."""
        return control_socket(self.folder)

    def release(self) -> None:
        """Give up the lock."""
        self._lock.close()


def control_socket(folder: Path) -> Path:
    """The control socket of the daemon whose state lies in `folder`."""
    return folder / "control.sock"


def open_state(folder: Path) -> State:
    """Make the folder if need be, and lock it. Raises `CannotStart`, with advice."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / "spool").mkdir(mode=0o700, exist_ok=True)
        lock = (folder / "lock").open("a+")
    except OSError as error:
        raise CannotStart(
            f"The state folder {folder} cannot be used: {error.strerror}. "
            "Set [server] state to a folder that this user may write."
        ) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise CannotStart(
            f"Another pypid is running with the state folder {folder}. "
            "Stop it first, or give this one a [server] state of its own."
        ) from None
    return State(folder, lock)
