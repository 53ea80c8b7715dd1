"""Requirements and lock files on the command line, recognised by their names."""

from __future__ import annotations

import re
import sys
from pathlib import Path

_PYLOCK = re.compile(r"pylock(\.[^.]+)?\.toml\Z")


def field_of(file: str) -> str:
    """Return the field of a request that takes a file of this name. Exits with the command that
    exports it, if it is the lock file of a single tool.
    """
    from pypid.core.packaging.requirements import EXPORTS, read_instead

    name = Path(file).name
    if name in EXPORTS:
        sys.exit(f"pypid: {read_instead(name)}")
    return "pylock.toml" if _PYLOCK.match(name) else "requirements"


def text_of(file: str) -> str:
    """Return the text of the file; ``-`` is standard input. Exits with a message if it cannot be
    read.
    """
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return data.decode("utf-8-sig")
    except OSError as error:
        sys.exit(f"pypid: {file} cannot be read: {error.strerror}")
    except UnicodeDecodeError:
        sys.exit(f"pypid: {file} is not text in UTF-8")
