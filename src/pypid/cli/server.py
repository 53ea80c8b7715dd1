"""The commands `serve`, which starts the index, and `init`, which writes its configuration."""

from __future__ import annotations

import argparse
import gc
import os
import shlex
import sys
from pathlib import Path

from pypid.cli.grammar import CONFIG, argument, command, flag
from pypid.core.errors import CannotStart
from pypid.daemon.sd_notify import name_sockets
from pypid.prefork import how_many

INIT = """\
  pypid init                         write ./pypid.ini, which `pypid serve` finds here
  pypid init /etc/pypid/pypid.ini    the configuration of the whole machine

The file has the most common settings with comments. Each has the value that is in
force without a file. After a change, check it: pypid check-config FILE
"""
_SERVER = "[server]\n"
SERVE = """\
  pypid serve
  pypid serve --config /etc/pypid/pypid.ini --workers 4
"""


def _serve(options: argparse.Namespace) -> None:
    name_sockets(os.environ)
    # imported objects stay: searching them for garbage takes a tenth of the start time
    gc.disable()
    from pypid.wiring.recipe import serve

    serve(options.config, options.workers)


def _worker_count(text: str) -> int:
    try:
        return how_many(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def write_config(file: Path, text: str, *, force: bool = False) -> None:
    """Write a configuration that only its owner can read; replace a file only with `force`. Exits
    with advice.
    """
    flags = os.O_TRUNC if force else os.O_EXCL
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | flags, 0o600)
        with open(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        sys.exit(f"pypid: {file} exists; nothing was written. To replace it, use --force.")
    except FileNotFoundError:
        sys.exit(
            f"pypid: {file} cannot be written: the folder {file.parent} does not exist. Create it "
            f"first: mkdir -p {shlex.quote(str(file.parent))}"
        )
    except OSError as error:
        sys.exit(f"pypid: {file} cannot be written: {error.strerror}")


def _init(options: argparse.Namespace) -> None:
    from pypid.wiring.invocation import invocation
    from pypid.wiring.platform import default_text, load_config

    file, text = options.file, default_text()
    if (data := _data_in_use(file)) is not None:
        comment = "; the data of `pypid serve` without a configuration file"
        text = text.replace(_SERVER, f"{_SERVER}{comment}\nstate = {data}\n", 1)
    write_config(file, text, force=options.force)
    serve = invocation(load_config(file), os.environ).command("serve")
    print(f"{file} was written. Start the index with: {serve}")


def _data_in_use(file: Path) -> Path | None:
    """Return the data folder of the built-in defaults, if an index has used it and the
    configuration `file` would name another one.
    """
    from pypid.daemon.state import default_state
    from pypid.wiring.platform import default_data

    try:
        data = Path(default_data())
    except CannotStart:
        return None
    is_another = default_state(file, None).resolve() != data.resolve()
    return data if is_another and (data / "lock").exists() else None


COMMANDS = (
    command(
        "serve",
        _serve,
        "start the index and stay in the foreground (the same as `twistd -n pypid`)",
        CONFIG,
        argument(
            "--workers",
            "-w",
            metavar="N",
            type=_worker_count,
            help="number of processes (default: [server] workers)",
        ),
        config=False,
        examples=SERVE,
    ),
    command(
        "init",
        _init,
        "write a configuration file with comments",
        argument(
            "file",
            metavar="FILE",
            nargs="?",
            type=Path,
            default=Path("pypid.ini"),
            help="the file to write (default: pypid.ini)",
        ),
        flag("--force", help="replace the file if it exists"),
        config=False,
        examples=INIT,
    ),
)
