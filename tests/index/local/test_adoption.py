"""Folders that were made by others become an index, in place."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from attrs import evolve

from pypid.blobs import files
from pypid.core.errors import AlreadyExists, NoSuchProject, StorageDown, StorageFull
from pypid.core.model import Blob
from pypid.core.packaging.names import project_name
from pypid.core.records.layout import ObjectKind, key
from pypid.flow import start
from pypid.index.local.adoption import Adopted, Adopter, Result
from pypid.index.local.publish import PublishOutcome
from pypid.ports import Body
from tests.distributions import egg, egg_filename, sdist, wheel, wheel_filename
from tests.index.faulty_blobs import Died, Gated, Storm, Watched
from tests.index.uploads import SPAM, WHEEL, IndexCase, Sent, index_over, publishing, sent
from tests.support import Turns, world

RECORD = key(SPAM, WHEEL, ObjectKind.RECORD)
LONG_AGO = 1_200_000_000


class FolderTests(IndexCase):
    """A real folder, with files that are older than pypid."""

    def setUp(self) -> None:
        super().setUp()
        self.root = Path(self.mktemp()).absolute()
        self.root.mkdir()
        self.store = self.have(
            files.open(files.FilesSettings(str(self.root)), evolve(world(), random=os.urandom))
        )
        self.index = self.restarted()

    def drop(self, where: str, data: bytes) -> None:
        path = self.root / where
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (LONG_AGO, LONG_AGO))

    def seen(self) -> dict[str, object]:
        """All files that are not pypid's, as the system sees them."""
        ours = (".json", ".metadata")
        paths = [
            path for path in self.root.rglob("*") if path.is_file() and not path.name.endswith(ours)
        ]
        return {
            str(path.relative_to(self.root)): (
                path.stat().st_ino,
                path.stat().st_mtime_ns,
                path.stat().st_mode,
                path.read_bytes(),
            )
            for path in paths
        }

    def killed_before_the_record(self, upload: Sent | None = None) -> None:
        """Publish the wheel in a process that ends when its bytes are stored."""

        class Killed(Watched):
            async def _before(self, what: str) -> None:
                await super()._before(what)
                if f"write {RECORD}" in self.asked:
                    raise Died()

        index = index_over(Killed(self.store), self.clock, provisional=self.store)
        self.failureResultOf(start(publishing(index, upload or sent())), Died)
        self.assertTrue((self.root / "spam" / WHEEL).exists())
        self.assertFalse((self.root / RECORD).exists())

    def test_upload_that_a_kill_cut_off_is_not_adopted(self) -> None:
        """Its client got no answer: its bytes stay invisible until it is published again."""
        self.killed_before_the_record()
        self.index = index_over(self.store, self.clock, provisional=self.store)
        _, (adopted,) = self.have(self.index.maintenance.rebuild("dave"))
        self.assertEqual(adopted.outcome, Result.REFUSED)
        self.assertIn("broke off", adopted.problems[0])
        self.assertEqual(self.files(), {})
        os.utime(self.root / "spam" / WHEEL, (LONG_AGO, LONG_AGO))
        (finding,) = self.have(self.index.maintenance.check()).findings
        self.assertIn("never acknowledged", finding.advice)
        self.publish(sent())
        self.assertEqual(list(self.files()), [WHEEL])

    def test_full_disk_after_the_record_fails_no_upload(self) -> None:
        """What cannot take the mark away cannot take back what is committed."""

        class Full(Watched):
            async def write_provisional(
                self, key: str, body: Body, *, replace: bool = False
            ) -> Blob:
                return await store.write_provisional(key, body, replace=replace)

            async def confirm(self, key: str) -> None:
                raise StorageFull("storage")

        store = self.store
        full = Full(store)
        self.index = index_over(full, self.clock, provisional=full)
        self.publish(sent(wheel("spam", "1.0"), metadata=None))
        self.assertEqual(list(self.files()), [WHEEL])

    def test_copied_file_is_adopted_after_its_upload_failed(self) -> None:
        """Bytes that an administrator put there are not taken for those of the upload."""
        data = wheel("spam", "1.0")
        path = self.root / "spam" / WHEEL
        path.parent.mkdir()
        path.write_bytes(data)
        self.killed_before_the_record(sent(data))
        self.index = index_over(self.store, self.clock, provisional=self.store)
        _, (adopted,) = self.have(self.index.maintenance.rebuild("dave"))
        self.assertEqual(adopted.outcome, Result.ADOPTED, adopted)

    def adopt(self, prefix: str = "") -> dict[str, Adopted]:
        _, adopted = self.have(self.index.maintenance.adopt(prefix, "dave"))
        return {each.key: each for each in adopted}

    def outcomes(self) -> dict[str, str]:
        return {where: each.outcome.value for where, each in self.adopt().items()}

    layouts: tuple[tuple[str, ...], ...] = (
        ("{}",),  # pip download
        ("wheels/{}", "more/deep/er/{}"),
        ("spam/{}", "Eggs_Ham/{}", "eggs-ham/{}"),  # pypiserver, simple folders
    )

    def test_layouts(self) -> None:
        """Flat, nested or a folder for each project: all is listed; nothing is moved, renamed or
        rewritten, once or again.
        """
        distributions = {
            wheel_filename(): wheel(),
            "spam-1.0.tar.gz": sdist(),
            "Spam-2.0.zip": sdist(version="2.0", suffix=".zip", top="Spam-2.0"),
            "Eggs_Ham-1.0-py2.py3-none-any.whl": wheel("Eggs_Ham", tag="py2.py3-none-any"),
            "eggs-ham-0.9.tar.bz2": sdist("eggs-ham", "0.9", suffix=".tar.bz2", top="eggs-ham-0.9"),
            egg_filename("eggs.ham", "0.8"): egg("eggs.ham", "0.8"),
        }
        for layout in self.layouts:
            self.setUp()
            for number, (filename, data) in enumerate(distributions.items()):
                self.drop(layout[number % len(layout)].format(filename), data)
            self.drop("README.txt", b"not a distribution")
            before = self.seen()
            self.assertEqual(set(self.outcomes().values()), {"adopted"})
            self.assertEqual(self.files(self.compared()), distributions)
            self.assertEqual(self.seen(), before)
            records = {path: path.read_bytes() for path in self.root.rglob("*.json")}
            self.assertEqual(self.outcomes(), {})
            self.assertEqual(self.outcomes(), {})
            self.assertEqual(
                {path: path.read_bytes() for path in self.root.rglob("*.json")}, records
            )
            self.assertEqual(self.seen(), before)
            for name in ("spam", "eggs-ham"):
                for file in self.have(self.restarted().project(project_name(name))).files:
                    assert file.uploaded is not None
                    self.assertEqual(file.uploaded.timestamp(), LONG_AGO)
                    self.assertEqual(file.uploader, "dave")

    def test_broken(self) -> None:
        """What cannot be served is refused with its reason and left as it is; all else
        is taken in.
        """
        self.drop(wheel_filename(), wheel())
        self.drop("eggs-1.0-py3-none-any.whl", wheel("eggs")[:-30])
        self.drop("ham-1.0-py3-none-any.whl", b"")
        self.drop("other-1.0-py3-none-any.whl", wheel("spam"))
        self.drop("older-1.0.tar.gz", sdist("older", "2.0", top="older-1.0"))
        self.drop("none-1.0.tar.gz", b"<html>404</html>")
        before = self.seen()
        adopted = self.adopt()
        refused = {where for where, each in adopted.items() if each.outcome is Result.REFUSED}
        self.assertEqual(len(refused), 5)
        self.assertTrue(all(adopted[where].problems for where in refused))
        self.assertIn("do not rename", "".join(adopted["other-1.0-py3-none-any.whl"].problems))
        self.assertEqual(list(self.files(self.compared())), [WHEEL])
        self.assertEqual(self.seen(), before)
        for name in ("eggs", "ham", "other", "older", "none"):
            self.refused(self.index.project(project_name(name)), NoSuchProject)

    def test_files_that_an_upload_would_refuse_stay_listed(self) -> None:
        """A wheel with requirements and scripts that an upload is refused for is adopted, rebuilt
        and served.
        """
        data = wheel(
            extra=[("Requires-Dist", "foo >= dog")],
            files={"spam-1.0.dist-info/entry_points.txt": b"[console_scripts]\n../../evil = m:f\n"},
        )
        self.drop(WHEEL, data)
        adopted = self.adopt()[WHEEL]
        self.assertIs(adopted.outcome, Result.ADOPTED)
        self.assertIn("'../../evil'", "".join(adopted.problems))
        self.assertEqual(self.files(self.compared()), {WHEEL: data})
        self.have(self.index.maintenance.rebuild("dave"))
        self.assertEqual(self.files(self.index), {WHEEL: data})

    def test_duplicates(self) -> None:
        """Of two files of one name the first by path is taken in, the other refused and left; also
        the next time.
        """
        self.drop(f"b/{WHEEL}", wheel())
        self.drop(f"a/{WHEEL}", wheel(extra=[("License", "other")]))
        for expected in (
            {f"a/{WHEEL}": "adopted", f"b/{WHEEL}": "refused"},
            {f"b/{WHEEL}": "refused"},
        ):
            self.assertEqual(self.outcomes(), expected)
            self.assertEqual(
                self.files(self.compared()), {WHEEL: wheel(extra=[("License", "other")])}
            )

    def test_deleted_stays_deleted(self) -> None:
        """A file that was published here and deleted does not come back by being dropped."""
        self.drop(f"wheels/{WHEEL}", wheel())
        self.adopt()
        self.have(self.index.manager.delete(SPAM, [WHEEL], "carol"))
        self.assertFalse((self.root / "wheels" / WHEEL).exists())
        self.drop(f"wheels/{WHEEL}", wheel())
        self.assertEqual(self.outcomes(), {f"wheels/{WHEEL}": "refused"})
        self.assertEqual(self.files(self.compared()), {})

    def test_damaged_record(self) -> None:
        """A file beside a record that cannot be read is not taken in over it."""
        self.drop(f"spam/{WHEEL}", wheel())
        self.drop(f"spam/{WHEEL}.record.json", b"{")
        _, adopted = self.have(self.index.maintenance.rebuild("dave", SPAM))
        self.assertEqual([each.outcome for each in adopted], [Result.REFUSED])
        self.assertIn("pypid storage check", adopted[0].problems[0])

    def test_changes_while_it_is_read(self) -> None:
        """A file that is being written meanwhile is not taken in; when it is complete, it is."""
        data = wheel()
        turns = Turns()
        self.drop(WHEEL, data[:-1])
        self.have(self.index.maintenance.reconcile())
        slow = evolve(self.index.context, world=evolve(self.index.context.world, blocking=turns))
        stray = self.have(self.store.stat(WHEEL))
        adopting = start(Adopter(slow).adopt([stray], "dave"))
        self.drop(WHEEL, data)
        turns.all()
        (refused,) = self.successResultOf(adopting)
        self.assertEqual(refused.outcome, Result.REFUSED)
        self.assertEqual(self.files(), {})
        self.assertEqual(self.outcomes(), {WHEEL: "adopted"})
        self.assertEqual(self.files(self.compared()), {WHEEL: data})


class MeanwhileTests(IndexCase):
    """Adopting while others change the same, and while the storage fails."""

    def test_published_meanwhile(self) -> None:
        """A dropped file whose name is being published: one of them is the file, whole, whoever
        comes first.
        """
        data = wheel()
        for where in (f"spam/{WHEEL}", f"wheels/{WHEEL}"):
            for step in range(40):
                self.setUp()
                self.put(where, data)
                gated = Gated(self.store)
                index = self.restarted(gated)
                adopting = start(index.maintenance.rebuild("dave"))
                for _ in range(step):
                    if gated.waiting:
                        gated.go()
                publish = start(publishing(index, sent(b"other")))
                gated.all(lambda number: number - 1)
                self.successResultOf(adopting)
                outcome: list[Any] = []
                publish.addErrback(lambda failure: failure.trap(AlreadyExists)).addCallback(
                    outcome.append
                )
                expected = b"other" if outcome == [PublishOutcome.PUBLISHED] else data
                self.assertEqual(self.files(self.compared(self.restarted())), {WHEEL: expected})
                self.at_rest(index)

    def test_one_cannot_be_read(self) -> None:
        """A file that the system does not give is refused, and all others are taken in."""
        self.put(WHEEL, wheel())
        self.put("eggs-1.0.tar.gz", sdist("eggs"))

        class Denied(Watched):
            async def read(self, key: str, span: object = None) -> Any:
                if key == "eggs-1.0.tar.gz":
                    raise StorageDown("it may not be accessed.")
                return await self._blobs.read(key)

        index = self.restarted(Denied(self.store))
        _, adopted = self.have(index.maintenance.rebuild("dave"))
        self.assertEqual([each.outcome for each in adopted], [Result.REFUSED, Result.ADOPTED])

    def test_storage_fails(self) -> None:
        """Whichever operation fails, what was taken in is whole, and doing it again takes in the
        rest.
        """
        data = {WHEEL: wheel(), "spam-1.0.tar.gz": sdist()}
        for late in (False, True):
            for nth in range(1, 60):
                self.setUp()
                for filename, content in data.items():
                    self.put(f"wheels/{filename}", content)
                storm = Storm(self.store, nth, lambda: StorageDown("away."), late=late)
                index = self.restarted(storm)
                start(index.maintenance.rebuild("dave")).addErrback(
                    lambda failure: failure.trap(StorageDown)
                )
                self.at_rest(index)
                self.files(self.compared(self.restarted()))
                self.have(self.index.maintenance.rebuild("dave"))
                self.assertEqual(self.files(self.compared()), data)
                if not storm.struck:
                    return
        self.fail("more than 59 operations")

    def test_shared(self) -> None:
        """On storage that others write to, a young file may be another node's publish: it is left
        alone for 15 minutes.
        """
        self.put(f"spam/{WHEEL}", wheel())
        index = self.restarted(shared=True)
        _, adopted = self.have(index.maintenance.rebuild("dave"))
        self.assertEqual([each.outcome for each in adopted], [Result.REFUSED])
        self.clock.advance(15 * 60)
        _, adopted = self.have(index.maintenance.rebuild("dave"))
        self.assertEqual([each.outcome for each in adopted], [Result.ADOPTED])
