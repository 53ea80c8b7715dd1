"""The wiring: the available backends, and how everything is put together. Only this module may
import all others.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import copy_context
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit
from typing import Any, NoReturn, TextIO, TypeVar

from twisted.application.service import IService
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import ILogObserver, Logger, LoggingFile, globalLogBeginner
from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError

from pypid.access.firstrun import RECORD, first_run, greeting
from pypid.core.configuration.choices import AccessStore, StorageBackend
from pypid.core.configuration.parse import Config
from pypid.core.errors import BadConfig, CannotStart, ConfigProblem, PypidError
from pypid.core.permissions import EVERYONE
from pypid.daemon import listeners, logs
from pypid.daemon.daemon import Daemon
from pypid.daemon.process import Process
from pypid.daemon.sd_notify import notify, watchdog
from pypid.daemon.state import StateFolder, StatePaths, files_of, join_state, open_state, where
from pypid.daemon.tls import Certificate
from pypid.flow import World, at_once
from pypid.flow.clock import use_monotonic_clock
from pypid.jobs.backup.marker import is_new
from pypid.metrics.together import MetricsFolder
from pypid.prefork import how_many, number
from pypid.prefork.messages import Siblings
from pypid.web.app.app import LOUDNESS
from pypid.web.app.root import resource
from pypid.web.fastpath.fast_path import FastPath
from pypid.web.http.access_log import AccessLog
from pypid.web.http.channel import Site
from pypid.web.http.connections import ConnectionSettings
from pypid.web.http.hosts import HostPolicy, loopback_ports, machine_names
from pypid.web.http.proxies import TrustedProxies
from pypid.web.http.request_ids import Ids
from pypid.wiring.assembly import Assembly, assemble
from pypid.wiring.configuration import load_config as load_config
from pypid.wiring.metrics import measure
from pypid.wiring.prefork import Joining, crew_of, scales_of, sockets_of
from pypid.wiring.reload import reload

T = TypeVar("T")
_log = Logger()

THREADS = 16
"""Threads for blocking calls: the disk, password hashes, archives."""


# --- the configuration ----------------------------------------------------------------------------


def converted_config(file: Path) -> tuple[str, tuple[str, ...]]:
    """Return pypicloud's config.ini as the text of a pypid ini, and the names of the secrets in it.

    Raises `BadConfig` as `load_config` does, and for a file that is pypid's already; blocks.
    """
    from pypid.core.pypicloud.translation import translate
    from pypid.core.pypicloud.writing import secrets_in, written

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


# --- the parts ------------------------------------------------------------------------------------


def the_world(reactor: Any) -> World:
    """Return the real world. Before the reactor runs there is nothing to stall: blocking calls then
    run at once.

    Gives the reactor a monotonic clock: call it before anything is scheduled.
    """
    use_monotonic_clock(reactor)
    pool = reactor.getThreadPool()
    pool.adjustPoolsize(maxthreads=THREADS)

    def blocking(call: Callable[..., T], *arguments: Any) -> Deferred[T]:
        if not reactor.running:
            return at_once(call, *arguments)
        return deferToThreadPool(
            reactor, pool, copy_context().run, call, *arguments
        )  # for the request id of log lines

    return World(
        clock=reactor, now=lambda: datetime.now(UTC), blocking=blocking, random=secrets.token_bytes
    )


# --- the daemon -----------------------------------------------------------------------------------


def make_daemon(
    config: Config,
    reactor: Any,
    environ: Mapping[str, str],
    *,
    only_control: bool = False,
    log_level_control: logs.Threshold | None = None,
    workers: int | None = None,
    joining: Joining | None = None,
) -> Daemon:
    """Return the service. With `only_control` it listens on the control socket alone, to answer one
    command, and prints no greeting.

    `log_level_control` is the threshold of the log; None: pypid does not write the log. `workers` is the
    number on the command line, which is in `config`. `joining`: it is a further worker beside a
    first one.
    """
    places = where(config, environ)
    world = the_world(reactor)
    certificate = None if only_control else _certificate(config, places)
    is_first, siblings = joining is None, Siblings() if joining is None else joining.siblings
    state = (
        open_state(places.state) if joining is None else join_state(places.state, joining.worker)
    )
    try:
        assembly = _assembled(
            config, places, state, world, reactor, alone=only_control, is_first=is_first
        )
        app, operators = assembly.apps
        app.log_level_control = operators.log_level_control = log_level_control
        app.siblings = operators.siblings = siblings
        if log_level_control is not None:
            siblings.on(LOUDNESS, lambda said: log_level_control.use(said["level"]))
        ours, operated = _sites(config, assembly, world, reactor)
        scales = (
            None if only_control else scales_of(config, state, lambda: len(ours.channels), joining)
        )
        sockets = (
            [] if only_control else sockets_of(config, reactor, ours, certificate, joining, scales)
        )
        if joining is None:
            sockets.append(listeners.control(reactor, state, operated))
    except BaseException:
        state.release()
        raise
    if is_first and not only_control:
        for note in config.notes:
            _log.warn("{note}", note=note)
        _log.info(
            "state: {state}; files: {files}",
            state=str(places.state),
            files=files_of(config, places),
        )
    daemon = Daemon(
        index=assembly.index,
        snapshots=assembly.snapshots,
        maintenance=assembly.maintenance,
        snapshot_interval=config.catalog.dump_interval.total_seconds(),
        sites=(ours, operated),
        listening=tuple(sockets),
        certificate=certificate,
        state=state,
        world=world,
        reactor=reactor,
        notify=partial(notify, {} if only_control else environ)
        if joining is None
        else joining.notify,
        reload_people=partial(
            reload,
            config,
            places,
            partial(load_config, workers=workers),
            assembly,
            log_level_control,
        ),
        condition=app.condition,
        watchdog=None if only_control or not is_first else watchdog(environ, os.getpid()),
        people=assembly.people,
        throwaway=assembly.throwaway,
        sharing=assembly.sharing,
        clean_stop=assembly.clean_stop,
        crew=crew_of(config, places, environ, reactor, siblings, scales, workers, log_level_control)
        if is_first and scales
        else None,
    )
    if assembly.publishing is not None and not only_control:
        assembly.publishing.setServiceParent(daemon)  # type: ignore[no-untyped-call]  # Twisted's services are not annotated
    if not only_control:
        folder = MetricsFolder(state.metrics, number()) if config.server.workers > 1 else None
        measure(daemon, assembly.apps, ours, folder, siblings)
    return daemon


def _assembled(
    config: Config,
    places: StatePaths,
    state: StateFolder,
    world: World,
    reactor: Any,
    *,
    alone: bool,
    is_first: bool,
) -> Assembly:
    """Return everything but the sockets; a first run prints a greeting. `alone`: it answers one
    command, and prints none.
    """
    # on a new machine the records come from the bucket first, and an administrator may be in them
    greets_later = config.storage.backend is StorageBackend.S3 and is_new(places.state)
    if alone and greets_later:
        raise CannotStart(
            f"The state folder {places.state} is new, and what is of record is still in the "
            "bucket. Start pypid, which fetches that, and run the command while it runs."
        )
    if is_first and not alone and not greets_later and config.inherits is None:
        _greet(config, places, world)
    greet = None if alone or not is_first else partial(_greet, config, places, world)
    assembly = assemble(config, places, state, world, reactor, greet)
    if assembly.throwaway is not None and (alone or not is_first):
        assembly.throwaway.leave_alone()
    elif assembly.throwaway is not None and greets_later:
        assembly.throwaway.welcome = partial(_welcome, config, places, assembly)
    return assembly


def _sites(config: Config, assembly: Assembly, world: World, reactor: Any) -> tuple[Site, Site]:
    """Return the public site, and the one behind the control socket."""
    app, operators = assembly.apps
    ids = Ids.drawn(world.random)
    access_log = AccessLog(world.now, reactor.seconds, ids=ids) if config.log.access else None
    # without this line, or with [server] fast_path = no, all requests go through the routes
    door = FastPath(app, assembly.glance, access_log) if config.server.fast_path else None
    ours = Site(
        resource(app),
        reactor=reactor,
        trusted_proxies=TrustedProxies(config.server.trusted_proxies),
        access_log=access_log,
        front_door=door,
        ids=ids,
        public_url=config.server.public_url,
        limits=_limits(config),
        hosts=_hosts(config),
        cors=config.server.cors,
        hsts=config.server.hsts,
    )
    return ours, Site(resource(operators), reactor=reactor, ids=ids)


def _limits(config: Config) -> ConnectionSettings:
    server, descriptors = config.server, getrlimit(RLIMIT_NOFILE)[0]
    return ConnectionSettings(
        header_timeout=server.header_timeout.total_seconds(),
        min_body_rate=server.min_body_rate,
        per_client=server.max_connections_per_client,
        descriptors=0 if descriptors == RLIM_INFINITY else descriptors,
    )


def _hosts(config: Config) -> HostPolicy:
    server = config.server
    return HostPolicy(
        allowed=server.allowed_hosts,
        public_url=server.public_url,
        machine_names=machine_names(),
        loopback_ports=loopback_ports(server.listen),
    )


def _certificate(config: Config, places: StatePaths) -> Certificate | None:
    if places.certificate is None or places.key is None:
        return None
    return Certificate(places.certificate, places.key, config.server.tls_minimum.value)


def _greet(config: Config, places: StatePaths, world: World) -> None:
    """Create the admin at a first run, and print its password. Never logged."""
    password = first_run(places.state, config.users, world.random)
    if password is None:
        return
    readable, accounts = config.access.read == EVERYONE, AccessStore.SQL in config.access.backend
    text = greeting(
        listeners.base_url(config), password, places.state, readable=readable, accounts=accounts
    )
    try:
        print(text, flush=True, file=_in_sight())
    except OSError as error:  # the password was never seen
        (places.state / RECORD).unlink(missing_ok=True)
        reason = "The password of the first administrator cannot be printed"
        raise CannotStart(
            f"{reason}: {error.strerror}. Start pypid with its standard output open."
        ) from None


def _in_sight() -> TextIO | LoggingFile:
    """Return standard output, also when prints go to the log by now; the log for a daemon, whose
    output is discarded.
    """
    own = sys.__stdout__
    if own is None or own.closed or not isinstance(sys.stdout, LoggingFile):
        return sys.stdout
    is_nowhere = os.path.samestat(os.fstat(own.fileno()), Path(os.devnull).stat())
    return sys.stdout if is_nowhere else own


async def _welcome(config: Config, places: StatePaths, assembly: Assembly) -> None:
    """Finish the start after the records were fetched, if there were any."""
    world = assembly.index.world
    if config.inherits is None:
        await world.blocking(_greet, config, places, world)
    await assembly.people.open()


# --- running --------------------------------------------------------------------------------------


class Options(UsageOptions):
    """The command line of ``twistd pypid``."""

    synopsis = "[twistd's options] pypid [--config FILE]"
    longdesc = (
        "A team's Python package index. All else is in the configuration file; `pypid "
        "check-config FILE` explains one."
    )
    optParameters = [  # noqa: RUF012  # Twisted's declaration
        ["config", "c", "etc/pypid.ini", "The configuration file."],
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

    def postOptions(self) -> None:
        """Read the configuration, so that its errors are reported before anything starts, and
        without twistd's help text.
        """
        try:
            self.loaded = load_config(Path(self["config"]), self["workers"])
        except PypidError as error:
            _cannot_start(error)
        twistd = self.parent
        if twistd is None:
            return
        if any(twistd.get(option) is not None for option in ("uid", "gid", "chroot")):
            raise SystemExit(
                "pypid: not with --uid, --gid or --chroot: start twistd as the user that pypid "
                "shall run as."
            )
        log_level_control = logs.Threshold(self.loaded.log.level.value)
        if logs.heed_twistd(twistd, log_level_control, self.loaded.log.format.value):
            twistd["logger"] = logs.FOR_TWISTD
            self.log_level_control = log_level_control


def makeService(options: Options) -> IService:
    """Return the service that twistd starts; exits with a line of advice where it cannot start."""
    return _process(options.loaded, options.log_level_control, options["workers"])


def tac_application(file: Path) -> Any:
    """Return the `Application` of a .tac file. It logs as the configuration and twistd's command
    line say.

    twistd reads a .tac file without its own options, and asks the application for a log observer:
    so they are read again.
    """
    from twisted.application.service import Application
    from twisted.scripts.twistd import ServerOptions  # type: ignore[attr-defined]  # documented, and not exported

    class Twistd(ServerOptions):
        """twistd's options, without their effects."""

        def opt_reactor(self, name: str) -> None:
            """Install no reactor: there is one."""

        opt_r = opt_reactor

    options, twistd = Options(), Twistd()  # type: ignore[no-untyped-call]
    with suppress(UsageError):  # not run by twistd
        twistd.parseOptions(sys.argv[1:])  # type: ignore[no-untyped-call]
        options.parent = twistd
    options.parseOptions(["--config", str(file)])  # type: ignore[no-untyped-call]
    application: Any = Application("pypid")  # type: ignore[no-untyped-call]
    if options.log_level_control is not None:
        application.setComponent(ILogObserver, logs.configured())
    makeService(options).setServiceParent(application)  # type: ignore[no-untyped-call]
    return application


def _process(
    config: Config, log_level_control: logs.Threshold | None, workers: int | None
) -> Process:
    from twisted.internet import reactor

    try:
        daemon = make_daemon(
            config, reactor, dict(os.environ), log_level_control=log_level_control, workers=workers
        )
        return Process(daemon, reactor, logs.rotate)
    except PypidError as error:
        _cannot_start(error)


def _cannot_start(error: PypidError) -> NoReturn:
    raise SystemExit(f"pypid: {error}") from None


def serve(file: Path, workers: int | None = None) -> None:
    """Run in the foreground until a signal stops it: what ``twistd -n pypid`` does, without its
    plugins.
    """
    from twisted.internet import reactor

    config = load_config(file, workers)
    log_level_control = logs.Threshold(config.log.level.value)
    process = _process(config, log_level_control, workers)
    begin_logging(log_level_control, config.log.format.value, sys.stdout, redirect=True)
    process.startService()
    reactor.addSystemEventTrigger("before", "shutdown", process.stopService)
    reactor.run()


def begin_logging(
    level: str | logs.Threshold, form: str, stream: logs.LogStream, *, redirect: bool
) -> None:
    """Write log lines to `stream` from now on."""
    globalLogBeginner.beginLoggingTo(
        [logs.observer(level, form, stream)], redirectStandardIO=redirect
    )
