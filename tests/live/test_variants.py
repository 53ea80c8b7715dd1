"""Variant wheels with the clients: uv installs the best variant, all others install plain wheels."""

from __future__ import annotations

from pathlib import Path

from tests.distributions import variant_wheel
from tests.live.asking import command
from tests.live.clients import client
from tests.live.daemon import PASSWORDS, IndexTestCase, LiveIndex, Settings, pypid
from tests.live.isolation import pip, uv, works
from tests.live.projects import Artifact, publish, wheel
from tests.live.test_install import NEWEST
from tests.live.test_s3 import place_of

PREVIEW = ("--preview-features", "wheel-variants")
UV = {"UV_PUBLISH_USERNAME": "alice", "UV_PUBLISH_PASSWORD": PASSWORDS["alice"]}
TWINE = {"TWINE_USERNAME": "alice", "TWINE_PASSWORD": PASSWORDS["alice"]}
PROJECT = """[project]
name = "mine"
version = "1"
requires-python = ">=3.9"
dependencies = ["spam"]

[tool.uv]
package = false
"""


class VariantCase(IndexTestCase):
    """A pypid of its own that accepts variant wheels."""

    bucket = ""
    """The lines of ``[storage]`` of a bucket."""

    def start(self) -> LiveIndex:
        folder = self.folder / "pypid"
        folder.mkdir()
        settings = Settings(server="experimental = variants", bucket=self.bucket)
        return self.entered(pypid(folder, settings))

    def have(self, label: str, *speeds: str, to: str = "/legacy/", version: str = "1.0") -> None:
        """Publish a variant wheel of spam."""
        publish(self.index, Artifact(*variant_wheel(label, speeds, version=version)), to=to)

    def installed(self, *line: str | Path) -> str:
        """The label of the variant that the line installs; ``plain`` for the wheel without one."""
        target = self.folder / f"target-{len(list(self.folder.iterdir()))}"
        works([*line, "--no-deps", "--target", target, "spam"], self.folder)
        return self.label(target)

    def label(self, folder: Path) -> str:
        """The label of the spam in this folder."""
        text = (folder / "spam.py").read_text()
        return text.split("'")[1] if "label" in text else "plain"

    def best(self, path: str = "/simple/") -> str:
        """The label of what uv installs that knows variants; its cache stays."""
        return self.installed(*uv(self.index.url(path)), *PREVIEW)


class VariantClientTests(VariantCase):
    """Files in a folder."""

    def test_uv_installs_the_best_variant(self) -> None:
        """uv takes the best of what there is at that moment; without the preview, and with pip,
        the plain wheel (C124).
        """
        publish(self.index, wheel("spam", tag="py3-none-any"))
        self.assertEqual(self.best(), "plain")
        self.have("null")
        self.assertEqual(self.best(), "null")
        self.have("sl", "slow")
        self.assertEqual(self.best(), "sl")
        self.have("fa.1", "fast")
        self.have("other", "unknown")
        self.assertEqual(self.best(), "fa.1")
        url = self.index.url()
        self.assertEqual(self.installed(*uv(url)), "plain")
        self.assertEqual(self.installed(*pip(NEWEST, "install", url)), "plain")
        fast = "spam-1.0-py3-none-any-fa.1.whl"
        command(self.index.config, "project", "yank", "spam", fast)
        command(self.index.config, "project", "delete", "spam", fast, "--yes")
        self.assertEqual(self.best(), "sl")

    def test_locks(self) -> None:
        """uv compiles requirements with the hashes of the variants, and installs from them. In
        uv.lock it writes plain wheels only, as without variants (C124).
        """
        publish(self.index, wheel("spam", tag="py3-none-any"))
        self.have("null")
        self.have("fa", "fast")
        project = self.folder / "project"
        project.mkdir()
        (project / "pyproject.toml").write_text(PROJECT)
        line, index = [client("uv"), *PREVIEW], ["--default-index", self.index.url()]
        works([*line, "lock", *index], self.folder, cwd=project)
        self.assertIn("spam-1.0-py3-none-any.whl", (project / "uv.lock").read_text())
        names, locked = project / "names.txt", project / "locked.txt"
        names.write_text("spam\n")
        compiling = [*line, "pip", "compile", "--generate-hashes", *index, names, "-o", locked]
        works(compiling, self.folder)
        target = self.folder / "target"
        installing = [*uv(self.index.url()), *PREVIEW, "--require-hashes", "-r", locked]
        works([*installing, "--target", target], self.folder)
        self.assertEqual(self.label(target), "fa")

    def test_uploads(self) -> None:
        """uv publish and twine upload variant wheels, and uv finds on the page those that are there
        (C124).
        """
        dist = self.folder / "dist"
        first = Artifact(*variant_wheel("sl", ["slow"])).into(dist)
        second = Artifact(*variant_wheel("fa", ["fast"])).into(dist)
        upload, check = self.index.url("/legacy/"), self.index.url()
        line = [client("uv"), *PREVIEW, "publish", "--publish-url", upload, "--check-url", check]
        for _ in range(2):
            works([*line, first], self.folder, **UV)
        self.assertEqual(self.best(), "sl")
        works([client("twine"), "upload", "--repository-url", upload, second], self.folder, **TWINE)
        self.assertEqual(self.best(), "fa")

    def test_named_index(self) -> None:
        """A named index has variants of its own, and those that it inherits (C124)."""
        publish(self.index, wheel("spam", tag="py3-none-any"))
        self.have("sl", "slow")
        command(self.index.config, "index", "create", "team")
        self.assertEqual(self.best("/team/simple/"), "sl")
        self.have("fa", "fast", to="/team/legacy/", version="2.0")
        self.assertEqual(self.best("/team/simple/"), "fa")
        self.assertEqual(self.best(), "sl")
        command(self.index.config, "index", "create", "secret", "read=alice")
        self.have("fa", "fast", to="/secret/legacy/", version="3.0")
        private = self.index.url("/secret/simple/", "alice")
        self.assertEqual(self.installed(*uv(private), *PREVIEW), "fa")


class BucketVariantTests(VariantCase):
    """Files in a bucket."""

    def start(self) -> LiveIndex:
        self.bucket = place_of("radosgw", type(self).__name__).lines()
        return super().start()

    def test_redirected_variants(self) -> None:
        """pypid sends the list itself, and redirects to the wheels (C124)."""
        publish(self.index, wheel("spam", tag="py3-none-any"))
        self.have("sl", "slow")
        self.assertEqual(self.best(), "sl")
        self.have("fa", "fast")
        self.assertEqual(self.best(), "fa")
