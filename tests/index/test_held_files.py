"""Withholding the bytes of blocked files in a bucket: nothing is lost, wherever a process dies."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, ClassVar

from attrs import frozen
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.errors import Archived, StorageDown
from pypid.core.model import File, Project
from pypid.core.packaging.block_spec import parse_block_spec
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.records.layout import kept_key
from pypid.core.restrictions import Restrictions
from pypid.flow import BytesBody, start
from pypid.index import Index
from pypid.index.all_held_files import AllHeldFiles
from pypid.index.blocks import Blocks, StoredBlock
from pypid.index.bytes_blocks import BytesBlocks
from pypid.index.decisions import Decisions
from pypid.index.held_files import GRACE, PAUSE, HeldFiles, Settled
from pypid.index.local.publish import UNDER_WAY
from pypid.index.local.storage_check import StorageProblem
from pypid.ports import Blobs, Body
from tests.distributions import wheel
from tests.index.faulty_blobs import Died, Gated, Storm, Watched
from tests.index.file_cache_cases import listed, no_metadata
from tests.index.named import NamedCase
from tests.index.uploads import SPAM, WHEEL, IndexCase, digests, sent

OTHER = "spam-2.0-py3-none-any.whl"
CACHED = "eggs-1.0.tar.gz"
EGGS = project_name("eggs")


@frozen
class OneBlock:
    """A block of one file name, or of a digest."""

    filename: str
    project: ProjectName | None

    @property
    def sha256(self) -> str | None:
        return digests(b"cached").sha256 if self.project is None else None

    def hits(self, file: File) -> bool:
        return file.filename == self.filename


class Moving(Watched):
    """A store that copies by itself, as a bucket does."""

    archived = False
    failure: Exception | None = None

    async def copy(self, key: str, target: str) -> None:
        await self._before(f"copy {key}")
        if self.failure is not None:
            raise self.failure
        if self.archived:
            raise Archived()
        await self._blobs.write(target, await self._blobs.read(key), replace=True)
        await self._after(f"copy {key}")


class MovingStorm(Moving, Storm):
    """One that dies at a step."""


class HeldCase(IndexCase):
    """Two local files and a cached one, in a bucket."""

    def setUp(self) -> None:
        super().setUp()
        self.blocks: dict[str, OneBlock] = {}
        self.have(self.index.reconcile())
        self.publish(sent(b"blocked"))
        self.publish(sent(b"other", OTHER))
        self.cache(self.index)
        self.index = self.started(Moving(self.store))

    def cache(self, index: Index) -> None:
        async def body() -> Body:
            return BytesBody(b"cached")

        file = listed(b"cached", CACHED)
        self.have(index.file_cache.kept.keep(file, digests(b"cached"), body, no_metadata))

    def started(self, blobs: Blobs | None = None, *, shared: bool = False) -> Index:
        return self.restarted(blobs or Moving(self.store), shared=shared)

    def held(self, index: Index | None = None) -> HeldFiles:
        """The mover of an index."""
        index = index or self.index

        async def bucket() -> Any:
            return index.context.blobs

        return self.following(HeldFiles(index.context, index.file_cache.kept, bucket))

    def following(self, held: HeldFiles) -> HeldFiles:
        """The mover, once it knows the blocks."""
        held.follow(lambda: BytesBlocks({**self.blocks}), no_metadata)
        return held

    def block(self, filename: str = WHEEL, project: ProjectName | None = SPAM) -> Settled:
        self.blocks["b1"] = OneBlock(filename, project)
        return self.have(self.held().settle())

    def places(self, data: bytes) -> list[str]:
        """The keys at which these bytes are."""

        async def found() -> list[str]:
            return [blob.key async for blob in self.store.list()]

        return [key for key in self.have(found()) if self.get(key) == data]

    def listed_files(self, index: Index) -> set[str]:
        """The local and cached files that the catalog of an index knows."""

        async def files() -> set[str]:
            local = await index.catalog.local.get(SPAM)
            assert isinstance(local, Project)
            cached = await index.catalog.upstream.get(EGGS)
            return {file.filename for file in (*local.files, *cached.kept)}

        return self.have(files())


class HeldTests(HeldCase):
    """`HeldFiles`."""

    def test_local(self) -> None:
        """The bytes leave the key that signed URLs name, and return to it when the block ends."""
        self.assertEqual(self.block(), Settled(moved=1))
        self.assertEqual(self.places(b"blocked"), [f".pypid/held/b1/spam/{WHEEL}"])
        self.assertEqual(self.places(b"other"), [f"spam/{OTHER}"])
        self.assertEqual(self.have(self.held().settle()), Settled())
        self.blocks.clear()
        self.assertEqual(self.have(self.held().settle()), Settled(returned=1))
        self.assertEqual(self.places(b"blocked"), [f"spam/{WHEEL}"])
        self.files(self.compared(self.started()))
        self.at_rest()

    def test_cached(self) -> None:
        """So do those of a cached file."""
        self.assertEqual(self.block(CACHED, EGGS), Settled(moved=1))
        self.assertEqual(self.places(b"cached"), [f".pypid/held/b1/.kept/eggs/{CACHED}"])
        self.blocks.clear()
        self.assertEqual(self.have(self.held().settle()), Settled(returned=1))
        self.assertEqual(self.places(b"cached"), [kept_key(EGGS, CACHED)])

    def test_copy_back_first(self) -> None:
        """Before a block ends its bytes are back, and the copy stays until it has ended."""
        self.block()
        self.have(self.held().copy_back("b1"))
        both = [f".pypid/held/b1/spam/{WHEEL}", f"spam/{WHEEL}"]
        self.assertEqual(self.places(b"blocked"), both)
        self.blocks.clear()
        self.have(self.held().settle())
        self.assertEqual(self.places(b"blocked"), both[1:])

    def test_two_blocks(self) -> None:
        """A file that two blocks hit stays held until both have ended, and is nowhere readable by a
        link meanwhile.
        """
        self.block()
        self.blocks["b2"] = self.blocks["b1"]
        self.have(self.held().settle())
        self.have(self.held().copy_back("b1"))
        self.assertEqual(self.places(b"blocked"), [f".pypid/held/b1/spam/{WHEEL}"])
        del self.blocks["b1"]
        self.have(self.held().settle())
        self.assertEqual(self.places(b"blocked"), [f".pypid/held/b2/spam/{WHEEL}"])
        del self.blocks["b2"]
        self.have(self.held().settle())
        self.assertEqual(self.places(b"blocked"), [f"spam/{WHEEL}"])

    def test_archived(self) -> None:
        """Archived bytes stay in their place, and are named."""
        store = self.index.context.blobs
        assert isinstance(store, Moving)
        store.archived = True
        self.assertEqual(self.block(), Settled(archived=(WHEEL,)))
        self.assertEqual(self.places(b"blocked"), [f"spam/{WHEEL}"])

    def test_lost_record(self) -> None:
        """Bytes whose record was lost stay where they are, and a check names them."""
        self.block()
        self.have(self.store.delete(f"spam/{WHEEL}.record.json"))
        self.blocks.clear()
        self.have(self.held().settle())
        held = f".pypid/held/b1/spam/{WHEEL}"
        self.assertEqual(self.places(b"blocked"), [held])
        self.clock.advance(UNDER_WAY.total_seconds())
        report = self.have(self.started().check(sweep=True))
        self.assertIn(
            (held, StorageProblem.LEFT_OVER), {(each.key, each.wrong) for each in report.findings}
        )
        self.assertEqual(self.places(b"blocked"), [held])

    def test_damaged_record(self) -> None:
        """A damaged record does not keep a block from ending; the bytes stay until it is
        repaired.
        """
        self.block()
        where = f"spam/{WHEEL}.record.json"
        record = self.get(where)
        self.put(where, b"damaged")
        self.have(self.held().copy_back("b1"))
        self.blocks.clear()
        self.assertEqual(self.have(self.held().settle()), Settled())
        self.assertEqual(self.places(b"blocked"), [f".pypid/held/b1/spam/{WHEEL}"])
        self.put(where, record)
        self.assertEqual(self.have(self.held().settle()), Settled(returned=1))

    def test_adopted_file(self) -> None:
        """The bytes of a file that was adopted at a key of another index come back, too."""
        filename = "spam-3.0-py3-none-any.whl"
        where = f"old/wheels/any/{filename}"
        self.put(where, wheel("spam", "3.0"))
        self.have(self.index.adopt("old/", "dave"))
        self.index = self.started(Moving(self.store))
        self.block(filename)
        self.assertEqual(self.places(wheel("spam", "3.0")), [f".pypid/held/b1/{where}"])
        self.assertIn(filename, self.listed_files(self.compared(self.started())))
        self.blocks.clear()
        self.assertEqual(self.have(self.held().settle()), Settled(returned=1))
        self.assertEqual(self.places(wheel("spam", "3.0")), [where])

    def test_other_nodes(self) -> None:
        """Where other nodes may be moving the same file, the held copy stays for a while after the
        bytes are back.
        """
        self.block()
        node = self.started(shared=True)
        mover = self.held(node)
        self.blocks.clear()
        self.have(mover.settle())
        self.assertEqual(len(self.places(b"blocked")), 2)
        self.clock.advance(GRACE)
        self.have(mover.settle())
        self.assertEqual(self.places(b"blocked"), [f"spam/{WHEEL}"])

    def test_folder(self) -> None:
        """A storage that is no bucket moves nothing, and returns what a copy of a bucket holds."""
        self.block()
        index = self.started()
        mover = self.following(HeldFiles(index.context, index.file_cache.kept, None))
        self.assertEqual(self.have(mover.settle()), Settled())
        self.blocks.clear()
        self.assertEqual(self.have(mover.settle()), Settled(returned=1))
        self.assertEqual(self.places(b"blocked"), [f"spam/{WHEEL}"])


class KnownTests(HeldCase):
    """Everything that compares storage and catalog knows held bytes."""

    def setUp(self) -> None:
        super().setUp()
        self.blocks = {"b1": OneBlock(WHEEL, SPAM), "b2": OneBlock(CACHED, EGGS)}
        self.have(self.held().settle())

    def test_listed(self) -> None:
        """A node that starts now knows the files, so that a client learns why it does not get
        them.
        """
        self.assertEqual(self.listed_files(self.compared(self.started())), {WHEEL, OTHER, CACHED})
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_check(self) -> None:
        """A check finds no damage, and a sweep leaves held bytes, also much later."""
        self.clock.advance(UNDER_WAY.total_seconds() * 10)
        report = self.have(self.started().check(sweep=True, hashes=True))
        self.assertEqual((report.findings, report.files, report.kept), ((), 2, 1))
        self.assertEqual(len(self.places(b"blocked")), 1)

    def test_rebuild(self) -> None:
        """A rebuild neither publishes nor loses them."""
        node = self.started()
        self.assertEqual(len(self.have(node.rebuild("alice"))[1]), 0)
        self.assertEqual(self.listed_files(node), {WHEEL, OTHER, CACHED})


class AfterCrashTests(HeldCase):
    """Wherever a process dies, no bytes are lost, and the next pass finishes its work."""

    def storms(self, change: Callable[[HeldFiles], Coroutine[Any, Any, object]]) -> None:
        """Let a process die at each step of the change, before the step and after it."""
        for late in (False, True):
            for nth in range(1, 60):
                self.setUp()
                self.prepare()
                storm = MovingStorm(self.store, nth, Died, for_good=True, late=late)
                start(change(self.held(self.started(storm)))).addErrback(lambda failure: None)
                for data in (b"blocked", b"other", b"cached"):
                    self.assertTrue(self.places(data), (data, nth, storm.asked))
                self.finish()
                if not storm.struck:
                    break
            else:
                self.fail("a change of more than 59 operations")

    def prepare(self) -> None:
        """What was before."""

    def finish(self) -> None:
        """The next process settles; each way leads to the same state."""
        node = self.started()
        self.have(node.reconcile())
        self.have(self.held(node).settle())
        self.assertEqual(self.listed_files(self.compared(node)), {WHEEL, OTHER, CACHED})
        is_held = "b1" in self.blocks
        self.assertEqual(
            self.places(b"blocked"),
            [f".pypid/held/b1/spam/{WHEEL}" if is_held else f"spam/{WHEEL}"],
        )
        self.assertEqual(
            self.places(b"cached"),
            [f".pypid/held/b2/.kept/eggs/{CACHED}" if is_held else kept_key(EGGS, CACHED)],
        )
        self.assertEqual(self.places(b"other"), [f"spam/{OTHER}"])
        self.assertEqual(self.have(node.check()).findings, ())

    def both(self) -> Mapping[str, OneBlock]:
        return {"b1": OneBlock(WHEEL, SPAM), "b2": OneBlock(CACHED, EGGS)}

    def test_block(self) -> None:
        """A block that breaks off."""

        async def change(held: HeldFiles) -> None:
            self.blocks.update(self.both())
            await held.settle()

        self.storms(change)


class AfterCrashOfUnblockTests(AfterCrashTests):
    """The same for the way back."""

    def prepare(self) -> None:
        self.blocks.update(self.both())
        self.have(self.held().settle())

    def test_block(self) -> None:
        """A block that ends, and breaks off before or after its document is gone."""

        async def change(held: HeldFiles) -> None:
            for block in list(self.blocks):
                await held.copy_back(block)
            self.blocks.clear()
            await held.settle()

        self.storms(change)


class BlocksTests(HeldCase):
    """`Blocks` moves the bytes of what it withholds."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(self.index.policy.restrictions, "current", Restrictions())
        self.mover = self.held()
        restrictions = self.index.policy.restrictions
        self.service = Blocks(Decisions(self.store, self.index.world, restrictions), self.mover)

    def create(self) -> StoredBlock:
        return self.have(self.service.create(parse_block_spec("spam==1.0"), "bad", "", "ada"))

    def test_storage_away(self) -> None:
        """A block whose files cannot be moved now is in force all the same, and they are moved
        soon.
        """
        self.have(self.service.decisions.begin())
        made = self.create()
        away = MovingStorm(self.store, 1, lambda: StorageDown("away."), for_good=True)
        working, self.mover.context = self.mover.context, self.started(away).context
        self.assertIn("away", self.have(self.service.withhold(made)).failure)
        self.assertEqual(self.places(b"blocked"), [f"spam/{WHEEL}"])
        self.mover.context = working
        self.clock.advance(PAUSE)
        self.assertEqual(self.places(b"blocked"), [f".pypid/held/{made.id}/spam/{WHEEL}"])

    def test_unknown_blocks(self) -> None:
        """Nothing moves before the blocks were read, or while one of them cannot be read."""
        self.block()
        held = self.places(b"blocked")
        self.assertEqual(self.have(self.mover.settle()), Settled())
        self.put(".pypid/blocks/b1.json", b"damaged")
        self.have(self.service.decisions.begin())
        self.assertEqual(self.have(self.mover.settle()), Settled())
        self.assertEqual(self.places(b"blocked"), held)
        self.have(self.store.delete(".pypid/blocks/b1.json"))
        self.have(self.service.decisions.refresh())
        self.assertEqual(self.have(self.mover.settle()), Settled(returned=1))
        self.flushLoggedErrors()


class MovingGated(Moving, Gated):
    """One whose steps the test lets through."""


class TwoNodesTests(HeldCase):
    """Two nodes move the same file at once, one of which does not know that the block has ended, or
    that it has begun.
    """

    def node(self, store: Blobs, blocks: Mapping[str, OneBlock]) -> HeldFiles:
        mover = self.held(self.started(store, shared=True))
        mover.follow(lambda: BytesBlocks({**blocks}), no_metadata)
        return mover

    @given(st.lists(st.integers(0, 9), max_size=60), st.booleans())
    @settings(max_examples=150, deadline=None)
    def test_opposite(self, order: list[int], is_held: bool) -> None:
        """Whatever the order of their steps, no bytes are lost, and the next pass of a node that
        knows the state settles it.
        """
        self.setUp()
        both = {"b1": OneBlock(WHEEL, SPAM), "b2": OneBlock(CACHED, EGGS)}
        if is_held:
            self.blocks.update(both)
            self.have(self.held().settle())
            self.blocks.clear()
        gated = MovingGated(self.store)
        passes = [start(node.settle()) for node in (self.node(gated, both), self.node(gated, {}))]
        choices = iter(order)
        gated.all(lambda number: next(choices, 0))
        for each in passes:  # one of them may give up, and the next pass continues
            each.addErrback(lambda failure: failure.trap(StorageDown))
            self.successResultOf(each)
        for data in (b"blocked", b"other", b"cached"):
            self.assertTrue(self.places(data), (data, gated.asked))
        last = self.node(Moving(self.store), {})
        self.have(last.settle())
        self.clock.advance(GRACE)
        self.have(last.settle())
        self.assertEqual(self.places(b"blocked"), [f"spam/{WHEEL}"])
        self.assertEqual(self.places(b"cached"), [kept_key(EGGS, CACHED)])


class PartTests(NamedCase, SynchronousTestCase):
    """The files of named indexes and upstreams."""

    only: ClassVar = {"cu128": ("torch",)}

    def mover(self, index: Index) -> HeldFiles:
        """The mover of one index or upstream."""

        async def bucket() -> Any:
            return Moving(index.blobs)

        return HeldFiles(index.context, index.file_cache.kept, bucket)

    def test_bytes_of_all_parts_are_withheld(self) -> None:
        """A block moves the bytes of a project in whichever index or upstream they are, within its
        part of the storage; and returns them.
        """
        team, cu128 = self.create("team"), self.index("cu128")
        self.publish(team, WHEEL)
        torch = project_name("torch")
        self.files(self.index(""), "torch")
        before = self.keys()
        blocks = {"b1": OneBlock(WHEEL, SPAM), "b2": OneBlock("torch-1.0.tar.gz", torch)}
        others = [self.mover(team), self.mover(cu128)]

        async def others_of() -> list[HeldFiles]:
            return others

        mover = AllHeldFiles(self.mover(self.index("")), others_of)
        mover.follow(lambda: BytesBlocks({**blocks}), no_metadata)
        self.assertEqual(self.have(mover.settle()), Settled(moved=2))
        held = [key for key in self.keys() if "/held/" in key]
        self.assertEqual(
            held,
            [
                f".pypid/index/team/.pypid/held/b1/spam/{WHEEL}",
                ".pypid/upstream/cu128/.pypid/held/b2/.kept/torch/torch-1.0.tar.gz",
            ],
        )
        self.have(mover.copy_back("b2"))
        del blocks["b2"]
        self.assertEqual(self.have(mover.settle()), Settled(returned=1))
        blocks.clear()
        self.assertEqual(self.have(mover.settle()), Settled(returned=1))
        self.assertEqual(self.keys(), before)
        self.assertEqual(list(self.files(self.index(""), "torch")), ["torch-1.0.tar.gz"])
