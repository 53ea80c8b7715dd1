"""Whatever an `[upstream:NAME]` does: the same faults, and the same answers, as of `[upstream]`; and
the public index never hears a name that belongs to the named one.
"""

# trial and Twisted's transports are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from typing import Any

from attrs import evolve

from pypid.core.upstream_choice import UpstreamChoice
from pypid.http_client.connections import HttpConnections
from pypid.index import Index
from pypid.upstream.indexes import connected, open
from tests.live import test_upstream_faults, test_upstream_file_faults
from tests.upstream.fake import Fake
from tests.upstream.proxy import Proxy, ProxyCase
from tests.web.named_upstream import with_upstream


class NamedPeer(ProxyCase):
    """A pypid for which the fake is a named upstream with all names, beside a public index."""

    def start(self, *urls: str, **settings: Any) -> Proxy:
        """Make one more pypid; the public index is a further fake."""
        if not hasattr(self, "named"):
            self.named: list[tuple[Index, HttpConnections]] = []
            self.public: list[Fake] = []
        self.public.append(self.another())
        made = super().start(f"{self.public[-1].url}/simple/", **settings)
        at = self.fake.url.replace("://", f"://{self.credential}@")
        wanted = evolve(made.settings, urls=urls or (f"{at}/simple/",))
        connections = connected(self.reactor, made.trust, wanted)
        upstream = open(wanted, made.index.world, made.identity, connections)
        self.named.append((with_upstream(made.index, "peer", upstream), connections))
        made.index.choice = UpstreamChoice.of(None, {"peer": ("*",)})
        return made

    async def tearDown(self) -> None:
        """Nothing was requested from the public index, and everything is closed."""
        for index, connections in self.named:
            await index.file_cache.close()
            await connections.close()
        asked = [ask.path for public in self.public for ask in public.asked]
        await super().tearDown()
        self.assertEqual(asked, [])


class NamedPageFaultTests(NamedPeer, test_upstream_faults.PageFaultTests):
    """Pages that do not come."""


class NamedFileFaultTests(NamedPeer, test_upstream_file_faults.FileFaultTests):
    """Files that do not come, or are not what was announced."""
