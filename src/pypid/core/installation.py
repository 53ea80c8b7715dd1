"""Names of pypid's distributions, and how to install an optional part.

`setup.py` reads this module before anything is installed: it imports the standard library and
`pypid.__version__` only.
"""

from typing import Final

from pypid import __version__

REGISTERED: Final = False
"""Whether `DISTRIBUTION` is registered on the public index. While it is not, anyone can register
that name there, so no text may name an installation of it from an index
(tests/test_installation.py). Set this to True on the day of the registration."""

DISTRIBUTION: Final = "pypid-server"
"""The distribution. The import package, the command and the twistd plugin are called ``pypid``."""

PYPICLOUD_DISTRIBUTION: Final = "pypid-pypicloud"
"""The distribution with the names of pypicloud's commands (packages/pypid-pypicloud)."""

WHEEL: Final = f"{DISTRIBUTION.replace('-', '_')}-{__version__}-py3-none-any.whl"
"""Filename of the wheel of this version, as `make dist` builds it."""


def install_hint(extra: str) -> str:
    """Return the sentence that says how to install an optional part, given its extra ("s3")."""
    if REGISTERED:
        return f"Install it: pip install '{DISTRIBUTION}[{extra}]'."
    return (
        f"Install it from the wheel: pip install './{WHEEL}[{extra}]', "
        f"or in a checkout: make run EXTRAS={extra}."
    )
