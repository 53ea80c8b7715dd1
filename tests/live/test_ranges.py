"""What clients ask of parts of files: to go on after a cut, and to look at a wheel's metadata
without reading all of it.
"""

import json
import random
import re
import zipfile

from tests.live.clients import client
from tests.live.daemon import IndexTestCase, for_each
from tests.live.isolation import pip, uv, works
from tests.live.projects import Artifact, call, page, publish, wheel
from tests.live.proxies import cutting
from tests.live.test_install import NEWEST, installed

MEBIBYTE = 1 << 20


def large(name: str, size: int) -> Artifact:
    """A wheel of some `size` bytes that cannot be compressed; its metadata depend on nothing."""
    return wheel(
        name,
        files={f"{name.replace('-', '_')}.bin": random.Random(4711).randbytes(size)},
        compression=zipfile.ZIP_STORED,
    )


class ResumeTests(IndexTestCase):
    def test_pip(self) -> None:
        """pip (25.1 and newer) goes on where a cut download ended: 206 to its Range with If-Range
        (C42, C43, C47).
        """
        publish(self.index, large("resume", 4 * MEBIBYTE))
        with cutting(self.index.port, after=2 * MEBIBYTE) as proxy:
            command = pip(
                NEWEST,
                "install",
                self.index.url(port=proxy.port),
                "--target",
                self.folder / "t",
                "resume",
            )
            said = works(command, self.folder)
        self.assertEqual(proxy.cuts, 1)
        self.assertIn("resume", said.lower())
        self.assertEqual(installed(self.folder / "t"), {"resume-1.0"})
        self.answered(
            "GET", "/packages/resume/resume-1.0-py2.py3-none-any.whl", status=206, agent="pip/"
        )


class LazyTests(IndexTestCase):
    """Wheels whose metadata are not served, as those of an index that had none (the record says
    what there is).
    """

    def publish_bare(self, name: str, size: int) -> str:
        """Publish one, and take its metadata away; the path of the file."""
        artifact = large(name, size)
        publish(self.index, artifact)
        beside = self.index.storage / name / artifact.filename
        record = beside.with_name(f"{artifact.filename}.record.json")
        document = json.loads(record.read_bytes())
        del document["file"]["core-metadata"]
        beside.with_name(f"{artifact.filename}.metadata").unlink()
        record.write_text(json.dumps(document))
        call(self.index, "POST", f"/api/rebuild/{name}", b"", user="admin")
        (file,) = page(self.index, name)["files"]
        self.assertNotIn("core-metadata", file)
        return f"/packages/{name}/{artifact.filename}"

    @for_each("3000", "300000")
    def pip_fast_deps(self, size: str) -> None:
        """`pip --use-feature=fast-deps` reads the end of the wheel first, whatever its size (C41,
        C42).
        """
        name = f"lazy-pip-{size}"
        path = self.publish_bare(name, int(size))
        options = ("--use-feature=fast-deps", "--target", self.folder / "t", name)
        works(pip(NEWEST, "install", self.index.url(), *options), self.folder)
        self.assertEqual(len(installed(self.folder / "t")), 1)
        self.answered("HEAD", path, agent="pip/")
        self.answered("GET", path, status=206, agent="pip/")

    @for_each("3000", "300000")
    def uv(self, size: str) -> None:
        """uv reads the end of the wheel first, whatever its size (C41, C42)."""
        name = f"lazy-uv-{size}"
        path = self.publish_bare(name, int(size))
        works(uv(self.index.url(), "--target", self.folder / "t", name), self.folder)
        self.assertEqual(len(installed(self.folder / "t")), 1)
        self.answered("HEAD", path, agent="uv/")
        self.answered("GET", path, status=206, agent="uv/")

    @for_each("3000", "300000")
    def poetry(self, size: str) -> None:
        """poetry asks for the last 10000 bytes of a wheel, also of one that has fewer (C42)."""
        name = f"lazy-poetry-{size}"
        path = self.publish_bare(name, int(size))
        project = self.folder / "project"
        project.mkdir()
        (project / "pyproject.toml").write_text(
            f'[project]\nname = "eater"\nversion = "1"\nrequires-python = '
            f'">=3.11,<4"\ndependencies = ["{name}"]\n'
            "[tool.poetry]\npackage-mode = false\n"
            f'[[tool.poetry.source]]\nname = "ours"\nurl = "{self.index.url()}"\npriority = '
            f'"primary"\n'
        )
        works([client("poetry"), "lock", "--no-interaction"], self.folder, cwd=project)
        self.assertTrue(re.search(f'name = "{name}"', (project / "poetry.lock").read_text()))
        self.answered("GET", path, status=206, agent="poetry/")
