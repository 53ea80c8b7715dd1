"""Snapshots of the catalog in memory."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from attrs import evolve
from hypothesis import HealthCheck, settings, stateful
from twisted.internet.defer import CancelledError
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from pypid.catalog import dump
from pypid.catalog.dump import CatalogDump, DumpFolder, Ignored, read_dump
from pypid.catalog.lines import Loaded, shard_of
from pypid.catalog.memory import MemoryCatalog
from pypid.core.model import Presence, Project, Status
from pypid.core.packaging.names import project_name
from pypid.flow import World, start
from tests.failing_calls import REFUSALS, Scripted, die, in_child, refuse
from tests.support import CatalogContract, Turns, world
from tests.support.catalog import CatalogModel, a_file, a_listing, a_project, becomes
from tests.support.worlds import Awaiting

HERE = "storage-1"


def load(folder: str, identity: str) -> Loaded | Ignored:
    """The catalog from the dump in `folder`."""
    found = read_dump(DumpFolder(folder), identity, lambda line: line)
    return found if isinstance(found, Ignored) else found.loaded


class SnapshotCase(Awaiting, SynchronousTestCase):
    """Each test with a catalog and a folder of its own."""

    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.mktemp()).absolute() / "snapshot"
        self.world: World = world()
        self.catalog = MemoryCatalog()
        self.snapshot = self.opened(self.catalog)

    def opened(self, catalog: MemoryCatalog) -> CatalogDump:
        return CatalogDump(catalog.local, str(self.folder), HERE, self.world)

    def put(self, name: str, *versions: str, mark: str | None = None) -> Project:
        project = a_project(project_name(name), *versions)
        held = self.have(self.catalog.local.edit(project.name, becomes(project), mark=mark))
        assert held is not None
        return held

    def remove(self, name: str) -> None:
        self.have(self.catalog.local.edit(project_name(name), becomes(None)))

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.folder.iterdir()}

    def state(self, catalog: MemoryCatalog) -> tuple[object, ...]:
        """All that can be asked of a catalog."""
        names = self.have(catalog.local.summaries())
        projects = [
            (
                self.have(catalog.local.get(summary.name)),
                self.have(catalog.local.mark(summary.name)),
            )
            for summary in names
        ]
        return self.have(catalog.serial()), tuple(names), projects

    def reloaded(self) -> tuple[object, ...] | str:
        """The state of a catalog that starts from the folder now, or why it is ignored."""
        catalog = MemoryCatalog()
        found = self.have(self.opened(catalog).load())
        return found.reason if isinstance(found, Ignored) else self.state(catalog)


class RoundTripTests(SnapshotCase):
    """What was written is what is loaded."""

    def test_round_trip(self) -> None:
        """Projects, files, marks, the list of names and the serial come back; that the storage was
        compared does not.
        """
        for number in range(40):
            self.put(
                f"p{number}",
                *(["1", "2"] * (number % 2)),
                mark=f"m{number}" if number % 3 else None,
            )
        self.remove("p7")
        self.have(self.catalog.complete())
        self.assertTrue(self.have(self.snapshot.write()))
        self.assertEqual(self.reloaded(), self.state(self.catalog))
        catalog = MemoryCatalog()
        self.have(self.opened(catalog).load())
        self.assertIs(self.have(catalog.local.get(project_name("p7"))), Presence.UNKNOWN)
        self.assertIsInstance(load(str(self.folder), HERE), Loaded)

    def test_what_was_heard(self) -> None:
        """What is known of theirs comes back from a snapshot of its own, and so does the list of
        what is kept of it.
        """
        for text in ("spam", "ham", "gone"):
            name = project_name(text)
            told = a_listing(name, "1", status=Status.DEPRECATED)
            told = evolve(told, files=None) if text == "gone" else told
            kept = () if text == "ham" else (a_file(name, "1"),)
            self.have(
                self.catalog.upstream.edit(
                    name, lambda heard, told=told, kept=kept: evolve(heard, listing=told, kept=kept)
                )
            )
        self.assertTrue(
            self.have(
                CatalogDump(self.catalog.upstream, str(self.folder), HERE, self.world).write()
            )
        )
        catalog = MemoryCatalog()
        self.have(CatalogDump(catalog.upstream, str(self.folder), HERE, self.world).load())
        for text in ("spam", "ham", "gone"):
            self.assertEqual(
                self.have(catalog.upstream.get(project_name(text))),
                self.have(self.catalog.upstream.get(project_name(text))),
            )
        before = self.have(self.catalog.upstream.summaries())
        self.assertEqual(
            [(summary.name, summary.gone) for summary in before], [("gone", True), ("spam", False)]
        )
        self.assertEqual(self.have(catalog.upstream.summaries()), before)

    def test_private(self) -> None:
        """The folder is for the daemon alone, and so are its files: names of
        projects are private.
        """
        self.put("spam", "1")
        self.have(self.snapshot.write())
        self.assertEqual(self.folder.stat().st_mode & 0o777, 0o700)
        self.assertEqual({path.stat().st_mode & 0o777 for path in self.folder.iterdir()}, {0o600})


class ChangesTests(SnapshotCase):
    """Only what changed is written."""

    def test_unchanged_shards_stay(self) -> None:
        """One edit writes one shard and the manifest; also in the process that started from the
        snapshot.
        """
        for number in range(300):
            self.put(f"p{number}", "1")
        self.have(self.snapshot.write())
        self.catalog = MemoryCatalog()
        self.snapshot = self.opened(self.catalog)
        self.have(self.snapshot.load())
        for count in range(2):
            before = {
                path.name: (path.stat().st_ino, path.stat().st_mtime_ns)
                for path in self.folder.iterdir()
            }
            self.put("p7", "1", f"{count + 2}")
            self.have(self.snapshot.write())
            after = {
                path.name: (path.stat().st_ino, path.stat().st_mtime_ns)
                for path in self.folder.iterdir()
            }
            written = {name for name in after if after[name] != before.get(name)}
            self.assertEqual(len(after), len(before))
            self.assertEqual({name[:2] for name in written}, {"ma", f"{shard_of('p7'):02x}"})
            self.assertEqual(len(written), 2)

    def test_one_moment(self) -> None:
        """What is edited while a thread writes belongs to the next write, and two writes never
        overlap.
        """
        turns = Turns()
        self.world = world(blocking=turns)
        snapshot = self.opened(self.catalog)
        self.put("spam", "1")
        self.put("ham", "1")
        before = self.state(self.catalog)
        first = start(snapshot.write())
        self.put("spam", "1", "2")
        self.remove("ham")
        second = start(snapshot.write())
        self.assertEqual(len(turns), 1)
        turns.turn()
        self.world = world()
        self.assertTrue(self.successResultOf(first))
        self.assertEqual(self.reloaded(), before)
        self.assertEqual(len(turns), 1)
        turns.turn()
        self.assertTrue(self.successResultOf(second))
        self.assertEqual(self.reloaded(), self.state(self.catalog))

    def test_cancelled(self) -> None:
        """A write whose caller goes away goes on to its end, and the next one waits for it."""
        turns = Turns()
        self.world = world(blocking=turns)
        snapshot = self.opened(self.catalog)
        self.put("spam", "1")
        first = start(snapshot.write())
        first.cancel()
        self.failureResultOf(first, CancelledError)
        second = start(snapshot.write())
        self.assertEqual(len(turns), 1)
        turns.all()
        self.assertTrue(self.successResultOf(second))
        self.world = world()
        self.assertEqual(self.reloaded(), self.state(self.catalog))


class IgnoredTests(SnapshotCase):
    """A snapshot with a damaged manifest is ignored as a whole, a damaged shard alone; the reason
    says what is wrong.
    """

    def setUp(self) -> None:
        super().setUp()
        for number in range(10):
            self.put(f"p{number}", "1")
        self.have(self.snapshot.write())

    def check(self, words: str) -> None:
        reason = self.reloaded()
        assert isinstance(reason, str), "the snapshot was loaded"
        self.assertIn(words, reason)
        self.assertNotIn("Error(", reason)
        self.assertTrue(reason.endswith("."), reason)

    def damaged(self, words: str) -> None:
        """One shard is left out, with a line in the log; all other projects are there."""
        catalog = MemoryCatalog()
        snapshot = self.opened(catalog)
        with capturedLogs() as events:
            self.assertIsInstance(self.have(snapshot.load()), Loaded)
        self.assertFalse(snapshot.is_whole)
        self.assertEqual(len(self.have(catalog.local.summaries())), 9)
        [line] = [formatEvent(event) for event in events]
        self.assertIn("1 of 10 files of the catalog dump are damaged", line)
        self.assertIn(words, line)
        self.assertNotIn("Error(", line)

    def edit_manifest(self, **changes: object) -> None:
        path = self.folder / "manifest.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    def shard(self) -> Path:
        return min(self.folder.glob("*.jsonl"))

    def test_other_version(self) -> None:
        """A snapshot of another format, whatever else is in it."""
        for path in self.folder.glob("*.jsonl"):
            path.unlink()
        (self.folder / "manifest.json").write_text('{"format": 3, "shards": "elsewhere"}')
        self.check("format 3")

    def test_torn_manifest(self) -> None:
        """A manifest cut at any place, empty, of another kind, endless, or leading elsewhere."""
        path = self.folder / "manifest.json"
        whole = path.read_bytes()
        for length in range(0, len(whole) - 2, 7):
            path.write_bytes(whole[:length])
            self.check("manifest.json cannot be read")
        for data in (
            b"[]",
            b"null",
            b"\xff\xfe",
            b"\0" * 100,
            b'{"format":1}',
            b" " * (2 << 20),
            b"[" * 100_000,
        ):
            path.write_bytes(data)
            self.check("manifest.json cannot be read")
        entry = {"size": 1, "sha256": ""}
        for shards in (
            {"00": {"file": "../../etc/passwd", **entry}},
            {"zz": {"file": self.shard().name, **entry}},
        ):
            path.write_bytes(whole)
            self.edit_manifest(shards=shards)
            self.check("no shard")

    def test_torn_shard(self) -> None:
        """A shard that is cut, longer, changed in one bit, missing, or a folder."""
        path = self.shard()
        whole = path.read_bytes()
        for data in (
            b"",
            whole[:-1],
            whole[: len(whole) // 2],
            whole + b"\n",
            whole.replace(b"1", b"2", 1),
        ):
            path.write_bytes(data)
            self.damaged(path.name)
        path.unlink()
        self.damaged("missing")
        path.mkdir()
        self.damaged(path.name)


class CrashTests(SnapshotCase):
    """Each step of a write refused by the system, and the process killed at each step."""

    def each_step(self, act: object) -> object:
        """The script for each step of a write that changes, adds and removes shards; with the state
        before it.
        """
        for first in (True, False):
            for nth in range(1, 100):
                shutil.rmtree(self.folder, ignore_errors=True)
                self.catalog = MemoryCatalog()
                self.snapshot = self.opened(self.catalog)
                if not first:
                    for name in ("spam", "ham", "eggs"):
                        self.put(name, "1")
                    self.have(self.snapshot.write())
                before = self.reloaded()
                self.put("spam", "1", "2")
                self.put("bacon", "1")
                self.remove("ham")
                script = Scripted(nth, act)
                self.patch(dump, "os", script)
                yield before, script
                if script.failed is None and script.calls:
                    break
            else:
                self.fail("a write of more than 100 steps")

    def test_killed_at_each_step(self) -> None:
        """Whatever step the process dies at, the old or the new snapshot is loaded, and the next
        process writes on.
        """
        for before, script in self.each_step(die):
            ended = in_child(lambda: self.have(self.snapshot.write()))
            self.patch(dump, "os", os)
            after = self.reloaded()
            self.assertIn(after, (before, self.state(self.catalog)))
            if ended:
                self.assertEqual(after, self.state(self.catalog))
                script.calls.append("")  # the child's calls are its own: here is the end
            self.catalog = MemoryCatalog()
            self.snapshot = self.opened(self.catalog)
            self.have(self.snapshot.load())
            self.put("more", "1")
            self.assertTrue(self.have(self.snapshot.write()))
            self.assertEqual(self.reloaded(), self.state(self.catalog))
            self.assertEqual(len(self.files()), 1 + len(self.have(self.catalog.local.summaries())))


class Full:
    """An `os.fsync` that finds the disk full from its `nth` call on."""

    def __init__(self, nth: int) -> None:
        self._left = nth

    def __call__(self, descriptor: int) -> None:
        self._left -= 1
        if self._left <= 0:
            refuse(REFUSALS[0])("fsync")


class KeptCatalogTests(CatalogContract, SynchronousTestCase):
    """A catalog that is written and loaded again at any time is the same catalog."""

    async def make(self) -> MemoryCatalog:
        self.folder = self.mktemp()
        self.catalog = MemoryCatalog()
        self.snapshot = CatalogDump(self.catalog.local, self.folder, HERE, world())
        await self.snapshot.write()
        return self.catalog

    def restart(self) -> None:
        """Start again from the folder."""
        self.catalog = MemoryCatalog()
        self.snapshot = CatalogDump(self.catalog.local, self.folder, HERE, world())
        assert isinstance(self.have(self.snapshot.load()), Loaded)

    def test_is_a_dict(self) -> None:
        """Any sequence of edits, writes and starts holds what a dict would."""
        modest = settings(
            max_examples=20,
            stateful_step_count=25,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        stateful.run_state_machine_as_test(lambda: _Kept(self), settings=modest)


class _Kept(CatalogModel):
    def __init__(self, contract: KeptCatalogTests) -> None:
        super().__init__(contract)
        self.kept = contract
        self.written = (dict(self.held), self.serial)

    @stateful.rule()
    def write(self) -> None:
        assert self.kept.have(self.kept.snapshot.write())
        self.written = (dict(self.held), self.serial)

    @stateful.rule()
    def restart(self) -> None:
        self.kept.restart()
        held, self.serial = self.written
        self.held = dict(held)
