"""The `log-level` command: how much the running pypid writes to its log."""

from __future__ import annotations

import argparse
from typing import Any

from pypid.cli.asking import ask, print_json
from pypid.cli.command import add_command

LEVELS = ("debug", "info", "warn", "error", "critical", "default")
EXAMPLE = """\
  pypid log-level            print the level in force
  pypid log-level debug      write everything, while you look for something
  pypid log-level default    as [log] level says it, again

This holds in all workers, until pypid ends. A new level in the configuration
takes effect by a reload (SIGHUP). Also at debug no password, token or signed
address is written. It is in the audit log who changed the level.
"""


def add(commands: Any) -> None:
    """Declare the `log-level` command."""
    command = add_command(
        commands,
        "log-level",
        _log_level,
        "print or change how much the running pypid logs",
        config=True,
    )
    command.formatter_class = argparse.RawDescriptionHelpFormatter
    command.epilog = EXAMPLE
    command.add_argument(
        "level",
        metavar="LEVEL",
        nargs="?",
        choices=LEVELS,
        help=" or ".join((", ".join(LEVELS[:-1]), LEVELS[-1])),
    )


def _log_level(options: argparse.Namespace) -> None:
    url = "/api/log-level"
    if options.level is None:
        answer = ask(options, "GET", url, of_running=True)
    else:
        answer = ask(options, "PUT", url, {"level": options.level}, of_running=True)
    if options.json:
        print_json(answer)
    elif answer["level"] == answer["configured"]:
        print(answer["level"])
    else:
        print(f"{answer['level']} (the configuration says {answer['configured']})")
