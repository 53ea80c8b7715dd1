"""The command line by which a user of this machine reaches this pypid, for texts that show
commands.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from shlex import quote

from attrs import frozen

from pypid.core.configuration.lookup import VARIABLE, is_built_in
from pypid.core.configuration.parse import Config
from pypid.core.errors import CannotStart
from pypid.daemon.state import where
from pypid.wiring.platform import find_config

NAME = "pypid"
STATE = "STATE_DIRECTORY"
_OWN = (VARIABLE, STATE)


@frozen
class Invocation:
    """The words around a command: those before it, and its `--config` where that is needed."""

    program: str = NAME
    option: str = ""
    """Empty, or ``--config FILE`` after a space."""
    folder: Path | None = None
    """The folder in which the command works; None if it works in each."""

    def command(self, words: str) -> str:
        """Return the whole command line for a shell."""
        return f"{self.program} {words}{self.option}"


def invocation(config: Config, environ: Mapping[str, str]) -> Invocation:
    """Return how a user in the current folder reaches the pypid with this configuration, without
    the variables that name its configuration and its state folder.
    """
    program = program_name(sys.argv[0], environ)
    others = {name: value for name, value in environ.items() if name not in _OWN}
    try:
        usual = find_config(None, others).file
    except CannotStart:
        usual = ""
    is_usual = os.path.realpath(usual) == os.path.realpath(config.source)
    option = "" if is_usual else f" --config {quote(config.source)}"
    if is_built_in(config.source):
        state, option = Path(config.source).parent, ""
    else:
        is_usual = where(config, others).state.resolve() == where(config, environ).state.resolve()
        state = where(config, environ).state
    is_relative = "/" in program and not Path(program).is_absolute()
    named = usual if not option else config.source
    folder = Path.cwd() if is_relative or not Path(named).is_absolute() else None
    if not is_usual and STATE in environ:
        program = f"{STATE}={quote(str(state))} {program}"
    return Invocation(program, option, folder)


def program_name(started: str, environ: Mapping[str, str]) -> str:
    """Return the program as a shell in the current folder finds it, given ``sys.argv[0]``: its name
    if that is on the path, else its path.
    """
    script = Path(started)
    if script.name != NAME:  # twistd, or a module
        script = script.with_name(NAME)
    found = shutil.which(NAME, path=environ.get("PATH"))
    if not script.is_file():
        return NAME
    if found is not None and script.samefile(found):
        return NAME
    path = script.absolute()
    with_folder = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    return quote(str(with_folder) if len(with_folder.parts) > 1 else f"./{with_folder}")
