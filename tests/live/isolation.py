"""Clients as the tests run them: with a home of their own, and no way to any index but the one that
is named.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from attrs import frozen

from tests.live.clients import client

WITHIN: Final = 120.0
"""Seconds that a client may take; none should need ten."""


def environ(home: Path, **more: str) -> dict[str, str]:
    """All that a client sees of this machine: no index, proxy, password or cache
    of anybody else's.
    """
    home.mkdir(parents=True, exist_ok=True)
    return {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "XDG_CACHE_HOME": str(home / ".cache"),
        "XDG_DATA_HOME": str(home / ".local/share"),
        "PATH": "/usr/bin:/bin",
        "LC_ALL": "C.UTF-8",
        "NO_COLOR": "1",
        "COLUMNS": "1000",
        "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_INPUT": "1",
        "UV_NO_CONFIG": "1",
        "UV_CACHE_DIR": str(home / "uv-cache"),
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_LINK_MODE": "copy",
        "POETRY_VIRTUALENVS_IN_PROJECT": "1",
        "POETRY_VIRTUALENVS_OPTIONS_NO_PIP": "1",
        "POETRY_CACHE_DIR": str(home / "poetry-cache"),
        "PDM_CHECK_UPDATE": "0",
        **more,
    }


@frozen
class Ended:
    """A client that ended: its exit status, and what it said on both streams."""

    status: int
    said: str


def run(
    command: Sequence[str | Path],
    home: Path,
    *,
    cwd: Path | None = None,
    said: str = "",
    **more: str,
) -> Ended:
    """Run a client to its end; `more` are environment variables, `said` is its standard input."""
    ended = subprocess.run(
        command,
        cwd=home if cwd is None else cwd,
        env=environ(home, **more),
        input=said,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        timeout=WITHIN,
        check=False,
    )
    return Ended(ended.returncode, ended.stdout)


def works(
    command: Sequence[str | Path],
    home: Path,
    *,
    cwd: Path | None = None,
    said: str = "",
    **more: str,
) -> str:
    """What it said. Raises `AssertionError` with it unless it exits with 0."""
    ended = run(command, home, cwd=cwd, said=said, **more)
    if ended.status != 0:
        raise AssertionError(
            f"{' '.join(map(str, command))} exited with {ended.status}:\n{ended.said[-8000:]}"
        )
    return ended.said


def fails(
    command: Sequence[str | Path],
    home: Path,
    *,
    cwd: Path | None = None,
    said: str = "",
    **more: str,
) -> str:
    """What it said, all white space one blank. Raises `AssertionError` unless it exits with
    something else than 0.
    """
    ended = run(command, home, cwd=cwd, said=said, **more)
    if ended.status == 0:
        raise AssertionError(
            f"{' '.join(map(str, command))} should have failed, and said:\n{ended.said[-8000:]}"
        )
    return " ".join(ended.said.split())


def pip(name: str, verb: str, url: str, *rest: str | Path, cache: bool = False) -> list[str | Path]:
    """The pip of that environment, asking `url` only."""
    cached = [] if cache else ["--no-cache-dir"]
    # the old ones know no PIP_NO_INPUT; a pip that asks a question reads an empty standard input
    # and fails
    return [client(name).with_name("python"), "-m", "pip", verb, *cached, "--index-url", url, *rest]


def uv(url: str, *rest: str | Path) -> list[str | Path]:
    """`uv pip install` for the Python that runs this, asking `url` only; --target
    is the caller's.
    """
    fixed = ["pip", "install", "--no-config", "--default-index", url, "--python", sys.executable]
    return [client("uv"), *fixed, *rest]


def twine(
    url: str, user: str, password: str, *files: Path, which: str = "twine"
) -> list[str | Path]:
    """The command line that uploads these files."""
    line: list[str | Path] = [client(which), "upload", "--non-interactive"]
    line += ["--disable-progress-bar", "--repository-url", url, "-u", user, "-p", password]
    return [*line, *files]
