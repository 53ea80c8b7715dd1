"""Yank, status, delete, and giving a name back."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from pypid.core.errors import StorageDown
from pypid.core.model import Presence, Project, Status
from pypid.flow import start
from pypid.index import Index
from pypid.index.local.publish import PublishOutcome
from tests.index.faulty_blobs import Died, Storm
from tests.index.uploads import SPAM, WHEEL, IndexCase, an_index, everything, sent, signed

SDIST = "spam-1.0.tar.gz"
Change = Callable[[Index], Coroutine[Any, Any, object]]


class StormTests(IndexCase):
    """Each operation of a change fails, or the process dies at it."""

    changes: tuple[tuple[str, Change], ...] = (
        ("yank", lambda index: index.manager.yank(SPAM, [WHEEL, SDIST], "why")),
        ("unyank", lambda index: index.manager.unyank(SPAM, [WHEEL, SDIST])),
        ("status", lambda index: index.manager.set_status(SPAM, Status.QUARANTINED, "why")),
        ("delete", lambda index: index.manager.delete(SPAM, [WHEEL, SDIST], "carol")),
        ("release", lambda index: index.manager.release_name(SPAM)),
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
                        self.have(self.index.manager.yank(SPAM, [WHEEL], "before"))
                    if name == "release":
                        self.have(self.index.manager.delete_project(SPAM, "carol"))
                    storm = Storm(self.store, nth, error, late=late, for_good=for_good)
                    index = self.compared()
                    index = an_index(
                        storm,
                        index.catalog,
                        index.source.upstream,
                        index.context.policy,
                        index.context.world,
                    )
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
        return an_index(
            self.store,
            index.catalog,
            index.source.upstream,
            index.context.policy,
            index.context.world,
        )

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
            self.have(anew.maintenance.reconcile())
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
                index.manager.delete_project(SPAM, "carol")
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
