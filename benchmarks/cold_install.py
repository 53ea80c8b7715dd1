"""Installing 40 popular projects through a pypid that has nothing yet, with the upstream on this
machine: against the same straight from that upstream, and through pypiron.

``python benchmarks/cold_install.py [--runs 3] [--seed FOLDER] [--no-html] [--no-pypiron]``

The upstream is a pypid that has everything (*JSON*), or an nginx that serves the same pages as HTML
without metadata (*HTML*). Each run begins with an empty cache, installs once (*cold*) and once more
from the same process (*right after*). Runs are in turns. Nothing is pinned to a core. *CPU* is the
time that the server's process used for the cold installation: a busy machine does not change it.
*Memory* is that of the process (RSS) after both.

The first run fetches the wheels from the index that this machine's pip uses, and keeps them in
the seed folder (``.clients/cold-install``) for all other runs. ``peers.py --install`` installs
pypiron.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import unquote

import _rig as rig
import peers
from proxy import (
    DEPENDENCIES,
    PROJECTS,
    Uv,
    compared,
    index_of,
    ratio,
    seconds,
    upstream_of_this_machine,
)
from proxy import pypid as pypid_of

SEED = Path(__file__).resolve().parents[1] / ".clients" / "cold-install"
_METADATA = re.compile(r' data-(?:core|dist-info)-metadata="[^"]*"')
_HREF = re.compile(r'href="([^"#]*/packages/[^"#]*)')


class ProxyingPypiron(peers.Pypiron):
    """A pypiron that fetches what it does not have from the upstream."""

    pinned = ()

    def __init__(self, folder: Path, index: str) -> None:
        self.port = rig.free_port()
        self.folder = folder
        self.folder.mkdir()
        self.index = f"http://127.0.0.1:{self.port}/simple/"
        self._upstream = index

    def command(self) -> Sequence[str | Path]:
        allowed = ("--allow-insecure-upstream", "--proxy-allow-host", "127.0.0.1")
        where = (
            *("--data-dir", self.folder / "data", "--spool-dir", self.folder),
            *("--bind-addr", f"127.0.0.1:{self.port}"),
        )
        upstream = ("--proxy-upstream", self._upstream.removesuffix("simple/"), *allowed)
        return [
            *(self.program("pypiron"), "serve", *where, *upstream),
            *("--advisory-feed", "", "--exclude-newer", ""),
        ]


def cpu_of(pid: int) -> float:
    """Seconds of CPU that the process used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def prepare(folder: Path, uv: Uv) -> None:
    """Fill the seed folder, unless it has all that is installed."""
    made = folder / "made"
    wanted = "\n".join((*PROJECTS.split(), *DEPENDENCIES.split()))
    if made.is_file() and made.read_text() == wanted:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with pypid_of(folder / "pypid", upstream_of_this_machine()).running() as server:
        uv.install(index_of(server))
        write_pages(server, folder / "html")
    made.write_text(wanted)


def write_pages(server: rig.Server, root: Path) -> None:
    """The pages of all that is installed as HTML without metadata, and its files."""
    for pinned in (*PROJECTS.split(), *DEPENDENCIES.split()):
        name = pinned.partition("==")[0]
        page = _METADATA.sub("", server.get(f"/simple/{name}/").decode())
        (root / "simple" / name).mkdir(parents=True)
        (root / "simple" / name / "index.html").write_text(page)
    kept = {path.name: path for path in server.storage.rglob("*.whl")}
    for href in (
        href for path in root.rglob("index.html") for href in _HREF.findall(path.read_text())
    ):
        found = kept.get(unquote(href.rpartition("/")[2]))
        if found is not None:
            copy = root / unquote(href.lstrip("./"))
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(found, copy)


@contextmanager
def json_upstream(seed: Path, folder: Path) -> Iterator[str]:
    """The index URL of a pypid that has everything."""
    shutil.copytree(seed / "pypid", folder / "upstream", symlinks=True, dirs_exist_ok=True)
    closed = f"http://127.0.0.1:{rig.free_port()}/simple/"
    with pypid_of(folder / "upstream", closed, ttl="10000d").running() as server:
        yield index_of(server)


@contextmanager
def html_upstream(seed: Path, folder: Path) -> Iterator[str]:
    """The index URL of the same as HTML without metadata."""
    with rig.Nginx(folder, seed / "html", "text/html html;").running() as nginx:
        yield f"http://127.0.0.1:{nginx.port}/simple/"


class Times:
    """Seconds of one way to install: cold, of the process's CPU, and right after."""

    def __init__(self) -> None:
        self.cold: list[float] = []
        self.cpu: list[float] = []
        self.after: list[float] = []

    def install(self, uv: Uv, index: str, pid: int) -> None:
        before = cpu_of(pid)
        self.cold.append(uv.install(index))
        self.cpu.append(cpu_of(pid) - before)
        self.after.append(uv.install(index))


def measure(
    title: str, upstream: str, uv: Uv, folder: Path, options: argparse.Namespace
) -> tuple[list[tuple[str, str, str]], dict[str, object]]:
    """The rows and figures of one upstream."""
    straight: list[float] = []
    memory: list[float] = []
    ours, theirs = Times(), Times()
    uv.install(upstream)
    for run in range(options.runs):
        straight.append(uv.install(upstream))
        place = folder / f"{title}-{run}"
        with pypid_of(place, upstream).running() as server:
            ours.install(uv, index_of(server), server.process.pid)
            memory.append(server.rss() / (1 << 20))
        if options.pypiron and title == "JSON":  # it reads no HTML
            peer = ProxyingPypiron(folder / f"{title}-pypiron-{run}", upstream)
            with peer.running():
                theirs.install(uv, peer.index, peer.process.pid)
            shutil.rmtree(peer.folder)
        shutil.rmtree(place)
    goal = {"JSON": "<= 1.3 x", "HTML": "<= 1.8 x"}[title]
    rows = [
        (f"{title}: straight", seconds(straight), ""),
        (f"{title}: cold, through pypid", seconds(ours.cold), ""),
        (f"{title}: its CPU", seconds(ours.cpu), ""),
        (f"{title}: its memory afterwards", f"{max(memory):.0f} MiB", "<= 180 MiB"),
        (f"{title}: right after", seconds(ours.after), ""),
        (f"{title}: cold, against straight", compared(ours.cold, straight), goal),
        (f"{title}: right after, against straight", compared(ours.after, straight), "<= 1.0 x"),
    ]
    figures: dict[str, object] = {
        "straight": straight,
        "pypid": vars(ours),
        "memory": memory,
        "ratio": ratio(ours.cold, straight),
    }
    if theirs.cold:
        rows += [
            (f"{title}: cold, through pypiron", seconds(theirs.cold), ""),
            (f"{title}: its CPU", seconds(theirs.cpu), ""),
            (f"{title}: right after, pypiron", seconds(theirs.after), ""),
            (f"{title}: cold, against pypiron", compared(ours.cold, theirs.cold), "<= 0.8 x"),
        ]
        figures["pypiron"] = vars(theirs)
    return rows, {title: figures}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--runs", type=int, default=3)
    arguments.add_argument("--seed", type=Path, default=SEED, help="where the wheels are kept")
    arguments.add_argument("--no-json", dest="json", action="store_false")
    arguments.add_argument("--no-html", dest="html", action="store_false")
    arguments.add_argument("--no-pypiron", dest="pypiron", action="store_false")
    options = arguments.parse_args()
    program = shutil.which(
        "uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    )
    memory = Path(os.environ.get("BENCH_MEMORY", "/dev/shm"))
    if program is None or not memory.is_dir():
        print("skipped: uv is not installed" if program is None else f"skipped: no folder {memory}")
        return
    if options.pypiron and not peers.Pypiron.installed():
        print("skipped: pypiron not installed (python benchmarks/peers.py --install)")
        options.pypiron = False
    if options.html and rig.Nginx.path() is None:
        print("skipped: nginx not installed")
        options.html = False
    rows: list[tuple[str, str, str]] = []
    figures: dict[str, object] = {}
    with ExitStack() as stack:
        folder = stack.enter_context(rig.scratch())
        fast = tempfile.TemporaryDirectory(prefix="pypid-bench-", dir=memory)
        uv = Uv(program, Path(stack.enter_context(fast)))
        try:
            prepare(options.seed, uv)
        except SystemExit as error:  # without a network, and with no seed
            print(f"skipped: {error}")
            return
        for title, upstream in (("JSON", json_upstream), ("HTML", html_upstream)):
            if vars(options)[title.lower()]:
                with upstream(options.seed, folder) as index:
                    more, told = measure(title, index, uv, folder, options)
                rows += more
                figures |= told
    rig.report("Cold installation of 40 projects", rows, figures)


if __name__ == "__main__":
    main()
