"""The extensions of Sphinx in docs/_extensions, which generate parts of pages from the program."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

FOLDER = str(Path(__file__).parent.parent / "docs/_extensions")


def extension(name: str) -> ModuleType:
    """Return an extension as a module."""
    if FOLDER not in sys.path:
        sys.path.append(FOLDER)
    return import_module(name)
