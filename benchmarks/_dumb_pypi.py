"""Runs of `pypid export` and dumb-pypi: their time, processor time and memory."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from unittest import SkipTest

from _fabricate import made_up

from pypid.core.packaging.names import project_name

sys.path.append(str(Path(__file__).resolve().parents[1]))


def dumb_pypi() -> Path | None:
    """Return the path of dumb-pypi, which is installed below ``.clients/`` if missing; None where
    that is impossible.
    """
    from tests.live.clients import client

    try:
        return Path(client("dumb-pypi"))
    except SkipTest as reason:
        print(f"skipped: dumb-pypi: {reason}")
        return None


def run(command: Sequence[str | Path]) -> tuple[float, float, float]:
    """Return the seconds, the processor seconds, and the MiB of the largest of its processes."""
    begun = time.perf_counter()
    pid = os.posix_spawn(str(command[0]), [str(word) for word in command], dict(os.environ))
    _, status, usage = os.wait4(pid, 0)
    seconds = time.perf_counter() - begun
    if status:
        raise SystemExit(f"{command[0]} ended with {os.waitstatus_to_exitcode(status)}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def list_of_fabricated(path: Path, projects: int, files: int) -> None:
    """Write the list of the files that `fabricate` makes, as dumb-pypi reads it."""
    with path.open("w") as out:
        for number in range(projects):
            name = project_name(f"project-{number}")
            for count in range(files):
                file = made_up(name, number, count)
                assert file.uploaded is not None
                entry = {
                    "filename": file.filename,
                    "hash": f"sha256={file.sha256}",
                    "requires_python": file.requires_python,
                    "uploaded_by": file.uploader,
                    "upload_timestamp": int(file.uploaded.timestamp()),
                }
                print(json.dumps(entry), file=out)
