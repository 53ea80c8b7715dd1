"""Several indexes in one real pypid: what one index has is taken from no other place by pip and uv,
and no upstream hears of it.
"""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from pathlib import Path

from tests.live.daemon import LiveIndex
from tests.live.isolation import fails, pip, uv, works
from tests.live.projects import publish, wheel
from tests.live.test_install import NEWEST, installed
from tests.live.test_private_names import asked
from tests.live.upstreams import FrontedCase

INDEXES = """
[index:data]

[index:web]

[index:lab]
bases = data web default

[index:alone]
bases = none
"""
NAMES = ("acme-data", "acme-web", "acme-common", "acme-alone")
"""A project of each index, and one of the default index."""


class IndexNamesTests(FrontedCase):
    """The upstream has projects of all names, in higher versions, as an attacker would."""

    def setUp(self) -> None:
        super().setUp()
        for name in NAMES:
            self.upstream_has(name, wheel(name, "99.0"))
        self.upstream_has("theirs", wheel("theirs", "3.0"))

    async def made(self) -> LiveIndex:
        """A pypid with a project in each index, of which one needs others."""
        index = await self.index("mode = cache", sections=INDEXES)
        needs = [("Requires-Dist", "acme-common"), ("Requires-Dist", "theirs")]
        for name, to, extra in (
            ("acme-common", "", []),
            ("acme-data", "/data", needs),
            ("acme-web", "/web", []),
            ("acme-alone", "/alone", []),
        ):
            await self.run_(publish, index, wheel(name, "1.0", extra=extra), to=f"{to}/legacy/")
        return index

    def check_silence(self) -> None:
        """Upstream heard no name of any index."""
        heard = bytes(self.fake.heard).decode("latin-1").lower()
        for name in NAMES:
            self.assertNotIn(name, heard)
            self.assertNotIn(name.replace("-", "_"), heard)

    async def installs(self, index: LiveIndex, name: str, wanted: str) -> list[set[str]]:
        """What pip and uv install from the index of this name."""
        found = []
        url = index.url(f"{name}/simple/")
        for client, command in (
            ("pip", pip(NEWEST, "install", url)),
            ("uv", uv(url, "--no-cache")),
        ):
            target = self.folder / f"{client}{name.replace('/', '-')}-{wanted}"
            await self.run_(works, [*command, "--target", target, wanted], self.folder)
            found.append(installed(target))
        return found

    async def refused(self, index: LiveIndex, name: str, wanted: str) -> None:
        """Neither pip nor uv finds it in the index of this name."""
        url = index.url(f"{name}/simple/")
        for command in (pip(NEWEST, "install", url), uv(url, "--no-cache")):
            target = Path(self.folder / "none")
            await self.run_(fails, [*command, "--target", target, wanted], self.folder)

    async def test_by_clients(self) -> None:
        """Each index gives its own projects and those of its bases, in the version that it has;
        other indexes, and upstream, do not.
        """
        index = await self.made()
        whole = {"acme_data-1.0", "acme_common-1.0", "theirs-3.0"}
        for name in ("/data", "/lab"):
            self.assertEqual(await self.installs(index, name, "acme-data"), [whole, whole])
        for found in await self.installs(index, "/lab", "acme-web"):
            self.assertEqual(found, {"acme_web-1.0"})
        for found in await self.installs(index, "/alone", "acme-alone"):
            self.assertEqual(found, {"acme_alone-1.0"})
        for name, absent in (
            ("", "acme-data"),
            ("", "acme-web"),
            ("", "acme-alone"),
            ("/data", "acme-web"),
            ("/web", "acme-data"),
            ("/alone", "acme-common"),
            ("/alone", "theirs"),
            ("/data", "acme-data==99.0"),
            ("/lab", "acme-data>1"),
        ):
            await self.refused(index, name, absent)
        self.check_silence()

    async def test_first_second(self) -> None:
        """After a start without a catalog, the first answer gives the name of no index
        away.
        """
        storage = self.folder / "storage"
        others = {"sections": INDEXES, "storage": storage, "access": "owners = none"}
        index = await self.index("mode = cache", **others)
        await self.run_(publish, index, wheel("acme-data", "1.0"), to="/data/legacy/")
        other = await self.index("mode = cache", **others)
        for prefix in ("", "/web", "/data"):
            await self.run_(asked, other, "GET", f"{prefix}/simple/acme-data/")
        self.check_silence()
