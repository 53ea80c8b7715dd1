"""The pins of lock files: ``pylock.toml`` (PEP 751). Pure.

A lock file names releases, their files and the hashes of these; the releases that a target needs
are selected here, the files in `core.packaging.install_targets`. All extras and all groups of a
lock file are included: a collection may be more than one installation needs.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from pypid.core.errors import BadRequest
from pypid.core.packaging.install_targets import InstallTarget
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.packaging.requirements import ELSEWHERE, Remark

if TYPE_CHECKING:
    from packaging.markers import Marker
    from packaging.pylock import Package, PackageSdist, PackageWheel, Pylock

LARGEST = 4 << 20
"""Maximum length of one lock file in characters."""
MOST = 20_000
"""Maximum number of releases in one lock file."""
MOST_OF_ONE = 100
"""Maximum number of releases of one project in one lock file: uv locks several if platforms need
different ones.
"""
LONGEST_KEY = 8
"""Maximum number of parts of one key (``a.b.c`` has three); real lock files have three at most."""

_OPAQUE = re.compile(
    r"""#[^\n]*+"""
    r"""|\"{3}(?:[^"\\]|\\.?|"(?!""))*+(?:"{3,5}|\Z)"""
    r"""|'{3}(?:[^']|'(?!''))*+(?:'{3,5}|\Z)"""
    r"""|"(?:[^"\\\n]|\\[^\n]?)*+"?"""
    r"""|'[^'\n]*+'?""",
    re.DOTALL,
)
"""A comment or a string of TOML. One without an end extends to the end of its line, or of
the text.
"""
_PART = r"""(?:[A-Za-z0-9_-]++|"")"""
_LONG_KEY = re.compile(rf"(?<![A-Za-z0-9_-]){_PART}(?:[ \t]*+\.[ \t]*+{_PART}){{{LONGEST_KEY}}}")
"""A key of too many parts, in a text whose strings are empty. No search begins within a word, so
each is read once.
"""


@frozen
class Pin:
    """One required release. `hashes`: the acceptable files with their hashes (``sha256=<hex>``,
    None); empty: any.
    """

    project: ProjectName
    version: str
    hashes: Mapping[str, str | None] = field(factory=dict, hash=False)


@frozen
class Lock:
    """A parsed lock file. `pins_for` returns the pins that a target needs."""

    pins_for: Callable[[InstallTarget], Sequence[Pin]]
    unparseable: tuple[Remark, ...] = ()
    pins: tuple[Pin, ...] = ()
    """All pins, whatever their markers say."""


@frozen
class DependencyList:
    """The releases that requirements and lock files pin, and the lines that pin none."""

    pins: tuple[Pin, ...]
    unpinned: tuple[Remark, ...] = ()
    unparseable: tuple[Remark, ...] = ()


def parse_pylock(text: str) -> Lock:
    """Parse a ``pylock.toml``. Raises `BadRequest` if it is invalid."""
    from packaging.pylock import Pylock, PylockUnsupportedVersionError, PylockValidationError

    if len(text) > LARGEST:
        raise BadRequest(f"pylock.toml may have {LARGEST} characters.")
    # tomllib's memory and time are quadratic in the number of parts
    # in steps of Python, between which other threads run
    lines = _OPAQUE.sub(lambda _: '""', text).splitlines()
    if any(_LONG_KEY.search(line) for line in lines):
        raise BadRequest(f"pylock.toml has a key of more than {LONGEST_KEY} parts.")
    import tomllib  # imported here: no page needs it

    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"pylock.toml is not TOML: {str(error)[:200]}") from None
    try:
        return _of_pylock(Pylock.from_dict(document))
    except PylockUnsupportedVersionError as error:
        raise BadRequest(
            f"This pylock.toml is of a version that is not known here: {error}"
        ) from None
    except (PylockValidationError, RecursionError) as error:
        raise BadRequest(f"This is not a pylock.toml (PEP 751): {str(error)[:200]}") from None


def _of_pylock(lock: Pylock) -> Lock:
    if len(lock.packages) > MOST:
        raise BadRequest(f"A pylock.toml may have {MOST} packages.")
    releases = Counter(str(package.name) for package in lock.packages)
    if any(count > MOST_OF_ONE for count in releases.values()):
        # each is compared with all files of its project
        raise BadRequest(f"A pylock.toml may have {MOST_OF_ONE} releases of one project.")
    pins: list[tuple[Package, Pin]] = []
    elsewhere: list[Remark] = []
    for package in lock.packages:
        if package.version is None or package.vcs or package.directory or package.archive:
            elsewhere.append(Remark(str(package.name), ELSEWHERE))
        else:
            pins.append(
                (package, Pin(project_name(package.name), str(package.version), _files_of(package)))
            )
    everything = {
        "extras": frozenset(map(str, lock.extras or ())),
        "dependency_groups": frozenset(
            [*(lock.dependency_groups or ()), *(lock.default_groups or ())]
        ),
    }

    def pins_for(target: InstallTarget) -> Sequence[Pin]:
        environment: dict[str, Any] = {**target.environment, **everything}
        return [
            pin
            for package, pin in pins
            if package.marker is None or _holds(package.marker, environment)
        ]

    return Lock(pins_for, tuple(elsewhere), tuple(pin for _, pin in pins))


def _files_of(package: Package) -> dict[str, str | None]:
    files: list[PackageWheel | PackageSdist] = [*(package.wheels or ())]
    if package.sdist is not None:
        files.append(package.sdist)
    return {file.filename: _strongest(file.hashes) for file in files}


def _strongest(hashes: Mapping[str, str]) -> str | None:
    return next(
        (
            f"{name}={hashes[name].lower()}"
            for name in ("sha256", "blake2b", "sha512", "md5")
            if name in hashes
        ),
        None,
    )


def _holds(marker: Marker, environment: dict[str, Any]) -> bool:
    """Return whether the marker holds; one that cannot be evaluated does, since too much is better
    than too little.
    """
    from packaging.markers import UndefinedComparison, UndefinedEnvironmentName

    try:
        return marker.evaluate(environment, "lock_file")
    except (UndefinedComparison, UndefinedEnvironmentName, KeyError, ValueError, RecursionError):
        return True
