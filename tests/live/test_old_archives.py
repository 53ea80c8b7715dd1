"""Sdists of an upstream in every kind of archive that pip takes."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from pypid.core.packaging.names import ALL_SDIST_SUFFIXES
from tests.live.isolation import pip, works
from tests.live.projects import Artifact
from tests.live.test_install import NEWEST
from tests.live.upstreams import FrontedCase


class OldArchiveTests(FrontedCase):
    """A project of which each release is another kind of archive."""

    async def test_pip_sees_each_kind_of_archive(self) -> None:
        """`pip index versions` names all of the releases: each is listed, and its name is one that
        pip takes.
        """
        versions = [f"{number}.0" for number in range(1, len(ALL_SDIST_SUFFIXES) + 1)]
        for version, suffix in zip(versions, ALL_SDIST_SUFFIXES, strict=True):
            self.upstream_has("demo", Artifact(f"demo-{version}{suffix}", b"anything"))
        index = await self.index()
        command = [*pip(NEWEST, "index", index.url()), "versions", "demo"]
        said = await self.run_(works, command, self.folder)
        for version in versions:
            self.assertIn(version, str(said))
