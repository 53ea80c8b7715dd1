"""Yank, status, delete, and giving a name back."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from pypid.core.errors import BadRequest, NoSuchFile, NoSuchProject, StorageDown
from pypid.core.model import Presence, Project, Status
from pypid.core.packaging.names import project_name
from pypid.flow import start
from pypid.index import Index
from pypid.index.local.manage import LONGEST_REASON
from pypid.index.local.publish import PublishOutcome
from tests.index.faulty_blobs import Died, Storm
from tests.index.uploads import SPAM, WHEEL, IndexCase, everything, sent, signed

SDIST = "spam-1.0.tar.gz"
LEFT = [f"spam/{WHEEL}.{what}.json" for what in ("deleted", "history")]
"""What stays of a deleted file."""
Change = Callable[[Index], Coroutine[Any, Any, object]]


class ManageTests(IndexCase):
    """One change after another."""

    def setUp(self) -> None:
        super().setUp()
        self.publish(signed())
        self.publish(sent(b"sdist", SDIST))

    def project(self, index: Index | None = None) -> Project:
        return self.have((index or self.index).project(SPAM))

    def test_yank(self) -> None:
        """A yank is there after a restart, its reason can be changed, and an un-yank takes it off;
        again is no error.
        """
        for reason in ("", "breaks", "breaks\tand\n\u00fcberhaupt \U0001f40d"):
            self.have(self.index.yank(SPAM, [WHEEL], reason))
            self.assertEqual(
                [file.yanked for file in self.project(self.compared()).files], [reason, None]
            )
        for _ in range(2):
            self.have(self.index.unyank(SPAM, [WHEEL]))
        self.assertEqual(
            [file.yanked for file in self.project(self.compared()).files], [None, None]
        )

    def test_reasons(self) -> None:
        """A reason may be long, not endless, and holds no control characters."""
        self.have(self.index.yank(SPAM, [WHEEL], "x" * LONGEST_REASON))
        for reason in ("x" * (LONGEST_REASON + 1), "nul\0", "escape\x1b[2J"):
            self.refused(self.index.yank(SPAM, [WHEEL], reason), BadRequest)
            self.refused(self.index.set_status(SPAM, Status.ACTIVE, reason), BadRequest)

    def test_not_there(self) -> None:
        """What is not there cannot be changed, and nothing is written; not even to the files that
        are there.
        """
        before = self.keys()
        eggs = project_name("eggs")
        for name, error in ((SPAM, NoSuchFile), (eggs, NoSuchProject)):
            self.refused(self.index.yank(name, [WHEEL, "eggs-1.0.tar.gz"], ""), error)
            self.refused(self.index.unyank(name, [WHEEL, "eggs-1.0.tar.gz"]), error)
            self.refused(self.index.delete(name, [WHEEL, "eggs-1.0.tar.gz"], "carol"), error)
        self.refused(self.index.set_status(eggs, Status.ARCHIVED, ""), NoSuchProject)
        self.refused(self.index.delete_project(eggs, "carol"), NoSuchProject)
        self.refused(self.index.release_name(eggs), NoSuchProject)
        self.refused(self.index.release(SPAM, "3.0"), NoSuchFile)
        self.assertEqual(self.keys(), before)
        self.at_rest()

    def test_status(self) -> None:
        """A quarantined project shows no file and is not listed, its files cannot be had; what it
        was comes back.
        """
        for status in Status:
            self.have(self.index.set_status(SPAM, status, "why"))
            for index in (self.compared(), self.compared(self.restarted())):
                project = self.project(index)
                self.assertEqual((project.status, project.status_reason), (status, "why"))
                self.assertEqual(bool(project.files), status is not Status.QUARANTINED)
                self.assertEqual(bool(self.have(index.names())), status is not Status.QUARANTINED)
                if status is Status.QUARANTINED:
                    self.refused(index.file(SPAM, WHEEL), NoSuchFile)

    def test_delete(self) -> None:
        """A deleted file leaves its tombstone and its history; the project stays ours, empty, also
        after a restart.
        """
        self.have(self.index.yank(SPAM, [WHEEL], ""))
        self.have(self.index.delete(SPAM, [WHEEL], "carol"))
        self.assertEqual([key for key in self.keys() if WHEEL in key], LEFT)
        self.have(self.index.delete_project(SPAM, "carol"))
        for index in (self.compared(), self.restarted(), self.compared(self.restarted())):
            self.assertEqual(self.project(index).files, ())
        self.have(self.index.delete_project(SPAM, "carol"))

    def test_delete_overwritten(self) -> None:
        """A file that was overwritten goes with all that is its own; the tombstone is of the bytes
        that were there last.
        """
        self.publish(signed(b"over"), overwrite=True)
        self.have(self.index.delete(SPAM, [WHEEL], "carol"))
        self.assertEqual([key for key in self.keys() if WHEEL in key], LEFT)
        self.assertEqual(self.publish(signed(b"over")), PublishOutcome.PUBLISHED)

    def test_delete_what_another_overwrote(self) -> None:
        """A node that has not heard of an overwrite yet deletes what is there, not what it
        remembers.
        """
        other = self.restarted()
        self.publish(signed(b"over"), overwrite=True, index=other)
        self.have(self.index.delete(SPAM, [WHEEL], "carol"))
        self.assertEqual([key for key in self.keys() if WHEEL in key], LEFT)

    def test_release(self) -> None:
        """A release is all files of its version, however that is spelt, hidden ones too."""
        self.have(self.index.set_status(SPAM, Status.QUARANTINED, ""))
        for spelling in ("1.0", "1", "1.0.0"):
            self.assertEqual(self.have(self.index.release(SPAM, spelling)), {WHEEL, SDIST})

    def test_release_name(self) -> None:
        """A name is given back when it has no files, not before; tombstones and status go, and it
        is nobody's.
        """
        self.have(self.index.set_status(SPAM, Status.ARCHIVED, ""))
        self.refused(self.index.release_name(SPAM), BadRequest)
        self.have(self.index.delete_project(SPAM, "carol"))
        self.have(self.index.release_name(SPAM))
        self.assertEqual(self.keys(), [])
        self.refused(self.compared().project(SPAM), NoSuchProject)
        self.assertEqual(self.publish(sent(b"somebody else's")), PublishOutcome.PUBLISHED)

    def test_release_name_with_damaged_records(self) -> None:
        """A name whose records cannot be read, or have lost their bytes, is not given back."""
        self.put(f"spam/{SDIST}.record.json", b"{")
        self.have(self.store.delete(f"spam/{WHEEL}"))
        index = self.compared(self.restarted())
        self.assertEqual(self.project(index).files, ())
        self.refused(index.release_name(SPAM), BadRequest)
        self.assertIn(f"spam/{WHEEL}.record.json", self.keys())


class StormTests(IndexCase):
    """Each operation of a change fails, or the process dies at it."""

    changes: tuple[tuple[str, Change], ...] = (
        ("yank", lambda index: index.yank(SPAM, [WHEEL, SDIST], "why")),
        ("unyank", lambda index: index.unyank(SPAM, [WHEEL, SDIST])),
        ("status", lambda index: index.set_status(SPAM, Status.QUARANTINED, "why")),
        ("delete", lambda index: index.delete(SPAM, [WHEEL, SDIST], "carol")),
        ("release", lambda index: index.release_name(SPAM)),
    )

    def storms(
        self, error: Callable[[], BaseException], for_good: bool
    ) -> Iterator[tuple[str, Change, Index, bool]]:
        """Each change, with each of its operations failing: before and after it is done."""
        for name, change in self.changes:
            for late in (False, True):
                for nth in range(1, 60):
                    self.setUp()
                    self.publish(signed())
                    self.publish(sent(b"sdist", SDIST))
                    if name in ("unyank", "delete"):
                        self.have(self.index.yank(SPAM, [WHEEL], "before"))
                    if name == "release":
                        self.have(self.index.delete_project(SPAM, "carol"))
                    storm = Storm(self.store, nth, error, late=late, for_good=for_good)
                    index = self.compared()
                    index = Index(storm, index.catalog, index.upstream, index.policy, index.world)
                    outcome = start(change(index))
                    if not storm.struck:
                        self.successResultOf(outcome)
                        break
                    outcome.addErrback(lambda failure: None)
                    yield name, change, index, late
                else:
                    self.fail("a change of more than 60 operations")

    def calm(self, index: Index) -> Index:
        """The same index, when the storm is over."""
        return Index(self.store, index.catalog, index.upstream, index.policy, index.world)

    def test_storage_fails(self) -> None:
        """No page lies meanwhile; the catalog is in step after a comparison, and doing it again
        ends well.
        """
        for name, change, index, _ in self.storms(lambda: StorageDown("away."), for_good=False):
            self.at_rest(index)
            calm = self.calm(index)
            self.files(calm)
            self.again(name, change, self.compared(calm))

    def test_failure_is_seen_at_once(self) -> None:
        """After one failure in the middle the catalog says what the storage holds, without a
        comparison.
        """
        for _, _, index, _ in self.storms(lambda: StorageDown("away."), for_good=False):
            anew = self.restarted()
            self.have(anew.reconcile())
            self.assertEqual(self.have(everything(index)), self.have(everything(anew)))

    def test_process_dies(self) -> None:
        """Wherever the process dies no page lies after a restart; doing it again ends well, and so
        does coming back.
        """
        for name, change, _, _ in self.storms(Died, for_good=True):
            index = self.compared(self.restarted())
            self.files(index)
            self.again(name, change, index)
            if name == "delete":
                self.assertEqual(self.publish(signed(), index=index), PublishOutcome.PUBLISHED)
                self.assertIsNone(self.have(self.compared(index).file(SPAM, WHEEL)).yanked)

    def again(self, name: str, change: Change, index: Index) -> None:
        try:
            self.have(change(index)) if name != "delete" else self.have(
                index.delete_project(SPAM, "carol")
            )
        except AssertionError:
            self.assertEqual(name, "release")  # it was given back
        held = self.have(self.compared(index).context.local_project(SPAM))
        match name:
            case "release":
                self.assertIs(held, Presence.ABSENT)
            case "delete":
                assert isinstance(held, Project)
                self.assertEqual(held.files, ())
            case "status":
                assert isinstance(held, Project)
                self.assertIs(held.status, Status.QUARANTINED)
            case _:
                assert isinstance(held, Project)
                self.assertEqual(
                    [file.yanked for file in held.files], ["why" if name == "yank" else None] * 2
                )
