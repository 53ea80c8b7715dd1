"""What each project takes: counted once, and then what has changed."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pypid.catalog.memory import MemoryCatalog
from pypid.core.errors import CatalogDown
from pypid.core.model import File, Presence, Project, StoredFile, Summary, UpstreamEntry
from pypid.core.packaging.names import ProjectName, project_name
from pypid.flow import start
from pypid.index.usage import Usage, Used
from tests.support.worlds import world

T = TypeVar("T")
SPAM, HAM, EGGS = map(project_name, ("spam", "ham", "eggs"))


def files(name: ProjectName, *sizes: int) -> tuple[File, ...]:
    """Files of these sizes."""
    return tuple(
        StoredFile(
            project=name,
            filename=f"{name}-{n}.tar.gz",
            version=str(n),
            sha256="0" * 64,
            size=size,
            key=f"{name}/{n}",
        )
        for n, size in enumerate(sizes)
    )


class Counting(MemoryCatalog):
    """A catalog that says which projects it was asked for, and may keep somebody waiting, or be
    away.
    """

    asked: list[str]
    waits: Deferred[None] | None = None
    away: CatalogDown | None = None

    def __init__(self) -> None:
        super().__init__()
        self.asked = []
        local, upstream, summaries = self.local.get, self.upstream.get, self.local.summaries

        async def get_local(name: ProjectName) -> Project | Presence:
            self.asked.append(name)
            if self.waits is not None:
                await self.waits
            return await local(name)

        async def get_upstream(name: ProjectName) -> UpstreamEntry:
            self.asked.append(name)
            return await upstream(name)

        async def names() -> Sequence[Summary]:
            if self.away is not None:
                raise self.away
            return await summaries()

        self.local.get, self.local.summaries = get_local, names  # type: ignore[method-assign]
        self.upstream.get = get_upstream  # type: ignore[method-assign]


class UsageTests(SynchronousTestCase):
    def setUp(self) -> None:
        """Two projects of ours, and two of theirs: of one of them files are kept."""
        self.clock = Clock()
        self.catalog = Counting()
        self.usage = Usage(self.catalog, world(self.clock))
        self.put(SPAM, 10, 20)
        self.put(EGGS, 1)
        self.keep(HAM, 500)
        self.keep(SPAM, 3)
        self.catalog.asked.clear()

    def have(self, coroutine: Coroutine[Any, Any, T]) -> T:
        result: T = self.successResultOf(start(coroutine))
        return result

    def put(self, name: ProjectName, *sizes: int) -> None:
        """From now on these are ours."""
        self.have(
            self.catalog.local.edit(name, lambda _: Project(name=name, files=files(name, *sizes)))
        )

    def keep(self, name: ProjectName, *sizes: int) -> None:
        """From now on these are kept."""
        self.have(
            self.catalog.upstream.edit(name, lambda heard: evolve(heard, kept=files(name, *sizes)))
        )

    def told(self) -> Used:
        used = self.have(self.usage.current())
        assert used is not None
        return used

    def test_away(self) -> None:
        """A catalog that cannot be asked is told as such, and asked again the next time."""
        self.catalog.away = CatalogDown()
        self.failureResultOf(start(self.usage.current()), CatalogDown)
        self.catalog.away = None
        self.assertEqual(self.told().files, 3)

    @given(
        st.lists(
            st.tuples(
                st.sampled_from([SPAM, HAM, EGGS]),
                st.booleans(),
                st.lists(st.integers(0, 99), max_size=3),
                st.booleans(),
            ),
            max_size=12,
        )
    )
    @settings(max_examples=60, deadline=None, database=None)
    def test_as_anew(self, changes: list[tuple[ProjectName, bool, list[int], bool]]) -> None:
        """After any changes, looked at in between or not, it is what a first count says."""
        self.setUp()
        for name, is_ours, sizes, looked in changes:
            (self.put if is_ours else self.keep)(name, *sizes)
            if looked:
                self.told()
        self.assertEqual(self.told(), self.have(Usage(self.catalog, world(Clock())).current()))
