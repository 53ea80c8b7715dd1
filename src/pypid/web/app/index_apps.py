"""The App of each named index. It shares everything with the App of the default index, except what
depends on the index itself.

It is made when the index is requested for the first time, so that unused indexes take no memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from weakref import WeakSet

from attrs import define, field

from pypid.core.errors import BadFilename, IndexesUnknown
from pypid.core.indexes import ROUTES, IndexSettings, is_index_name
from pypid.core.packaging.names import project_and_version
from pypid.index import Index
from pypid.web.app.app import App
from pypid.web.app.page_cache import ProjectPages
from pypid.web.http.request import Request

_DEVPI_ONLY = (["+simple"], ["+f"], ["+e"])
"""Segments that only URLs of a devpi-server have."""

MOST_APPS = 16
"""Maximum number of Apps that are kept: the caches of one may take 200 MB, and a client can request
pages of all indexes.
"""


@define(eq=False)
class IndexApps:
    """The Apps of the named indexes that were requested. `original` is the App of the default
    index, whose rules they follow.
    """

    original: App
    _made: dict[str, App] = field(factory=dict, init=False, repr=False)
    """Those that are kept, the one that was used last at the end."""
    _pages: dict[str, tuple[Index, ProjectPages]] = field(factory=dict, init=False, repr=False)
    """The simple pages of all indexes that were requested: they share one limit."""
    _released: WeakSet[App] = field(factory=WeakSet, init=False, repr=False)
    """Those that requests under way use still."""
    _settings: Mapping[str, IndexSettings] = field(factory=dict, init=False, repr=False)
    _replaced: Mapping[str, str] = field(factory=dict, init=False, repr=False)
    """Names of indexes by the ``USER/INDEX`` of a devpi-server that they replace."""

    def __attrs_post_init__(self) -> None:
        self.original.access_changed.connect(self.follow)
        self.original.indexes.changed.connect(self.follow)

    async def wait(self, request: Request) -> None:
        """Wait until the named indexes are known, if the path may begin with the name of one.
        Raises `IndexesUnknown`.
        """
        [first, *_] = request.postpath or [b""]
        name = first.decode()
        if not is_index_name(name) or name in self.original.indexes.settings:
            return
        decisions = self.original.decisions
        await decisions.ready()
        if not decisions.is_read:
            raise IndexesUnknown(name)

    def enter(self, request: Request) -> App | None:
        """Return the App of the index whose name the path of the request begins with, and remove
        the name from the path; None, without effect, if it does not begin with such a name.
        """
        [first, *_] = request.postpath or [b""]
        name = first.decode()
        app = self.of(name)
        if app is not None:
            self._use(name)
            request.enter_index(name)
        return app

    def _use(self, name: str) -> None:
        """Release the App of the index that was not used for the longest time, with its caches, if
        there are too many.
        """
        self._made[name] = self._made.pop(name)
        if len(self._made) > MOST_APPS:
            self._release(next(iter(self._made)))

    def _release(self, name: str) -> None:
        app = self._made.pop(name, None)
        if app is not None:
            self._released.add(app)

    def former_location(self, request: Request) -> str | None:
        """Return the address that replaces a former URL of a devpi-server; None for other URLs."""
        settings = self.original.indexes.settings
        if settings is not self._settings:
            self._settings = settings
            self._replaced = {
                origin: name for name, each in settings.items() for origin in each.devpi
            }
        if not self._replaced:
            return None
        user, *rest = [segment.decode() for segment in request.postpath or (b"",)]
        name = self._replaced.get(f"{user}/{rest[0]}") if rest else None
        is_ambiguous = user in settings or user in ROUTES
        if name is None or (is_ambiguous and rest[1:2] not in _DEVPI_ONLY):
            return None
        return devpi_location(name, rest[1:], is_upload=request.method == b"POST")

    def of(self, name: str) -> App | None:
        """Return the App of the index, with the rules in force; None if there is none of this
        name.
        """
        original, made = self.original, self._made.get(name)
        indexes = original.indexes
        index = indexes.get(name) if name in indexes.settings else None
        if index is None:
            self._release(name)
            self._pages.pop(name, None)
            return None
        if made is None or made.index is not index:
            self._release(name)
            made = self._made[name] = original.for_index(index, self._pages_of(name, index))
        made.follow_index(original)
        return made

    def _pages_of(self, name: str, index: Index) -> ProjectPages:
        found = self._pages.get(name)
        if found is None or found[0] is not index:
            found = self._pages[name] = index, ProjectPages(index, self.original.world)
        return found[1]

    def follow(self) -> None:
        """Apply the rules and the settings that are in force now; they also apply to requests that
        have begun.
        """
        for name in [*self._made]:
            self.of(name)
        for app in [*self._released]:
            if app.index.name in self.original.indexes.settings:
                app.follow_index(self.original)


def devpi_location(name: str, path: Sequence[str], *, is_upload: bool = False) -> str | None:
    """Return the address in the index `name` that corresponds to this path below ``/USER/INDEX/``
    of a devpi-server; None if there is none.

    ``+simple/PROJECT/`` and ``PROJECT/`` are project pages, ``+f/.../FILE`` and ``+e/.../FILE`` are
    files. Clients upload to ``/USER/INDEX/`` itself.
    """
    match path:
        case [] | [""]:
            return f"/{name}/legacy/" if is_upload else f"/{name}/simple/"
        case ["+simple" | "simple"] | ["+simple" | "simple", ""]:
            return f"/{name}/simple/"
        case ["+simple" | "simple", project] | ["+simple" | "simple", project, ""]:
            return f"/{name}/simple/{project}/"
        case ["+f" | "+e", *_, filename]:
            try:
                project, _ = project_and_version(filename.removesuffix(".metadata"))
            except BadFilename:
                return None
            return f"/{name}/packages/{project}/{filename}"
        case [project] | [project, ""] if not project.startswith("+"):
            return f"/{name}/simple/{project}/"
        case _:
            return None
