"""Where new files go: whatever is done, a pypicloud on the same storage would list exactly what is
published, and pypid too.
"""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

import json
import os
from collections.abc import Callable
from hashlib import md5, sha256
from pathlib import Path
from subprocess import run

from attrs import evolve

from pypid.blobs import files
from pypid.catalog.memory import MemoryCatalog
from pypid.core.errors import Missing, NameUsedUp, NoSuchFile, StorageDown
from pypid.core.packaging.names import project_name
from pypid.core.records.layout import Plan, is_only_ours, lies_at
from pypid.flow import start, whole
from pypid.index import Index
from pypid.index.local.publish import UNDER_WAY, PublishOutcome
from pypid.index.local.storage_check import StorageProblem
from pypid.ports import Blobs
from pypid.testing import contents, world
from tests.distributions import sdist, wheel
from tests.index.faulty_blobs import Storm
from tests.index.file_cache_cases import KeeperCase, listed
from tests.index.uploads import (
    SPAM,
    WHEEL,
    Described,
    IndexCase,
    publishing,
    sent,
    signed,
    unnumbered,
)

SDIST = "spam-2.0.tar.gz"
SUFFIXES = (".tar.gz", ".tar.bz2", ".tar", ".zip", ".tgz", ".tbz", ".egg", ".exe", ".whl")
"""What pypicloud takes for a distribution in a bucket, whatever lies before it."""
BUCKET, HASHED, FOLDER = (
    Plan(pypicloud=True),
    Plan(pypicloud=True, hashed=True),
    Plan(pypicloud=True, folders=True),
)
PLANS = (Plan(), Plan(hashed=True), BUCKET, HASHED, FOLDER)
THEIRS = (BUCKET, HASHED, FOLDER)


class PlanCase(IndexCase):
    """An index with each plan."""

    def begin(self, plan: Plan) -> None:
        """A new storage, as it is with this plan, compared."""
        self.plan = plan
        self.setUp()
        self.store = self.folder() if plan == FOLDER else Described(world(self.clock).now)
        self.index = self.restarted()
        self.have(self.index.reconcile())

    def folder(self) -> Blobs:
        self.patch(os, "fsync", lambda descriptor: None)  # nobody cuts the power here
        self.root = Path(self.mktemp()).absolute()
        settings = files.FilesSettings(str(self.root), create=True, veiled=is_only_ours)
        return self.have(files.open(settings, evolve(world(self.clock), random=os.urandom)))

    def sees(self) -> dict[str, bytes]:
        """The files that a pypicloud would list, with their bytes."""
        if self.plan != FOLDER:
            keys = [key for key in self.have(contents(self.store)) if key.endswith(SUFFIXES)]
            return {key.rpartition("/")[2]: self.get(key) for key in keys}
        found = {}
        for path in self.root.rglob("*"):
            if path.is_file() and path.suffix != ".meta":
                name, version, filename = path.relative_to(
                    self.root
                ).parts  # it fails on any other depth
                self.assertEqual(
                    (name, version), ("spam", filename.split("-")[1].removesuffix(".tar.gz"))
                )
                found[filename] = path.read_bytes()
        return found

    def check_both(self, index: Index | None = None) -> None:
        """What can be installed from here could be from there, and the other way round; nothing is
        wrong in the storage.
        """
        mine = self.files(self.compared(index))
        if self.plan.pypicloud:
            self.assertEqual(self.sees(), mine)
        self.clock.advance(UNDER_WAY.total_seconds())
        found = self.have((index or self.index).check(hashes=True))
        self.assertEqual(
            [each for each in found.findings if each.wrong is not StorageProblem.SET_ASIDE], []
        )

    def compared(self, index: Index | None = None) -> Index:
        self.have((index or self.index).reconcile())
        return super().compared(index)


class LifeTests(PlanCase):
    """All that can be done to a file, with each plan."""

    def test_life(self) -> None:
        """Published, yanked, overwritten, lost and put back, deleted and published again: both see
        the same always.
        """
        for plan in PLANS:
            self.begin(plan)
            self.publish(signed())
            self.publish(sent(b"sdist", SDIST, requires_python=">=3.8", summary="Späm"))
            self.check_both()
            self.have(self.index.yank(SPAM, [WHEEL], "bad"))
            for data in (b"over", b"over and over"):
                self.assertIs(
                    self.publish(signed(data), overwrite=True), PublishOutcome.OVERWRITTEN
                )
                self.check_both()
            self.assertEqual(self.have(self.index.file(SPAM, WHEEL)).yanked, "bad")
            self.have(self.index.unyank(SPAM, [WHEEL]))
            self.have(self.store.delete(self.have(self.index.file(SPAM, WHEEL)).key or ""))
            self.publish(signed(b"over and over"))
            self.check_both()
            self.have(self.index.delete(SPAM, [WHEEL], "carol"))
            self.refused(self.index.file(SPAM, WHEEL), NoSuchFile)
            self.check_both()
            self.publish(signed(b"over and over"))
            self.check_both()
            self.have(self.index.delete_project(SPAM, "carol"))
            self.have(self.index.release_name(SPAM))
            self.assertEqual(self.keys(), [], plan)

    def test_keys(self) -> None:
        """New bytes lie where the plan says, their records at the project always."""
        data, digits = b"sdist", md5(SDIST.encode()).hexdigest()[:4]
        for plan, where in (
            (Plan(), f"spam/{SDIST}"),
            (Plan(hashed=True), f"{digits}/spam/{SDIST}"),
            (BUCKET, f"spam/{SDIST}"),
            (HASHED, f"{digits}/spam/{SDIST}"),
            (FOLDER, f"spam/2.0/{SDIST}"),
        ):
            self.begin(plan)
            self.publish(sent(data, SDIST))
            self.assertIn(where, self.keys())
            self.assertIn(f"spam/{SDIST}.record.json", self.keys())

    def test_descriptions(self) -> None:
        """What pypicloud wants to know is said: in ASCII in a bucket, in JSON without a name (it
        fails on one) in a folder.
        """
        what = sent(b"sdist", SDIST, requires_python=">=3.8", summary="Lövely  späm \u2713")
        said = {"requires_python": ">=3.8", "summary": "Lövely  späm \u2713", "uploader": "alice"}
        said["hash_sha256"], said["hash_md5"] = (
            what.upload.digests.sha256,
            what.upload.digests.md5 or "",
        )
        self.begin(FOLDER)
        self.publish(what)
        self.assertEqual(json.loads((self.root / f"spam/2.0/{SDIST}.meta").read_bytes()), said)
        self.have(self.index.delete(SPAM, [SDIST], "carol"))
        self.assertEqual([path.name for path in self.root.glob("spam/*") if path.is_dir()], [])
        self.begin(BUCKET)
        self.publish(what)
        self.publish(sent(b"other", SDIST), overwrite=True)
        assert isinstance(self.store, Described)
        kept = {key: self.store.said[key] for key in self.keys() if key in self.store.said}
        ((key, second),) = kept.items()
        self.assertEqual(
            (key.rpartition("/")[2], second["name"], second["version"]), (SDIST, "spam", "2.0")
        )
        first = self.store.said[f"spam/{SDIST}"]
        self.assertEqual(
            (first["summary"], first["requires-python"], first["uploader"]),
            ("Lovely spam", ">=3.8", "alice"),
        )

    def test_plan_may_change(self) -> None:
        """In a bucket any file of ours is found with any plan, and can be overwritten and deleted
        with it.
        """
        for first in PLANS[:4]:
            for second in PLANS[:4]:
                self.begin(first)
                self.publish(signed())
                self.publish(signed(b"over"), overwrite=True)
                self.publish(sent(b"sdist", SDIST))
                self.plan = second
                self.index = self.restarted()
                self.have(self.index.reconcile())
                self.assertEqual(self.files(), {WHEEL: b"over", SDIST: b"sdist"})
                self.publish(signed(b"again"), overwrite=True)
                self.have(self.index.delete(SPAM, [SDIST], "carol"))
                self.assertEqual(self.files(self.compared()), {WHEEL: b"again"})

    def test_layout_is_left(self) -> None:
        """The command in docs/migrate/storage makes a folder of pypid's layout out of it,
        and nothing is lost.
        """
        self.begin(FOLDER)
        self.publish(signed())
        self.publish(signed(b"over"), overwrite=True)
        self.publish(sent(b"sdist", SDIST))
        self.have(self.index.yank(SPAM, [WHEEL], "bad"))
        self.have(self.index.delete(SPAM, [SDIST], "carol"))
        before = self.have(self.index.project(SPAM))
        page = (Path(__file__).parents[2] / "docs/migrate/storage.rst").read_text()
        command = page[page.index("    find . -type f") : page.index("Then set ``layout = pypid``")]
        run(["sh", "-ec", command], cwd=self.root, check=True)
        self.store = self.have(
            files.open(
                files.FilesSettings(str(self.root)), evolve(world(self.clock), random=os.urandom)
            )
        )
        self.plan = Plan()
        self.index = self.compared(self.restarted())
        self.assertEqual(unnumbered(self.have(self.index.project(SPAM))), unnumbered(before))
        self.assertEqual(self.files(), {WHEEL: b"over"})
        self.refused(publishing(self.index, sent(b"another", SDIST)), NameUsedUp)

    def test_nested_strays(self) -> None:
        """A file without a record makes its name unknown, not absent, also where it lies in the
        folder of its version.
        """
        self.begin(FOLDER)
        self.put("eggs/1.0/eggs-1.0.tar.gz", sdist("eggs"))
        name = project_name("eggs")
        self.assertEqual(self.have(self.index.context.ours_now(name)).name, "UNKNOWN")  # type: ignore[union-attr]
        self.have(self.index.rebuild("dave", name))
        self.assertEqual(list(self.files(self.compared())), ["eggs-1.0.tar.gz"])


class WrongTests(PlanCase):
    """What goes wrong half-way."""

    def test_storage_fails(self) -> None:
        """Whichever operation of an overwrite or a delete fails, what is listed can be had, and the
        next try completes it.
        """
        jobs: tuple[Callable[[Index], object], ...] = (
            lambda index: publishing(index, signed(b"over"), overwrite=True),
            lambda index: index.delete(SPAM, [WHEEL], "carol"),
        )
        for plan in THEIRS[1:]:
            for number, job in enumerate(jobs):
                for nth in range(1, 60):
                    self.begin(plan)
                    self.publish(signed())
                    storm = Storm(self.store, nth, lambda: StorageDown("away."), late=nth % 2 == 0)
                    index = self.restarted(storm)
                    self.have(self.restarted().reconcile())
                    start(index.reconcile()).addErrback(lambda failure: failure.trap(StorageDown))
                    start(job(index)).addErrback(lambda failure: failure.trap(Exception))  # type: ignore[arg-type]
                    self.at_rest(index)
                    self.files(self.compared(self.restarted()))
                    if not storm.struck:
                        break
                    self.index = self.restarted()
                    self.have(self.index.reconcile())
                    self.publish(signed(b"over"), overwrite=True)
                    if number == 0:
                        self.assertEqual(self.files(self.compared()), {WHEEL: b"over"}, (plan, nth))

    def test_set_aside(self) -> None:
        """Bytes that lay where a publish writes are kept where no pypicloud lists them."""
        for plan in THEIRS:
            self.begin(plan)
            where = plan.artifact(SPAM, "1.0", WHEEL)
            self.put(where, b"somebody's")
            self.publish(sent())
            self.check_both()
            aside = [key for key in self.have(contents(self.store)) if "set-aside" in key]
            self.assertEqual([self.get(key) for key in aside], [b"somebody's"])

    def test_left_over(self) -> None:
        """The bytes of a delete that broke off are found and swept, wherever they lie; those of no
        file of ours stay.
        """
        for plan in THEIRS:
            self.begin(plan)
            self.publish(sent())
            where = self.have(self.index.file(SPAM, WHEEL)).key or ""
            self.have(self.index.delete(SPAM, [WHEEL], "carol"))
            self.put(where, b"spam")
            self.put(plan.artifact(SPAM, "2.0", SDIST), b"dropped")
            self.clock.advance(UNDER_WAY.total_seconds() + 2_000_000_000)
            found = {
                each.key: (each.wrong, each.swept)
                for each in self.have(self.index.check(sweep=True)).findings
            }
            self.assertEqual(found[where], (StorageProblem.LEFT_OVER, True))
            self.assertEqual(
                found[plan.artifact(SPAM, "2.0", SDIST)], (StorageProblem.NO_RECORD, False)
            )
            self.refused(self.store.stat(where), Missing)


class PlaceTests(PlanCase):
    """Back from keys."""

    def test_lies_at(self) -> None:
        """Each plan's keys tell their file; what lies otherwise tells none."""
        for plan in PLANS:
            found = lies_at(plan.artifact(SPAM, "1.0", WHEEL))
            self.assertEqual(found and (found.project, found.filename), (SPAM, WHEEL), plan)
            over = plan.overwrite(SPAM, "1.0", WHEEL, sha256(b"").hexdigest())
            self.assertTrue(is_only_ours(over) or lies_at(over) == found)
        for key in (
            WHEEL,
            f"0000/spam/{WHEEL}",
            f"spam/2.0/{WHEEL}",
            f"eggs/{WHEEL}",
            f"a/b/c/{WHEEL}",
            "spam/x.txt",
        ):
            self.assertIsNone(lies_at(key), key)

    def test_pypicache(self) -> None:
        """What pypicache kept, PREFIX/packages/<letter>/<project>/<file>, is adopted in place."""
        self.begin(Plan())
        left = {
            f"s/spam/{WHEEL}": wheel(),
            "s/spam/spam-2.0.tar.gz": sdist(version="2.0"),
            "e/eggs/eggs-1.0.zip": b"",
        }
        left["e/eggs/eggs-1.0.zip"] = sdist("eggs", suffix=".zip")
        for key, data in left.items():
            self.put(key, data)
        _, adopted = self.have(self.index.adopt("", "dave"))
        self.assertEqual(
            {each.key: each.outcome.value for each in adopted}, dict.fromkeys(left, "adopted")
        )
        self.assertEqual(
            set(self.files(self.compared())), {WHEEL, "spam-2.0.tar.gz", "eggs-1.0.zip"}
        )
        self.assertEqual({key: self.get(key) for key in left}, left)


class KeptTests(KeeperCase):
    """Files of other indexes in a bucket that a pypicloud looks at, too."""

    def test_hidden(self) -> None:
        """They lie under no distribution's name, and are found, read again and forgotten all the
        same.
        """
        self.file_cache = self.another(hides=True)
        file, data = listed(b"theirs"), b"theirs"
        self.upstream.sends(file.source or "", data)
        self.assertEqual(self.successResultOf(self.client(file).ended), data)
        self.assertEqual([key for key in self.stored() if key.endswith(SUFFIXES)], [])
        again = self.another(catalog=MemoryCatalog(), hides=True)
        self.have(again.kept.compare())
        kept = self.have(again.kept.find(file))
        assert kept is not None
        self.assertEqual(self.have(whole_of(self.blobs, kept.key)), data)
        self.have(again.forget(file.project, file.filename))
        self.assertEqual(self.stored(), [])


async def whole_of(blobs: Blobs, key: str) -> bytes:
    """What lies under the key."""
    return await whole(await blobs.read(key), 1 << 20)
