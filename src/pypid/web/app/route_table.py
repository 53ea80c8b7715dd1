"""The table of all routes, made of the declarations in the modules that it lists.

A start waits for its first page, which is a page of the Simple API; the next request is for a
file. The modules of all other routes cost more time than what these two need. They are imported in
a thread (`RouteTable.load`), one after another, so that the reactor keeps answering; a request that
may need a module that is not there yet waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from errno import EMFILE, ENFILE
from functools import lru_cache, partial
from types import ModuleType
from typing import Any

from attrs import define, field
from klein import Klein
from twisted.internet.defer import DeferredLock
from werkzeug.routing import Map, Rule

from pypid.core.errors import Busy
from pypid.flow import World
from pypid.flow.coroutines import import_late, name_obstacle, version_obstacle
from pypid.flow.derived import Flights
from pypid.web.app.route import Route, declared_routes

# Private names of werkzeug that save time at the start: URL builders, which pypid does not use,
# are not compiled.

RULE = ("_compile_builder",)


def without_builders(routes: Map) -> None:
    """Have werkzeug compile the two functions that build a URL of a rule only on first use: they
    are half of what a route costs. With an untested werkzeug nothing is changed.
    """
    if version_obstacle("Werkzeug") is not None or name_obstacle(Rule, RULE) is not None:
        return
    add: Callable[[Any], None] = routes.add

    def add_rule(rule: Any) -> None:
        compile_builder = rule._compile_builder
        # werkzeug calls this method of each rule twice, and offers no setting
        rule._compile_builder = lambda unknown=True: (
            lambda self, **values: compile_builder(unknown)(self, **values)
        )
        add(rule)

    routes.add = add_rule  # type: ignore[method-assign, assignment]


SIMPLE = "pypid.web.installers.simple"
FILES = "pypid.web.installers.files"
HEALTH = "pypid.web.api.health"
METRICS = "pypid.web.api.metrics"
UPLOADS = "pypid.web.installers.uploads"

MODULES = (
    SIMPLE,
    HEALTH,
    FILES,
    UPLOADS,
    METRICS,
    *(
        f"pypid.web.installers.{name}"
        for name in (
            "collect",
            "local",
            "services",
            "trusted_publishing",
            "as_of",
        )
    ),
    *(
        f"pypid.web.api.{name}"
        for name in (
            "projects",
            "storage",
            "accounts",
            "rights",
            "tokens",
            "server",
            "advisories",
            "upstream",
            "indexes",
            "openapi",
        )
    ),
    *(
        f"pypid.web.ui.{name}"
        for name in (
            "documentation",
            "home",
            "account",
            "project",
            "contents",
            "trust",
            "users",
            "manage",
        )
    ),
)
"""The modules of this package with routes, in the order in which they are imported."""

USED_BY: Mapping[str, tuple[str, ...]] = {
    UPLOADS: ("argon2", "packaging.metadata"),
    "pypid.web.ui.project": ("pypid.web.app.project_page_cache",),
}
"""Modules that handlers import only when they run. They are imported together with the routes:
an import opens files, and while clients hold all descriptors none can be opened.
"""

LONGEST, MOST = 256, 2048
"""Matches are cached for paths of at most so many bytes, and for so many paths."""


def modules_for(method: bytes, path: bytes) -> Sequence[str] | None:
    """Return the modules that have all routes that the request may match; None: it may be any.
    `path` is without its leading slash.
    """
    if method in (b"GET", b"HEAD"):
        if path.startswith(b"simple/"):
            return (SIMPLE,)
        if path.startswith(b"packages/") and path.count(b"/") == 2:
            return (FILES,)
        if path in (b"health", b"ready"):
            return (HEALTH,)
        if path == b"metrics":  # monitors request it every few seconds
            return (METRICS,)
    if method == b"POST" and path == b"legacy/":
        return (UPLOADS,)
    return None


Match = tuple[Route, Mapping[str, Any]]


@define(eq=False)
class RouteTable:
    """The routes of `modules`, as far as they are imported, on Klein's map."""

    modules: Sequence[str] = MODULES
    is_complete: bool = field(default=False, init=False)
    """Whether the routes of all modules are in the table."""
    _klein: Klein = field(factory=Klein, init=False, repr=False)
    _routes: dict[str, Route] = field(factory=dict, init=False, repr=False)
    """The routes by Klein's endpoint."""
    _added: set[str] = field(factory=set, init=False, repr=False)
    """The names of the modules whose routes are in the table."""
    _imports: Flights[str, None] = field(factory=Flights, init=False, repr=False)
    """The imports under way, by module: any number of requests may wait for one."""
    _turn: DeferredLock = field(factory=DeferredLock, init=False, repr=False)
    _cached: Callable[[bytes, bytes], Match] = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        # each route decides itself what it does without its slash; Klein has no parameters for this
        url_map = self._klein.url_map
        url_map.strict_slashes = False
        url_map.merge_slashes = False
        without_builders(url_map)
        self._cached = lru_cache(maxsize=MOST)(self._match)

    def __iter__(self) -> Iterator[Route]:
        """Iterate over the routes in the table, sorted by path."""
        return iter(sorted(self._routes.values(), key=lambda each: (each.path, each.method)))

    def add(self, module: ModuleType) -> None:
        """Add the routes of a module. Raises `ValueError` if there is another route for one of
        their paths and methods.
        """
        if module.__name__ in self._added:
            return
        for declared in declared_routes(module):
            self.add_route(declared)
        self._added.add(module.__name__)
        self.is_complete = self._added.issuperset(self.modules)

    def add_route(self, declared: Route) -> None:
        """Add one route. Raises `ValueError` if there is another one for its path and method."""
        endpoint = f"{declared.method} {declared.path}"
        if endpoint in self._routes:
            raise ValueError(f"There is a route {endpoint!r} already.")
        self._klein.route(declared.path, methods=declared.methods, endpoint=endpoint)(
            declared.handler
        )
        self._routes[endpoint] = declared

    def missing(self, method: bytes, path: bytes) -> Sequence[str]:
        """Return the modules without which the request may not find its route."""
        if self.is_complete:
            return ()
        needed = modules_for(method, path)
        if needed is None:
            return self.modules
        return () if self._added.issuperset(needed) else needed

    async def load(self, world: World, modules: Sequence[str] | None = None) -> None:
        """Import the modules (None: all) in a thread, one after another, and add their routes.
        Raises `Busy` if no more files can be opened.
        """
        for name in self.modules if modules is None else modules:
            if name not in self._added:
                await self._imports.single(name, partial(self._load_in_turn, world, name))

    async def _load_in_turn(self, world: World, name: str) -> None:
        await self._turn.run(self._load_one, world, name)

    async def _load_one(self, world: World, name: str) -> None:
        try:
            module = await world.blocking(import_late, name, *USED_BY.get(name, ()))
        except OSError as error:
            if error.errno not in (EMFILE, ENFILE):
                raise
            raise Busy("No more files can be opened: too many connections are open.") from None
        self.add(module)

    def match(self, path: bytes, method: bytes) -> Match:
        """Return the route of the request and the values in its path, which has no leading slash.
        Raises `HTTPException` and `RequestRedirect` (werkzeug's) if there is none.
        """
        return (self._cached if len(path) <= LONGEST else self._match)(path, method)

    def _match(self, path: bytes, method: bytes) -> Match:
        endpoint, values = self._klein.url_map.bind("localhost").match(
            f"/{path.decode()}", method.decode()
        )
        return self._routes[endpoint], values


__all__ = ["FILES", "HEALTH", "MODULES", "UPLOADS", "RouteTable", "modules_for"]
