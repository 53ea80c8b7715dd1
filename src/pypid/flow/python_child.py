"""How pypid starts a child process that runs a module of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def program_of(module: str) -> tuple[str, ...]:
    """Return the command that runs the module, with the paths of `child_environ` only."""
    return (sys.executable, "-P", "-s", "-m", module)


def child_environ() -> dict[str, str]:
    """Return the environment of such a child: none of this process's variables, which may hold
    secrets.
    """
    found = os.pathsep.join(str(Path(each).absolute()) for each in sys.path if each)
    return {
        "PYTHONPATH": found,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUTF8": "1",
        "LC_ALL": "C.UTF-8",
    }
