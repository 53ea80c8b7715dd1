"""What goes when too much is kept: `pypid.index.upstream.eviction`."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.packaging.names import project_name
from pypid.flow import BytesBody, at_once
from pypid.index.upstream.cache_store import CacheStore
from pypid.index.upstream.eviction import files_to_evict
from pypid.index.upstream.file_cache import FileCache
from pypid.index.upstream.inventory import CacheInventory, InventoryEntry
from tests.index.file_cache_cases import Client, KeeperCase, envoy_of, listed, noise
from tests.support import contents, world

SPAM = project_name("spam")


class SurplusTests(KeeperCase):
    """The least recently used go first, by what really lies there."""

    def held(self, file_cache: FileCache) -> Sequence[InventoryEntry]:
        return self.have(self.stock(file_cache).taken())

    def stock(self, file_cache: FileCache) -> CacheInventory:
        return CacheInventory(self.blobs, self.catalog, file_cache.last_access, file_cache.world)

    def test_goes(self) -> None:
        """Files that are not wanted go before those that are; ours, and what is not in our layout,
        stay.
        """
        clock = Clock()
        file_cache = FileCache(
            CacheStore(self.blobs, self.catalog, at_once),
            envoy_of(self.upstream),
            world(clock),
            self.folder,
        )
        files = [listed(noise(1000 + number), f"spam-{number}.tar.gz") for number in range(3)]
        for file in files:
            clock.advance(10)
            self.fed(file, noise(file.size or 0), None)
            self.successResultOf(Client(file_cache, file).ended)
        clock.advance(10)
        self.successResultOf(Client(file_cache, files[0]).ended)
        for key in (
            "spam/spam-9.0.tar.gz",
            ".kept/strange",
            ".kept/eggs/eggs-1.0-py3-none-any.whl.metadata",
        ):
            self.have(self.blobs.write(key, BytesBody(b"x" * 5000)))
        found = self.held(file_cache)
        self.assertEqual(
            [file.filename for file in found],
            ["eggs-1.0-py3-none-any.whl", *(file.filename for file in files)],
        )
        kept = [
            blob for blob in self.have(contents(self.blobs, ".kept/")) if blob != ".kept/strange"
        ]
        self.assertEqual(
            sum(file.size for file in found),
            sum(self.have(self.blobs.stat(key)).size for key in kept),
        )
        self.assertEqual(self.have(self.stock(file_cache).lying(SPAM))[0].size, found[1].size)
        going = files_to_evict(found, 2 * max(file.size for file in found if file.project == SPAM))
        self.assertEqual([file.filename for file in going], [found[0].filename, "spam-1.tar.gz"])
        for again in range(2):  # the order is the same once it has been written down
            self.assertEqual(self.held(file_cache), found, again)
            self.have(file_cache.last_access.write_down(self.catalog))
        for one in files_to_evict(found, 0):
            self.have(file_cache.forget(one.project, one.filename))
        self.assertEqual(self.stored(), [".kept/strange", "spam/spam-9.0.tar.gz"])


FILES = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12).map(
    lambda files: [
        InventoryEntry(SPAM, f"spam-{number}.tar.gz", size, wanted)
        for number, (size, wanted) in enumerate(files)
    ]
)


def sum_of(files: Sequence[InventoryEntry]) -> int:
    return sum(file.size for file in files)


class RuleTests(SynchronousTestCase):
    """The rule by itself."""

    @given(FILES, st.integers(0, 60))
    @settings(max_examples=60, deadline=None, database=None)
    def test_enough_and_no_more(self, files: list[InventoryEntry], limit: int) -> None:
        """What stays fits, nothing goes that need not, and nothing that goes was wanted later than
        anything that stays; but files that alone are too large go, and nothing for them.
        """
        going = files_to_evict(files, limit)
        self.assertEqual(
            [file for file in files if file.size > limit],
            [file for file in going if file.size > limit],
        )
        staying = [file for file in files if file not in going]
        self.assertLessEqual(sum_of(staying), limit)
        old = [file for file in going if file.size <= limit]
        if old:
            self.assertGreater(sum_of(staying) + old[-1].size, limit)
            self.assertLessEqual(
                max(file.wanted for file in old), min((file.wanted for file in staying), default=99)
            )

    @given(FILES, st.integers(0, 60), st.integers(0, 60))
    @settings(max_examples=60, deadline=None, database=None)
    def test_target(self, files: list[InventoryEntry], limit: int, less: int) -> None:
        """With a target nothing goes that would not go for it, and nothing at all where the limit
        is kept.
        """
        target = max(0, limit - less)
        going = files_to_evict(files, limit, target)
        fitting = [file for file in files if file.size <= limit]
        if sum_of(fitting) <= limit:
            self.assertEqual(going, [file for file in files if file.size > limit])
        else:
            self.assertLessEqual(sum_of([file for file in files if file not in going]), target)
            self.assertGreater(
                sum_of(fitting) - sum_of(going[len(files) - len(fitting) : -1]), target
            )
