"""The `log-level` command: how much the running pypid writes to its log."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from pypid.cli.grammar import argument, command
from pypid.cli.output import print_answer
from pypid.cli.request import send_request

LEVELS = ("debug", "info", "warn", "error", "critical", "default")
EXAMPLES = """\
  pypid log-level            print the current level
  pypid log-level debug      log everything
  pypid log-level default    return to [log] level of the configuration

The level applies to all workers until pypid stops. Passwords, tokens and signed URLs are
not logged at any level. The audit log records who changed the level.
"""


def _log_level(options: argparse.Namespace) -> None:
    method, document = "GET", None
    if options.level is not None:
        method, document = "PUT", {"level": options.level}
    answer = send_request(options, method, "/api/log-level", document, running_only=True)
    print_answer(options, answer, _print_level)


def _print_level(answer: Mapping[str, Any]) -> None:
    if answer["level"] == answer["configured"]:
        print(answer["level"])
    else:
        print(f"{answer['level']} (configured: {answer['configured']})")


COMMANDS = (
    command(
        "log-level",
        _log_level,
        "print or change the log level of the running pypid",
        argument(
            "level",
            metavar="LEVEL",
            nargs="?",
            choices=LEVELS,
            help=" or ".join((", ".join(LEVELS[:-1]), LEVELS[-1])),
        ),
        examples=EXAMPLES,
    ),
)
