"""Named indexes as of a time, against what they showed at that time."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import cast

from attrs import evolve, field, frozen
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pypid.blobs.memory import MemoryBlobs
from pypid.core.errors import AlreadyExists, NameUsedUp, NoSuchFile, NoSuchProject
from pypid.core.indexes import DEFAULT, PromotionRefused
from pypid.core.model import Listing, Project, StoredFile
from pypid.core.packaging.names import ProjectName, project_name
from pypid.flow import whole
from pypid.index import Index
from pypid.index.promotions import IndexPart, PromotionLog, Promotions
from pypid.index.views import DIRECT, UpstreamPermission, may_read_all
from tests.index.file_cache_cases import listed
from tests.index.named import NamedCase
from tests.index.nodes import THEIR_DATA, Told
from tests.index.uploads import fetched, publishing, sent

SPAM = project_name("spam")
NAMES = ("spam-1.0-py3-none-any.whl", "spam-2.0.tar.gz")
INDEXES = ("", "base", "team", "lone", "upper", "mixing", "merging")
"""All indexes: `team` has the bases `base` and `default`, and so have `mixing` and `merging`, which
list the files of several of them. `upper` has a base without bases, `lone`, and `default`.
"""
Shown = dict[str, tuple[str, str, str | None]]
"""The files that an index shows: key, hash and yank."""


@frozen
class Step:
    """What happens to a file in an index."""

    does: str
    index: str
    filename: str
    source: str = field(default="base")


steps = st.builds(
    Step,
    st.sampled_from(("publish", "publish", "publish", "yank", "unyank", "delete", "promote")),
    st.sampled_from(INDEXES),
    st.sampled_from(NAMES),
    st.sampled_from(INDEXES),
)


class AsOfCase(NamedCase):
    """Some indexes, and a clock that moves."""

    def setUp(self) -> None:
        super().setUp()
        self.create("base")
        self.create("team", bases="base default")
        self.create("lone", bases="none")
        self.create("upper", bases="lone default")
        self.create("mixing", bases="base default", allow_mixed="spam")
        self.create("merging", bases="base default", merge="spam")
        self.number = 0

    def part(self, name: str) -> IndexPart | None:
        index = self.index("" if name == DEFAULT else name)
        return IndexPart(name, index.context, index.context.prefix)

    async def promoted(self, source: str, target: str, filename: str) -> None:
        """Promote a file from one index to another."""
        log = PromotionLog(self.store, self.world, self.part, shared=False)
        parts = [self.part(name or DEFAULT) for name in (source, target)]
        assert parts[0] is not None and parts[1] is not None
        promotions = Promotions(log, cast(MemoryBlobs, self.store))
        await promotions.promote(parts[0], parts[1], {SPAM: frozenset({filename})}, "alice")

    def step(self, step: Step) -> None:
        """Take one step, a minute after the last one."""
        self.clock.advance(60)
        self.have(self.taken(step))
        self.clock.advance(60)

    async def taken(self, step: Step) -> None:
        """Take the step; one that is refused changes nothing."""
        index, filename = self.index(step.index), step.filename
        with contextlib.suppress(
            AlreadyExists, NameUsedUp, NoSuchFile, NoSuchProject, PromotionRefused
        ):
            match step.does:
                case "publish":
                    self.number += 1
                    await publishing(index, sent(b"%d" % self.number, filename))
                case "promote" if step.source != step.index:
                    await self.promoted(step.source, step.index, filename)
                case "yank":
                    await index.manager.yank(SPAM, [filename], f"after {self.number}")
                case "unyank":
                    await index.manager.unyank(SPAM, [filename])
                case "delete":
                    await index.manager.delete(SPAM, [filename], "carol")
                case _:
                    pass

    def shown(self, index: Index, before: datetime | None = None) -> Shown:
        """The files that the index shows now, or showed then."""
        return self.have(_shown(index, evolve(DIRECT, local=True, before=before)))

    def bytes_of(self, key: str) -> bytes:
        """The bytes that are stored under a key."""

        async def read() -> bytes:
            return await whole(await self.store.read(key), 1 << 20)

        return self.have(read())

    def stored(self) -> set[tuple[str, str]]:
        """The key and the hash of each file that is stored in any index."""
        found = set[tuple[str, str]]()
        for name in INDEXES:
            index = self.index(name)
            ours = self.have(index.context.local_project(SPAM))
            if isinstance(ours, Project):
                found |= {(index.context.prefix + file.key, file.sha256) for file in ours.files}
        return found


async def _shown(index: Index, permission: UpstreamPermission) -> Shown:
    try:
        if permission.before is None:
            project = await index.project(SPAM, permission)
        else:
            project = (await index.history.project(SPAM, permission)).state.project
    except NoSuchProject:
        return {}
    stored = [file for file in project.files if isinstance(file, StoredFile)]
    return {file.filename: (file.key, file.sha256, file.yanked) for file in stored}


class AsOfTests(AsOfCase, SynchronousTestCase):
    def check(self, taken: list[Step]) -> None:
        """Each index shows as of a time what it showed then, of what is stored today."""
        seen: list[tuple[datetime, dict[str, Shown]]] = []
        for step in taken:
            self.step(step)
            shown = {name: self.shown(self.index(name)) for name in INDEXES}
            seen.append((self.world.now(), shown))
        self.clock.advance(60)
        stored = self.stored()
        for before, shown in seen:
            for name in INDEXES:
                expected = {
                    filename: file for filename, file in shown[name].items() if file[:2] in stored
                }
                then = self.shown(self.index(name), before)
                self.assertEqual(then, expected, (name, before, taken))
                self.check_files(name, before, then)
                self.check_list(name, before, then)

    def check_list(self, name: str, before: datetime, shown: Shown) -> None:
        """The list names the project if its page has files."""
        history = self.index(name).history
        for reads_all in (True, False):
            names = self.have(history.names(before, reads_all=reads_all))
            found = [each.name for each in names.listed]
            found += [
                each.name
                for each in names.open
                if self.have(history.had_files(SPAM, before, may_read_all))
            ]
            self.assertEqual(found, [SPAM] if shown else [], (name, before, reads_all))

    def check_files(self, name: str, before: datetime, shown: Shown) -> None:
        """The files that the page lists can be fetched, and no others."""
        index, permission = self.index(name), evolve(DIRECT, local=True, before=before)
        for filename in NAMES:
            if filename not in shown:
                self.refused(index.file(SPAM, filename, permission), NoSuchFile)
                continue
            file = self.have(index.file(SPAM, filename, permission))
            key = shown[filename][0]
            self.assertEqual(self.have(fetched(index, file)), self.bytes_of(key))

    @given(st.lists(steps, min_size=2, max_size=12))
    @settings(max_examples=60, deadline=None)
    def test_model(self, taken: list[Step]) -> None:
        """For any order of changes in any of the indexes."""
        self.setUp()
        self.check(taken)


class Removing(Told):
    """An upstream that lists the files of these names."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.listed: list[str] = []

    async def project(
        self, name: ProjectName, known: Listing | None, via: Sequence[str]
    ) -> Listing:
        listing = await super().project(name, known, via)
        begun = datetime(2025, 1, 1, tzinfo=UTC)
        files = [listed(THEIR_DATA, filename, uploaded=begun) for filename in self.listed]
        return evolve(listing, files=tuple(files))


class RulesTests(NamedCase, SynchronousTestCase):
    """The rules of an index over what upstream has removed since."""

    def setUp(self) -> None:
        super().setUp()
        self.upstream = self.removing = Removing(self.clock)
        self.indexes = self.started()

    def test_removed_files_are_hidden_by_the_blocks_of_the_index(self) -> None:
        """They are cached, so an index without blocks shows them as of a time when upstream listed
        them.
        """
        strict = self.create("strict", block="numpy==1.0")
        waiting = self.create("waiting", cooldown="9000d")
        team = self.create("team", bases="strict")
        old, new = "numpy-1.0.tar.gz", "numpy-2.0.tar.gz"
        self.removing.listed = [old, new]
        self.files(self.index(""), "numpy")
        self.clock.advance(60)
        permission = evolve(DIRECT, before=self.world.now())
        self.clock.advance(20 * 86400)
        self.removing.listed = [new]
        self.assertEqual(list(self.files(self.index(""), "numpy")), [new])
        numpy = project_name("numpy")
        for index, expected in (
            (self.index(""), [old, new]),
            (strict, [new]),
            (team, [new]),
            (waiting, []),
        ):
            found = self.have(index.history.project(numpy, permission)).state.project
            self.assertEqual([file.filename for file in found.files], expected, index.name)
            for filename in (old, new):
                if filename in expected:
                    self.have(index.file(numpy, filename, permission))
                else:
                    self.refused(index.file(numpy, filename, permission), NoSuchFile)
