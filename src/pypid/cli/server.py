"""The `serve` command: start the index."""

from __future__ import annotations

import argparse
import gc
import os
from typing import Any

from pypid.cli.command import add_command, add_config
from pypid.daemon.sd_notify import name_sockets
from pypid.prefork import how_many


def add(commands: Any) -> None:
    """Declare the `serve` command."""
    serve = add_command(
        commands,
        "serve",
        _serve,
        "start the index and stay in the foreground (the same as `twistd -n pypid`)",
    )
    add_config(serve)
    serve.add_argument(
        "--workers",
        "-w",
        metavar="N",
        type=_worker_count,
        help="processes that answer, for machines with several cores (default: [server] workers; "
        "more than 1 needs a shared "
        "catalog, [catalog] backend = sql or redis)",
    )


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
