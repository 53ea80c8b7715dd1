"""The `client-config` command: the settings of pip, twine and uv for this index."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from pypid.cli.command import add_command, add_config, add_json
from pypid.cli.output import print_json
from pypid.core.presentation.client_files import CA, FILES, IndexAddress

EXAMPLES = """\
  pypid client-config                                   # all files
  pypid client-config pip.conf > ~/.config/pip/pip.conf
  pypid client-config .pypirc --url https://index.example.org

The running index serves the same files, with the host name of the request:
  curl https://index.example.org/config/pip.conf
"""


def add(commands: Any) -> None:
    """Declare the `client-config` command."""
    command = add_command(
        commands,
        "client-config",
        _client_config,
        "print configuration files for pip, twine and uv",
        examples=EXAMPLES,
    )
    command.add_argument(
        "file",
        metavar="FILE",
        nargs="?",
        choices=[*FILES, CA],
        help=f"{', '.join(FILES)} or {CA} (default: all)",
    )
    command.add_argument(
        "--url",
        metavar="URL",
        help="the address of the index (default: that of the configuration)",
    )
    add_config(command)
    add_json(command)


def _client_config(options: argparse.Namespace) -> None:
    wanted = _files(options)
    if options.json:
        print_json(wanted)
    elif options.file is not None:
        print(wanted[options.file], end="")
    else:
        print("\n".join(f"# --- {name}\n{text}" for name, text in wanted.items()), end="")


def _files(options: argparse.Namespace) -> dict[str, str]:
    """Return the texts of the wanted files, by name."""
    from pypid.daemon import listeners
    from pypid.daemon.state import where
    from pypid.web.installers.client_files import PUBLIC, roots
    from pypid.wiring.configuration import load_config

    config = load_config(options.config)
    state = where(config, os.environ)
    certificates = b"" if state.certificate is None else roots(state.certificate)
    if options.file == CA:
        if not certificates:
            sys.exit(f"pypid: {PUBLIC}")
        return {CA: certificates.decode()}
    url = (options.url or listeners.base_url(config)).rstrip("/")
    address = IndexAddress(
        url,
        bool(certificates) and url.startswith("https:"),
        login=not config.access.read.everyone,
    )
    return {name: write(address) for name, write in FILES.items() if options.file in (None, name)}
