"""What goes when too much is kept: `pypid.index.surplus`."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.names import project_name
from pypid.flow import BytesBody
from pypid.index.keeping import Keeper
from pypid.index.surplus import Held, held, surplus
from pypid.testing import contents, world
from tests.index.fetching import Client, KeeperCase, envoy_of, listed, noise

SPAM = project_name("spam")


class SurplusTests(KeeperCase):
    """The least recently used go first, by what really lies there."""

    def test_goes(self) -> None:
        """Files that are not wanted go before those that are; ours, and what is not in our layout, stay."""
        clock = Clock()
        keeper = Keeper(self.blobs, self.catalog, envoy_of(self.upstream), world(clock), self.folder)
        files = [listed(noise(1000 + number), f"spam-{number}.tar.gz") for number in range(3)]
        for file in files:
            clock.advance(3600)
            self.fed(file, noise(file.size or 0), None)
            self.successResultOf(Client(keeper, file).ended)
        clock.advance(3600)
        self.successResultOf(Client(keeper, files[0]).ended)
        self.have(keeper.touches.write_down(self.catalog))
        for key in ("spam/spam-9.0.tar.gz", ".kept/strange", ".kept/eggs/eggs-1.0-py3-none-any.whl.metadata"):
            self.have(self.blobs.write(key, BytesBody(b"x" * 5000)))
        found = self.have(held(self.blobs, self.catalog))
        self.assertEqual([file.filename for file in found], ["eggs-1.0-py3-none-any.whl", *(file.filename for file in files)])
        kept = [blob for blob in self.have(contents(self.blobs, ".kept/")) if blob != ".kept/strange"]
        self.assertEqual(sum(file.size for file in found), sum(self.have(self.blobs.stat(key)).size for key in kept))
        going = surplus(found, 2 * max(file.size for file in found if file.project == SPAM))
        self.assertEqual([file.filename for file in going], [found[0].filename, "spam-1.tar.gz"])
        for one in surplus(found, 0):
            self.have(keeper.forget(one.project, one.filename))
        self.assertEqual(self.stored(), [".kept/strange", "spam/spam-9.0.tar.gz"])


class RuleTests(SynchronousTestCase):
    """The rule by itself."""

    @given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12), st.integers(0, 60))
    @settings(max_examples=60, deadline=None, database=None)
    def test_enough_and_no_more(self, sizes: list[tuple[int, int]], limit: int) -> None:
        """What stays fits, nothing goes that need not, and nothing that goes was wanted later than anything that stays."""
        files = [Held(SPAM, f"spam-{number}.tar.gz", size, hour) for number, (size, hour) in enumerate(sizes)]
        going = surplus(files, limit)
        staying = [file for file in files if file not in going]
        self.assertLessEqual(sum(file.size for file in staying), limit)
        if going:
            self.assertGreater(sum(file.size for file in staying) + going[-1].size, limit)
            self.assertLessEqual(max(file.hour for file in going), min((file.hour for file in staying), default=99))
