"""Requests of the commands to the daemon, and what they ask at the terminal."""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlencode

from attrs import evolve

from pypid.cli.grammar import YES, Argument, Declaration, command, flag
from pypid.cli.output import print_answer
from pypid.core.errors import ErrorWithReason

if TYPE_CHECKING:
    from pypid.daemon.control import ControlRequest


T = TypeVar("T")

PATIENCE = 2.0
"""Seconds without output, after which a terminal shows what a command waits for."""


class NotRunning(ErrorWithReason):
    """No pypid runs for the configuration."""


def send_request(
    options: argparse.Namespace,
    method: str,
    url: str,
    document: Any = None,
    *,
    on_progress: Callable[[Mapping[str, Any]], None] | None = None,
    running_only: bool = False,
) -> Any:
    """Send one request to the running daemon, or to one that is started for it, and return the
    answer. `on_progress` is called with progress events, if the daemon sends any.

    With `running_only` none is started. Raises `ControlRefused`, `NotRunning`.
    """
    from pypid.daemon.control import ControlRequest

    return exchange(
        options.config,
        ControlRequest(method, url, document, on_progress, of_running=running_only),
    )


def request_command(
    name: str,
    help: str,
    request: str | Callable[[argparse.Namespace], str],
    print_text: Callable[[Any], object],
    *arguments: Argument,
    examples: str = "",
    body: Sequence[str] | Callable[[argparse.Namespace], Any] = (),
    confirms: Callable[[argparse.Namespace], None] | None = None,
    on_progress: Callable[[Mapping[str, Any]], None] | None = None,
    exit_status: Callable[[Any], bool] | None = None,
) -> Declaration:
    """Declare a command that sends one request and prints its answer.

    `request`: a method and a path, in which names of arguments in braces stand for their values;
    or a function that returns these. `body`: the names of the arguments that the document consists
    of; or a function that returns it. `confirms` asks whether to go on, unless there is ``--yes``.
    With an argument ``--index`` the request is about that index. `exit_status` returns whether the
    command exits with 1 for the answer.
    """

    def run(options: argparse.Namespace) -> int | None:
        if confirms is not None and not options.yes:
            confirms(options)
        method, path = (request if isinstance(request, str) else request(options)).split()
        words = {key: quoted(str(value)) for key, value in vars(options).items()}
        document = body(options) if callable(body) else fields(options, *body) or None
        send = send_below_index if "index" in options else send_request
        answer = send(options, method, path.format_map(words), document, on_progress=on_progress)
        print_answer(options, answer, print_text)
        return 1 if exit_status is not None and exit_status(answer) else None

    if confirms is not None:
        arguments = (*arguments, YES)
    return command(name, run, help, *arguments, examples=examples)


def fields(options: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Return the values of these arguments by name."""
    return {name: getattr(options, name) for name in names}


def query(options: argparse.Namespace, *names: str) -> str:
    """Return the query of a URL with these arguments, without those that are not given."""
    return urlencode(
        {key: each for key, each in fields(options, *names).items() if each is not None}
    )


def quoted(*words: str) -> str:
    """Return words as segments of a path."""
    return "/".join(quote(word, safe="") for word in words)


def send_below_index(
    options: argparse.Namespace,
    method: str,
    path: str,
    document: Any = None,
    *,
    on_progress: Callable[[Mapping[str, Any]], None] | None = None,
) -> Any:
    """Send a request to the index of `--index`, or to the default one. Raises `ControlRefused`,
    also for an index that does not exist.
    """
    from pypid.daemon.control import ControlRefused

    url = index_url(options, path)
    try:
        return send_request(options, method, url, document, on_progress=on_progress)
    except ControlRefused as error:
        if error.status == 404 and url != path:  # raises a better error if there is no such index
            send_request(options, "GET", f"/api/indexes/{quoted(options.index)}")
        raise


def is_named_index(options: argparse.Namespace) -> bool:
    """Return whether `--index` names another index than the default one."""
    return bool(options.index) and options.index != "default"


def index_url(options: argparse.Namespace, path: str) -> str:
    """Return the URL of the path below the index of `--index`; without it, and for `default`, at
    the root.
    """
    return f"/{quoted(options.index)}{path}" if is_named_index(options) else path


def send_steps(options: argparse.Namespace, steps: Generator[ControlRequest, Any, T]) -> T:
    """Send the requests that `steps` yields to the running daemon, or to one that is started for
    them; `steps` receives each answer. Return its result. Raises `ControlRefused`.
    """
    results: list[T] = []

    def following(answer: Any) -> ControlRequest | None:
        try:
            return evolve(steps.send(answer), then=following, pause=0)
        except StopIteration as end:
            results.append(end.value)
            return None

    try:
        exchange(options.config, evolve(next(steps), then=following))
    finally:
        steps.close()
    return results[0]


def poll(options: argparse.Namespace, url: str, on_answer: Callable[[Any], None]) -> None:
    """Repeat a request to the running daemon until Ctrl-C; `on_answer` gets each answer."""
    from pypid.daemon.control import ControlRefused, ControlRequest

    def repeat(answer: Any) -> ControlRequest:
        on_answer(answer)
        return request

    request = ControlRequest("GET", url, then=repeat, of_running=True)
    try:
        exchange(options.config, request)
    except NotRunning:
        raise ControlRefused(
            "pypid is not running, so there are no new entries. Start it, or omit --follow."
        ) from None


def exchange(file: Path, request: ControlRequest) -> Any:
    """Return the answer of the daemon of this configuration, or of one that is started for it.
    Raises `ControlRefused`.
    """
    from pypid.core.configuration.lookup import display_name, is_built_in
    from pypid.daemon.control import Control, ControlRefused, listens
    from pypid.daemon.state import control_socket, where
    from pypid.wiring.platform import load_config

    config = load_config(file)
    state = where(config, os.environ).state
    path = control_socket(state)
    if listens(path):
        return Control(path).answers(request)
    if request.of_running:
        raise NotRunning(f"pypid is not running with the configuration {display_name(file)}.")
    if is_built_in(file) and not state.exists():
        raise ControlRefused(
            f"No configuration file was found, and the data folder {state} does not exist. Start "
            "the index with `pypid serve`, or name its configuration with --config."
        )
    with _note_after(PATIENCE, "pypid is not running. Starting it for this command ..."):
        from pypid.wiring import single_command  # imports all of a daemon, which takes a while

        return single_command.ask(config, request)


@contextmanager
def _note_after(seconds: float, text: str) -> Iterator[None]:
    """Print the text on standard error, if it is a terminal, when the block takes this long."""
    timer = Timer(seconds, lambda: print(text, file=sys.stderr, flush=True))
    if sys.stderr.isatty():
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


# Prompts at the terminal: for passwords (never an argument: `ps` and the shell's history show
# those), and for confirmation.


def read_password(*, stdin: bool, undone: str) -> str:
    """Return a password, typed twice, or one line of standard input.

    Exits if there is none; `undone` says what was not done.
    """
    if stdin:
        password = sys.stdin.readline().rstrip("\n")
    else:
        try:
            password, repeated = getpass.getpass("Password: "), getpass.getpass("Again: ")
        except EOFError:
            sys.exit(f"pypid: no password was typed; {undone}. Use --stdin in scripts.")
        if password != repeated:
            sys.exit(f"pypid: the two passwords differ; {undone}")
    if not password:
        sys.exit(f"pypid: an empty password cannot be used to log in; {undone}")
    return password


PASSWORD_SOURCES = (
    flag("--ask", help="ask for the password (default: generate one and print it)"),
    flag("--stdin", help="read the password from standard input (one line)"),
)
"""The options that select the source of a new password."""


def chosen_password(options: argparse.Namespace, undone: str) -> str | None:
    """Return the password by the options of `PASSWORD_SOURCES`; None: pypid generates one."""
    if not (options.ask or options.stdin):
        return None
    return read_password(stdin=options.stdin, undone=undone)


def confirm(question: str, word: str, undone: str, *, word_name: str | None = None) -> None:
    """Exit unless `word` is typed; the prompt calls it `word_name`."""
    print(question)
    try:
        typed = input(f"Type {word_name or word} to continue: ").strip()
    except EOFError:
        sys.exit(f"pypid: {undone}: stdin is not a terminal. Use --yes in scripts.")
    if typed != word:
        sys.exit(f"pypid: {undone}")
