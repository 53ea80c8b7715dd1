"""Targets of a collection: a platform and a Python version, the wheels that fit them, and their
marker environment. Pure.

The names of platforms are those of uv's ``--python-platform``, and mean the same: where uv chooses
a version because a wheel of it fits, a wheel of it fits here. Sources: PEP 425, 600, 656 (tags),
PEP 508 (environment markers).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from attrs import frozen
from packaging.tags import Tag, compatible_tags, cpython_tags, mac_platforms
from packaging.utils import parse_wheel_filename

from pypid.core.errors import BadFilename, BadRequest
from pypid.core.model import File
from pypid.core.packaging.names import ALL_SDIST_SUFFIXES, Packagetype, parse_filename

DEFAULT_PLATFORM = "linux"
MOST = 12
"""Maximum number of targets of one collection."""

_PYTHON = re.compile(r"3\.(\d{1,2})(?:\.(\d{1,2}))?\Z")
_OLDEST = 7
_GLIBC_NAMED = (
    "2_17",
    "2_28",
    "2_31",
    "2_32",
    "2_33",
    "2_34",
    "2_35",
    "2_36",
    "2_37",
    "2_38",
    "2_39",
    "2_40",
)
_OLD_NAMES = {17: ("manylinux2014",), 12: ("manylinux2010",), 5: ("manylinux1",)}
_MACOS = (13, 0)
"""The oldest version that uv targets by default."""


@frozen
class TargetPlatform:
    """A platform as wheels and markers see it. `tags` are platform tags of wheels, the best
    first.
    """

    tags: tuple[str, ...]
    sys_platform: str
    platform_system: str
    platform_machine: str
    os_name: str = "posix"


def _glibc(newest: int, machine: str) -> TargetPlatform:
    # PEP 599: the old names are for x86 only; PEP 600: a newer glibc runs what was built for an
    # older one
    oldest = 5 if machine == "x86_64" else 17
    tags: list[str] = []
    for minor in range(newest, oldest - 1, -1):
        tags.append(f"manylinux_2_{minor}_{machine}")
        tags += (f"{name}_{machine}" for name in _OLD_NAMES.get(minor, ()))
    return TargetPlatform((*tags, f"linux_{machine}"), "linux", "Linux", machine)


def _musl(machine: str) -> TargetPlatform:
    tags = (*(f"musllinux_1_{minor}_{machine}" for minor in (2, 1, 0)), f"linux_{machine}")
    return TargetPlatform(tags, "linux", "Linux", machine)


def _macos(arch: str) -> TargetPlatform:
    return TargetPlatform(tuple(mac_platforms(_MACOS, arch)), "darwin", "Darwin", arch)


def _windows(tag: str, machine: str) -> TargetPlatform:
    return TargetPlatform((tag,), "win32", "Windows", machine, "nt")


def _table() -> dict[str, TargetPlatform]:
    known = {
        "x86_64-unknown-linux-gnu": _glibc(28, "x86_64"),
        "aarch64-unknown-linux-gnu": _glibc(28, "aarch64"),
        "x86_64-unknown-linux-musl": _musl("x86_64"),
        "aarch64-unknown-linux-musl": _musl("aarch64"),
        "aarch64-apple-darwin": _macos("arm64"),
        "x86_64-apple-darwin": _macos("x86_64"),
        "x86_64-pc-windows-msvc": _windows("win_amd64", "AMD64"),
        "i686-pc-windows-msvc": _windows("win32", "x86"),
        "aarch64-pc-windows-msvc": _windows("win_arm64", "ARM64"),
    }
    for machine in ("x86_64", "aarch64"):
        known[f"{machine}-manylinux2014"] = _glibc(17, machine)
        for version in _GLIBC_NAMED:
            known[f"{machine}-manylinux_{version}"] = _glibc(
                int(version.partition("_")[2]), machine
            )
    aliases = {
        "linux": "x86_64-unknown-linux-gnu",
        "macos": "aarch64-apple-darwin",
        "windows": "x86_64-pc-windows-msvc",
    }
    return known | {alias: known[name] for alias, name in aliases.items()}


PLATFORMS = _table()
"""The platforms by uv's name."""


@frozen
class InstallTarget:
    """A platform (a key of `PLATFORMS`) and a Python version (``3.12``, ``3.12.4``); made by
    `target`.
    """

    platform: str
    python: str

    @property
    def environment(self) -> dict[str, str]:
        """The environment of PEP 508 markers, for CPython."""
        platform = PLATFORMS[self.platform]
        full = self.python if self.python.count(".") == 2 else f"{self.python}.0"
        return {
            "implementation_name": "cpython",
            "implementation_version": full,
            "os_name": platform.os_name,
            "platform_machine": platform.platform_machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": platform.platform_system,
            "platform_version": "",
            "python_full_version": full,
            "python_version": ".".join(self.python.split(".")[:2]),
            "sys_platform": platform.sys_platform,
        }

    @property
    def ranks(self) -> dict[Tag, int]:
        """The tags that fit, each with its rank: the smallest is the best."""
        return _ranks(PLATFORMS[self.platform].tags, int(self.python.split(".")[1]))

    def __str__(self) -> str:
        return f"Python {self.python} on {self.platform}"


@lru_cache(maxsize=64)
def _ranks(platforms: tuple[str, ...], minor: int) -> dict[Tag, int]:
    abi = f"cp3{minor}m" if minor < 8 else f"cp3{minor}"
    tags = (
        *cpython_tags((3, minor), [abi], platforms),
        *compatible_tags((3, minor), f"cp3{minor}", platforms),
    )
    ranks: dict[Tag, int] = {}
    for rank, tag in enumerate(tags):
        ranks.setdefault(tag, rank)
    return ranks


def target(platform: str, python: str) -> InstallTarget:
    """Return the target of these names. Raises `BadRequest` that lists the known ones."""
    if platform not in PLATFORMS:
        known = ", ".join(name for name in PLATFORMS if "manylinux_" not in name)
        raise BadRequest(
            f"{platform[:80]!r} is not a platform that is known here. There are: {known}, "
            f"x86_64-manylinux_2_34 ..."
        )
    match = _PYTHON.match(python)
    if match is None or int(match[1]) < _OLDEST:
        raise BadRequest(
            f"{python[:80]!r} is not a Python that is known here: say 3.12, for example (from "
            f"3.{_OLDEST} on)."
        )
    return InstallTarget(platform, python)


def targets(
    platforms: Iterable[str], pythons: Iterable[str], *, running: str
) -> tuple[InstallTarget, ...]:
    """Return each platform with each Python version, each once. Defaults: Linux on x86_64, and the
    `running` version. Raises `BadRequest`.
    """
    named = tuple(dict.fromkeys(platforms)) or (DEFAULT_PLATFORM,)
    versions = tuple(dict.fromkeys(pythons)) or (running,)
    if len(named) * len(versions) > MOST:
        raise BadRequest(
            f"At most {MOST} pairs of a platform and a Python can be collected for at once."
        )
    return tuple(target(platform, python) for platform in named for python in versions)


def best(files: Iterable[File], wanted: InstallTarget) -> File | None:
    """Return the file of a release that an installer takes on the target: the best wheel, else the
    sdist, else None.
    """
    ranks = wanted.ranks
    wheels: list[tuple[int, tuple[int, str], File]] = []
    sdists: list[File] = []
    for file in files:
        if file.filename.endswith(ALL_SDIST_SUFFIXES):
            sdists.append(file)
            continue
        try:
            kind = parse_filename(file.filename)
        except BadFilename:
            continue
        rank = min((ranks[tag] for tag in kind.tags if tag in ranks), default=None)
        if rank is not None and kind.packagetype is Packagetype.WHEEL:
            wheels.append((rank, _build(file.filename), file))
    if wheels:
        # of wheels with the same rank the one with the highest build number
        first = min(rank for rank, _, _ in wheels)
        return max(
            ((build, file) for rank, build, file in wheels if rank == first),
            key=lambda found: found[0],
        )[1]
    return min(sdists, key=lambda file: not file.filename.endswith(".tar.gz"), default=None)


def _build(filename: str) -> tuple[int, str]:
    build = parse_wheel_filename(filename)[2]
    return build or (-1, "")


def needs_build(file: File) -> bool:
    """Return whether an installer has to build the file."""
    return not file.filename.endswith(".whl")
