"""The configuration: read from the file and the environment, or translated from a pypicloud's."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from pypid.core.configuration import lookup
from pypid.core.configuration.ini import IniEntry
from pypid.core.configuration.lookup import Caller, FoundConfig
from pypid.core.configuration.parse import Config, parse_with_problems
from pypid.core.errors import BadConfig, ConfigProblem


class _Files:
    """The file system of this machine."""

    lstat = staticmethod(os.lstat)
    stat = staticmethod(os.stat)

    def resolve(self, path: str) -> str:
        """Return the absolute path without symbolic links."""
        return os.path.realpath(path)

    def may_write(self, folder: str) -> bool:
        """Return whether it is a folder in which the effective user may create files."""
        return Path(folder).is_dir() and os.access(
            folder, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids
        )


def find_config(option: Path | str | None, environ: Mapping[str, str] | None = None) -> FoundConfig:
    """Return the configuration that this process uses: that of `option`, or the first that
    `lookup.find_config` finds. `environ` replaces its environment. Raises `CannotStart`; blocks.
    """
    caller = _caller(os.environ if environ is None else environ)
    return lookup.find_config(None if option is None else str(option), caller, _Files())


def default_data() -> str:
    """Return the data folder of the built-in defaults. Raises `CannotStart`; blocks."""
    return lookup.default_data(_caller(os.environ), _Files())


def _caller(environ: Mapping[str, str]) -> Caller:
    home = os.path.expanduser("~")  # noqa: PTH111  # Path.home() raises if there is none
    return Caller(environ, str(Path.cwd()), os.geteuid(), os.getegid(), home)


def config_text(file: Path) -> bytes:
    """Return the text of the configuration file; the built-in defaults are what `pypid init`
    writes. Raises `OSError`; blocks.
    """
    return default_text().encode() if lookup.is_built_in(file) else file.read_bytes()


def default_text() -> str:
    """Return the text of the configuration with comments, which is part of the package."""
    return files("pypid").joinpath("pypid.ini").read_text(encoding="utf-8")


def load_config(file: Path, worker_count: int | None = None, text: bytes | None = None) -> Config:
    """Return the configuration in force: the file's, with the environment's. The file may be a
    pypicloud's config.ini, or stand for the built-in defaults.

    `worker_count` is the number on the command line, if any; `text` replaces the current text of
    the file. Raises `BadConfig` with all the problems; blocks.
    """
    config, problems = load_with_problems(file, worker_count, text)
    if problems:
        raise BadConfig(problems)
    return config


def load_with_problems(
    file: Path, worker_count: int | None = None, text: bytes | None = None
) -> tuple[Config, Sequence[ConfigProblem]]:
    """Return the configuration, with defaults in place of invalid values, and all problems. The
    arguments are those of `load_config`. Raises `BadConfig` if the file cannot be read; blocks.
    """
    try:
        data = config_text(file) if text is None else text
    except OSError as error:
        hint = "Name another one with --config FILE; `pypid init FILE` writes one with comments."
        raise BadConfig(
            [ConfigProblem(str(file), None, "", None, f"cannot be read: {error.strerror}. {hint}")]
        ) from None
    return parse_with_problems(
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
