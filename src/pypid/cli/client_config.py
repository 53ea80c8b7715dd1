"""The `client-config` command: the settings of pip, twine and uv for this index."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from pypid.cli.grammar import argument, command
from pypid.cli.output import print_json
from pypid.cli.request import quoted, send_request
from pypid.core.presentation.client_files import CA, FILES, IndexAddress

if TYPE_CHECKING:  # `--help` need not wait for it
    from pypid.core.configuration.parse import Config
    from pypid.core.permissions import Principals

EXAMPLES = """\
  pypid client-config                                   # all files
  pypid client-config pip.conf > ~/.config/pip/pip.conf
  pypid client-config .pypirc --url https://index.example.org
  pypid client-config uv.toml --index team-a            # of a named index

The running index serves the same files, with the host name of the request:
  curl https://index.example.org/config/pip.conf
"""


def _client_config(options: argparse.Namespace) -> None:
    wanted = _files(options)
    if options.json:
        print_json(wanted)
    elif options.file is not None:
        print(wanted[options.file], end="")
    else:
        print("\n".join(f"# --- {name}\n{text}" for name, text in wanted.items()), end="")


def _readers(options: argparse.Namespace, config: Config, index: str) -> Principals:
    """Return who may read the index. Raises `ControlRefused` if there is no such index; one on a
    machine without a configuration, whose URL is given, is not checked.
    """
    from pypid.core.configuration.lookup import is_built_in
    from pypid.core.permissions import Principals

    settings = config.indexes.get(index)
    read = None if settings is None else settings.read
    is_elsewhere = options.url and is_built_in(options.config)
    if index and settings is None and not is_elsewhere:
        values = send_request(options, "GET", f"/api/indexes/{quoted(index)}")["values"]
        read = Principals.parse(values["read"]) if "read" in values else None
    return config.access.read if read is None else read


def _files(options: argparse.Namespace) -> dict[str, str]:
    """Return the texts of the wanted files, by name."""
    from pypid.daemon import listeners
    from pypid.daemon.state import where
    from pypid.web.installers.services import PUBLIC, roots
    from pypid.wiring.platform import load_config

    config = load_config(options.config)
    index = "" if options.index == "default" else options.index
    state = where(config, os.environ)
    certificates = b"" if state.certificate is None else roots(state.certificate)
    if options.file == CA:
        if not certificates:
            sys.exit(f"pypid: {PUBLIC}")
        return {CA: certificates.decode()}
    url = (options.url or listeners.base_url(config)).rstrip("/")
    address = IndexAddress(
        f"{url}/{index}" if index else url,
        bool(certificates) and url.startswith("https:"),
        login=not _readers(options, config, index).everyone,
        index=index,
    )
    return {name: write(address) for name, write in FILES.items() if options.file in (None, name)}


COMMANDS = (
    command(
        "client-config",
        _client_config,
        "print configuration files for pip, twine and uv",
        argument(
            "file",
            metavar="FILE",
            nargs="?",
            choices=[*FILES, CA],
            help=f"{', '.join(FILES)} or {CA} (default: all)",
        ),
        argument(
            "--url",
            metavar="URL",
            help="the address of the index (default: that of the configuration)",
        ),
        argument(
            "--index",
            metavar="INDEX",
            default="",
            help="the name of an index (default: the default index)",
        ),
        examples=EXAMPLES,
    ),
)
