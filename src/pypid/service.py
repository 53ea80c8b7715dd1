"""The wiring: which backends there are, and how everything is put together. Only here may anybody know everybody."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from attrs import frozen
from twisted.application.app import startApplication
from twisted.application.service import Application, IService
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.task import react
from twisted.internet.threads import deferToThreadPool
from twisted.logger import ILogObserver, Logger, globalLogBeginner
from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError

from pypid import logs
from pypid.access import config as config_access
from pypid.access.firstrun import first_run, greeting
from pypid.catalog.memory import MemoryCatalog
from pypid.catalog.snapshot import Snapshot
from pypid.control import Control, Operator, listens
from pypid.core.config import Config, parse
from pypid.core.errors import BadConfig, ConfigProblem, PypidError
from pypid.core.permissions import EVERYONE, Rules
from pypid.core.policy import Policy
from pypid.daemon import Daemon, Listening
from pypid.flow import World, at_once, start
from pypid.index import Index
from pypid.ports import Access
from pypid.sdnotify import notify
from pypid.state import State, Where, control_socket, open_state, where
from pypid.stores import identity_of, open_blobs
from pypid.tls import Certificate
from pypid.upstream.nothing import Nothing
from pypid.web.accesslog import AccessLog
from pypid.web.app import Face, FaceSettings, resource
from pypid.web.channel import Site
from pypid.web.proxies import TrustedProxies
from pypid.web.spool import sweep

T = TypeVar("T")
_log = Logger()

THREADS = 16
"""For what blocks: the disk, password hashes, archives."""


# --- the configuration ------------------------------------------------------------------------------------------


def load_config(file: Path) -> Config:
    """The configuration in force: the file's, with the environment's. Raises `BadConfig` with all the problems."""
    try:
        data = file.read_bytes()
    except OSError as error:
        hint = "Give another one with --config FILE; the source has a commented one, etc/pypid.ini."
        raise BadConfig([ConfigProblem(str(file), None, "", None, f"cannot be read: {error.strerror}. {hint}")]) from None
    return parse(data, filename=str(file), environ=os.environ, read_file=lambda name: Path(name).read_text())


class Options(UsageOptions):
    """The command line of ``twistd pypid``."""

    synopsis = "[twistd's options] pypid [--config FILE]"
    longdesc = "A team's Python package index. All else is in the configuration file; `pypid check-config FILE` explains one."
    optParameters = [["config", "c", "etc/pypid.ini", "The configuration file."]]  # noqa: RUF012  # Twisted's declaration
    loaded: Config

    def postOptions(self) -> None:
        """Read the configuration, so that what is wrong with it is said before anything starts."""
        try:
            self.loaded = load_config(Path(self["config"]))
        except PypidError as error:
            raise UsageError(str(error)) from None
        twistd = self.parent
        if twistd is not None and not twistd.get("logger") and not twistd.get("logfile"):
            logs.configure(_observer(self.loaded))
            twistd["logger"] = logs.FOR_TWISTD


def _observer(config: Config) -> ILogObserver:
    return logs.observer(config.log.level.value, config.log.format.value, sys.stdout)


# --- the parts --------------------------------------------------------------------------------------------------


def the_world(reactor: Any) -> World:
    """The real one. Before the reactor runs there is nothing to hold up: what blocks is then done at once."""
    pool = reactor.getThreadPool()
    pool.adjustPoolsize(maxthreads=THREADS)

    def blocking(call: Callable[..., T], *arguments: Any) -> Deferred[T]:
        if not reactor.running:
            return at_once(call, *arguments)
        return deferToThreadPool(reactor, pool, call, *arguments)

    return World(clock=reactor, now=lambda: datetime.now(UTC), blocking=blocking, random=secrets.token_bytes)


def _now(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that has nothing to wait for, since the reactor does not run yet."""
    results: list[T] = []
    failures: list[BaseException] = []
    start(coroutine).addCallbacks(results.append, lambda failure: failures.append(failure.value))
    if failures:
        raise failures[0]
    return results[0]


# --- all together -----------------------------------------------------------------------------------------------


@frozen
class Assembly:
    """A pypid that is put together and not running yet."""

    index: Index
    snapshot: Snapshot | None
    access: config_access.ConfigAccess
    face: Face
    password: str | None
    """Of the admin that this first run made; to be printed once."""


def assemble(config: Config, places: Where, state: State, world: World) -> Assembly:
    """Everything but the sockets. Raises `CannotStart`, `Unreadable`."""
    sweep(state.spool)
    blobs = _now(open_blobs(config, places, world))
    identity = _now(identity_of(blobs, config, places, world))
    # serials never come again, even if the snapshot is lost: mirrors (bandersnatch) remember the last one that they saw
    catalog = MemoryCatalog(serial=int(world.now().timestamp()))
    snapshot = None
    if places.storage is not None:
        snapshot = Snapshot(catalog, str(places.state / config.cache.snapshot), identity, world)
        _now(snapshot.load())
    index = Index(blobs, catalog, Nothing(), Policy(offline=True), world)
    password = first_run(places.state, config.users, world.random)
    access = config_access.open(_people(config, places), world)
    settings = FaceSettings(
        spool=state.spool,
        max_upload=config.server.max_upload,
        public_url=config.server.public_url,
        allowed_hosts=config.server.allowed_hosts,
        storage_folder=places.storage,
    )
    return Assembly(index, snapshot, access, Face(index, access, _rules(config), world, settings), password)


def _people(config: Config, places: Where) -> config_access.Settings:
    return config_access.Settings(users=config.users, state=places.state, admins=frozenset(config.access.admins))


def _rules(config: Config) -> Rules:
    access = config.access
    return Rules(read=access.read, write=access.write, overwrite=access.overwrite, delete=access.delete)


def make_daemon(config: Config, reactor: Any, environ: dict[str, str], *, only_control: bool = False) -> Daemon:
    """The service. With `only_control` it listens on the control socket alone, and greets nobody."""
    places = where(config, environ)
    world = the_world(reactor)
    certificate = None
    if places.certificate is not None and places.key is not None and not only_control:
        certificate = Certificate(places.certificate, places.key, config.server.tls_minimum.value)
    state = open_state(places.state)
    try:
        assembly = assemble(config, places, state, world)
    except BaseException:
        state.release()
        raise
    proxies = TrustedProxies(config.server.trusted_proxies)
    access_log = AccessLog(world.now, reactor.seconds) if config.log.access else None
    public = Site(resource(assembly.face), reactor=reactor, trusted_proxies=proxies, access_log=access_log)
    control = _control_site(assembly.face, Operator(), reactor)
    listening = () if only_control else tuple(_listening(endpoint, public, certificate) for endpoint in config.server.listen)
    if assembly.password is not None and not only_control:
        print(greeting(_base_url(config), assembly.password, places.state, readable=config.access.read == EVERYONE), flush=True)
    return Daemon(
        index=assembly.index,
        snapshot=assembly.snapshot,
        snapshot_interval=config.cache.snapshot_interval.total_seconds(),
        sites=(public, control),
        listening=(*listening, Listening(f"unix:{_escaped(state.control_socket)}:mode=600", control)),
        certificate=certificate,
        state=state,
        world=world,
        reactor=reactor,
        notify=partial(notify, environ),
        reload_people=lambda: start(_reload(config, places, assembly)),
    )


async def _reload(config: Config, places: Where, assembly: Assembly) -> None:
    """The users, and who may do what, as the file has them now; all else needs a restart."""
    try:
        fresh = load_config(Path(config.source))
        await assembly.access.reload(_people(fresh, places))
    except PypidError as error:
        _log.error("{error}\nThe users that were in force stay in force.", error=error)
        return
    assembly.face.rules = _rules(fresh)
    _log.info("[users] and [access] were read again; other sections take effect at a restart")


def _control_site(face: Face, access: Access, reactor: Any) -> Site:
    operators = Face(face.index, access, face.rules, face.world, face.settings)
    return Site(resource(operators), reactor=reactor)


def _listening(endpoint: str, site: Site, certificate: Certificate | None) -> Listening:
    speaks_tls = certificate is not None and endpoint.partition(":")[0] in ("tcp", "tcp6", "systemd")
    factory: IProtocolFactory = certificate.wrap(site) if certificate is not None and speaks_tls else site
    return Listening(endpoint, factory)


def _escaped(path: Path) -> str:
    """A path inside an endpoint string."""
    return str(path).replace("\\", "\\\\").replace(":", "\\:")


def _base_url(config: Config) -> str:
    """The URL to print at a first run."""
    if config.server.public_url is not None:
        return config.server.public_url
    scheme = "https" if config.server.tls_certificate else "http"
    kind, _, rest = config.server.listen[0].partition(":")
    port = rest.partition(":")[0] if kind in ("tcp", "tcp6") else ""
    interface = rest.partition("interface=")[2].partition(":")[0]
    host = interface if interface not in ("", "0.0.0.0") else "localhost"
    return f"{scheme}://{host}:{port}" if port.isdigit() else f"{scheme}://{host}"


# --- running ----------------------------------------------------------------------------------------------------


def makeService(options: Options) -> IService:
    """What twistd starts; ends with a line of advice where it cannot start."""
    return _daemon_or_exit(options.loaded)


def _daemon_or_exit(config: Config) -> Daemon:
    from twisted.internet import reactor

    try:
        return make_daemon(config, reactor, dict(os.environ))
    except PypidError as error:
        raise SystemExit(f"pypid: {error}") from None


def serve(file: Path) -> None:
    """Run in the foreground until a signal stops it: what ``twistd -n pypid`` does, without its plugins."""
    from twisted.internet import reactor

    config = load_config(file)
    daemon = _daemon_or_exit(config)
    globalLogBeginner.beginLoggingTo([_observer(config)])
    application = Application("pypid")  # type: ignore[no-untyped-call]
    daemon.setServiceParent(application)  # type: ignore[no-untyped-call]
    try:
        startApplication(application, False)  # type: ignore[no-untyped-call]
    except PypidError as error:
        raise SystemExit(f"pypid: {error}") from None
    reactor.run()


def ask(file: Path, method: str, url: str, document: Any) -> Any:
    """One request of the operator's to the daemon of this configuration, or to one that is started for it. Raises `Refused`."""
    from twisted.internet import reactor

    config = load_config(file)
    environ = dict(os.environ)
    path = control_socket(where(config, environ).state)
    # made before the reactor runs, as in a start: then nothing has to wait
    daemon = None if listens(path) else make_daemon(config, reactor, {**environ, "NOTIFY_SOCKET": ""}, only_control=True)
    answers: list[Any] = []
    failures: list[PypidError] = []

    async def main(reactor: Any) -> None:
        if daemon is not None:
            daemon.startService()
        try:
            answers.append(await Control(reactor, path).call(method, url, document))
        except PypidError as error:
            failures.append(error)
        finally:
            if daemon is not None:
                await daemon.stopService()

    try:
        react(lambda reactor: start(main(reactor)))
    except SystemExit as ended:
        if ended.code:
            raise
    if failures:
        raise failures[0]
    return answers[0]
