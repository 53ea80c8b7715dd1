"""The output of a start: the password of a first run's administrator, and where the files are."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TextIO

from twisted.logger import Logger, LoggingFile

from pypid.access.config import RECORD, first_run, greeting, read_admin
from pypid.core.configuration.choices import AccessStore, StorageBackend
from pypid.core.configuration.doubts import configured_names, doubts, names_only_itself
from pypid.core.configuration.lookup import display_name
from pypid.core.configuration.parse import Config
from pypid.core.errors import CannotStart
from pypid.core.permissions import EVERYONE
from pypid.daemon import listeners
from pypid.daemon.state import StatePaths, files_of
from pypid.flow import World
from pypid.jobs.backup.records import is_new
from pypid.wiring.invocation import invocation
from pypid.wiring.platform import Platform

_log = Logger()


def opens_late(config: Config, paths: StatePaths, platform: Platform) -> bool:
    """Return whether users are admitted only when a bucket has answered: it knows which accounts
    belong to it, and a new machine fetches its records from it. Raises `CannotStart` for a single
    command on a new machine.
    """
    if config.storage.backend is not StorageBackend.S3:
        return False
    if not platform.serves_clients and is_new(paths.state):
        raise CannotStart(
            f"The state folder {paths.state} is new, and what is of record is still in the "
            "bucket. Start pypid, which fetches that, and run the command while it runs."
        )
    return True


def greeter(
    config: Config, paths: StatePaths, platform: Platform, *, is_late: bool
) -> Callable[[], None] | None:
    """Return `greet`, if this process prints a greeting."""
    if not platform.greets:
        return None
    output = None if is_late else terminal()
    url = listeners.base_url(config)  # a socket of systemd's has no address once it is adopted
    return partial(greet, config, paths, platform.world, platform.environ, url, output)


def terminal() -> TextIO | None:
    """Return a copy of standard output: twistd discards the output when it leaves the terminal,
    and only then does pypid listen.
    """
    try:
        return os.fdopen(os.dup(sys.stdout.fileno()), "w")
    except (OSError, ValueError, AttributeError):  # closed, or not a file
        return None


def greet(
    config: Config,
    paths: StatePaths,
    world: World,
    environ: Mapping[str, str],
    url: str,
    output: TextIO | None = None,
) -> None:
    """Create the admin at a first run, and print its password. Never logged.

    As long as it has not logged in, a crash may have hidden the password: say how to get one.
    """
    password = first_run(paths.state, config.users, world.random, world.now())
    if password is None:
        if output is not None:
            output.close()
        record = read_admin(paths.state)
        if record is not None and not record.used and record.user not in config.users:
            _log.warn(
                "The administrator {user!r} has not logged in yet. The first start printed the "
                "password; to get a new one, stop pypid, delete {record} and start pypid again.",
                user=record.user,
                record=str(paths.state / RECORD),
            )
        return
    text = _greeting(config, paths, environ, url, password)
    try:
        with output or nullcontext(visible_output()) as stream:
            print(text, flush=True, file=stream)
    except OSError as error:  # the password was never seen
        (paths.state / RECORD).unlink(missing_ok=True)
        reason = "The password of the first administrator cannot be printed"
        raise CannotStart(
            f"{reason}: {error.strerror}. Start pypid with its standard output open."
        ) from None


def _greeting(
    config: Config, paths: StatePaths, environ: Mapping[str, str], url: str, password: str
) -> str:
    words = invocation(config, environ)
    readable, accounts = config.access.read == EVERYONE, AccessStore.SQL in config.access.backend
    return greeting(
        url,
        password,
        paths.state,
        program=words.program,
        option=words.option,
        folder=words.folder,
        readable=readable,
        accounts=accounts,
    )


def visible_output() -> TextIO | LoggingFile:
    """Return standard output, also when prints go to the log by now; the log for a daemon, whose
    output is discarded.
    """
    own = sys.__stdout__
    if own is None or own.closed or not isinstance(sys.stdout, LoggingFile):
        return sys.stdout
    is_nowhere = os.path.samestat(os.fstat(own.fileno()), Path(os.devnull).stat())
    return sys.stdout if is_nowhere else own


def log_start(config: Config, paths: StatePaths) -> None:
    """Log the notes on the configuration, and where state and files are stored."""
    for note in config.notes:
        _log.warn("{note}", note=note)
    names = configured_names(config) if names_only_itself(config) else None
    for doubt in doubts(config, names):
        _log.warn("{doubt}", doubt=doubt)
    _log.info(
        "configuration: {configuration}; state: {state}; files: {files}",
        configuration=display_name(config.source),
        state=str(paths.state),
        files=files_of(config, paths),
    )
