"""Imports of modules that a start does not need: they take up to 100 ms, so a thread does them."""

from __future__ import annotations

import gc
import sys
from importlib import import_module
from threading import Lock
from types import ModuleType

_turn = Lock()


def import_late(name: str, *others: str) -> ModuleType:
    """Import modules; return the first. Blocks: it is for a thread.

    Modules stay until the process ends, so their objects are excluded from garbage collection. A
    collection holds up the reactor: 50 ms for the 70,000 objects of an export's modules.
    """
    with _turn:
        if not sys.modules.keys() >= {name, *others}:
            _import((name, *others))
    return sys.modules[name]


def _import(names: tuple[str, ...]) -> None:
    is_enabled = gc.isenabled()
    gc.disable()
    try:
        for name in names:
            import_module(name)
    finally:
        gc.freeze()
        if is_enabled:
            gc.enable()
