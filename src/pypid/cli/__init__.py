"""The `pypid` command. Commands that change something work on a running pypid (through its control
socket) and on a stopped one.

One module per group of commands; each has `add`, which declares them.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module

from pypid import __version__
from pypid.core.errors import PypidError

_GROUPS = (
    *(
        "starting",
        "clients",
        "projects",
        "why",
        "storage",
        "copying",
        "collect",
        "cache",
        "snapshots",
        "tier",
    ),
    *("static", "export"),
    *("people", "rights", "tokens", "invitations", "acl", "audit", "loglevel"),
)
"""The modules, in the order of the help."""
_MODULES = {
    **dict.fromkeys(
        ("serve", "check-config", "convert-config", "gen-password", "gen-secret"), "starting"
    ),
    **dict.fromkeys(("yank", "unyank", "status", "delete", "release-name"), "projects"),
    **dict.fromkeys(("rebuild", "adopt", "check"), "storage"),
    **dict.fromkeys(("user", "group"), "people"),
    **dict.fromkeys(("audit", "downloads"), "audit"),
    **{name: name for name in ("why", "collect", "cache", "tier", "static", "export", "acl")},
    **{name: f"{name}s" for name in ("right", "token", "invitation", "snapshot")},
    "client-config": "clients",
    "copy-storage": "copying",
    "log-level": "loglevel",
}
"""The module of each command: only this one has to be imported."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command. Exits with 0, with 1 if pypid refuses (the text says why), with 2 if the
    command line is wrong.
    """
    words = sys.argv[1:] if arguments is None else arguments
    module = _MODULES.get(words[0]) if words else None
    line = parser(_GROUPS if module is None else (module,))
    options = line.parse_args(words)
    if options.run is None:
        line.print_help()
        sys.exit(0)
    try:
        sys.exit(options.run(options))
    except PypidError as error:
        sys.exit(f"pypid: {error}")
    except BrokenPipeError:  # of `pypid ... | head`; Python would report it again when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        print("pypid: stopped", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


def parser(groups: Sequence[str] = _GROUPS) -> argparse.ArgumentParser:
    """Return the parser of these groups of commands, with their help."""
    top = argparse.ArgumentParser(
        prog="pypid",
        description=(
            "A team's Python package index. `pypid serve` starts it; the other commands manage "
            "it, running or stopped."
        ),
        epilog="Each command has its own help: pypid COMMAND --help. All guides: docs/ in the source.",
    )
    top.add_argument("--version", action="version", version=f"pypid {__version__}")
    top.set_defaults(run=None)
    commands = top.add_subparsers(title="commands", metavar="COMMAND")
    for group in groups:
        import_module(f"{__name__}.{group}").add(commands)
    return top
