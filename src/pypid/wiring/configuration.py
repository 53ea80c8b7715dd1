"""Reading the configuration from the file and the environment."""

from __future__ import annotations

import os
from pathlib import Path

from pypid.core.configuration.ini import IniEntry
from pypid.core.configuration.parse import Config, parse
from pypid.core.errors import BadConfig, ConfigProblem


def load_config(file: Path, workers: int | None = None, text: bytes | None = None) -> Config:
    """Return the configuration in force: the file's, with the environment's. The file may be a
    pypicloud's config.ini.

    `workers` is the number on the command line, if any; `text` replaces the current text of the
    file. Raises `BadConfig` with all the problems; blocks.
    """
    try:
        data = file.read_bytes() if text is None else text
    except OSError as error:
        hint = "Give another one with --config FILE; the source has a commented one, etc/pypid.ini."
        raise BadConfig(
            [ConfigProblem(str(file), None, "", None, f"cannot be read: {error.strerror}. {hint}")]
        ) from None
    return parse(
        data,
        filename=str(file),
        environ=os.environ,
        read_file=lambda name: Path(name).read_text(),
        cwd=str(Path.cwd()),
        options={}
        if workers is None
        else {("server", "workers"): IniEntry(str(workers), "--workers")},
    )
