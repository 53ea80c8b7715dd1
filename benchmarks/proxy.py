"""Installing 40 popular projects through pypid, against the same straight from the upstream, and
through proxpi.

``python benchmarks/proxy.py [--runs 5] [--upstream URL] [--no-proxpi]``

uv installs wheels into a memory file system (``BENCH_MEMORY`` names another than ``/dev/shm``), its
cache empty each time; runs are in turns. *Cold*: pypid has just begun, and has nothing. *Warm*:
pypid and proxpi have everything. *Away*: pypid has everything, its pages have to be asked for
again, and nothing listens where the upstream was. Nothing is pinned to a core: uv would be the first
to feel it. The upstream is, where the option does not say, the index that this machine's pip uses.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import _rig as rig

PROJECTS = """
    aiohttp==3.14.5 attrs==26.1.0 beautifulsoup4==4.15.0 boto3==1.44.5 celery==5.7.0 certifi==2026.10.18
    charset-normalizer==3.5.2 click==8.5.1 cryptography==50.0.2 django==5.2.19 docutils==0.23 fastapi==0.165.0 flask==3.1.3
    fsspec==2026.9.0 httpx==0.28.1 idna==3.20 jinja2==3.1.6 lxml==6.1.3 numpy==2.4.6 packaging==26.3 pandas==3.1.1
    pillow==13.0.0 protobuf==7.36.2 psutil==7.2.2 pydantic==2.14.3 pyjwt==2.15.1 pytest==9.2.0 python-dateutil==2.9.0.post0
    pyyaml==6.0.3 requests==2.34.2 rich==15.0.0 setuptools==84.2.1 six==1.17.0 sqlalchemy==2.1.9 tomlkit==0.15.2
    tqdm==4.70.1 twisted==26.10.0 typing-extensions==4.16.0 urllib3==2.8.0 virtualenv==21.15.8
"""
DEPENDENCIES = """
    aiohappyeyeballs==2.7.1 aiosignal==1.4.0 amqp==5.4.2 annotated-doc==0.0.7 annotated-types==0.8.0 anyio==4.16.0
    asgiref==3.13.0 automat==25.4.16 billiard==4.3.2 blinker==1.9.0 botocore==1.44.5 cffi==2.1.1 click-didyoumean==0.3.1
    click-plugins==1.1.1.2 click-repl==0.4.1 constantly==23.10.4 distlib==0.4.4 filelock==4.2.11 frozenlist==1.8.0
    h11==0.16.0 httpcore==1.0.9 hyperlink==21.0.0 incremental==24.11.0 iniconfig==2.3.1 itsdangerous==2.2.0 jmespath==1.1.0
    kombu==5.7.0 markdown-it-py==4.3.0 markupsafe==3.0.4 mdurl==0.1.2 multidict==7.2.1 opentelemetry-api==1.45.2
    platformdirs==4.14.7 pluggy==1.7.0 prompt-toolkit==3.0.53 propcache==0.5.4 pycparser==3.12 pydantic-core==2.50.4
    pygments==2.21.0 python-discovery==1.9.5 s3transfer==0.19.3 soupsieve==2.10 sqlparse==0.6.1 starlette==1.10.0
    typing-inspection==0.4.5 tzlocal==5.4.5 vine==5.1.0 wcwidth==0.9.4 werkzeug==3.1.9 yarl==1.25.1 zope-interface==8.7
"""
PYTHON = ("--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28")
"""What the wheels are for, wherever this runs: the same ones each time."""
PROXPI = ("proxpi==1.3.1", "gunicorn==27.0.1")
PROXPI_COMMAND = ("--preload", "--no-control-socket", "--threads", "2", "proxpi.server:app")
"""As its container runs it."""


class Uv:
    """A uv that begins with nothing each time, and knows no index but the one that is named."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program = program
        self._folder = folder
        self._wanted = folder / "projects.txt"
        self._fixed = folder / "dependencies.txt"
        self._wanted.write_text("\n".join(PROJECTS.split()))
        self._fixed.write_text("\n".join(DEPENDENCIES.split()))
        machine = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("UV_", "PIP_"))
        }
        # no password of anybody's .netrc
        self._environ = {
            **machine,
            "HOME": str(folder),
            "UV_CACHE_DIR": str(folder / "cache"),
            "NO_PROXY": "127.0.0.1",
        }

    def install(self, index: str) -> float:
        """Seconds that the installation takes."""
        for name in ("cache", "target"):
            shutil.rmtree(self._folder / name, ignore_errors=True)
        where = ("--target", str(self._folder / "target"), "--python", sys.executable, *PYTHON)
        what = (
            "--only-binary",
            ":all:",
            "--requirement",
            str(self._wanted),
            "--constraint",
            str(self._fixed),
        )
        command = [
            self._program,
            "pip",
            "install",
            "--no-config",
            "--quiet",
            "--default-index",
            index,
            *where,
            *what,
        ]
        begun = time.perf_counter()
        ended = subprocess.run(
            command,
            cwd=self._folder,
            env=self._environ,
            capture_output=True,
            text=True,
            check=False,
        )
        took = time.perf_counter() - begun
        if ended.returncode != 0:
            raise SystemExit(f"uv could not install:\n{ended.stderr}")
        installed = len(list((self._folder / "target").glob("*.dist-info")))
        if installed != len(PROJECTS.split()) + len(DEPENDENCIES.split()):
            raise SystemExit(f"{installed} projects were installed")
        return took


def pypid(folder: Path, upstream: str, ttl: str = "10m") -> rig.Server:
    """A pypid with its state in `folder` that asks `upstream`."""
    return rig.Server(
        folder,
        page="/health",
        more=f"[upstream]\nmode = cache\nurl = {upstream}\nttl = {ttl}\n",
        pinned=False,
    )


def index_of(server: rig.Server) -> str:
    return f"http://127.0.0.1:{server.port}/simple/"


class Proxpi:
    """A proxpi in an environment of its own, thrown away with `folder`. Raises `OSError` if it
    cannot be installed.
    """

    def __init__(self, folder: Path, upstream: str) -> None:
        self._environment = folder / "proxpi"
        self._folder = folder
        self.port = rig.free_port()
        self.index = f"http://127.0.0.1:{self.port}/index/"
        python = self._environment / "bin" / "python"
        for command in (
            [sys.executable, "-m", "venv", str(self._environment)],
            [str(python), "-m", "pip", "install", "--quiet", *PROXPI],
        ):
            ended = subprocess.run(command, capture_output=True, text=True, check=False)
            if ended.returncode != 0:
                raise OSError(ended.stderr)
        kept = str(folder / "proxpi-kept")
        self._environ = {
            **os.environ,
            "PROXPI_INDEX_URL": upstream,
            "PROXPI_CACHE_DIR": kept,
            "PROXPI_INDEX_TTL": "1800",
        }

    @contextmanager
    def running(self) -> Iterator[Proxpi]:
        """Started until it listens, stopped at the end."""
        command = [
            str(self._environment / "bin" / "gunicorn"),
            "--bind",
            f"127.0.0.1:{self.port}",
            *PROXPI_COMMAND,
        ]
        with (self._folder / "proxpi.log").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=self._environ)
        try:
            rig.wait_for(self.port, self._folder / "proxpi.log")
            yield self
        finally:
            process.terminate()
            process.wait(20)


def upstream_of_this_machine() -> str:
    """The index that pip is configured to use, else pypid's own default."""
    found = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", "global.index-url"],
        capture_output=True,
        text=True,
        check=False,
    )
    if found.returncode == 0 and found.stdout.strip():
        return found.stdout.strip()
    from pypid.core.configuration.keys import PUBLIC_INDEX

    return PUBLIC_INDEX


def cold(uv: Uv, folder: Path, upstream: str, runs: int) -> tuple[list[float], list[float]]:
    """Seconds straight from the upstream, and through a pypid that has nothing."""
    direct: list[float] = []
    through: list[float] = []
    for run in range(runs):
        direct.append(uv.install(upstream))
        with pypid(folder / f"cold-{run}", upstream).running() as server:
            through.append(uv.install(index_of(server)))
        if run < runs - 1:
            shutil.rmtree(folder / f"cold-{run}")
    (folder / f"cold-{runs - 1}").rename(folder / "kept")
    return direct, through


def warm(uv: Uv, indexes: Sequence[str], runs: int) -> list[list[float]]:
    """Seconds from each of the indexes, in turns."""
    times: list[list[float]] = [[] for _ in indexes]
    for _ in range(runs):
        for index, its in zip(indexes, times, strict=True):
            its.append(uv.install(index))
    return times


def ratio(times: Sequence[float], others: Sequence[float]) -> float:
    """How many times as long as the others they took, in the turn of the median ratio."""
    return rig.compare(times, others).ratio


def compared(times: Sequence[float], others: Sequence[float]) -> str:
    turn = rig.compare(times, others)
    return f"{turn.ratio:.2f} x ({turn.ours:.2f} s : {turn.theirs:.2f} s)"


def with_proxpi(stack: ExitStack, uv: Uv, folder: Path, upstream: str) -> str | None:
    """The index URL of a proxpi that has everything, or None where it cannot be had."""
    try:
        proxpi = stack.enter_context(Proxpi(folder, upstream).running())
    except OSError as error:
        print(f"without proxpi, it cannot be installed: {error}")
        return None
    for _ in range(
        2
    ):  # in the first one it sends uv to the upstream for what it has not fetched within 0.9 s
        uv.install(proxpi.index)
    return proxpi.index


def seconds(times: Sequence[float]) -> str:
    return f"{rig.median(times):.2f} s ({min(times):.2f} to {max(times):.2f})"


def measure(uv: Uv, folder: Path, upstream: str, runs: int, proxpi_too: bool) -> None:
    direct, through = cold(uv, folder, upstream, runs)
    rows = [
        ("cold, through pypid", seconds(through), ""),
        ("cold, straight", seconds(direct), ""),
        ("cold, against straight", compared(through, direct), "<= 1.3 x"),
    ]
    figures: dict[str, object] = {
        "cold": through,
        "cold_straight": direct,
        "cold_ratio": ratio(through, direct),
    }
    with ExitStack() as stack:
        server = stack.enter_context(pypid(folder / "kept", upstream).running())
        indexes = [upstream, index_of(server)]
        proxpi = with_proxpi(stack, uv, folder, upstream) if proxpi_too else None
        uv.install(index_of(server))
        straight, ours, *others = warm(uv, [*indexes, *([proxpi] if proxpi else [])], runs)
    rows += [
        ("warm, through pypid", seconds(ours), ""),
        ("warm, straight", seconds(straight), ""),
        ("warm, against straight", compared(ours, straight), "<= 0.9 x"),
    ]
    figures.update(warm=ours, warm_straight=straight, warm_ratio=ratio(ours, straight))
    for theirs in others:
        rows.append(("warm, through proxpi", seconds(theirs), ""))
        rows.append(("warm, against proxpi", compared(ours, theirs), "<= 0.5 x"))
        figures.update(proxpi=theirs, proxpi_ratio=ratio(ours, theirs))
    closed = f"http://127.0.0.1:{rig.free_port()}/simple/"
    with pypid(folder / "kept", closed, ttl="0").running() as server:
        away, *_ = warm(uv, [index_of(server)], runs)
    rows.append(("upstream away, through pypid", seconds(away), "it works"))
    rig.report("Installing 40 projects through pypid", rows, {**figures, "away": away})


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--runs", type=int, default=5)
    arguments.add_argument("--upstream", help="its Simple API")
    arguments.add_argument("--no-proxpi", action="store_true", help="do not compare with proxpi")
    options = arguments.parse_args()
    program = shutil.which(
        "uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    )
    if program is None:
        print("skipped: uv is not installed")
        return
    upstream = options.upstream or upstream_of_this_machine()
    memory = Path(os.environ.get("BENCH_MEMORY", "/dev/shm"))
    if not memory.is_dir():
        print(f"skipped: {memory} is no folder; BENCH_MEMORY can name another one")
        return
    with (
        rig.scratch() as folder,
        tempfile.TemporaryDirectory(prefix="pypid-bench-", dir=memory) as fast,
    ):
        uv = Uv(program, Path(fast))
        try:
            uv.install(upstream)  # what is between here and there is warm now
        except SystemExit as error:
            print(f"skipped: {error}")
            return
        measure(uv, folder, upstream, options.runs, not options.no_proxpi)


if __name__ == "__main__":
    main()
