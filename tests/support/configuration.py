"""Configurations out of texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from pypid.core.configuration.ini import IniEntry
from pypid.core.configuration.parse import Config, parse_with_problems
from pypid.core.errors import BadConfig


def _no_files(path: str) -> str:
    raise OSError("files are not read here")


def parse(
    text: bytes | str,
    *,
    filename: str,
    environ: Mapping[str, str] = MappingProxyType({}),
    read_file: Callable[[str], str] = _no_files,
    cwd: str = "/",
    options: Mapping[tuple[str, str], IniEntry] = MappingProxyType({}),
) -> Config:
    """Return the configuration. Raises `BadConfig` with all problems."""
    config, problems = parse_with_problems(
        text, filename=filename, environ=environ, read_file=read_file, cwd=cwd, options=options
    )
    if problems:
        raise BadConfig(problems)
    return config
