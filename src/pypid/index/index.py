"""The entry point of the core: the operations that the web app and the commands use."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from attrs import define, field, frozen

from pypid.core.errors import ListIncomplete, NameUsedUpstream, NoSuchProject
from pypid.core.indexes import IndexSettings
from pypid.core.layering import mixes, origin_of, relative
from pypid.core.model import File, Presence, Project, SignedUrl, Span, StoredFile
from pypid.core.packaging.names import ProjectName
from pypid.core.policy import Silence, exists, silence
from pypid.core.summaries import Summaries
from pypid.core.upstream_choice import PUBLIC, UpstreamChoice
from pypid.flow.derived import SameObjects
from pypid.index.layered_lists import LayeredLists, LayerProjects
from pypid.index.layers import IndexesByName, Layer, Layers
from pypid.index.maintenance import Maintenance
from pypid.index.single_index import SingleIndex
from pypid.index.views import ALL_FILES, DIRECT, Lookup, UpstreamPermission, View, ViewSources
from pypid.ports import Body

if TYPE_CHECKING:  # imported where they are needed, which is rare: they look into archives
    from pypid.index.history.as_of import AsOfViews


class OtherIndexes(IndexesByName["Index"], Protocol):
    """All indexes of one pypid, as each of them uses them."""

    async def named_parts(self, *, former: bool = False) -> Sequence[Index]:
        """Return all named indexes and upstreams, once they are known; with `former` also deleted
        indexes of which the catalog still lists projects. Raises `StorageDown`.
        """

    @property
    def made(self) -> Sequence[Index]:
        """The named indexes and upstreams that were used."""


@define
class Index(SingleIndex):
    """One package index: what it stores, and what it inherits from other indexes and upstreams."""

    upstreams: Mapping[str, Index] = field(factory=dict, repr=False)
    """The indexes of all `[upstream:NAME]`, by name: they have no local projects."""
    choice: UpstreamChoice = UpstreamChoice()
    """Which of `upstreams`, and of `upstream`, are asked for a name."""
    all_indexes: OtherIndexes | None = field(default=None, repr=False)
    """None: only this index and its `upstreams` exist."""
    _indexes: OtherIndexes = field(init=False, repr=False)
    _layers: Layers = field(init=False, repr=False)
    lists: LayeredLists = field(init=False, repr=False)
    _history: AsOfViews | None = field(default=None, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self._indexes = self.all_indexes or _NoOthers(self)
        self._layers = Layers(self, self._indexes)
        self.lists = LayeredLists(self, self._indexes)

    async def _named_parts(self, *, former: bool = False) -> Sequence[Maintenance]:
        return [part.maintenance for part in await self._indexes.named_parts(former=former)]

    def _parts_made(self) -> Sequence[Maintenance]:
        return [part.maintenance for part in self._indexes.made]

    async def names(self) -> Summaries:
        """Return the projects of the project list, by name: the local ones, and those of the bases.
        Raises `ListIncomplete` until every project is known.
        """
        self._refuse_parts_of_lists()
        return await (self.lists.local() if self.is_layered else self.own_lists.listed())

    async def stored_names(self) -> Summaries:
        """Return the projects with stored files, by name: those of `names`, and upstream projects
        with cached files that no rule hides (``/local/``).

        Raises `ListIncomplete` until every project is known.
        """
        self._refuse_parts_of_lists()
        return await (self.lists.stored() if self.is_layered else self.own_lists.stored())

    async def held_names(self) -> Summaries:
        """Return the projects of `stored_names`, including unlisted ones in a named index. Raises
        what `stored_names` raises.
        """
        names = await self.stored_names()
        return (await self.lists.held()).stored if self.name else names

    async def own_stored_names(self) -> Summaries:
        """Return the projects of `stored_names` that are not inherited. Raises `ListIncomplete`."""
        if not self.context.records.knows_all:
            raise ListIncomplete()
        return await self.own_lists.stored()

    @property
    def settings(self) -> IndexSettings | None:
        """The settings of a named index; None for the default index, and for an upstream."""
        return self._indexes.settings.get(self.name)

    @property
    def all_settings(self) -> Mapping[str, IndexSettings]:
        """The settings of all named indexes; replaced as a whole."""
        return self._indexes.settings

    async def list_serial(self) -> int | None:
        """Return the serial of lists from which nothing is hidden: the catalog's. None if there are
        other indexes, whose changes it counts, too: a list then has the highest serial of its
        projects.
        """
        return None if self.all_settings else await self.catalog.serial()

    async def layer_projects(self) -> Sequence[LayerProjects]:
        """Return the projects of a named index and its layers, including unlisted ones. Each part
        names the index whose rights apply in addition to those of this one. Raises `ListIncomplete`
        if a base is not there.
        """
        return (await self.lists.held()).layers if self.name else ()

    def has_member(self, name: str) -> bool:
        """Return whether there is an index, or an upstream, of this name."""
        return self._indexes.find(name) is not None

    @property
    def lists_are_complete(self) -> bool:
        """Whether every project with stored files is known."""
        if not self.is_layered:
            return self.context.records.knows_all
        try:
            return all(each.context.records.knows_all for each in self.lists.providers())
        except ListIncomplete:
            return False

    def _refuse_parts_of_lists(self) -> None:
        if not self.lists_are_complete:
            raise ListIncomplete()

    async def view(self, name: ProjectName, permission: UpstreamPermission = DIRECT) -> View:
        """Return what a client may see of the project.

        Raises `NoSuchProject`, `NotYetKnown`, the refusal in `permission`; and, if upstream has to
        be asked and no cached state can be served, `UpstreamDown`, `BadListing`, `Loop`.
        """
        return (await self.seen(name, permission)).view

    async def seen(
        self,
        name: ProjectName,
        permission: UpstreamPermission,
        lookup: Lookup = ALL_FILES,
    ) -> ViewSources:
        """Return the view of the project in the index and its layers, together with its sources.
        Raises what `view` raises.
        """
        if not self.is_layered:
            return await self.own_view(name, permission, lookup)
        return await self._layers.seen(name, permission, lookup)

    async def edition(self) -> Hashable:
        """Return a value that changes whenever the view of any project may have changed. Raises
        `CatalogDown`.
        """
        settings = SameObjects((self.all_settings,))  # first: what is read later is not older
        return (settings, await super().edition())

    def layers(self, name: ProjectName) -> Sequence[Layer]:
        """Return where the project is looked up after the index itself, in order. Raises
        `NotYetKnown`.
        """
        return tuple(self._layers.of(name))

    async def project(self, name: ProjectName, permission: UpstreamPermission = DIRECT) -> Project:
        """Return the project as a client may see it. Raises what `view` raises."""
        return (await self.view(name, permission)).project

    @property
    def history(self) -> AsOfViews:
        """The as-of views of the index."""
        if self._history is None:
            from pypid.index.history.as_of import AsOfViews  # imported here: not needed at start-up

            default = self._indexes.find("")
            whole = None if default is None or default is self else default.history
            self._history = AsOfViews(self, whole)
        return self._history

    async def file(
        self, name: ProjectName, filename: str, permission: UpstreamPermission = DIRECT
    ) -> File:
        """Return the file if it is visible in the same view as the page. Raises `NoSuchFile`,
        `Withheld`, the refusal in `permission`, and what `view` raises.
        """
        origin = self.name
        try:
            if permission.before is None:
                sources = await self.seen(name, permission)
                file, origin = sources.view.project.file(filename), sources.origin
            else:
                file = (await self.history.project(name, permission)).state.project.file(filename)
        except NoSuchProject:
            file = None
        if file is None:
            raise await self.member(origin).no_file(name, filename, permission)
        return file

    async def home(self, file: File, permission: UpstreamPermission = DIRECT) -> tuple[Index, File]:
        """Return the index that stores or fetches the file, and the file with its key there."""
        if not self.is_layered:
            return self, file
        if not isinstance(file, StoredFile):
            return self.member((await self.seen(file.project, permission)).origin), file
        home = self.member(origin_of(file.key))
        return home, relative(file, home.prefix)

    @property
    def caches(self) -> Mapping[str, Index]:
        """The indexes with caches by the names of their upstreams; "" is `[upstream]`."""
        return {"": self, **self.upstreams}

    def upstreams_of(self, name: ProjectName) -> Sequence[Index]:
        """Return the indexes whose upstreams are asked for the project, in order: this one, or
        those of `[upstream:NAME]`. Bases are not included.
        """
        chosen = self.choice.upstreams_of(name)
        found = [self if each == PUBLIC else self.upstreams.get(each) for each in chosen]
        return [each for each in found if each is not None]

    def asked_upstreams(
        self, name: ProjectName, choice: UpstreamChoice | None = None
    ) -> Sequence[Index]:
        """Return the indexes whose upstreams are asked for a project that no index has, in order,
        also those of the bases. `choice`: see `Lookup`. Raises `NotYetKnown`.
        """
        found = [each.name for each in self._layers.upstreams_of(name, choice)]
        return [self.member(each) for each in found]

    def member(self, name: str) -> Index:
        """Return the index, or the upstream, of this name."""
        return self._indexes.find(name) or self

    async def refuse_used_upstream(
        self,
        name: ProjectName,
        user: str = "",
        is_public: Callable[[ProjectName], Awaitable[bool]] | None = None,
    ) -> None:
        """Raise `NameUsedUpstream` if a new local project of this name would take the name from
        users who have it from upstream: files of it are cached, or upstream lists it. A name that
        is local in any index is not new; one that is reserved or claimed is never upstream's.
        `user`: the account of the client. `is_public`: returns whether an upstream has the project.
        """
        default = self._indexes.find("") or self
        if isinstance(await self.context.local_project(name), Project):
            return
        if await default.context.local_project(name) is not Presence.ABSENT:
            return
        why = silence(default.policy, name, Presence.ABSENT)
        if why in (Silence.RESERVED, Silence.CLAIMED):
            return
        for index in (default, *default.upstreams.values()):
            if exists(await index.listings.known(name)):
                raise NameUsedUpstream(name, user)
        may_be_asked = why in (None, Silence.ELSEWHERE, Silence.UNKNOWN)
        if is_public is not None and may_be_asked and await is_public(name):
            raise NameUsedUpstream(name, user)

    def is_alone(self, name: ProjectName) -> bool:
        """Return whether the view of the project is made of this index alone, and of what the heads
        of the catalog say of it (`Glance.heads`).
        """
        if any(mixes(each, name) for each in self.all_settings.values()):
            return False  # upstream files are shown although the name is local in some index
        return not self.is_layered or (
            not self.name and self.choice.upstreams_of(name) == (PUBLIC,)
        )

    @property
    def is_layered(self) -> bool:
        """Whether the index shows files of other indexes or of named upstreams."""
        return bool(self.name or self.upstreams)

    async def elsewhere(
        self, file: File, permission: UpstreamPermission = DIRECT, *, metadata: bool = False
    ) -> str | None:
        """Return the upstream URL to which a client is redirected; see `FileReader.elsewhere`."""
        home, its_file = await self.home(file, permission)
        return await home.reader.elsewhere(its_file, permission, metadata=metadata)

    async def link(self, file: File, is_public: Callable[[str], bool]) -> SignedUrl | None:
        """Return the signed URL to which a client is redirected; see `FileReader.link`.
        `is_public`: returns whether every client may read the project in the index of this name.
        """
        home, its_file = await self.home(file, DIRECT)
        return await home.reader.link(its_file, restricted=not is_public(home.name))

    async def open(
        self, file: File, span: Span | None = None, permission: UpstreamPermission = DIRECT
    ) -> Body:
        """Return the bytes of a visible file; see `FileReader.open`."""
        home, its_file = await self.home(file, permission)
        return await home.reader.open(its_file, span, permission)

    async def metadata(self, file: File, permission: UpstreamPermission = DIRECT) -> bytes:
        """Return the core metadata of a visible file (PEP 658); see `FileReader.metadata`."""
        home, its_file = await self.home(file, permission)
        return await home.reader.metadata(its_file, permission)

    async def provenance(self, file: File, permission: UpstreamPermission = DIRECT) -> bytes:
        """Return the provenance object of a visible file (PEP 740); see
        `FileReader.provenance`.
        """
        home, its_file = await self.home(file, permission)
        return await home.reader.provenance(its_file, permission)


@frozen
class _NoOthers:
    """An index without others (`OtherIndexes`)."""

    index: Index
    settings: Mapping[str, IndexSettings] = field(factory=dict, init=False)

    @property
    def only(self) -> Mapping[str, tuple[str, ...]]:
        return self.index.choice.only

    @property
    def made(self) -> Sequence[Index]:
        return tuple(self.index.upstreams.values())

    async def named_parts(self, *, former: bool = False) -> Sequence[Index]:
        return self.made

    def find(self, name: str) -> Index | None:
        return self.index if name == self.index.name else self.index.upstreams.get(name)
