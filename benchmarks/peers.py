"""Other package indexes beside pypid: the page of a project of ten files, and a large upload; each
on one core, in turns.

``python benchmarks/peers.py [--install] [--seconds 3] [--runs 3] [--size 500]``   (MiB; 0: no uploads)

With ``--install`` those that are missing are installed below ``.clients/``, each in an environment
of its own, by pip and from where pip is told to look; nothing is measured. Else what is not there
is skipped by its name. They log what they answer, where they can. proxpi, a cache, has pypid for
its upstream; the page is kept by then.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path

import _rig as rig
from _wheels import build, upload
from pages import HTML, JSON, requests_a_second

ENVIRONMENTS = Path(__file__).resolve().parents[1] / ".clients" / "peers"
FILES = 10
Figures = dict[str, object]


class Peer:
    """Another index, with its state below `folder`."""

    name: str
    logs = ""
    """What is added to the name where it has an access log that it need not have."""
    needs: tuple[str, ...]
    goal: float
    page = "/simple/ten/"
    formats: tuple[str, ...] = (HTML,)
    uploads = "/legacy/"
    pinned: tuple[str, ...] = rig.PINNED

    def __init__(self, folder: Path, upstream: rig.Server) -> None:
        self.port = rig.free_port()
        self.folder = folder / f"{self.name}{self.logs}"
        self.folder.mkdir()
        self.upstream = f"http://127.0.0.1:{upstream.port}/simple/"

    @classmethod
    def program(cls, name: str) -> Path:
        """One of its executables."""
        return ENVIRONMENTS / cls.name / "bin" / name

    @classmethod
    def installed(cls) -> bool:
        """Whether all of it is there, as wanted."""
        made = ENVIRONMENTS / cls.name / "made"
        return made.is_file() and made.read_text() == "\n".join(cls.needs)

    @classmethod
    def install(cls) -> str:
        """Make its environment; what failed, or nothing."""
        place = ENVIRONMENTS / cls.name
        shutil.rmtree(place, ignore_errors=True)
        pip = (
            str(place / "bin" / "python"),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        )
        making = (sys.executable, "-m", "venv", str(place))
        for command in (making, (*pip, *cls.needs)):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                return done.stderr.strip().splitlines()[-1]
        (place / "made").write_text("\n".join(cls.needs))
        return ""

    def command(self) -> Sequence[str | Path]:
        """What starts it."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        """More of its environment."""
        return {}

    def prepare(self) -> None:
        """What is to be done before it starts."""

    def fill(self, wheels: Sequence[Path]) -> None:
        """Publish them."""
        for wheel in wheels:
            upload(self, wheel, sha256(wheel.read_bytes()).hexdigest(), to=self.uploads)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Started until it listens, stopped at the end."""
        self.prepare()
        log = self.folder / "log"
        with log.open("ab") as output:
            process = self.process = subprocess.Popen(
                [*self.pinned, *self.command()],
                env={**os.environ, **self.environment()},
                stdout=output,
                stderr=output,
                cwd=self.folder,
            )
        try:
            rig.wait_for(self.port, log, 60)
            yield
        finally:
            process.terminate()
            process.wait(60)


class Pypiron(Peer):
    """An index in Rust."""

    name, needs, goal = "pypiron", ("pypiron==0.0.29",), 1.0
    formats = (HTML, JSON)

    def command(self) -> Sequence[str | Path]:
        where = (
            "--data-dir",
            self.folder / "data",
            "--spool-dir",
            self.folder,
            "--bind-addr",
            f"127.0.0.1:{self.port}",
        )
        # the list of malware is on the network
        logged = ["--access-log"] if self.logs else []
        return [self.program("pypiron"), "serve", *where, *logged, "--advisory-feed", ""]

    def environment(self) -> dict[str, str]:
        return {"PYPIRON_UPLOADER_USER": "bench", "PYPIRON_UPLOADER_PASS": rig.PASSWORD}


class LoggingPypiron(Pypiron):
    """The same, which logs what it answers."""

    logs = ", logging"


class Proxpi(Peer):
    """A cache, as its container runs it."""

    name, needs, goal = "proxpi", ("proxpi==1.3.1", "gunicorn==27.0.1"), 30.0
    page = "/index/ten/"

    def command(self) -> Sequence[str | Path]:
        logged = ("--access-logfile", self.folder / "access.log", "--no-control-socket")
        return [
            *(self.program("gunicorn"), "--bind", f"127.0.0.1:{self.port}", *logged),
            *("--preload", "--threads", "2", "proxpi.server:app"),
        ]

    def environment(self) -> dict[str, str]:
        kept = str(self.folder / "kept")
        return {
            "PROXPI_INDEX_URL": self.upstream,
            "PROXPI_CACHE_DIR": kept,
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }

    def fill(self, wheels: Sequence[Path]) -> None:
        """It has what pypid has."""


class Devpi(Peer):
    """A server with indexes of users."""

    name, needs, goal = "devpi-server", ("devpi-server==6.20.3", "setuptools<81"), 100.0
    page = "/bench/dev/+simple/ten/"
    uploads = "/bench/dev/"

    def command(self) -> Sequence[str | Path]:
        where = (
            "--serverdir",
            self.folder / "server",
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
        )
        return [self.program("devpi-server"), *where, "--offline-mode"]

    def prepare(self) -> None:
        command = (
            self.program("devpi-init"),
            "--serverdir",
            self.folder / "server",
            "--no-root-pypi",
        )
        subprocess.run(command, check=True, capture_output=True)

    def fill(self, wheels: Sequence[Path]) -> None:
        self._ask("PUT", "/bench", {"password": rig.PASSWORD}, "")
        pair = self._ask("POST", "/+login", {"user": "bench", "password": rig.PASSWORD}, "")[
            "result"
        ]["password"]
        proof = base64.b64encode(f"bench:{pair}".encode()).decode()
        self._ask("PUT", "/bench/dev", {"type": "stage", "bases": []}, proof)
        super().fill(wheels)

    def _ask(
        self, method: str, path: str, document: dict[str, object], proof: str
    ) -> dict[str, dict[str, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "X-Devpi-Auth": proof,
        }
        connection.request(method, path, json.dumps(document), headers)
        answer = connection.getresponse()
        data = answer.read()
        if answer.status not in (200, 201):
            raise SystemExit(f"devpi: {method} {path}: {answer.status} {data[:300]!r}")
        told: dict[str, dict[str, str]] = json.loads(data)
        return told


PEERS: tuple[type[Peer], ...] = (Pypiron, LoggingPypiron, Proxpi, Devpi)


def install() -> None:
    """Those that are missing; what cannot be had is said."""
    for peer in {peer.name: peer for peer in PEERS}.values():
        trouble = "" if peer.installed() else peer.install()
        print(
            f"{peer.name}: {'cannot be installed: ' + trouble if trouble else 'is there'}",
            flush=True,
        )


def checked(port: int, path: str, accept: str) -> None:
    """Raise `SystemExit` unless the page lists all the files: what is quick and wrong
    is no peer.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path, headers={"Accept": accept})
    body = connection.getresponse().read()
    connection.close()
    found = set(re.findall(rb"ten-1\.\d+-py3-none-any\.whl", body))
    if len(found) != FILES:
        raise SystemExit(f"{path} on port {port} lists {len(found)} files: {body[:500]!r}")


def pages(
    server: rig.Server, peers: Sequence[Peer], options: argparse.Namespace
) -> tuple[list[tuple[str, str, str]], Figures]:
    """Of each format: the rates of all who have it, in turns."""
    rows: list[tuple[str, str, str]] = []
    figures: Figures = {}
    for title, accept in (("HTML", HTML), ("JSON", JSON)):
        rivals = [peer for peer in peers if accept in peer.formats]
        asked = [(server.port, "/simple/ten/"), *((peer.port, peer.page) for peer in rivals)]
        rates: list[list[float]] = [[] for _ in asked]
        for port, path in asked:
            checked(port, path, accept)
        for _ in range(options.runs if rivals else 0):
            for (port, path), its in zip(asked, rates, strict=True):
                its.append(requests_a_second(port, path, {"Accept": accept}, options.seconds, 200))
        ours, *theirs = rates
        for peer, its in zip(rivals, theirs, strict=True):
            turn = rig.compare(ours, its)
            measured = (
                f"{turn.ratio:.2f} x {peer.name} ({turn.ours:,.0f} : {turn.theirs:,.0f} a second)"
            )
            rows.append(
                (
                    f"10 files, {title}, against {peer.name}{peer.logs}",
                    measured,
                    f">= {peer.goal:g}",
                )
            )
            figures[f"{title} {peer.name}{peer.logs}"] = {
                "ratio": turn.ratio,
                "pypid": ours,
                peer.name: its,
            }
    return rows, figures


def uploads(
    server: rig.Server, peer: Peer, folder: Path, options: argparse.Namespace
) -> tuple[list[tuple[str, str, str]], Figures]:
    """A large file, in turns."""
    ours: list[float] = []
    theirs: list[float] = []
    for run in range(options.runs):
        wheel = folder / f"big-{run + 1}.0-py3-none-any.whl"
        build(wheel, "big", f"{run + 1}.0", options.size << 20)
        digest = sha256(wheel.read_bytes()).hexdigest()
        ours.append(upload(server, wheel, digest))
        theirs.append(upload(peer, wheel, digest, to=peer.uploads))
        wheel.unlink()
    turn = rig.compare(ours, theirs)
    measured = (
        f"{turn.ratio:.2f} x the time of {peer.name} ({turn.ours:.2f} s : {turn.theirs:.2f} s)"
    )
    row = (f"upload of {options.size} MiB, against {peer.name}", measured, "<= 1")
    return [row], {"upload": {"ratio": turn.ratio, "pypid": ours, peer.name: theirs}}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument(
        "--install", action="store_true", help="install what is missing, and measure nothing"
    )
    arguments.add_argument("--seconds", type=int, default=3)
    arguments.add_argument("--runs", type=int, default=3)
    arguments.add_argument("--size", type=int, default=500, help="MiB of the upload (500)")
    options = arguments.parse_args()
    if options.install:
        install()
        return
    if shutil.which("wrk") is None:
        print("skipped: wrk not installed")
        return
    for name in dict.fromkeys(kind.name for kind in PEERS if not kind.installed()):
        print(f"skipped: {name} not installed (python benchmarks/peers.py --install)")
    rig.pin_client()
    with ExitStack() as stack:
        folder = stack.enter_context(rig.scratch())
        server = stack.enter_context(rig.Server(folder / "pypid").running())
        wheels = [folder / f"ten-1.{count}-py3-none-any.whl" for count in range(FILES)]
        for count, wheel in enumerate(wheels):
            build(wheel, "ten", f"1.{count}", 0)
            upload(server, wheel, sha256(wheel.read_bytes()).hexdigest())
        peers = [kind(folder, server) for kind in PEERS if kind.installed()]
        for peer in peers:
            stack.enter_context(peer.running())
            peer.fill(wheels)
        rows, figures = pages(server, peers, options)
        for peer in peers:
            if type(peer) is Pypiron and options.size:
                more, told = uploads(server, peer, folder, options)
                rows += more
                figures |= told
    if rows:
        rig.report("Other indexes", rows, figures)


if __name__ == "__main__":
    main()
