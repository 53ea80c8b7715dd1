"""The wiring of the apps: what the routes are given, for the public and for the control socket."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen
from twisted.application.service import IService

from pypid.access.operator import Operator
from pypid.core.configuration.choices import Mode, StorageBackend
from pypid.core.configuration.parse import Config
from pypid.core.errors import BadRequest
from pypid.core.export_request import Exported, ExportWanted
from pypid.core.permissions import Identity, Rules
from pypid.core.records.layout import STORAGE_IDENTITY
from pypid.daemon.identities import Identities
from pypid.daemon.shared_catalog import Sharing
from pypid.daemon.state import StateFolder, StatePaths, files_of
from pypid.flow import World
from pypid.flow.conditions import Condition, HealthWatch, asking, whether_it_answers, whether_there
from pypid.index import Index
from pypid.jobs.leases import Leases
from pypid.ports import Resolver
from pypid.rendering.readmes import Readmes
from pypid.resolver.collection_parser.collections import CollectionParser
from pypid.search.service import Searching
from pypid.web.app.app import App, FaceSettings
from pypid.web.app.name_budget import NameBudget
from pypid.wiring.storage import OpenedStorage, bucket_settings
from pypid.wiring.upstreams import indexes_of

if TYPE_CHECKING:  # not needed by a start
    from pypid.core.configuration.in_force import SettingSection
    from pypid.export.publish import Publishing
    from pypid.search.search import Search
    from pypid.wiring.exports import Exports


@frozen
class AppWiring:
    """The apps, the public one first, and the services behind them."""

    apps: tuple[App, ...]
    services: tuple[IService, ...]


def facing(
    config: Config,
    places: StatePaths,
    state: StateFolder,
    index: Index,
    people: Identities,
    shares: Sharing | None,
    storage: OpenedStorage,
    reactor: Any,
) -> AppWiring:
    """Return the apps of this index, not yet served."""
    settings = _face_settings(config, places, state)
    condition = _condition(config, storage, shares, people, index.world)
    readmes, parser = Readmes(reactor), CollectionParser(reactor)
    apps = tuple(
        App(
            index,
            access,
            Rules(),
            index.world,
            settings,
            resolvers=partial(_resolver, reactor),
            condition=condition,
            readmes=readmes,
            parser=parser,
        )
        for access in (people.access, Operator())
    )
    for app in apps:
        app.configuration = partial(_in_force, config, people)
        if shares is not None:
            app.catch_up = shares.catch_up
    searching = _searching(state, index, apps, storage)
    return AppWiring(apps, (*condition.watches, readmes, searching))


def _searching(
    state: StateFolder, index: Index, apps: tuple[App, ...], storage: OpenedStorage
) -> Searching:
    """Return the search service: the cards of all workers are in one file, which one of them
    writes.
    """

    def make() -> Search:
        from pypid.search.search import Search  # here, since it is not what a start waits for

        return Search(index, state.folder, storage.identity)

    searching = Searching(index.world.clock, make)
    for app in apps:
        app.searching = lambda: searching.search
    return searching


def publishing_of(
    config: Config,
    places: StatePaths,
    index: Index,
    apps: tuple[App, ...],
    storage: OpenedStorage,
    leases: Leases,
    reactor: Any,
) -> Publishing | None:
    """Return the service that maintains `[publish] target`, if there is one; and enable exports in
    the apps.
    """
    settings = partial(bucket_settings, config.storage, places)
    made: list[Exports] = []

    async def export(wanted: ExportWanted, heard: Callable[[int, int], None]) -> Exported:
        if not made:  # imported here: rarely needed
            from pypid.wiring.exports import Exports

            made.append(
                Exports(config, places, index, apps[0], storage.identity, reactor, settings)
            )
        return await made[0](wanted, heard)

    async def elsewhere(wanted: ExportWanted, heard: Callable[[int, int], None]) -> Exported:
        raise BadRequest(
            "An export is written wherever pypid itself may write: it is asked for on pypid's "
            "machine, by `pypid export`, and not over the network. What is to be kept up to date "
            "is named by [publish] target."
        )

    *public, operators = apps
    operators.exports = export
    for app in public:
        app.exports = elsewhere
    if config.publish.target is None:
        return None
    from pypid.wiring.exports import publishing

    return publishing(config, places, index, apps[0], storage.identity, leases, reactor, settings)


def _in_force(config: Config, people: Identities) -> Sequence[SettingSection]:
    from pypid.core.configuration.in_force import (
        in_force,
    )  # here, since only an administrator asks for it

    return in_force(config, people.config)


def _resolver(reactor: Any, app: App, who: Identity) -> AbstractAsyncContextManager[Resolver]:
    from pypid.daemon.loopback import Loopback  # here, since only a collection needs it

    return Loopback(reactor)(app, who)


def _condition(
    config: Config, storage: OpenedStorage, shares: Sharing | None, people: Identities, world: World
) -> Condition:
    """Return the condition of the parts. A bucket was not reached yet, and of a shared catalog
    nothing was read.
    """
    is_bucket, is_lasting = (
        config.storage.backend is StorageBackend.S3,
        config.storage.backend is StorageBackend.FILES,
    )
    there = whether_there(storage.blobs, STORAGE_IDENTITY, never_empty=is_lasting)
    if storage.answers is not None:  # a bucket has no such object: asking for it takes two requests
        there = whether_it_answers(storage.answers)
    files = HealthWatch(world.clock, "storage", there, is_well=not is_bucket)
    condition = Condition(
        access=lambda: people.can_be_asked, storage=lambda: files.is_well, watches=(files,)
    )
    if shares is None:
        return condition
    following = shares.catalog.following
    asked = HealthWatch(world.clock, "shared catalog", asking(following))
    return evolve(
        condition,
        cache=lambda: following.away is None and following.may_be_shown,
        shows=lambda: following.may_be_shown,
        differs=lambda: frozenset() if shares.agreement is None else shares.agreement.differs,
        watches=(files, asked),
    )


def _face_settings(config: Config, places: StatePaths, state: StateFolder) -> FaceSettings:
    return FaceSettings(
        spool=state.spool,
        max_upload=config.server.max_upload,
        public_url=config.server.public_url,
        storage_folder=places.storage,
        max_cache=config.upstream.max_cache,
        unknown_names=NameBudget(
            config.upstream.unknown_names, config.upstream.unknown_names_per_minute
        ),
        certificate=places.certificate,
        place=files_of(config, places),
        indexes=() if config.upstream.mode is Mode.OFFLINE else indexes_of(config),
    )
