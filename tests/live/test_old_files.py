"""Upstream's files with versions that only old installers know: these install them, and new ones
are not disturbed.
"""

from attrs import evolve

from tests.live.daemon import LiveIndex
from tests.live.isolation import pip, uv, works
from tests.live.processes import scratch
from tests.live.projects import Artifact, sdist, wheel
from tests.live.test_install import installed
from tests.live.upstreams import FrontedCase


def spelled(artifact: Artifact, version: str) -> Artifact:
    """The same file with another version in its name."""
    name, _, rest = artifact.filename.partition("-1.0")
    return evolve(artifact, filename=f"{name}-{version}{rest}")


class OldFilesTests(FrontedCase):
    """A project whose sdists have all kinds of versions."""

    async def test_old_versions_install_with_old_pip_and_do_not_disturb_new_installers(
        self,
    ) -> None:
        """pip 9 on Python 2.7 installs an sdist whose version PEP 440 does not know, where it is
        pinned; every pip and uv installs the newest release that it knows, although its version is
        written with a hyphen.
        """
        self.upstream_has(
            "oldie", spelled(sdist("oldie"), "4.x-rc"), spelled(sdist("oldie"), "trunk")
        )
        post = sdist("mixed", "1.2.0.post1")
        self.upstream_has(
            "mixed",
            wheel("mixed", "1.1"),
            evolve(post, filename="mixed-1.2.0-1.tar.gz"),
            spelled(sdist("mixed"), "4.x-rc"),
            spelled(sdist("mixed"), "1.0.linux-x86_64"),
        )
        index: LiveIndex = await self.index()
        with scratch() as target:
            command = pip(
                "pip-9-on-2.7", "install", index.url(), "--target", target, "oldie==4.x-rc"
            )
            self.assertIn(
                "Successfully installed oldie", await self.run_(works, command, self.folder)
            )
        for name in ("pip-9-on-2.7", "pip-20-on-3.8", "pip-on-3.11", "uv"):
            with scratch() as target:
                begin = (
                    uv(index.url(), "--no-cache")
                    if name == "uv"
                    else pip(name, "install", index.url())
                )
                await self.run_(works, [*begin, "--target", target, "mixed"], self.folder)
                self.assertEqual(installed(target), {"mixed-1.2.0.post1"}, name)
