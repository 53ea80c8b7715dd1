"""A real pypid in front of other indexes that speak JSON: another pypid, and
simple-repository-server.
"""

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256

from tests.live.clients import client
from tests.live.daemon import IndexTestCase, LiveIndex, Settings, for_each, pypid
from tests.live.isolation import environ, pip, uv, works
from tests.live.processes import free_port, running, scratch, until_answers
from tests.live.projects import Artifact, page, publish, sdist, wheel
from tests.live.test_install import NEWEST, installed
from tests.upstream.fake import J

ARTIFACTS = (
    wheel("spam", "1.0", extra=[("Requires-Dist", "eggs>=1")], requires_python=">=3.8"),
    wheel("spam", "2.0", requires_python=">=99"),
    sdist("spam", "1.0"),
    wheel("eggs", "1.0+local.1"),
    sdist("ham", "3.0"),
)


@contextmanager
def another_pypid() -> Iterator[str]:
    """A pypid that has the files; the URL of its Simple API."""
    with scratch() as folder, pypid(folder, Settings()) as index:
        publish(index, *ARTIFACTS)
        yield index.url()


@contextmanager
def simple_repository_server() -> Iterator[str]:
    """simple-repository-server with the same files, out of a folder."""
    command, port = client("simple-repository-server"), free_port()
    with scratch() as folder:
        for artifact in ARTIFACTS:
            artifact.into(folder / "files" / artifact.filename.partition("-")[0])
        arguments = ["--host", "127.0.0.1", "--port", str(port), folder / "files"]
        with running([command, *arguments], folder / "log", cwd=folder, environ=environ(folder)):
            url = f"http://127.0.0.1:{port}/simple/"
            until_answers(url)
            yield url


UPSTREAMS = {"pypid": another_pypid, "simple-repository-server": simple_repository_server}


class JsonUpstreamTests(IndexTestCase):
    """What comes through is what is there."""

    def start(self) -> LiveIndex:
        """Each test has its own."""
        upstream = UPSTREAMS[self.id().rpartition("test_through_")[2].replace("_", "-")]
        self.upstream = self.entered(upstream())
        return self.entered(
            pypid(
                self.entered(scratch()), Settings(upstream=f"mode = cache\nurl = {self.upstream}")
            )
        )

    @for_each(*UPSTREAMS)
    def through(self, name: str) -> None:
        """pip and uv install wheels with their metadata and an sdist through pypid, warm and cold;
        the page tells all that upstream's tells, as JSON with sizes (C34).
        """
        for number in range(2):
            for tool, command in (
                ("pip", pip(NEWEST, "install", self.index.url())),
                ("uv", uv(self.index.url(), "--no-cache")),
            ):
                target = self.folder / f"{tool}-{number}"
                works([*command, "--target", target, "spam", "ham"], self.folder)
                self.assertEqual(installed(target), {"spam-1.0", "eggs-1.0+local.1", "ham-3.0"})
        self.check_page("spam", *ARTIFACTS[:3])
        self.check_page("eggs", ARTIFACTS[3])

    def check_page(self, name: str, *artifacts: Artifact) -> None:
        """It lists these files with hashes and sizes, and what upstream's page says beside that."""
        document = page(self.index, name)
        self.assertEqual(document["meta"]["api-version"], "1.4")
        listed = {file["filename"]: file for file in document["files"]}
        self.assertEqual(set(listed), {artifact.filename for artifact in artifacts})
        for artifact in artifacts:
            file = listed[artifact.filename]
            right = sha256(artifact.data).hexdigest()
            self.assertEqual(
                file["hashes"].get("sha256", right), right
            )  # upstream may have none, until the file is kept
            self.assertEqual(file["size"], len(artifact.data))
        request = urllib.request.Request(f"{self.upstream}{name}/", headers={"Accept": J})
        with urllib.request.urlopen(request, timeout=30) as answer:
            self.assertEqual(answer.headers.get_content_type(), J)
            for file in json.load(answer)["files"]:
                for key in ("requires-python", "upload-time", "core-metadata"):
                    if file.get(key):
                        self.assertIn(key, listed[file["filename"]])
