"""The edge to Twisted and Python: coroutines, late imports, child processes, settings of
transports, private names.

Coroutines at the boundary to Twisted: start them, and run them to their end.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Coroutine, Iterable
from contextvars import ContextVar
from importlib import import_module
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import Any, TypeVar

from packaging.version import Version
from twisted.internet.defer import Deferred
from twisted.internet.tcp import Connection
from twisted.logger import Logger
from twisted.python.failure import Failure

from pypid.core.errors import PypidError

_log = Logger()

T = TypeVar("T")


def start(coroutine: Coroutine[Any, Any, T]) -> Deferred[T]:
    """Run the coroutine and return it as a Deferred (at the boundary, where Twisted calls this
    code).
    """
    return Deferred.fromCoroutine(coroutine)


is_patient: ContextVar[bool] = ContextVar("is_patient", default=False)
"""Whether the client of the current task waits anyway: a storage that fails is then retried for up
to a minute.
"""


async def shielded(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run the coroutine to its end even if its caller is cancelled (a client that disconnected).

    An error that it raises after that is logged, unless it is a refusal made for clients.
    """
    done: Deferred[T] = Deferred(canceller=lambda _: None)

    def failed(failure: Failure) -> None:
        if not done.called:
            done.errback(failure)
        elif not isinstance(failure.value, PypidError):
            _log.failure(
                "work that continued after its client disconnected failed", failure=failure
            )

    start(coroutine).addCallbacks(
        lambda value: None if done.called else done.callback(value), failed
    )
    return await done


# Imports of modules that a start does not need: they take up to 100 ms, so a thread does them.

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


# How pypid starts a child process that runs a module of its own.


def program_of(module: str) -> tuple[str, ...]:
    """Return the command that runs the module, with the paths of `child_environ` only."""
    return (sys.executable, "-P", "-s", "-m", module)


def child_environ() -> dict[str, str]:
    """Return the environment of such a child: none of this process's variables, which may hold
    secrets.
    """
    found = os.pathsep.join(str(Path(each).absolute()) for each in sys.path if each)
    return {
        "PYTHONPATH": found,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUTF8": "1",
        "LC_ALL": "C.UTF-8",
    }


# Settings of Twisted's transports that it has no method for.


def read_at_once(transport: Any, most: int | None) -> None:
    """Read up to `most` bytes at a time from a socket; None: the transport's default. Other
    transports are left as they are.
    """
    if not isinstance(transport, Connection):
        return
    if most is not None:
        transport.bufferSize = most
    elif "bufferSize" in vars(transport):
        del transport.bufferSize


# Private names of other packages that pypid uses to save time: when they may be used.
#
# They are used only with versions that the tests ran with, and only if all of them exist.
# Otherwise the code that needs them is off, and pypid does the same through public names, more
# slowly.

TESTED: dict[str, tuple[str, str]] = {
    "Twisted": ("24.7", "26.10"),
    "pyOpenSSL": ("24.0", "26.4"),
    "Werkzeug": ("3.0", "3.1"),
}
"""The oldest and the newest version of each package that the tests ran with. Their patch releases
count as tested.
"""
MODULES = {"Twisted": "twisted", "pyOpenSSL": "OpenSSL", "Werkzeug": "werkzeug"}


def version(package: str) -> str:
    """Return the installed version of a package that is listed here.

    `importlib.metadata` does the same, and imports modules that the start does not need.
    """
    module = import_module(MODULES[package])
    if "__version__" in vars(module):  # Werkzeug 3.0 warns where it is looked up by `getattr`
        return str(module.__version__)
    site_packages = Path(str(module.__file__)).parents[1]
    folders = site_packages.glob(f"{MODULES[package]}-*.dist-info")
    return next((folder.name[len(MODULES[package]) + 1 : -10] for folder in folders), "0")


def version_obstacle(*packages: str) -> str | None:
    """Return which package has an untested version; None if all versions are tested."""
    for package in packages:
        installed = version(package)
        if package not in TESTED:
            return f"{package} {installed} is untested"
        first, last = TESTED[package]
        if (
            not Version(first).release[:2]
            <= Version(installed).release[:2]
            <= Version(last).release
        ):
            return f"{package} {installed} is untested (tested: {first} to {last})"
    return None


def name_obstacle(owner: object, names: Iterable[str]) -> str | None:
    """Return which of the names the `owner` (a class, an instance or a module) lacks; None if it
    has all.
    """
    for name in names:
        if not has_name(owner, name):
            label = owner.__name__ if hasattr(owner, "__name__") else type(owner).__name__
            return f"{label} has no {name}"
    return None


def has_name(owner: object, name: str) -> bool:
    """Return whether the `owner` has this attribute."""
    return hasattr(owner, name)
