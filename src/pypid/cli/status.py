"""The `status` and `reload` commands: the running pypid."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from pypid.cli.grammar import command
from pypid.cli.output import counted, format_time, print_answer
from pypid.cli.request import NotRunning, send_request
from pypid.core.configuration.lookup import display_name

STATUS = """\
  pypid status
  pypid status --json | jq .url

exit status:
  0   pypid runs and is ready
  1   pypid runs, but a part of it fails, or it does not answer
  3   pypid does not run
"""
RELOAD = """\
  pypid reload

The [server] certificate and the sections [users], [groups], [projects], [access],
[issuer:*], [index:*] and [log] level take effect at a reload; all others at a restart.
After an [upstream:*] section was added or removed, [index:*] waits for the restart, too.

Of several workers the first one answers; the others read the same files right
after, and log what is wrong.
"""
NAMES = {"access": "accounts", "cache": "catalog", "storage": "storage"}
"""The names of the parts in answers and in the output."""
NOT_RUNNING = 3
"""Exit status of `pypid status`, as of `systemctl status` for a unit that is not active."""


def _status(options: argparse.Namespace) -> int:
    try:
        answer = send_request(options, "GET", "/api/status", running_only=True)
    except NotRunning:
        answer = {"running": False, "configuration": display_name(options.config)}
        print_answer(options, answer, _print_stopped)
        return NOT_RUNNING
    print_answer(options, {"running": True, **answer}, _print_status)
    return 0 if answer["ready"] and all(answer[part] for part in NAMES) else 1


def _print_stopped(answer: Mapping[str, Any]) -> None:
    print(f"pypid is not running\nconfiguration: {answer['configuration']}")


def _print_status(answer: Mapping[str, Any]) -> None:
    is_starting = answer.get("starting", False)
    doing = "starting" if is_starting else "running"
    state = "ready" if answer["ready"] else "not ready"
    print(f"pypid {answer['version']} is {doing} and {state}")
    since = datetime.fromisoformat(answer["since"])
    lines = {
        "address": answer["url"],
        "uptime": f"{_duration(since)} (since {format_time(answer['since'])} UTC)",
        "process": str(answer["pid"]),
        "configuration": answer["configuration"],
        **{NAMES[part]: "OK" if answer[part] else "unreachable" for part in NAMES},
        **({"accounts": "not read yet"} if is_starting else {}),
        **dict(_further_lines(answer)),
    }
    width = max(map(len, lines))
    for name, text in lines.items():
        print(f"{name + ':':{width + 1}}  {text}")


def _further_lines(answer: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if "comparing" in answer:
        seen = answer["comparing"]
        objects, projects = counted(seen["objects"], "object"), counted(seen["projects"], "project")
        yield "storage scan", f"in progress ({objects} listed, {projects} read)"
    elif not answer["complete"]:
        yield "storage scan", "waiting: pypid starts it on its own"
    if "advisories" in answer:
        yield "advisories", _advisories(answer["advisories"])
    if "differs" in answer:
        yield "nodes", f"their settings differ: {', '.join(answer['differs'])}"
    if "stopping" in answer:
        yield "traffic", "stopping: accepts no new connections"


def _advisories(state: Mapping[str, Any]) -> str:
    read = "never read" if state["loaded"] is None else f"read {format_time(state['loaded'])} UTC"
    if state["failure"]:
        return f"unavailable: [advisories] {state['failure']} ({read})"
    return f"OK ({read})" if state["loaded"] else "not read yet"


def _duration(since: datetime) -> str:
    """Return the time since then, in its two largest units."""
    minutes = max(0, int((datetime.now(UTC) - since).total_seconds()) // 60)
    days, hours = divmod(minutes // 60, 24)
    if days:
        return f"{counted(days, 'day')}, {counted(hours, 'hour')}"
    if hours:
        return f"{counted(hours, 'hour')}, {counted(minutes % 60, 'minute')}"
    return counted(minutes, "minute")


def _reload(options: argparse.Namespace) -> int | None:
    answer = send_request(options, "POST", "/api/reload", running_only=True)
    print_answer(options, answer, _print_reload)
    for problem in answer["problems"]:
        print(f"pypid: {problem}", file=sys.stderr)
    return 1 if answer["problems"] else None


def _print_reload(answer: Mapping[str, Any]) -> None:
    if not answer["problems"]:
        print("The certificates, users, access rules and indexes were read again.")
    if answer["waiting"]:
        print(f"Changes that take effect at a restart: {', '.join(answer['waiting'])}")


COMMANDS = (
    command(
        "status",
        _status,
        "show whether pypid runs, with its version, its address and its parts",
        examples=STATUS,
    ),
    command(
        "reload",
        _reload,
        "have the running pypid read its certificate, users and access rules again",
        examples=RELOAD,
    ),
)
