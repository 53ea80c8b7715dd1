"""The App of each named index. It shares everything with the App of the default index, except what
depends on the index itself.

It is made when the index is requested for the first time, so that unused indexes take no memory.
"""

from __future__ import annotations

from weakref import WeakSet

from attrs import define, field

from pypid.core.errors import IndexesUnknown
from pypid.core.indexes import is_index_name
from pypid.index import Index
from pypid.web.app.app import App
from pypid.web.app.page_cache import ProjectPages
from pypid.web.http.request import Request

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
