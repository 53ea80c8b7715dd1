"""The index as of a moment, against what was seen in that moment."""

from __future__ import annotations

from datetime import datetime

from attrs import evolve, frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from pypid.core.model import MOST_DELETED, MOST_EVENTS, Blob, File, Project
from pypid.core.records.documents import StorageIdentity, dump
from pypid.core.records.history import spans, was_any
from pypid.index import Index
from pypid.index.as_of import AsOfViews, FilePeriods, RecordingStart
from pypid.index.views import DIRECT
from tests.index.nodes import SqliteNodesCase
from tests.index.uploads import SPAM, WHEEL, IndexCase, publishing, sent

NAMES = (WHEEL, "spam-2.0.tar.gz")
Seen = dict[str, tuple[str | None, str | None, datetime | None]]


def said(files: tuple[File, ...]) -> Seen:
    """Of each file its hash, its yank and its upload time."""
    return {file.filename: (file.sha256, file.yanked, file.uploaded) for file in files}


@frozen
class Step:
    """What somebody does with the file of this number, after so many seconds."""

    does: str
    number: int
    data: bytes
    seconds: int


steps = st.builds(
    Step,
    st.sampled_from(("publish", "publish", "yank", "unyank", "delete", "overwrite", "nothing")),
    st.integers(0, len(NAMES) - 1),
    st.sampled_from((b"one", b"two")),
    st.integers(1, 90_000),
)


class MomentCase(IndexCase):
    """An index whose clock moves."""

    def later(self, seconds: float = 60) -> datetime:
        """The time, after so many seconds."""
        self.clock.advance(seconds)
        return self.index.context.world.now()

    def then(self, before: datetime, index: Index | None = None) -> tuple[Seen, int]:
        """What was there, and how much more is not to be had."""
        views = AsOfViews(index or self.index)
        found = self.have(views.project(SPAM, evolve(DIRECT, before=before))).state
        return said(found.project.files), found.gone

    def project(self) -> Project:
        return self.have(self.index.project(SPAM))


class HistoryTests(MomentCase):
    """A project of ours."""

    def test_damaged(self) -> None:
        """A history that cannot be read hides no file, and is begun anew by the next change."""
        self.publish(sent())
        there = self.later()
        self.have(self.index.manager.yank(SPAM, [WHEEL], "bad"))
        self.put(f"spam/{WHEEL}.history.json", b"{")
        index = self.compared(self.restarted())
        self.assertEqual(self.then(there, index)[0][WHEEL][1], "bad")
        self.have(index.manager.unyank(SPAM, [WHEEL]))
        self.assertEqual(self.then(self.later(), index)[0][WHEEL][1], None)

    def test_bounds(self) -> None:
        """Of one file the last changes are known, and of deleted files the last ones; the line of a
        project stays small.
        """
        self.publish(sent())
        for number in range(MOST_EVENTS * 2):
            self.later()
            self.have(self.index.manager.yank(SPAM, [WHEEL], str(number)))
        self.assertEqual(len(self.project().history[0].events), MOST_EVENTS)
        for number in range(MOST_DELETED + 5):
            name = f"spam-{number}.0.tar.gz"
            self.publish(sent(b"x", name))
            self.later(1)
            self.have(self.index.manager.delete(SPAM, [name], "carol"))
        self.assertEqual(len(self.project().history), MOST_DELETED + 1)
        self.assertEqual(
            self.project().history, self.have(self.compared(self.restarted()).project(SPAM)).history
        )

    @given(st.lists(steps, min_size=1, max_size=14), st.booleans())
    @settings(max_examples=80, deadline=None, database=None)
    def test_any_history(self, taken: list[Step], restarted: bool) -> None:
        """What is told of any moment, whatever happened since, is what was seen in it, but for
        bytes that are gone.
        """
        self.setUp()
        lived: list[tuple[datetime, Seen]] = []
        for step in taken:
            name = NAMES[step.number]
            try:
                match step.does:
                    case "publish" | "overwrite":
                        self.have(
                            publishing(
                                self.index,
                                sent(step.data, name),
                                overwrite=step.does == "overwrite",
                            )
                        )
                    case "yank":
                        self.have(self.index.manager.yank(SPAM, [name], step.data.decode()))
                    case "unyank":
                        self.have(self.index.manager.unyank(SPAM, [name]))
                    case "delete":
                        self.have(self.index.manager.delete(SPAM, [name], "carol"))
            except self.failureException:
                pass  # refused: there is no such file, or there is one
            moment = self.later(step.seconds)
            try:
                lived.append((moment, said(self.project().files)))
            except self.failureException:
                lived.append((moment, {}))  # not yet ours
        if not any(seen for _, seen in lived):
            return
        index = self.compared(self.restarted()) if restarted else self.index
        now = said(self.have(index.project(SPAM)).files)
        for moment, seen in lived:
            there = {
                name: file for name, file in seen.items() if name in now and now[name][0] == file[0]
            }
            self.assertEqual(self.then(moment, index), (there, len(seen) - len(there)))
            own = self.have(index.project(SPAM))
            self.assertEqual(was_any(spans(own, None), moment), bool(there))


class RecordedTests(MomentCase):
    """Since when changes are noted."""

    def test_new_storage(self) -> None:
        """A storage says it of itself; where that is later than the moment, the page says so."""
        self.publish(sent())
        there, begun = self.later(), self.later()
        self.put(".pypid/storage.json", dump(StorageIdentity("x", recorded=begun)))
        recorded = self.have(RecordingStart().since(self.index))
        self.assertEqual(recorded, begun)
        views = AsOfViews(self.index)
        for before, since in ((there, begun), (self.later(), None)):
            found = self.have(views.project(SPAM, evolve(DIRECT, before=before)))
            self.assertEqual(found.state.since, since)


class SpannedTests(MomentCase):
    """The list of projects."""

    def test_names(self) -> None:
        """It names projects that had a file then which can be had now, and follows each change."""
        self.have(self.index.maintenance.reconcile())
        spanned = FilePeriods(self.index)

        def names(before: datetime) -> list[str]:
            listed = self.have(self.index.stored_names())
            return [
                summary.name
                for summary in self.have(spanned.names(listed, before, reads_all=True)).listed
            ]

        nothing = self.later()
        self.publish(sent())
        one = self.later()
        self.publish(sent(b"x", "eggs-1.0.tar.gz"))
        both = self.later()
        self.assertEqual(
            [names(moment) for moment in (nothing, one, both)], [[], ["spam"], ["eggs", "spam"]]
        )
        self.have(self.index.manager.delete(SPAM, [WHEEL], "carol"))
        self.assertEqual([names(moment) for moment in (one, both)], [[], ["eggs"]])
        self.publish(sent())
        self.assertEqual([names(moment) for moment in (one, both)], [["spam"], ["eggs", "spam"]])


class NodesTests(SqliteNodesCase):
    """Nodes with a catalog in common."""

    def then(self, node: Index, before: datetime) -> Seen:
        found = self.have(AsOfViews(node).project(SPAM, evolve(DIRECT, before=before)))
        return said(found.state.project.files)

    def test_seen_elsewhere(self) -> None:
        """What one node has noted another one tells, within a second; each notes on top of what the
        other has noted.
        """
        self.have(self.here.maintenance.reconcile())
        self.publish(self.here, sent())
        self.go(1)
        there = self.world.now()
        self.go(1)
        self.have(self.there.manager.yank(SPAM, [WHEEL], "bad"))
        self.go(1)
        yanked = self.world.now()
        self.go(1)
        self.have(self.here.manager.delete(SPAM, [WHEEL], "carol"))
        self.publish(self.there, sent())
        self.go(1)
        for node in (self.here, self.there, self.node()):
            self.assertEqual(
                [self.then(node, moment)[WHEEL][1] for moment in (there, yanked)], [None, "bad"]
            )

    async def listing(self) -> list[Blob]:
        return [blob async for blob in self.store.list("spam/")]
