"""The state folder: lock, spool, control socket, first-run admin. Mode 0700."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from pwd import getpwuid
from shutil import rmtree
from typing import IO

from attrs import field, frozen

from pypid.core.configuration.choices import StorageBackend
from pypid.core.configuration.lookup import SYSTEM_DATA, is_built_in
from pypid.core.configuration.parse import Config
from pypid.core.errors import CannotStart

LONGEST_SOCKET_PATH = 107
"""Bytes that the path of a socket may have (``sun_path`` of unix(7), without its NUL)."""


def default_state(ini: Path, state_directory: str | None) -> Path:
    """Return where state is stored when `[server] state` is empty.

    systemd's ``$STATE_DIRECTORY`` if there is one; ``var`` beside the folder of ``etc/pypid.ini``;
    else ``pypid-state`` beside the ini. For the system's own ``/etc`` it is ``/var/lib/pypid``. For
    the built-in defaults, the folder in `ini`.
    """
    if state_directory:
        return Path(state_directory.split(":")[0])
    if is_built_in(ini):
        return ini.parent
    folder = ini.resolve().parent
    if folder == Path("/etc") or folder.parent == Path("/etc"):
        return Path(SYSTEM_DATA)
    return (
        folder.parent / "var"
        if (folder.name, ini.name) == ("etc", "pypid.ini")
        else folder / "pypid-state"
    )


@frozen
class StatePaths:
    """Folders and files, made absolute: twistd changes the working directory (``--rundir``)."""

    ini: Path
    state: Path
    snapshot: Path
    storage: Path | None
    certificate: Path | None
    key: Path | None
    authorities: Path | None
    """PEM, `[upstream] ca_certificates`."""
    trust_root: Path | None = None
    """JSON, `[trust] trust_root`."""

    def beside_ini(self, path: str | None) -> str | None:
        """Return a path of the configuration, made absolute."""
        return None if path is None else str(self.ini.parent / path)


def where(config: Config, environ: Mapping[str, str]) -> StatePaths:
    """Return the paths of a configuration; they are relative to its file."""
    ini = Path(config.source).resolve()

    def absolute(text: str | None) -> Path | None:
        return None if text is None else ini.parent / text

    state = absolute(config.server.state) or default_state(ini, environ.get("STATE_DIRECTORY"))
    storage = absolute(config.storage.path) or state / "packages"
    return StatePaths(
        ini=ini,
        state=state,
        snapshot=state / "snapshot",
        storage=storage if config.storage.backend is StorageBackend.FILES else None,
        certificate=absolute(config.server.tls_certificate),
        key=absolute(config.server.tls_key),
        authorities=absolute(config.upstream.ca_certificates),
        trust_root=absolute(config.trust.trust_root),
    )


def files_of(config: Config, paths: StatePaths) -> str:
    """Return where the files are stored, for display: a folder, ``s3://bucket/prefix``, or ``in
    memory``.
    """
    if config.storage.backend is StorageBackend.S3:
        return f"s3://{config.storage.bucket}/{config.storage.prefix or ''}"
    return str(paths.storage or "in memory")


@frozen
class StateFolder:
    """The state folder, locked for this process until it ends; for a further `worker`, the first
    one holds the lock.
    """

    folder: Path
    _lock: IO[str] | None = field(default=None, repr=False)
    worker: int = 1

    @property
    def spool(self) -> Path:
        """The folder of uploads under way. Cleared at each start of this worker."""
        return _spool(self.folder, self.worker)

    @property
    def metrics(self) -> Path:
        """The folder where workers write their counts. Created again at each start of the first
        one.
        """
        return self.folder / "metrics"

    @property
    def control_socket(self) -> Path:
        """The socket where the running daemon listens for `pypid` commands."""
        return control_socket(self.folder)

    @contextmanager
    def released_on_error(self) -> Iterator[None]:
        """Release the lock if the block raises."""
        try:
            yield
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            self._lock.close()


def _spool(folder: Path, worker: int) -> Path:
    return folder / "spool" if worker == 1 else folder / "spool" / f"worker-{worker}"


def control_socket(folder: Path) -> Path:
    """Return the control socket of the daemon whose state is in `folder`."""
    return folder / "control.sock"


def join_state(folder: Path, worker: int) -> StateFolder:
    """Return the folder for a further worker, whose first one holds the lock; its spool is empty.
    Raises `CannotStart`.
    """
    state = StateFolder(folder, worker=worker)
    try:
        rmtree(state.spool, ignore_errors=True)  # of the previous worker, which has ended
        state.spool.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CannotStart(f"The folder {state.spool} cannot be used: {error.strerror}.") from None
    return state


def open_state(folder: Path) -> StateFolder:
    """Create the folder if needed, lock it, and remove what a killed pypid has left.

    That is its control socket, the spools of its further workers, and their counts. Raises
    `CannotStart`, with advice.
    """
    if len(os.fsencode(control_socket(folder))) > LONGEST_SOCKET_PATH:
        raise CannotStart(
            f"The path of the state folder {folder} is too long for the socket in it: the system "
            f"allows {LONGEST_SOCKET_PATH} bytes for both. Set [server] state to a shorter one."
        )
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / "spool").mkdir(mode=0o700, exist_ok=True)
        lock = (folder / "lock").open("a+")
        os.fchmod(lock.fileno(), 0o600)  # a user who may open it may hold it
    except OSError as error:
        raise CannotStart(
            f"The state folder {folder} cannot be used: {error.strerror}. {_who_may(folder, error)}"
            "Set [server] state to a folder that this user may write."
        ) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise CannotStart(
            f"Another pypid is running with the state folder {folder}, or starts or stops "
            "now. If it is starting, repeat this command in a moment; else stop it, or give this "
            "one a [server] state of its own."
        ) from None
    state = StateFolder(folder, lock)
    # Twisted's lock file names a process by its id, which in a container is the same at every start
    with suppress(OSError):
        if stat.S_ISSOCK(state.control_socket.lstat().st_mode):
            state.control_socket.unlink()
    for left in (state.metrics, *state.spool.glob("worker-*")):
        rmtree(left, ignore_errors=True)
    with suppress(OSError):  # the writer of counts reports it
        state.metrics.mkdir(mode=0o700, exist_ok=True)
    return state


def owner_of(path: Path) -> str | None:
    """Return the name of the user who owns the file; None where that cannot be read."""
    try:
        user = path.stat().st_uid
    except OSError:
        return None
    try:
        return getpwuid(user).pw_name
    except KeyError:
        return str(user)


def _who_may(folder: Path, error: OSError) -> str:
    owner = owner_of(folder) if isinstance(error, PermissionError) else None
    return "" if owner is None else f"It belongs to the user {owner}: run this as that user. Or: "
