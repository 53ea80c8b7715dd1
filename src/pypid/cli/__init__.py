"""The `pypid` command. Commands that change something work on a running pypid (through its control
socket) and on a stopped one.

One module for each noun; each has `COMMANDS`, their declarations.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path

from pypid import __version__
from pypid.cli.grammar import CommandParser, find_config
from pypid.core.errors import PypidError

_MODULES = {
    "server": ("serve", "init"),
    "status": ("status", "reload"),
    "configuration": ("check-config", "convert-config"),
    "project": ("project",),
    "user": ("user",),
    "group": ("group",),
    "right": ("right",),
    "token": ("token",),
    "index": ("index",),
    "promote": ("promote",),
    "block": ("block",),
    "approval": ("approval",),
    "trust": ("trust",),
    "storage": ("storage",),
    "cache": ("cache",),
    "audit": ("audit", "downloads"),
    "advisory": ("advisory",),
    "backup": ("backup",),
    "log_level": ("log-level",),
    "export": ("export",),
    "client_config": ("client-config",),
    "secret": ("gen-password", "gen-secret"),
    "completion": ("completion",),
}
"""The modules with their commands, in the order of the help."""
COMMANDS = {command: module for module, commands in _MODULES.items() for command in commands}
"""The module of each command: only this one has to be imported."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command. Exits with 0, with 1 if pypid refuses (the text says why), with 2 if the
    command line is wrong.
    """
    words = sys.argv[1:] if arguments is None else arguments
    module = COMMANDS.get(words[0]) if words else None
    top = parser(_MODULES if module is None else (module,))
    options, rest = top.parse_known_args(words)
    if rest:
        options.parser.refuse_words(rest)
    if options.run is None:
        options.parser.print_help(sys.stderr if words else sys.stdout)
        sys.exit(2 if words else 0)
    try:
        if "config" in options:
            file = Path(find_config(options.config).file)
            named = options.config
            options = argparse.Namespace(**{**vars(options), "config": file, "named_config": named})
        sys.exit(options.run(options))
    except PypidError as error:
        sys.exit(f"pypid: {error}")
    except BrokenPipeError:  # of `pypid ... | head`; Python would report it again when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        print("pypid: stopped", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


def parser(modules: Iterable[str] = tuple(_MODULES)) -> CommandParser:
    """Return the parser of the commands of these modules, with their help."""
    top = CommandParser(
        prog="pypid",
        description=(
            "A team's Python package index. `pypid serve` starts it. The other commands manage it, "
            "whether it is running or stopped."
        ),
        epilog=(
            "Help for a command: pypid COMMAND --help. Documentation: the path /docs/ of a running "
            "pypid (`pypid status` prints its address)."
        ),
    )
    top.add_argument("--version", action="version", version=f"pypid {__version__}")
    top.set_defaults(run=None, parser=top)
    commands = top.add_subparsers(title="commands", metavar="COMMAND")
    for module in modules:
        for declare in import_module(f"{__name__}.{module}").COMMANDS:
            declare(commands)
    return top
