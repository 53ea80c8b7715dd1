"""The `doctor` command: checks of a machine before production."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

from pypid.cli.command import add_command
from pypid.cli.output import ProgressBar, counted, print_json, printable

if TYPE_CHECKING:  # `--help` need not wait for it
    from collections.abc import Sequence

    from pypid.wiring.doctor import CheckResult

_DESCRIPTION = """\
Check this machine before production: the configuration, endpoints and TLS files;
folders, rights and free space; package versions and limits; the clock, DNS and each
upstream index; the bucket's permissions; databases and directories; administrators and
the backup. It works on a running and on a stopped pypid, changes nothing, and ends
within a minute. In a bucket it writes and deletes an object below .pypid/.
"""
_EXAMPLES = """\
  pypid doctor
  pypid doctor --json | jq '.results[] | select(.level != "ok")'
  sudo -u pypid pypid doctor --config /etc/pypid/pypid.ini

Run it as the user that runs pypid: rights are those of the caller.

exit status:
  0   no problem; there may be warnings
  1   at least one problem
"""
_WIDTH = len("problem")


def add(commands: Any) -> None:
    """Declare the `doctor` command."""
    add_command(
        commands,
        "doctor",
        _doctor,
        "check this machine before production",
        config=True,
        description=_DESCRIPTION,
        examples=_EXAMPLES,
    )


def _doctor(options: argparse.Namespace) -> int:
    from twisted.internet import reactor

    from pypid.wiring.doctor import Severity, examine
    from pypid.wiring.platform import Platform
    from pypid.wiring.twistd import begin_logging

    begin_logging("critical", "text", sys.stderr, redirect=False)
    bar = ProgressBar(sys.stderr)

    def show(done: int, of: int) -> None:
        bar.show(f"{done} of {of} checks done", done, of)

    platform = Platform(reactor, dict(os.environ), serves_clients=False)
    results = examine(options.config, platform, show)
    bar.clear()
    levels = Counter(result.severity.value for result in results)
    if options.json:
        print_json(_document(results))
    else:
        _print(results)
        print(f"\n{_summary(levels)}")
    return 1 if levels[Severity.PROBLEM.value] else 0


def _document(results: Sequence[CheckResult]) -> dict[str, Any]:
    entries = [
        {
            "area": result.area,
            "level": result.severity.value,
            "text": result.text,
            "advice": result.advice,
        }
        for result in results
    ]
    return {"healthy": all(entry["level"] != "problem" for entry in entries), "results": entries}


def _print(results: Sequence[CheckResult]) -> None:
    areas = max(len(result.area) for result in results)
    for result in results:
        head = f"{result.severity.value:<{_WIDTH}}  {result.area:<{areas}}"
        print(f"{head}  {printable(result.text)}")
        if result.advice:
            print(f"{'':{len(head)}}  {printable(result.advice)}")


def _summary(levels: Counter[str]) -> str:
    problems = counted(levels["problem"], "problem") if levels["problem"] else "No problem"
    warnings = f", {counted(levels['warning'], 'warning')}" if levels["warning"] else ""
    return f"{problems}{warnings}, {levels['ok']} ok"
