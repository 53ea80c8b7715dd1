"""Moving files without a record to the cache: which names are sent upstream."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from pypid.blobs.memory import MemoryBlobs
from pypid.core.configuration.choices import Mode
from pypid.core.errors import NotThere
from pypid.core.model import Listing
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.policy import Policy
from pypid.flow import BytesBody
from tests.distributions import sdist
from tests.index.file_cache_cases import ScriptedUpstream, listed
from tests.index.uploads import an_index
from tests.support import world
from tests.support.engines import a_catalog
from tests.support.examples import a_listing
from tests.support.worlds import Awaiting

POLICY = Policy(mode=Mode.CACHE, reserved=("acme",), deny=("denied",))
NAMES = ("acme", "denied", "private", "spam")


class PublicIndex(ScriptedUpstream):
    """Lists spam, acme and denied; notes the names of requested project pages."""

    def __init__(self) -> None:
        super().__init__()
        self.requested: list[str] = []

    async def names(self, via: Sequence[str]) -> Sequence[ProjectName]:
        return [project_name(name) for name in ("acme", "denied", "spam")]

    async def project(
        self, name: ProjectName, known: Listing | None, via: Sequence[str]
    ) -> Listing:
        self.requested.append(name)
        if name != "spam":
            raise NotThere(name)
        return evolve(a_listing(name), files=(listed(sdist("spam")),))


class NamesTests(Awaiting, SynchronousTestCase):
    def adopted(self, policy: Policy) -> tuple[dict[str, str], list[str]]:
        """The outcome of each file if all are to be cached, and the names that upstream got."""
        upstream, outside = PublicIndex(), world()
        store = MemoryBlobs(outside.now)
        for name in NAMES:
            self.have(store.write(f"{name}-1.0.tar.gz", BytesBody(sdist(name))))
        index = an_index(store, a_catalog(), upstream, policy, outside)
        self.have(index.maintenance.reconcile())
        cached = frozenset(map(project_name, NAMES))
        _, lines = self.have(index.maintenance.adopt("", "alice", cached))
        return {
            line.key.partition("-")[0]: " ".join((line.outcome.value, *line.problems))
            for line in lines
        }, upstream.requested

    def test_names(self) -> None:
        """Only a name that the policy allows and that upstream lists is sent; files of the others
        are refused.
        """
        outcomes, requested = self.adopted(POLICY)
        self.assertEqual(requested, ["spam"])
        self.assertEqual(list(outcomes), list(NAMES))
        self.assertEqual(outcomes["spam"], "cached")
        self.assertIn("refused", outcomes["acme"])
        self.assertIn("the name is reserved", outcomes["acme"])
        self.assertIn("the name is denied", outcomes["denied"])
        self.assertIn("upstream has no such project", outcomes["private"])

    def test_offline(self) -> None:
        """An index that is offline sends no name."""
        outcomes, requested = self.adopted(evolve(POLICY, mode=Mode.OFFLINE))
        self.assertEqual(requested, [])
        self.assertIn("pypid is offline", outcomes["spam"])
