"""Running pypid as a process: twistd's command line, its .tac files, and the foreground."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from twisted.application.service import IService
from twisted.logger import ILogObserver, globalLogBeginner
from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError

from pypid import __version__
from pypid.core.configuration.choices import Level, LogFormat
from pypid.core.configuration.lookup import display_name
from pypid.core.configuration.parse import Config
from pypid.core.errors import PypidError
from pypid.daemon import logs
from pypid.daemon.daemon import Daemon
from pypid.daemon.process import Process
from pypid.daemon.state import where
from pypid.prefork import how_many
from pypid.wiring.configuration import find_config, load_config
from pypid.wiring.platform import Platform

MakeDaemon: TypeAlias = Callable[[Config, Platform], Daemon]


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
            "Processes that answer (default: [server] workers); several need a shared [catalog].",
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
            _cannot_start(error)
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


def process_of(options: Options, make_daemon: MakeDaemon) -> IService:
    """Return the service that twistd starts; exits with a line of advice where it cannot start."""
    return _process(options.loaded, make_daemon, options.log_level_control, options["workers"])


def application_of(file: Path, make_daemon: MakeDaemon) -> Any:
    """Return the `Application` of a .tac file. It logs as the configuration and twistd's command
    line say.

    twistd reads a .tac file without its own options, and takes the log observer from the
    application: so the options are read again.
    """
    from twisted.application.service import Application

    # documented, and not exported
    from twisted.scripts.twistd import ServerOptions  # type: ignore[attr-defined]

    class Twistd(ServerOptions):
        """twistd's options, without their effects."""

        def opt_reactor(self, name: str) -> None:
            """Install no reactor: there is one."""

        opt_r = opt_reactor

    twistd, options = Twistd(), Options()  # type: ignore[no-untyped-call]
    with suppress(UsageError):  # not run by twistd
        twistd.parseOptions(sys.argv[1:])  # type: ignore[no-untyped-call]
        options = Options(twistd)
    options.parseOptions(["--config", str(file)])  # type: ignore[no-untyped-call]
    application: Any = Application("pypid")  # type: ignore[no-untyped-call]
    if options.log_level_control is not None:
        application.setComponent(ILogObserver, logs.configured())
    process_of(options, make_daemon).setServiceParent(application)  # type: ignore[no-untyped-call]
    return application


def run_in_foreground(file: Path, worker_count: int | None, make_daemon: MakeDaemon) -> None:
    """Run until a signal stops it: what ``twistd -n pypid`` does, without its plugins."""
    from twisted.internet import reactor

    config = load_config(file, worker_count)
    if config.log.format is LogFormat.TEXT and config.log.level in (Level.DEBUG, Level.INFO):
        folder = where(config, os.environ).state
        with suppress(OSError):
            begin = f"pypid {__version__}: configuration {display_name(file)}, data in {folder}"
            print(begin, flush=True)
    log_level_control = logs.Threshold(config.log.level.value)
    process = _process(config, make_daemon, log_level_control, worker_count)
    begin_logging(log_level_control, config.log.format.value, sys.stdout, redirect=True)
    process.startService()
    reactor.addSystemEventTrigger("before", "shutdown", process.stopService)
    reactor.run()


def _process(
    config: Config,
    make_daemon: MakeDaemon,
    log_level_control: logs.Threshold | None,
    worker_count: int | None,
) -> Process:
    from twisted.internet import reactor

    try:
        platform = Platform(
            reactor,
            dict(os.environ),
            log_level_control=log_level_control,
            worker_count=worker_count,
        )
        return Process(make_daemon(config, platform), reactor, logs.rotate)
    except PypidError as error:
        _cannot_start(error)


def _cannot_start(error: PypidError) -> NoReturn:
    raise SystemExit(f"pypid: {error}") from None


def begin_logging(
    level: str | logs.Threshold, form: str, stream: logs.LogStream, *, redirect: bool
) -> None:
    """Write log lines to `stream` from now on."""
    globalLogBeginner.beginLoggingTo(
        [logs.observer(level, form, stream)], redirectStandardIO=redirect
    )
