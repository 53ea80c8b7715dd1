"""The names of pypicloud's commands, for scripts that call them: each runs a command of `pypid`, or
says why there is none.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NoReturn

from pypid import cli
from pypid.cli.server import write_config


def gen_password() -> None:
    """Run ``ppc-gen-password`` and ``pypicloud-gen-password``: `pypid gen-password`."""
    command = argparse.ArgumentParser(
        description="Ask for a password and print its hash: `pypid gen-password`."
    )
    command.add_argument("-i", action="store_true", help="read the password from standard input")
    command.add_argument(
        "-r", metavar="ROUNDS", help="ignored: pypid chooses argon2id's parameters"
    )
    command.add_argument(
        "-s",
        metavar="SCHEME",
        help="ignored: hashes are argon2id; those of other kinds still work",
    )
    options = command.parse_args()
    if options.s not in (None, "argon2") or options.r:
        _print_note("the hash is argon2id with pypid's parameters; -s and -r were ignored")
    cli.main(["gen-password", *(["--stdin"] if options.i else [])])


def make_config() -> None:
    """Run ``ppc-make-config`` and ``pypicloud-make-config``: print or write pypid's own
    configuration, with comments.
    """
    command = argparse.ArgumentParser(
        description="Print pypid's configuration, with comments, or write it into OUTFILE."
    )
    for flag, kind in (
        ("-d", "development"),
        ("-t", "testing"),
        ("-p", "production"),
        ("-r", "the docker image"),
    ):
        command.add_argument(
            flag,
            action="store_true",
            help=f"ignored: there is one configuration (pypicloud had one for {kind})",
        )
    command.add_argument("outfile", metavar="OUTFILE", nargs="?", type=Path)
    from pypid.wiring.platform import default_text

    options = command.parse_args()
    if options.outfile is None:
        print(default_text(), end="")
        return
    if options.outfile.exists():
        _refuse(
            f"{options.outfile} exists; nothing was written. To translate pypicloud's: "
            "pypid convert-config FILE"
        )
    write_config(options.outfile, default_text())
    _print_note(
        f"{options.outfile} was written. Start pypid with: pypid serve --config {options.outfile}"
    )


def export() -> None:
    """Refuse ``ppc-export``: pypid writes no dump in pypicloud's format."""
    _refuse("pypid writes no dump in this format. `pypid backup FOLDER` copies the accounts.")


def import_() -> None:
    """Run ``ppc-import CONFIG [-i FILE]``: `pypid user import`."""
    command = argparse.ArgumentParser(
        description="Import the file of ppc-export: `pypid user import`."
    )
    command.add_argument(
        "config", metavar="CONFIG", help="the configuration, pypid's or pypicloud's"
    )
    command.add_argument(
        "-i", metavar="FILE", dest="file", help="the file to read (default: standard input)"
    )
    options = command.parse_args()
    file = ["-i", options.file] if options.file else []
    cli.main(["user", "import", "--config", options.config, *file])


def migrate() -> None:
    """Run ``ppc-migrate FROM TO``: `pypid storage copy`."""
    cli.main(["storage", "copy", *sys.argv[1:]])


def create_schema() -> None:
    """Run ``pypicloud-create-schema``: say that there is nothing to do."""
    _print_note("no schema has to be created: pypid makes what it needs when it starts")


def create_s3_sync() -> None:
    """Refuse ``ppc-create-s3-sync``, which notified pypicloud of objects put into the bucket
    directly.
    """
    _refuse(
        "there is no function for AWS Lambda that tells pypid of new objects. For files that "
        "other programs put into the bucket, run `pypid storage rebuild`."
    )


def build_lambda_bundle() -> None:
    """Refuse ``ppc-build-lambda-bundle``, which built the function of `create_s3_sync`."""
    create_s3_sync()


def _print_note(text: str) -> None:
    print(f"pypid: {text}", file=sys.stderr)


def _refuse(text: str) -> NoReturn:
    raise SystemExit(f"pypid: {text}")
