"""Private names of other packages that pypid uses to save time: when they may be used.

They are used only with versions that the tests ran with, and only if all of them exist. Otherwise
the code that needs them is off, and pypid does the same through public names, more slowly.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from pathlib import Path

from packaging.version import Version

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
