"""The process that a daemon runs in: its reactor, environment, clock and threads, its role, its
configuration and its log.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, NoReturn

from attrs import Factory, field, frozen
from twisted.logger import globalLogBeginner
from twisted.python.usage import Options as UsageOptions

from pypid.core.configuration import lookup
from pypid.core.configuration.ini import IniEntry
from pypid.core.configuration.lookup import Caller, FoundConfig
from pypid.core.configuration.parse import Config, parse_with_problems
from pypid.core.errors import BadConfig, CannotStart, ConfigProblem, PypidError
from pypid.daemon import logs
from pypid.daemon.sd_notify import notify, watchdog
from pypid.daemon.state import StateFolder, join_state, open_state
from pypid.flow import World
from pypid.flow.spool import sweep, sweep_collections
from pypid.flow.world import Threads, use_monotonic_clock
from pypid.prefork import how_many
from pypid.prefork.messages import ListeningSocket, Siblings

THREADS = 16
"""Threads for blocking calls: the disk, password hashes, archives."""


def the_world(reactor: Any) -> World:
    """Return the real world. Before the reactor runs there is nothing to stall: blocking calls then
    run at once.

    Gives the reactor a monotonic clock: call it before anything is scheduled.
    """
    use_monotonic_clock(reactor)
    return World(
        clock=reactor,
        now=lambda: datetime.now(UTC),
        blocking=Threads(reactor, "blocking", THREADS),
        random=secrets.token_bytes,
    )


@frozen
class Joining:
    """What a further worker gets from the first one. `notify` gets the notifications for the
    service manager.
    """

    worker: int
    sockets: tuple[ListeningSocket, ...]
    scales: int
    """The descriptor of the memory of `Scales`."""
    siblings: Siblings
    notify: Callable[[str], object]


@frozen
class Platform:
    """The process that a daemon runs in."""

    reactor: Any
    environ: Mapping[str, str] = field(repr=False)
    log_level_control: logs.Threshold | None = None
    """The threshold of the log; None if pypid does not write the log."""
    worker_count: int | None = None
    """The number of workers on the command line, if any; the configuration has it, too."""
    joining: Joining | None = None
    """Set in a further worker."""
    serves_clients: bool = True
    """Whether it listens for clients; else on the control socket alone, to answer one command."""
    world: World = field(
        default=Factory(lambda platform: the_world(platform.reactor), takes_self=True)
    )
    siblings: Siblings = field(
        default=Factory(
            lambda platform: Siblings() if platform.joining is None else platform.joining.siblings,
            takes_self=True,
        )
    )
    """All workers, this one included."""

    @property
    def is_first(self) -> bool:
        """Whether this is the first, or only, worker."""
        return self.joining is None

    @property
    def greets(self) -> bool:
        """Whether this process prints the greeting of a first run."""
        return self.is_first and self.serves_clients

    @property
    def notify(self) -> Callable[[str], object]:
        """The receiver of notifications for the service manager."""
        if self.joining is not None:
            return self.joining.notify
        return partial(notify, self.environ if self.serves_clients else {})

    @property
    def watchdog(self) -> float | None:
        """Seconds within which the service manager requires a sign of life; None if it does not."""
        return watchdog(self.environ, os.getpid()) if self.greets else None

    def open_state(self, folder: Path) -> StateFolder:
        """Open the state folder: locked by the first worker, joined by the others. What a crash
        left in the spool is removed. Raises `CannotStart`.
        """
        state = (
            open_state(folder) if self.joining is None else join_state(folder, self.joining.worker)
        )
        with state.released_on_error():
            try:
                sweep(state.spool)
                sweep_collections(state.spool)
            except OSError as error:
                raise CannotStart(
                    f"The folder {state.spool} cannot be used: {error.strerror}. It is in [server] "
                    "state."
                ) from None
        return state


# The configuration: read from the file and the environment, or translated from a pypicloud's.


class _Files:
    """The file system of this machine."""

    lstat = staticmethod(os.lstat)
    stat = staticmethod(os.stat)

    def resolve(self, path: str) -> str:
        """Return the absolute path without symbolic links."""
        return os.path.realpath(path)

    def may_write(self, folder: str) -> bool:
        """Return whether it is a folder in which the effective user may create files."""
        return Path(folder).is_dir() and os.access(
            folder, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids
        )


def find_config(option: Path | str | None, environ: Mapping[str, str] | None = None) -> FoundConfig:
    """Return the configuration that this process uses: that of `option`, or the first that
    `lookup.find_config` finds. `environ` replaces its environment. Raises `CannotStart`; blocks.
    """
    caller = _caller(os.environ if environ is None else environ)
    return lookup.find_config(None if option is None else str(option), caller, _Files())


def default_data() -> str:
    """Return the data folder of the built-in defaults. Raises `CannotStart`; blocks."""
    return lookup.default_data(_caller(os.environ), _Files())


def _caller(environ: Mapping[str, str]) -> Caller:
    home = os.path.expanduser("~")  # noqa: PTH111  # Path.home() raises if there is none
    return Caller(environ, str(Path.cwd()), os.geteuid(), os.getegid(), home)


def config_text(file: Path) -> bytes:
    """Return the text of the configuration file; the built-in defaults are what `pypid init`
    writes. Raises `OSError`; blocks.
    """
    return default_text().encode() if lookup.is_built_in(file) else file.read_bytes()


def default_text() -> str:
    """Return the text of the configuration with comments, which is part of the package."""
    return files("pypid").joinpath("pypid.ini").read_text(encoding="utf-8")


def load_config(file: Path, worker_count: int | None = None, text: bytes | None = None) -> Config:
    """Return the configuration in force: the file's, with the environment's. The file may be a
    pypicloud's config.ini, or stand for the built-in defaults.

    `worker_count` is the number on the command line, if any; `text` replaces the current text of
    the file. Raises `BadConfig` with all the problems; blocks.
    """
    config, problems = load_with_problems(file, worker_count, text)
    if problems:
        raise BadConfig(problems)
    return config


def load_with_problems(
    file: Path, worker_count: int | None = None, text: bytes | None = None
) -> tuple[Config, Sequence[ConfigProblem]]:
    """Return the configuration, with defaults in place of invalid values, and all problems. The
    arguments are those of `load_config`. Raises `BadConfig` if the file cannot be read; blocks.
    """
    try:
        data = config_text(file) if text is None else text
    except OSError as error:
        hint = "Name another one with --config FILE; `pypid init FILE` writes one with comments."
        raise BadConfig(
            [ConfigProblem(str(file), None, "", None, f"cannot be read: {error.strerror}. {hint}")]
        ) from None
    return parse_with_problems(
        data,
        filename=str(file),
        environ=os.environ,
        read_file=lambda name: Path(name).read_text(),
        cwd=str(Path.cwd()),
        options={}
        if worker_count is None
        else {("server", "workers"): IniEntry(str(worker_count), "--workers")},
    )


def converted_config(file: Path) -> tuple[str, tuple[str, ...]]:
    """Return pypicloud's config.ini as the text of a pypid ini, and the names of the secrets in it.

    Raises `BadConfig` as `load_config` does, and for a file that is pypid's already; blocks.
    """
    from pypid.core.pypicloud.translation import secrets_in, translate, written

    if load_config(file).taken_over is None:
        message = (
            "this is an ini of pypid's already: start pypid with it; `pypid check-config` "
            "explains it"
        )
        raise BadConfig([ConfigProblem(str(file), None, "", None, message)])
    translation = translate(
        file.read_bytes(), filename=str(file), environ=os.environ, cwd=str(Path.cwd())
    )
    return written(translation, str(file)), secrets_in(translation)


# Running pypid as a process: twistd's command line, and the log.


class Options(UsageOptions):
    """The command line of ``twistd pypid``. `twistd`: the options of twistd itself, where they are
    known before this command line is read.
    """

    synopsis = "[twistd's options] pypid [--config FILE]"
    longdesc = (
        "A team's Python package index. Everything else is set in the configuration "
        "file; check it with `pypid check-config`."
    )
    optParameters = [  # noqa: RUF012  # Twisted's declaration
        [
            "config",
            "c",
            None,
            "The configuration file (default: the first that `pypid serve --help` names).",
        ],
        [
            "workers",
            "w",
            None,
            "Processes that answer (default: [server] workers).",
            how_many,
        ],
    ]
    loaded: Config
    log_level_control: logs.Threshold | None = None
    """None where twistd writes the log alone."""

    def __init__(self, twistd: UsageOptions | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's options are not annotated
        self.parent = twistd

    def postOptions(self) -> None:
        """Read the configuration, so that its errors are reported before anything starts, and
        without twistd's help text.
        """
        try:
            found = find_config(self["config"])
            for line in found.passed_over:
                print(f"pypid: {line}", file=sys.stderr)
            self.loaded = load_config(Path(found.file), self["workers"])
        except PypidError as error:
            cannot_start(error)
        twistd: Any = self.parent
        if twistd is None:
            return
        if any(twistd.get(option) is not None for option in ("uid", "gid", "chroot")):
            raise SystemExit(
                "pypid: not with --uid, --gid or --chroot: start twistd as the user that pypid "
                "runs as."
            )
        log_level_control = logs.Threshold(self.loaded.log.level.value)
        if logs.heed_twistd(twistd, log_level_control, self.loaded.log.format.value):
            twistd["logger"] = logs.FOR_TWISTD
            self.log_level_control = log_level_control


def cannot_start(error: PypidError) -> NoReturn:
    """End the process with the text of the error."""
    raise SystemExit(f"pypid: {error}") from None


def begin_logging(
    level: str | logs.Threshold, form: str, stream: logs.LogStream, *, redirect: bool
) -> None:
    """Write log lines to `stream` from now on."""
    globalLogBeginner.beginLoggingTo(
        [logs.observer(level, form, stream)], redirectStandardIO=redirect
    )
