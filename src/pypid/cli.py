"""The `pypid` command. What changes something works on a running pypid (through its control socket) and on a stopped one."""

from __future__ import annotations

import argparse
import getpass
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from pypid import __version__
from pypid.core.errors import PypidError
from pypid.core.model import Status
from pypid.sdnotify import name_sockets

DEFAULT_CONFIG = "etc/pypid.ini"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; exits with 0, with 1 when pypid says no (the text says why), with 2 when the command line is wrong."""
    line = parser()
    options = line.parse_args(arguments)
    if options.run is None:
        line.print_help()
        sys.exit(0)
    try:
        sys.exit(options.run(options))
    except PypidError as error:
        sys.exit(f"pypid: {error}")
    except BrokenPipeError:  # of `pypid ... | head`; Python would say so again when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        print("pypid: stopped", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


def parser() -> argparse.ArgumentParser:
    """The command line, with its help."""
    top = argparse.ArgumentParser(
        prog="pypid",
        description="A team's Python package index. `pypid serve` starts it; the other commands manage it, running or stopped.",
        epilog="Each command has its own help: pypid COMMAND --help. All guides: docs/ in the source.",
    )
    top.add_argument("--version", action="version", version=f"pypid {__version__}")
    top.set_defaults(run=None)
    commands = top.add_subparsers(title="commands", metavar="COMMAND")

    serve = _command(commands, "serve", _serve, "start the index and stay in the foreground (the same as `twistd -n pypid`)")
    _add_config(serve)
    check = _command(
        commands, "check-config", _check_config, "read a configuration and print what is in force, without secrets"
    )
    check.add_argument("file", metavar="FILE", nargs="?", default=DEFAULT_CONFIG, help=f"default: {DEFAULT_CONFIG}")
    password = _command(commands, "gen-password", _gen_password, "ask for a password and print its hash for [users]")
    password.add_argument("user", metavar="USER", nargs="?", help="print the whole line, `USER = hash`")
    password.add_argument("--stdin", action="store_true", help="read the password from standard input, one line (for scripts)")

    _yanking(commands)
    status = _command(commands, "status", _status, "set a project's status (PEP 792)", config=True)
    status.add_argument("project", metavar="PROJECT")
    status.add_argument("status", choices=[status.value for status in Status])
    status.add_argument("--reason", default="", help="shown to those who install it")
    _deleting(commands)
    _storage(commands)
    return top


def _yanking(commands: Any) -> None:
    yank = _command(
        commands, "yank", _yank, "hide a release or a file from installers, except for those who pin it (PEP 592)", config=True
    )
    yank.add_argument("project", metavar="PROJECT")
    yank.add_argument("what", metavar="VERSION|FILE")
    yank.add_argument("--reason", default="", help="shown to those who install it all the same")
    unyank = _command(commands, "unyank", _unyank, "undo a yank", config=True)
    unyank.add_argument("project", metavar="PROJECT")
    unyank.add_argument("what", metavar="VERSION|FILE")


def _deleting(commands: Any) -> None:
    delete = _command(
        commands, "delete", _delete, "delete a file, a release or a project for good (consider yank instead)", config=True
    )
    delete.add_argument("project", metavar="PROJECT")
    delete.add_argument("what", metavar="VERSION|FILE", nargs="?", help="without it, all files of the project")
    delete.add_argument("--yes", action="store_true", help="do not ask")
    release = _command(commands, "release-name", _release_name, "give back the name of a deleted project", config=True)
    release.add_argument("project", metavar="PROJECT")


def _storage(commands: Any) -> None:
    rebuild = _command(
        commands, "rebuild", _rebuild, "compare with the storage, and take in files that were dropped into it", config=True
    )
    rebuild.add_argument("project", metavar="PROJECT", nargs="?", help="only this one")
    adopt = _command(commands, "adopt", _adopt, "make a folder of wheels and sdists an index, in place", config=True)
    adopt.description = (
        "Writes a record beside each distribution in FOLDER, which has to be the storage folder ([storage] path) or lie in it. "
        "Nothing is moved, renamed or rewritten."
    )
    adopt.add_argument("folder", metavar="FOLDER", type=Path)
    check = _command(
        commands, "check", _check, "look for what a crash, a disk or a hand left wrong in the storage", config=True
    )
    check.add_argument("--sweep", action="store_true", help="remove what nothing refers to and nobody can see")
    check.add_argument("--hashes", action="store_true", help="read all files, and compare them with what was published")


def _command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], object], help: str, *, config: bool = False
) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
    command.set_defaults(run=run)
    if config:
        _add_config(command)
        command.add_argument("--json", action="store_true", help="print the answer as JSON")
    return command


def _add_config(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--config",
        "-c",
        metavar="FILE",
        default=DEFAULT_CONFIG,
        type=Path,
        help=f"the configuration (default: {DEFAULT_CONFIG})",
    )


# --- without the daemon ---------------------------------------------------------------------------------------


def _serve(options: argparse.Namespace) -> None:
    name_sockets(os.environ)
    from pypid.service import serve

    serve(options.config)


def _check_config(options: argparse.Namespace) -> None:
    from pypid.core.config import describe
    from pypid.service import load_config

    print(describe(load_config(Path(options.file))), end="")


def _gen_password(options: argparse.Namespace) -> None:
    from pypid.access.passwords import hash_password

    if options.stdin:
        password = sys.stdin.readline().rstrip("\n")
    else:
        try:
            password, again = getpass.getpass("Password: "), getpass.getpass("Again: ")
        except EOFError:
            sys.exit("pypid: no password came; nothing was made (a script gives it by --stdin)")
        if password != again:
            sys.exit("pypid: the two passwords differ; nothing was made")
    if not password:
        sys.exit("pypid: an empty password lets nobody in; nothing was made")
    hashed = hash_password(password)
    print(f"{options.user} = {hashed}" if options.user else hashed)


# --- with the daemon ------------------------------------------------------------------------------------------


def _yank(options: argparse.Namespace) -> None:
    _manage(options, "PUT", _selected(options) + "/yank", {"reason": options.reason}, "yanked")


def _unyank(options: argparse.Namespace) -> None:
    _manage(options, "DELETE", _selected(options) + "/yank", None, "no longer yanked")


def _status(options: argparse.Namespace) -> None:
    document = {"status": options.status, "reason": options.reason}
    _manage(options, "PUT", f"{_project(options)}/status", document, f"now {options.status}")


def _delete(options: argparse.Namespace) -> None:
    what = f"{options.what} of {options.project}" if options.what else f"ALL files of {options.project}"
    if not options.yes:
        print(f"This deletes {what} for good; the file names can never be used again for other bytes.")
        try:
            typed = input("Type the project's name to go on: ").strip()
        except EOFError:
            sys.exit("pypid: nobody is there to confirm it; nothing was deleted. In a script, say --yes.")
        if typed != options.project:
            sys.exit("pypid: nothing was deleted")
    _manage(options, "DELETE", _selected(options) if options.what else _project(options), None, "deleted")


def _release_name(options: argparse.Namespace) -> None:
    _manage(options, "DELETE", f"/api/names/{quote(options.project, safe='')}", None, "released")


def _rebuild(options: argparse.Namespace) -> None:
    url = "/api/rebuild" + (f"/{quote(options.project, safe='')}" if options.project else "")
    _report_adoption(options, _ask(options, "POST", url))


def _adopt(options: argparse.Namespace) -> None:
    folder = str(options.folder.resolve())
    _report_adoption(options, _ask(options, "POST", "/api/adopt", {"folder": folder}))


def _check(options: argparse.Namespace) -> None:
    answer = _ask(options, "POST", "/api/check", {"sweep": options.sweep, "hashes": options.hashes})
    left = [finding for finding in answer["findings"] if not finding["swept"]]
    if options.json:
        print(msgspec.json.format(msgspec.json.encode(answer)).decode())
    else:
        for finding in answer["findings"]:
            said = "removed" if finding["swept"] else f"{finding['wrong']}\n    {finding['advice']}"
            print(f"{finding['key']}: {said}")
        swept = len(answer["findings"]) - len(left)
        print(f"{answer['objects']} objects, {answer['files']} files; {len(left)} things are wrong, {swept} removed.")
    if left:
        sys.exit(1)


def _project(options: argparse.Namespace) -> str:
    return f"/api/projects/{quote(options.project, safe='')}"


def _selected(options: argparse.Namespace) -> str:
    """The URL of a file or a release: what looks like a distribution's file name is one."""
    from pypid.core.errors import BadFilename
    from pypid.core.names import parse_filename

    try:
        parse_filename(options.what)
    except BadFilename:
        return f"{_project(options)}/releases/{quote(options.what, safe='')}"
    return f"{_project(options)}/files/{quote(options.what, safe='')}"


def _manage(options: argparse.Namespace, method: str, url: str, document: Any, done: str) -> None:
    answer = _ask(options, method, url, document)
    if options.json:
        print(msgspec.json.format(msgspec.json.encode(answer)).decode())
        return
    files = answer.get("changed", []) if isinstance(answer, dict) else []
    for filename in files:
        print(f"{filename}: {done}")
    if not files:
        print(f"{options.project}: {done}")


def _report_adoption(options: argparse.Namespace, answer: Any) -> None:
    if options.json:
        print(msgspec.json.format(msgspec.json.encode(answer)).decode())
    else:
        for line in answer["adopted"]:
            print(f"{line['key']}: {line['outcome']}" + "".join(f"\n    {problem}" for problem in line["problems"]))
        taken = sum(line["outcome"] == "adopted" for line in answer["adopted"])
        # the counts of projects are from before the files were taken in
        print(f"{taken} files adopted; {answer['projects']} projects were known, {answer['changed']} of them read anew.")
    if any(line["outcome"] == "refused" for line in answer["adopted"]):
        sys.exit(1)


def _ask(options: argparse.Namespace, method: str, url: str, document: Any = None) -> Any:
    """One request to the running daemon, or to one that is started for it."""
    from pypid.control import Question
    from pypid.service import ask

    return ask(options.config, Question(method, url, document))
