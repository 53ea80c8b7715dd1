"""Everything put together, but not running and without sockets: index, access, snapshots, jobs, faces."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import evolve, frozen
from twisted.logger import Logger

from pypid.access.operator import Operator
from pypid.catalog.lines import Loaded
from pypid.catalog.memory import MemoryCatalog
from pypid.catalog.snapshot import Snapshot
from pypid.condition import Condition, Watch, asking, whether_there
from pypid.core import via
from pypid.core.choices import Mode, Store
from pypid.core.config import Config
from pypid.core.errors import BadRequest, CannotStart
from pypid.core.exporting import Exported, ExportWanted
from pypid.core.layout import SNAPSHOT, STORAGE_IDENTITY, THEIR_SNAPSHOT
from pypid.core.permissions import Identity, Rules
from pypid.core.policy import Policy
from pypid.daemon import Written
from pypid.flow import World, start
from pypid.identities import Identities
from pypid.index import Index
from pypid.leases import Alone, Leases
from pypid.ports import Catalog, Glance, Resolver
from pypid.rendering.readmes import Readmes
from pypid.safekeeping.marker import is_new
from pypid.search.service import Searching
from pypid.sharing import Sharing, sharing
from pypid.sources import identities
from pypid.spool import sweep, sweep_collections
from pypid.state import State, Where, files_of
from pypid.stores import Opened, bucket_settings, open_storage, plan_of
from pypid.upkeep import Upkeep
from pypid.upstreams import Reached, indexes_of, reach
from pypid.web.face import Face, FaceSettings

if TYPE_CHECKING:  # for buckets only, or for administrators
    from pypid.catalog.urls import WrittenLinks
    from pypid.core.inforce import Said
    from pypid.export.publishing import Publishing
    from pypid.exporting import Exports
    from pypid.index.links import Links
    from pypid.search.search import Search
    from pypid.throwaway import Throwaway

T = TypeVar("T")
_log = Logger()


def _now(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that has nothing to wait for, since the reactor does not run yet."""
    results: list[T] = []
    failures: list[BaseException] = []
    start(coroutine).addCallbacks(results.append, lambda failure: failures.append(failure.value))
    if failures:
        raise failures[0]
    return results[0]


@frozen
class Assembly:
    """A pypid that is put together and not running yet. `faces`: the public one, and the operator's."""

    index: Index
    glance: Glance
    """What the catalog knows without waiting."""
    snapshots: tuple[Written, ...]
    upkeep: Upkeep
    people: Identities
    faces: tuple[Face, ...]
    throwaway: Throwaway | None = None
    sharing: Sharing | None = None
    """Where several nodes share the catalog."""
    publishing: Publishing | None = None
    """Where the index is kept as files, too (`[publish]`)."""


def assemble(
    config: Config,
    places: Where,
    state: State,
    world: World,
    reactor: Any,
    greet: Callable[[], object] | None = None,
) -> Assembly:
    """Everything but the sockets. `greet`: see `Identities`. Raises `CannotStart`, `Unreadable`."""
    _prepare_spool(state)
    storage = _now(open_storage(config, places, world, reactor))
    # serials never come again, even if the catalog is lost: mirrors (bandersnatch) remember the last one that they saw
    serial = int(world.now().timestamp())
    shares = sharing(config, places, storage.identity, serial, world, reactor)
    catalog = MemoryCatalog(serial=serial, thinking=world.thinking) if shares is None else shares.catalog
    identity = via.identity(world.random(16))
    reached = reach(config, places, world, reactor, identity)
    snapshots = _snapshots(config, catalog, places, storage, world)
    known = shares is not None or _load(snapshots, storage)
    links = _links(config, storage, shares, world)
    index = Index(
        storage.blobs,
        catalog,
        reached.upstream,
        _policy(config),
        world,
        shared=shares is not None,
        ttl=config.upstream.ttl,
        spool=state.spool,
        identity=identity,
        links=links,
        bucket=storage.bucket,
        plan=plan_of(config.storage),
        describing=storage.describing,
        under_way=None if shares is None else shares.leases,
    )
    people = identities(config, places, world, reactor, index.policy.claims)
    leases: Leases = Alone()
    if shares is not None:
        shares.serve(people, places.state)
        leases = shares.leases
    settings = _face_settings(config, places, state)
    throwaway = None
    if config.storage.backend is Store.S3:
        people.access.is_open = not is_new(places.state)
        throwaway = _throwaway(config, places, storage, index, leases, people, fill=not known)
    resolvers = partial(_resolver, reactor)
    whose = (people.access, Operator())
    condition = _condition(config, storage, shares, people, world)
    readmes = Readmes(reactor)
    common: dict[str, Any] = {"resolvers": resolvers, "condition": condition, "readmes": readmes}
    faces = tuple(Face(index, access, Rules(), world, settings, **common) for access in whose)
    people.greet, people.is_first = greet, storage.new
    people.serve(*faces)
    for face in faces:
        face.configuration = partial(_in_force, config, people)
        if shares is not None:
            face.catch_up = shares.catch_up
    if people.access.is_open:
        _now(people.open())
    written: tuple[Written, ...] = (*snapshots, *_written_links(config, links, places, storage, world))
    upkeep = _upkeep(config, index, reached, leases)
    for service in (*condition.watches, readmes):
        service.setServiceParent(upkeep)  # type: ignore[no-untyped-call]  # Twisted's services are not annotated
    _searching(state, index, faces, storage).setServiceParent(upkeep)  # type: ignore[no-untyped-call]
    publishing = _publishing(config, places, index, faces, storage, leases, reactor)
    return Assembly(index, catalog, written, upkeep, people, faces, throwaway, shares, publishing)


def _searching(state: State, index: Index, faces: tuple[Face, ...], storage: Opened) -> Searching:
    """What finds projects: the cards of all workers lie in one file, which one of them writes."""

    def make() -> Search:
        from pypid.search.search import Search  # here, since it is not what a start waits for

        return Search(index, state.folder, storage.identity)

    searching = Searching(index.world.clock, make)
    for face in faces:
        face.searching = lambda: searching.search
    return searching


def _publishing(
    config: Config,
    places: Where,
    index: Index,
    faces: tuple[Face, ...],
    storage: Opened,
    leases: Leases,
    reactor: Any,
) -> Publishing | None:
    """What keeps `[publish] target`, if there is one; and have the faces write exports."""
    settings = partial(bucket_settings, config.storage, places)
    made: list[Exports] = []

    async def export(wanted: ExportWanted, heard: Callable[[int, int], None]) -> Exported:
        if not made:  # here: few ask so
            from pypid.exporting import Exports

            made.append(Exports(config, places, index, faces[0], storage.identity, reactor, settings))
        return await made[0](wanted, heard)

    async def elsewhere(wanted: ExportWanted, heard: Callable[[int, int], None]) -> Exported:
        raise BadRequest(
            "An export is written wherever pypid itself may write: it is asked for on pypid's machine, by `pypid export`, "
            "and not over the network. What is to be kept up to date is named by [publish] target."
        )

    *public, operators = faces
    operators.exports = export
    for face in public:
        face.exports = elsewhere
    if config.publish.target is None:
        return None
    from pypid.exporting import publishing

    return publishing(config, places, index, faces[0], storage.identity, leases, reactor, settings)


def _in_force(config: Config, people: Identities) -> Sequence[Said]:
    from pypid.core.inforce import in_force  # here, since only an administrator asks for it

    return in_force(config, people.config)


def _resolver(reactor: Any, face: Face, who: Identity) -> AbstractAsyncContextManager[Resolver]:
    from pypid.resolver.loopback import Loopback  # here, since only a collection needs it

    return Loopback(reactor)(face, who)


def _condition(config: Config, storage: Opened, shares: Sharing | None, people: Identities, world: World) -> Condition:
    """What is remembered of the parts. A bucket was not reached yet, and of a shared catalog nothing was read."""
    is_bucket, is_lasting = config.storage.backend is Store.S3, config.storage.backend is Store.FILES
    there = whether_there(storage.blobs, STORAGE_IDENTITY, never_empty=is_lasting)
    files = Watch(world.clock, "storage", there, is_well=not is_bucket)
    condition = Condition(access=lambda: people.can_be_asked, storage=lambda: files.is_well, watches=(files,))
    if shares is None:
        return condition
    following = shares.catalog.following
    asked = Watch(world.clock, "shared catalog", asking(following))
    return evolve(
        condition,
        cache=lambda: following.away is None and following.may_be_shown,
        shows=lambda: following.may_be_shown,
        watches=(files, asked),
    )


def _face_settings(config: Config, places: Where, state: State) -> FaceSettings:
    return FaceSettings(
        spool=state.spool,
        max_upload=config.server.max_upload,
        public_url=config.server.public_url,
        allowed_hosts=config.server.allowed_hosts,
        storage_folder=places.storage,
        max_cache=config.upstream.max_cache,
        certificate=places.certificate,
        place=files_of(config, places),
        indexes=() if config.upstream.mode is Mode.OFFLINE else indexes_of(config),
    )


def _links(config: Config, storage: Opened, shares: Sharing | None, world: World) -> Links | None:
    """Signed URLs, if clients are sent there; among nodes all give the same."""
    wanted = config.storage
    if wanted.backend is not Store.S3 or not wanted.redirect:
        return None
    from pypid.index.links import Links

    shared = None if shares is None else shares.links(_signer(config, storage, str(wanted.expire_after)))
    return Links(storage.blobs, world.now, wanted.expire_after, wanted.buffer_time, shared=shared)


def _signer(config: Config, storage: Opened, *more: str) -> str:
    """Whose URLs those of this storage are: another one signs others."""
    wanted = config.storage
    by = (storage.identity, wanted.access_key or "", wanted.cloudfront_domain or "", wanted.cloudfront_key_id or "", *more)
    return sha256("\n".join(by).encode()).hexdigest()


def _written_links(
    config: Config, links: Links | None, places: Where, storage: Opened, world: World
) -> tuple[WrittenLinks, ...]:
    """What writes down the signed URLs, once they hold what is still good of those that were."""
    if links is None:
        return ()
    from pypid.catalog.urls import WrittenLinks

    written = WrittenLinks(links, places.snapshot, _signer(config, storage), world)
    _now(written.load())
    return (written,)


def _throwaway(
    config: Config, places: Where, storage: Opened, index: Index, leases: Leases, people: Identities, *, fill: bool
) -> Throwaway:
    """What a pypid on a bucket does besides: the snapshots there, and copies of what is of record."""
    from pypid.catalog.faraway import Faraway
    from pypid.catalog.packed import what_is_kept
    from pypid.safekeeping.keeping import Safekeeper
    from pypid.throwaway import Throwaway

    world, spool = index.world, index.spool
    keeper = Safekeeper(storage.blobs, places.state, storage.identity, config.server.secret, world)
    catalog = index.catalog
    snapshots: tuple[Faraway, ...] = ()
    if isinstance(catalog, MemoryCatalog):  # what several nodes share outlives each of them
        ours = Faraway(catalog, storage.blobs, SNAPSHOT, storage.identity, world, spool)
        snapshots = ours, Faraway(catalog.heard, storage.blobs, THEIR_SNAPSHOT, storage.identity, world, spool, what_is_kept)
    close, access = storage.close, people.access
    return Throwaway(index, snapshots, fill=fill, access=access, close=close, keeper=keeper, leases=leases)


def _snapshots(config: Config, catalog: Catalog, places: Where, storage: Opened, world: World) -> tuple[Snapshot, ...]:
    """What writes down ours and theirs."""
    if not isinstance(catalog, MemoryCatalog):  # it is written down elsewhere
        return ()
    if config.storage.backend is Store.MEMORY:  # gone at the next start, and so is what is known of it
        return ()
    ours = Snapshot(catalog, str(places.snapshot), storage.identity, world)
    theirs = Snapshot(catalog.heard, str(places.their_snapshot), storage.identity, world)
    return ours, theirs


def _load(snapshots: tuple[Snapshot, ...], storage: Opened) -> bool:
    """Have the catalog hold what was written down before; whether something was."""
    if storage.new or not snapshots:  # of a new storage there can be none
        return False
    found = [_now(snapshot.load()) for snapshot in snapshots]
    counts = [len(loaded.roll) if isinstance(loaded, Loaded) else None for loaded in found]
    match counts:
        case [int() as projects, others]:
            said = "the snapshot knows {projects} projects, and {others} of other indexes"
            _log.info(said, projects=projects, others=others or 0)
            return True
        case _:
            return False


def _upkeep(config: Config, index: Index, reached: Reached, leases: Leases) -> Upkeep:
    upstream = config.upstream
    refresh = upstream.refresh if upstream.mode is Mode.MIRROR else None
    # a bucket is compared again and again anyway
    compares = index.shared and config.storage.backend is not Store.S3
    return Upkeep(index, reached.close, leases=leases, refresh=refresh, max_cache=upstream.max_cache, compares=compares)


def _prepare_spool(state: State) -> None:
    try:
        sweep(state.spool)
        sweep_collections(state.spool)
    except OSError as error:
        raise CannotStart(f"The folder {state.spool} cannot be used: {error.strerror}. It is in [server] state.") from None


def _policy(config: Config) -> Policy:
    upstream = config.upstream
    return Policy(
        mode=upstream.mode,
        reserved=upstream.reserved,
        allow=upstream.allow,
        deny=upstream.deny,
        blend=upstream.blend,
        cooldown=upstream.cooldown,
    )
