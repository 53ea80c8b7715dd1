"""PyTorch for CUDA beside the public index (docs/guides/gpu-packages): a stand-in for an accelerator's
index in its layout, real pip and uv on the other side, and faults of that index.

The layout: HTML pages without upload times; links with ``%2B``, relative to the host or to another
host; some without a hash; no metadata beside the files.
"""

# trial and Twisted's transports are not annotated
# mypy: allow-untyped-calls

import http.client
import json
import time
from contextlib import closing
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any
from urllib.parse import quote, unquote

from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred

from tests.live.clients import ROOT, client
from tests.live.daemon import LiveIndex, Settings
from tests.live.isolation import environ, fails, pip, uv, works
from tests.live.processes import BIN, free_port
from tests.live.projects import Artifact, call, wheel
from tests.live.stores import store
from tests.live.test_install import NEWEST, installed
from tests.live.test_s3 import get
from tests.live.tutorials import follow
from tests.live.upstreams import FrontedCase, sends
from tests.upstream.fake import Fake, says, status

CUDA = "torch-cu128"
"""The name of the upstream; that of the index is ``cu128``."""
GPU_USER, GPU_SECRET = "gpu", "only-for-gpu"
TORCH = wheel(
    "torch",
    "2.9.0+cu128",
    extra=[("Requires-Dist", "nvidia-cublas==12.8"), ("Requires-Dist", "sympy")],
)
UNHASHED = wheel("torch", "2.8.0+cu128")
CUBLAS = wheel("nvidia-cublas", "12.8")
SYMPY = wheel("sympy", "1.0")
TRAP = wheel("torch", "99.0")
"""What the public index has of the name: a higher version."""
CPU = wheel("torch", "2.9.0")
LISTS = ("/simple/", "/whl/cu128/")
"""The lists of projects of the two indexes."""


class NamedUpstreamCase(FrontedCase):
    """The public index, the accelerator's index, and the host of its files."""

    def setUp(self) -> None:
        super().setUp()
        self.gpu, self.files = Fake(reactor), Fake(reactor)
        self.upstream_has("torch", CPU, TRAP)
        self.upstream_has("sympy", SYMPY)
        self.upstream_has("nvidia-cublas", wheel("nvidia-cublas", "99"))
        self.gpu_has("torch", TORCH)
        self.gpu_has("torch", UNHASHED, host=self.files.url, hashed=False)
        self.gpu_has("nvidia-cublas", CUBLAS)

    async def tearDown(self) -> None:  # type: ignore[override]
        for fake in (self.gpu, self.files):
            await maybeDeferred(fake.port.stopListening)
            for talk in tuple(fake.open):
                talk.reset()
            self.assertTrue(await fake.all_gone(), "a connection is left open")
            self.assertEqual(fake.errors, [])
        for fake in (self.fake, self.files):
            self.assertNotIn(b"Z3B1Om9ubHktZm9yLWdwd", bytes(fake.heard))
        await super().tearDown()

    def gpu_has(
        self, name: str, artifact: Artifact, *, host: str = "", hashed: bool = True
    ) -> None:
        """List the file in the layout of an accelerator's index."""
        path = f"/whl/cu128/{quote(artifact.filename)}"
        digest = f"#sha256={sha256(artifact.data).hexdigest()}" if hashed else ""
        link = f'<a href="{host}{path}{digest}">{artifact.filename}</a><br/>'
        lines = self._listed.setdefault(f"gpu {name}", [])
        lines.append({"link": link})
        links = "\n".join(str(line["link"]) for line in lines)
        html = f"<!DOCTYPE html>\n<html><body>\n<h1>Links for {name}</h1>\n{links}\n</body></html>\n<!--TIMESTAMP 1-->"
        self.gpu.scripts[f"/whl/cu128/{name}/"] = says(html.encode(), Content_Type="text/html")
        (self.files if host else self.gpu).scripts[path] = sends(artifact.data)

    def settings(self, more: str = "", **other: Any) -> Settings:
        """A pypid with the index ``cu128`` beside the default one."""
        files = self.files.url.removeprefix("http://")
        gpu = (
            f"[upstream:{CUDA}]\nurl = {self.gpu.url}/whl/cu128\nonly = torch nvidia-*\n"
            f"credentials = {GPU_USER}:{GPU_SECRET}\nfile_hosts = {files}\n"
            f"[index:cu128]\nbases = default\nupstreams = {CUDA} public\n"
        )
        return super().settings(f"mode = cache\nupstreams = public\n{more}", sections=gpu, **other)

    def names_asked(self, fake: Fake) -> set[str]:
        """The projects whose pages were requested."""
        pages = [path for path in self.paths_asked(fake) if path.endswith("/")]
        return {path.split("/")[-2] for path in pages}

    def paths_asked(self, fake: Fake) -> list[str]:
        """What was requested, without the lists of projects, which pypid reads at its own times."""
        return [ask.path for ask in fake.asked if ask.path not in LISTS]


class InstallTests(NamedUpstreamCase):
    async def test_pip_and_uv(self) -> None:
        """Both install the accelerator's torch, a local version (C46), below ``/cu128/``, and the
        public one at the root, each with its dependencies; torch below ``/cu128/`` is requested at
        the accelerator only.
        """
        index = await self.index()
        for name, install in (
            ("pip", lambda url: pip(NEWEST, "install", url)),
            ("uv", lambda url: uv(url, "--no-cache")),
        ):
            target = self.folder / name
            await self.run_(
                works,
                [*install(index.url("/cu128/simple/")), "--target", target, "torch"],
                self.folder,
            )
            self.assertEqual(
                installed(target), {"torch-2.9.0+cu128", "nvidia_cublas-12.8", "sympy-1.0"}
            )
        self.assertEqual(self.names_asked(self.fake), {"sympy"})
        self.assertEqual(self.names_asked(self.gpu), {"torch", "nvidia-cublas"})
        cpu = self.folder / "cpu"
        command = [*pip(NEWEST, "install", index.url()), "--target", cpu, "torch<99"]
        await self.run_(works, command, self.folder)
        self.assertEqual(installed(cpu), {"torch-2.9.0"})

    async def test_files_without_a_hash_on_another_host(self) -> None:
        """A file that is listed without a hash, at another host, is installed; the host never gets
        the credentials of the index. Once it is cached, pages have its hash.
        """
        index = await self.index()
        target = self.folder / "target"
        command = [
            *pip(NEWEST, "install", index.url("/cu128/simple/")),
            "--target",
            target,
            "torch==2.8.0+cu128",
        ]
        await self.run_(works, command, self.folder)
        self.assertEqual(installed(target), {"torch-2.8.0+cu128"})
        found = await self.run_(page_below, index, "torch")
        [hashes] = [
            each["hashes"] for each in found["files"] if each["filename"] == UNHASHED.filename
        ]
        self.assertEqual(hashes, {"sha256": sha256(UNHASHED.data).hexdigest()})
        asked = [ask for ask in self.files.asked if "authorization" in ask.headers]
        self.assertEqual(asked, [])
        gpu = {ask.headers.get("authorization", "").partition(" ")[0] for ask in self.gpu.asked}
        self.assertEqual(gpu, {"Basic"})


class GuideTests(NamedUpstreamCase):
    async def test_guide(self) -> None:
        """docs/guides/gpu-packages.rst, typed as it stands, on a machine where the addresses of
        both indexes are those of the stand-ins.
        """
        port = free_port()
        programs = ":".join(str(client(name).parent) for name in (NEWEST, "uv"))
        variables = environ(
            self.folder / "home",
            PYPID_SERVER_LISTEN=f"tcp:{port}:interface=127.0.0.1",
            PYPID_UPSTREAM_URL=f"{self.fake.url}/simple",
            PYPID_UPSTREAM_TORCH_CU128_URL=f"{self.gpu.url}/whl/cu128",
            PYPID_UPSTREAM_TORCH_CU128_FILE_HOSTS=self.files.url.removeprefix("http://"),
            UV_NO_CONFIG="0",
        )
        variables["PATH"] = f"{BIN}:{programs}:{variables['PATH']}"
        page = ROOT / "docs/guides/gpu-packages.rst"
        blocks = await self.run_(follow, page, self.folder, self.folder, variables, port)
        self.assertEqual(len(blocks), 8)


class FaultTests(NamedUpstreamCase):
    """The accelerator's index fails: its names fail, never come from elsewhere, and others go on."""

    async def test_faults(self) -> None:
        """Whatever it answers, no torch of the public index comes in its place (C36)."""
        index = await self.index()
        target = self.folder / "target"
        install = [
            *pip(NEWEST, "install", index.url("/cu128/simple/"), "--retries", "0"),
            "--target",
            target,
        ]
        scripts = (status(500), status(403), says(b"garbage"), says(b""))
        for number, script in enumerate(scripts):
            name = f"nvidia-{number}"
            self.upstream_has(name, wheel(name, "1.0"))
            self.gpu.scripts[f"/whl/cu128/{name}/"] = script
            await self.run_(fails, [*install, name], self.folder)
        asked = self.names_asked(self.gpu)
        self.assertEqual(asked, {f"nvidia-{number}" for number in range(len(scripts))})
        await self.run_(works, [*install, "sympy"], self.folder)
        self.assertEqual(installed(target), {"sympy-1.0"})
        self.assertEqual(self.names_asked(self.fake), {"sympy"})
        self.assertIn(f"the user and password in [upstream:{CUDA}] must be right", index.log())


class BucketTests(NamedUpstreamCase):
    async def test_signed_urls(self) -> None:
        """In a bucket the cached files are in the upstream's own part, and clients are redirected
        to them. A block says until when URLs given before it work.
        """
        s3 = self.entered(store())
        lines = {
            "backend": "s3",
            "bucket": s3.bucket(),
            "region": s3.region,
            "endpoint_url": s3.endpoint,
            "access_key": s3.access_key,
            "secret_key": s3.secret_key,
        }
        bucket = "\n".join(f"{key} = {value}" for key, value in lines.items())
        index = await self.index(bucket=bucket)
        install = [*pip(NEWEST, "install", index.url("/cu128/simple/")), "--no-deps", "torch"]
        await self.run_(works, [*install, "--target", self.folder / "a"], self.folder)
        path = f"/cu128/packages/torch/{quote(TORCH.filename)}"
        location = await self.run_(redirect_of, index, path)
        self.assertIn(f".pypid/upstream/{CUDA}/.kept/torch/", unquote(location))
        self.assertEqual((await self.run_(get, location)).body, TORCH.data)
        await self.run_(works, [*install, "--target", self.folder / "b"], self.folder)
        whole = [ask for ask in self.gpu.asked if quote(TORCH.filename) in ask.path]
        self.assertEqual(len([ask for ask in whole if "range" not in ask.headers]), 1)

        words = [
            BIN / "pypid",
            "block",
            "create",
            "torch==2.9.0+cu128",
            "--reason",
            "evil",
            "--json",
        ]
        made = json.loads(await self.run_(works, [*words, "--config", index.config], self.folder))
        self.assertEqual((await self.run_(get, index.url(path))).status, 403)
        self.assertGreater(datetime.fromisoformat(made["links_until"]), datetime.now(UTC))
        ending = [BIN / "pypid", "block", "delete", made["id"], "--config", index.config]
        await self.run_(works, ending, self.folder)
        self.assertEqual((await self.run_(get, location)).body, TORCH.data)


def redirect_of(index: LiveIndex, path: str, within: float = 10.0) -> str:
    """The address that an answer redirects to: a file may still be on its way to the bucket when
    the client that caused its download has all of it.
    """
    deadline = time.monotonic() + within
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", index.port, timeout=30)
        with closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            if answer.status == 302:
                return answer.headers["location"]
        assert time.monotonic() < deadline, answer.status
        time.sleep(0.05)


def page_below(index: LiveIndex, project: str) -> dict[str, Any]:
    """The page of the project below ``/cu128/``."""
    found: dict[str, Any] = json.loads(
        call(
            index,
            "GET",
            f"/cu128/simple/{project}/",
            b"",
            accept="application/vnd.pypi.simple.v1+json",
        )
    )
    return found
