"""The names of pypicloud's commands, for scripts that call them: each runs a command of `pypid`, or
says why there is none.
"""

from __future__ import annotations

import argparse
import os
import sys
from importlib.resources import files
from pathlib import Path
from typing import NoReturn

from pypid import cli


def gen_password() -> None:
    """Run ``ppc-gen-password`` and ``pypicloud-gen-password``: `pypid gen-password`."""
    line = argparse.ArgumentParser(
        description="Ask for a password and print its hash: `pypid gen-password`."
    )
    line.add_argument("-i", action="store_true", help="read the password from standard input")
    line.add_argument("-r", metavar="ROUNDS", help="ignored: pypid chooses argon2id's parameters")
    line.add_argument(
        "-s",
        metavar="SCHEME",
        help="ignored: hashes are argon2id; those of other kinds go on working",
    )
    options = line.parse_args()
    if options.s not in (None, "argon2") or options.r:
        _say("the hash is argon2id with pypid's parameters; -s and -r were ignored")
    cli.main(["gen-password", *(["--stdin"] if options.i else [])])


def make_config() -> None:
    """Run ``ppc-make-config`` and ``pypicloud-make-config``: print or write pypid's own
    configuration, with comments.
    """
    line = argparse.ArgumentParser(
        description="Print pypid's configuration, with comments, or write it into OUTFILE."
    )
    for flag, kind in (
        ("-d", "development"),
        ("-t", "testing"),
        ("-p", "production"),
        ("-r", "the docker image"),
    ):
        line.add_argument(
            flag,
            action="store_true",
            help=f"ignored: there is one configuration (pypicloud had one for {kind})",
        )
    line.add_argument("outfile", metavar="OUTFILE", nargs="?", type=Path)
    options = line.parse_args()
    text = files("pypid").joinpath("pypid.ini").read_text(encoding="utf-8")
    if options.outfile is None:
        print(text, end="")
        return
    try:
        with open(
            os.open(options.outfile, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600),
            "w",
            encoding="utf-8",
        ) as file:
            file.write(text)
    except FileExistsError:
        _refuse(
            f"{options.outfile} is there already; nothing was written. To translate pypicloud's: "
            "pypid convert-config FILE"
        )
    except OSError as error:
        _refuse(f"{options.outfile} cannot be written: {error.strerror}")
    _say(f"{options.outfile} was written. Start pypid with: pypid serve --config {options.outfile}")


def export() -> None:
    """Run ``ppc-export CONFIG [-o FILE]``: `pypid acl export`."""
    options = _of_dump(
        "Print users, groups and rights as JSON: `pypid acl export`.",
        "-o",
        "the file to write, gzipped",
    )
    cli.main(
        [
            "acl",
            "export",
            "--config",
            options.config,
            *(["-o", options.file] if options.file else []),
        ]
    )


def import_() -> None:
    """Run ``ppc-import CONFIG [-i FILE]``: `pypid acl import`."""
    options = _of_dump(
        "Take in what ppc-export wrote: `pypid acl import`.",
        "-i",
        "the file to read (default: standard input)",
    )
    cli.main(
        [
            "acl",
            "import",
            "--config",
            options.config,
            *(["-i", options.file] if options.file else []),
        ]
    )


def _of_dump(about: str, flag: str, help: str) -> argparse.Namespace:
    line = argparse.ArgumentParser(description=about)
    line.add_argument("config", metavar="CONFIG", help="the configuration, pypid's or pypicloud's")
    line.add_argument(flag, metavar="FILE", dest="file", help=help)
    return line.parse_args()


def migrate() -> None:
    """Run ``ppc-migrate FROM TO``: `pypid copy-storage`."""
    cli.main(["copy-storage", *sys.argv[1:]])


def create_schema() -> None:
    """Run ``pypicloud-create-schema``: say that there is nothing to do."""
    _say("no schema has to be created: pypid makes what it needs when it starts")


def create_s3_sync() -> None:
    """Refuse ``ppc-create-s3-sync``, which notified pypicloud of objects put into the bucket
    directly.
    """
    _refuse(
        "there is no function for AWS Lambda that tells pypid of new objects. What is put into "
        "the bucket past pypid is taken in by `pypid rebuild`."
    )


def build_lambda_bundle() -> None:
    """Refuse ``ppc-build-lambda-bundle``, which built the function of `create_s3_sync`."""
    create_s3_sync()


def _say(text: str) -> None:
    print(f"pypid: {text}", file=sys.stderr)


def _refuse(text: str) -> NoReturn:
    raise SystemExit(f"pypid: {text}")
