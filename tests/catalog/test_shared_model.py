"""Three nodes that share a catalog, beside one catalog in memory: they agree, and nobody shows what
is too old.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

from attrs import define, evolve, field
from hypothesis import HealthCheck, settings, stateful
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pypid.catalog.replica import FRESH, PAUSE
from pypid.core.errors import CatalogDown
from pypid.core.model import Presence, Project, Status, UpstreamEntry
from pypid.core.packaging.names import ProjectName, project_name
from tests.support import world
from tests.support.catalog import a_file, a_listing, a_project, becomes
from tests.support.engines import Place, PlacedEngine, SharedSettings, a_catalog, open_shared
from tests.support.worlds import Awaiting

NAMES = [project_name(text) for text in ("spam", "ham")]
STALE_FOR = 5.0
BEGIN = datetime(2026, 4, 4, tzinfo=UTC)
HAIR = 1e-6

nodes = st.integers(0, 2)
names = st.sampled_from(NAMES)
versions = st.lists(st.sampled_from(("1.0", "1.1", "2.0")), unique=True).map(sorted)
Value = Project | UpstreamEntry | bool | None


@define
class Past:
    """All that was ever so of one project, and since when: the last is so now."""

    values: list[tuple[float, Value]] = field(factory=lambda: [(0.0, None)])

    def becomes(self, now: float, value: Value) -> None:
        """From now on it is this."""
        self.values.append((now, value))

    def since(self, moment: float) -> list[Value]:
        """All that was so after that moment, or at it."""
        first = max(
            (number for number, (begun, _) in enumerate(self.values) if begun <= moment), default=0
        )
        return [value for _, value in self.values[first:]]


class Sharing(stateful.RuleBasedStateMachine):
    """The three, their engine, and what is true."""

    def __init__(self, case: Awaiting) -> None:
        super().__init__()
        self.have = case.have
        self.clock = Clock()
        self.place = Place()
        self.engines = [PlacedEngine(self.clock, self.place) for _ in range(3)]
        shared = SharedSettings("storage", timedelta(seconds=STALE_FOR))
        self.nodes = [
            self.have(open_shared(shared, engine, world(self.clock))) for engine in self.engines
        ]
        self.true = a_catalog()
        self.ours: dict[ProjectName, Past] = defaultdict(Past)
        self.theirs: dict[ProjectName, Past] = defaultdict(Past)
        self.asked = 0
        self.back = [0.0] * 3
        """Since when each can ask the engine; infinite for one that cannot."""
        self.version = 0
        """The engine's, before what is tried now."""
        self.proven = Past([(0.0, None)])
        """Whether absence is; None: it is not."""

    def teardown(self) -> None:
        for node in self.nodes:
            self.have(node.close())

    def outcome(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """What it returns, or the refusal."""

        async def attempt() -> Any:
            try:
                return await coroutine
            except CatalogDown as error:
                return error

        return self.have(attempt())

    @property
    def now(self) -> float:
        return self.clock.seconds()

    def allowed(self, node: int) -> float:
        """From which moment on what it shows may be."""
        if self.back[node] + PAUSE <= self.now + HAIR:
            return self.now - FRESH - HAIR
        return self.now - STALE_FOR - HAIR

    def note(self) -> None:
        """Which nodes can ask now."""
        for number, engine in enumerate(self.engines):
            if engine.is_there:
                self.back[number] = min(self.back[number], self.now)
            else:
                self.back[number] = float("inf")

    # --- what happens ---

    @stateful.rule(seconds=st.sampled_from((0.05, 0.2, 0.35, 0.9, 2.0)))
    def passes(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.05)):
            self.clock.advance(0.05)
            self.note()

    @stateful.rule(down=st.booleans())
    def outage(self, down: bool) -> None:
        self.place.is_down = down
        self.note()

    @stateful.rule(node=nodes, down=st.booleans())
    def cut_off(self, node: int, down: bool) -> None:
        self.engines[node].is_down = down
        self.note()

    @stateful.rule(node=nodes, mute=st.booleans(), late=st.sampled_from((0.0, 0.4, 3.0)))
    def feed(self, node: int, mute: bool, late: float) -> None:
        self.engines[node].is_mute = mute
        self.engines[node].late = late

    @stateful.rule()
    def anew(self) -> None:
        """The rows are begun anew, by somebody."""
        self.place.begin(0)
        self.true = a_catalog(self.place.state.serial)
        for past in (*self.ours.values(), *self.theirs.values()):
            past.becomes(self.now, None)
        self.proven.becomes(self.now, None)

    @stateful.rule(node=nodes)
    def complete(self, node: int) -> None:
        """A whole comparison, which finds all as it is."""
        catalog = self.nodes[node]
        catalog.begin_comparison()
        self.outcome(catalog.complete())
        if self.place.state.complete:
            self.proven.becomes(self.now, True)
            self.have(self.true.complete())

    # --- who changes it ---

    def tried(
        self, node: int, change: Callable[[Any], Coroutine[Any, Any, Value]], past: Past
    ) -> bool:
        """Do it at the node, and in truth if it was done; whether the node says that it was."""
        self.version = self.place.state.version
        there = self.engines[node].is_there
        result = self.outcome(change(self.nodes[node]))
        failed = isinstance(result, CatalogDown)
        if not there:
            assert failed and self.place.state.version == self.version
        if self.place.state.version != self.version or not failed:
            expected = self.have(change(self.true))
            is_nothing = (
                isinstance(expected, UpstreamEntry)
                and expected.listing is None
                and not expected.kept
            )
            past.becomes(self.now, None if is_nothing else expected)
            if is_nothing and isinstance(result, UpstreamEntry):
                result = evolve(result, serial=expected.serial)  # type: ignore[union-attr]  # of a row that was taken out
            assert failed or result == expected, (result, expected)
        self.version = self.place.state.version
        return not failed

    @stateful.rule(
        node=nodes,
        name=names,
        versions=versions,
        status=st.sampled_from(Status),
        deaf=st.booleans(),
    )
    def put(
        self, node: int, name: ProjectName, versions: list[str], status: Status, deaf: bool
    ) -> None:
        """Whoever is told that it was done sees it at once. (Who is refused may not have asked
        since it can again.)
        """
        project = a_project(name, *versions, status=status)
        self.engines[node].deaf = int(deaf)
        if self.tried(
            node, lambda catalog: catalog.local.edit(name, becomes(project)), self.ours[name]
        ):
            assert self.have(self.nodes[node].local.get(name)) == self.have(
                self.true.local.get(name)
            )
        self.engines[node].deaf = 0

    @stateful.rule(node=nodes, name=names)
    def remove(self, node: int, name: ProjectName) -> None:
        self.tried(node, lambda catalog: catalog.local.edit(name, becomes(None)), self.ours[name])

    @stateful.rule(node=nodes, name=names, mark=st.sampled_from("ab"))
    def marks(self, node: int, name: ProjectName, mark: str) -> None:
        self.tried(
            node,
            lambda catalog: catalog.local.edit(name, lambda project: project, mark=mark),
            self.ours[name],
        )

    @stateful.rule(node=nodes, other=nodes, name=names)
    def race(self, node: int, other: int, name: ProjectName) -> None:
        """Another node archives the project between what this one has read and what it writes."""
        archive = self.changed(name, lambda project: evolve(project, status=Status.ARCHIVED))
        self.asked += 1
        reason = str(
            self.asked
        )  # each its own: the same change of the same project, made twice, is made once
        explain = self.changed(name, lambda project: evolve(project, status_reason=reason))
        if other != node:
            self.engines[node].before_swap.append(
                lambda: self.tried(other, archive, self.ours[name])
            )
        self.tried(node, explain, self.ours[name])
        self.engines[node].before_swap.clear()

    @staticmethod
    def changed(
        name: ProjectName, change: Callable[[Project], Project]
    ) -> Callable[[Any], Coroutine[Any, Any, Value]]:
        """An edit of what is there."""
        return lambda catalog: catalog.local.edit(
            name, lambda project: change(project or Project(name=name))
        )

    @stateful.rule(node=nodes, name=names, versions=versions)
    def hear(self, node: int, name: ProjectName, versions: list[str]) -> None:
        self.asked += 1
        now = a_listing(name, *versions, confirmed=BEGIN + timedelta(seconds=self.asked))
        self.tried(
            node,
            lambda catalog: catalog.upstream.edit(name, lambda heard: evolve(heard, listing=now)),
            self.theirs[name],
        )

    @stateful.rule(node=nodes, name=names, versions=versions)
    def keep(self, node: int, name: ProjectName, versions: list[str]) -> None:
        kept = tuple(a_file(name, version) for version in versions)
        self.tried(
            node,
            lambda catalog: catalog.upstream.edit(name, lambda heard: evolve(heard, kept=kept)),
            self.theirs[name],
        )

    # --- who looks ---

    @stateful.rule(node=nodes, name=names)
    def look(self, node: int, name: ProjectName) -> None:
        """What it shows was so lately; it claims no absence that is not proven; it says nothing
        only where it cannot ask.
        """
        catalog, since = self.nodes[node], self.allowed(node)
        ours, theirs = (
            self.outcome(catalog.local.get(name)),
            self.outcome(catalog.upstream.get(name)),
        )
        if isinstance(ours, CatalogDown) or isinstance(theirs, CatalogDown):
            assert self.back[node] + PAUSE > self.now - HAIR
            return
        self.shown(ours, self.ours[name].since(since), node)
        assert (None if theirs == UpstreamEntry(name=name) else theirs) in self.theirs[name].since(
            since
        )

    def shown(self, ours: Project | Presence, past: list[Value], node: int) -> None:
        """It may be shown so."""
        if isinstance(ours, Project):
            assert ours in past, (ours, past)
            return
        assert None in past
        if ours is Presence.ABSENT:
            assert True in self.proven.since(self.now - FRESH - HAIR)
            assert self.engines[node].is_there or self.nodes[node].following.is_current

    @stateful.rule(node=nodes, name=names)
    def glance(self, node: int, name: ProjectName) -> None:
        """What it says at once was so a second ago, or cannot be taken for anything."""
        catalog = self.nodes[node]
        ours, _ = catalog.heads(name)
        if not catalog.following.is_current:
            assert ours is not None and ours.serial < 0
            assert catalog.changes != catalog.changes
            return
        past = self.ours[name].since(self.now - FRESH - HAIR)
        assert (0 if ours is None else ours.serial) in [
            value.serial if isinstance(value, Project) else 0 for value in past
        ]

    @stateful.rule()
    def settle(self) -> None:
        """All is well again, and beats are heard: all agree on all, and with what is true; nobody
        asks twice for a project.
        """
        self.place.is_down = False
        for engine in self.engines:
            engine.is_down = engine.is_mute = False
            engine.late = 0.0
        self.note()
        self.passes(0.9)
        self._agree()
        asked = [engine.asked for engine in self.engines]
        self._agree()
        assert [engine.asked for engine in self.engines] == asked

    def _agree(self) -> None:
        for catalog in self.nodes:
            for read in (
                lambda catalog: catalog.local.summaries(),
                lambda catalog: catalog.upstream.summaries(),
                lambda catalog: catalog.serial(),
                lambda catalog: catalog.is_complete(),
            ):
                assert self.have(read(catalog)) == self.have(read(self.true))
            for name in NAMES:
                assert self.have(catalog.local.get(name)) == self.have(self.true.local.get(name))
                assert self.have(catalog.local.mark(name)) == self.have(self.true.local.mark(name))
                assert self.have(catalog.upstream.get(name)) == self.have(
                    self.true.upstream.get(name)
                )
                assert catalog.heads(name) == self.true.heads(name)
                assert catalog.listing_time(name) == self.true.listing_time(name)


class SharingTests(Awaiting, SynchronousTestCase):
    """Whatever happens, in whatever order."""

    def test_agree(self) -> None:
        """Three nodes agree with one catalog in memory once beats are heard, and before that show
        nothing too old.
        """
        modest = settings(
            max_examples=60,
            stateful_step_count=40,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        stateful.run_state_machine_as_test(lambda: Sharing(self), settings=modest)  # type: ignore[arg-type]
