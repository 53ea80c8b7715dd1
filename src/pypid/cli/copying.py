"""The `copy-storage` command: copy from one storage into another."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pypid.cli.asking import print_json
from pypid.cli.cache import in_words
from pypid.cli.command import add_command
from pypid.cli.table import printable

if TYPE_CHECKING:
    from pypid.index.local.copy import Copied

EXAMPLE = """\
  pypid copy-storage etc/pypid.ini etc/on-s3.ini

Copies all packages, with what is written beside them, from the storage of the
one configuration into that of the other: from a folder into a bucket, or the
other way. Either may be pypicloud's. What is there already stays; what broke
off is gone on with by the same command. Do not publish while it runs.
People, rights and tokens are not in the storage: copy the state folder, or
`pypid acl export` and `pypid acl import`.
"""


def add(commands: Any) -> None:
    """Declare the `copy-storage` command."""
    command = add_command(
        commands, "copy-storage", copy_storage, "copy all packages from one storage into another"
    )
    command.formatter_class = argparse.RawDescriptionHelpFormatter
    command.epilog = EXAMPLE
    command.add_argument("source", metavar="FROM", type=Path, help="a configuration")
    command.add_argument("target", metavar="TO", type=Path, help="another one")
    command.add_argument("--json", action="store_true", help="print the sums as JSON")


def copy_storage(options: argparse.Namespace) -> None:
    """Copy, and report the result; exits with 1 if the target has other content under a name."""
    copied = _copied(options.source, options.target)
    if options.json:
        print_json(
            {
                "copied": copied.copied,
                "there": copied.there,
                "size": copied.size,
                "differ": copied.differ,
            }
        )
    else:
        for key in copied.differ:
            print(
                printable(
                    f"{key}: the target has something else under this name; it was left as it is"
                ),
                file=sys.stderr,
            )
        print(
            f"{copied.copied} objects copied ({in_words(copied.size)}), {copied.there} were there."
        )
    if copied.differ:
        sys.exit(1)


def _copied(source: Path, target: Path) -> Copied:
    from twisted.internet import reactor

    from pypid.daemon.state import where
    from pypid.index.local.copy import Copier
    from pypid.wiring import recipe
    from pypid.wiring.single_command import run
    from pypid.wiring.storage import open_storage

    configs = [recipe.load_config(file) for file in (source, target)]
    world = recipe.the_world(reactor)

    async def work() -> Copied:
        opened = [
            await open_storage(config, where(config, os.environ), world, reactor)
            for config in configs
        ]
        try:
            if opened[0].identity == opened[1].identity:
                sys.exit("pypid: both configurations name the same storage; nothing was copied")
            said = (opened[0].describing, opened[1].describing)
            return await Copier(opened[0].blobs, opened[1].blobs, world, _say, said).copy()
        finally:
            for one in opened:
                await one.close()

    return run(reactor, work)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
