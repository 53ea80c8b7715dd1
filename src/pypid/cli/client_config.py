"""The `client-config` command: the settings of pip, twine and uv for this index."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from pypid.cli.command import add_command, add_config
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


def _client_config(options: argparse.Namespace) -> None:
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
        print(certificates.decode(), end="")
        return
    url = (options.url or listeners.base_url(config)).rstrip("/")
    address = IndexAddress(
        url,
        bool(certificates) and url.startswith("https:"),
        login=not config.access.read.everyone,
    )
    texts = (
        [FILES[options.file](address)]
        if options.file
        else [f"# --- {name}\n{write(address)}" for name, write in FILES.items()]
    )
    print("\n".join(texts), end="")
