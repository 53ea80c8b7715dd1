"""The configuration: read from the file and the environment, or translated from a pypicloud's."""

from __future__ import annotations

import os
from pathlib import Path

from pypid.core.configuration.ini import IniEntry
from pypid.core.configuration.parse import Config, parse
from pypid.core.errors import BadConfig, ConfigProblem


def load_config(file: Path, worker_count: int | None = None, text: bytes | None = None) -> Config:
    """Return the configuration in force: the file's, with the environment's. The file may be a
    pypicloud's config.ini.

    `worker_count` is the number on the command line, if any; `text` replaces the current text of
    the file. Raises `BadConfig` with all the problems; blocks.
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
        if worker_count is None
        else {("server", "workers"): IniEntry(str(worker_count), "--workers")},
    )


def converted_config(file: Path) -> tuple[str, tuple[str, ...]]:
    """Return pypicloud's config.ini as the text of a pypid ini, and the names of the secrets in it.

    Raises `BadConfig` as `load_config` does, and for a file that is pypid's already; blocks.
    """
    from pypid.core.pypicloud.translation import translate
    from pypid.core.pypicloud.writing import secrets_in, written

    if load_config(file).taken_over is None:
        message = (
            "this is an ini of pypid's already: start pypid with it; `pypid check-config` "
            "explains it"
        )
        raise BadConfig([ConfigProblem(str(file), None, "", None, message)])
    translation = translate(
        file.read_bytes(), filename=str(file), environ=os.environ, cwd=str(Path.cwd())
    )
    return written(translation, str(file)), secrets_in(translation)
