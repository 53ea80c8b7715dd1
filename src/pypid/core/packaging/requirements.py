"""Requirement lines, ``pylock.toml`` and collections: what clients ask for, and the files that fit.
Pure.

Source: pip's "Requirements File Format" (comments, continued lines, options), PEP 508 (the
requirements themselves). A line that cannot be collected is not an error: it is reported with the
reason, and the others are processed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec
from attrs import evolve, field, frozen
from packaging.tags import Tag, compatible_tags, cpython_tags, mac_platforms
from packaging.utils import parse_wheel_filename

from pypid.core.errors import BadFilename, BadName, BadRequest
from pypid.core.installation import install_hint
from pypid.core.model import File, Project
from pypid.core.packaging.names import (
    ALL_SDIST_SUFFIXES,
    Packagetype,
    ProjectName,
    parse_filename,
    project_name,
    version_key,
    version_of,
)

if TYPE_CHECKING:
    from packaging.markers import Marker
    from packaging.pylock import Package, PackageSdist, PackageWheel, Pylock
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet


LARGEST = 1 << 20
"""Maximum length in characters of all files of one collection."""
MOST = 2000
"""Maximum number of requirements of one collection."""
MOST_LINES = 10_000
"""Maximum number of logical lines of one collection."""
LONGEST = 2000
"""Maximum length in characters of one requirement, without its hashes."""
LONGEST_LINE = 128 << 10
"""Maximum length in characters of one logical line: room for 1,000 hashes."""
MOST_CLAUSES = 50
"""Maximum number of clauses of a version specifier (``>=1,<2`` has two)."""

# Every pattern here is linear in the length of the line: no repeated part can match the same text
# in two ways.
_COMMENT = re.compile(r"(?:^|\s)#")
_BEFORE_OPTION = re.compile(r"(?<=[ \t])(?=-)")
_OPTION = re.compile(r"(--[^\s=]*|-.?)[\s=]*(.*)", re.DOTALL)
_HASH = re.compile(r"(sha256|sha384|sha512|sha1|md5)[:=]([0-9a-fA-F]{32,128})\Z")

ELSEWHERE = "it names a file, a folder or a URL: write the name of a project of this index"
NESTED = (
    "other files are not read from here: send them along (several -r, or the field several times)"
)
CONSTRAINTS = "constraints are not taken: write the versions into the requirements"
ANOTHER_INDEX = "everything is collected from this index"
NO_MEANING = (
    "it has no meaning here: what is collected is chosen for the requested platforms and Pythons"
)
NO_OPTION = "this option is not known"

_REFUSED = {
    "-r": NESTED,
    "--requirement": NESTED,
    "-c": CONSTRAINTS,
    "--constraint": CONSTRAINTS,
    "-e": ELSEWHERE,
    "--editable": ELSEWHERE,
}
_IGNORED = {
    **dict.fromkeys(
        (
            "-i",
            "--index-url",
            "--pypi-url",
            "--extra-index-url",
            "--no-index",
            "-f",
            "--find-links",
            "--trusted-host",
        ),
        ANOTHER_INDEX,
    ),
    **dict.fromkeys(
        (
            "--no-binary",
            "--only-binary",
            "--prefer-binary",
            "--use-feature",
            "--require-hashes",
            "--process-dependency-links",
        ),
        NO_MEANING,
    ),
}
_OF_ONE = frozenset(
    {"--global-option", "--install-option", "--config-setting", "--config-settings", "-C"}
)
"""Options that pip accepts after a requirement, and that matter only to a build."""


_ARCHIVES = (".whl", *ALL_SDIST_SUFFIXES)


@frozen
class Remark:
    """A remark on a line: the line as in the file (joined, without comments), and the reason."""

    line: str
    reason: str


@frozen
class RequirementLine:
    """One requirement. `text` is its normal form; `hashes` are ``(algorithm, lower-case hex)``, any
    of which is acceptable.
    """

    line: str
    project: ProjectName
    text: str
    specifiers: str = ""
    """Its version clauses, as PEP 440 spells them."""
    marker: str = field(default="", eq=False)
    """The condition (PEP 508); empty: always."""
    hashes: frozenset[tuple[str, str]] = frozenset()

    @property
    def specifier(self) -> SpecifierSet:
        """The allowed versions."""
        from packaging.specifiers import SpecifierSet  # imported here: no page needs it

        return SpecifierSet(self.specifiers)


@frozen
class Requirements:
    """Parsed requirements files. `prereleases`: they contain ``--pre``."""

    wanted: tuple[RequirementLine, ...] = ()
    unparseable: tuple[Remark, ...] = ()
    ignored: tuple[Remark, ...] = ()
    prereleases: bool = False


def parse_requirements(*texts: str) -> Requirements:
    """Parse the text of requirements files. Raises `BadRequest` only if they exceed the limits.

    Time and memory are linear in the length of the texts.
    """
    if sum(map(len, texts)) > LARGEST:
        raise BadRequest(
            f"Requirements may have {LARGEST} characters in one collection: divide them."
        )
    wanted: list[RequirementLine] = []
    unparseable: list[Remark] = []
    ignored: list[Remark] = []
    prereleases = False
    for line in _bounded(line for text in texts for line in logical_lines(text)):
        if line == "--pre":
            prereleases = True
            continue
        try:
            found, without = _read(line)
        except ValueError as error:
            unparseable.append(Remark(line, str(error)))
            continue
        # Each option once: otherwise a line of thousands of them is repeated in the response for
        # each remark.
        ignored += (
            Remark(line, f"{option}: {reason}") for option, reason in dict.fromkeys(without)
        )
        if found is not None:
            wanted.append(found)
        if len(wanted) > MOST:
            raise BadRequest(f"A collection may have {MOST} requirements: divide this one.")
    return Requirements(tuple(wanted), tuple(unparseable), tuple(ignored), prereleases)


def _bounded(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines. Raises `BadRequest` for too many of them, and for one that is too long."""
    for number, line in enumerate(lines, 1):
        if number > MOST_LINES:
            raise BadRequest(
                f"Requirements may have {MOST_LINES} lines in one collection: divide them."
            )
        if len(line) > LONGEST_LINE:
            raise BadRequest(
                f"A line of requirements may have {LONGEST_LINE} characters; {line[:80]!r}... is "
                "longer."
            )
        yield line


def logical_lines(text: str) -> Iterator[str]:
    """Yield the lines with content: continued ones joined, without comments, as pip reads them."""
    for line in _joined(text.removeprefix("\ufeff")):
        comment = _COMMENT.search(line)
        text = (line if comment is None else line[: comment.start()]).strip()
        if text:
            yield text


def _joined(text: str) -> Iterator[str]:
    """Join lines continued by a backslash; a comment ends that (pip, ``req_file.join_lines``)."""
    lines: list[str] = []
    for line in text.splitlines():
        is_comment = line.lstrip().startswith("#")
        if line.endswith("\\") and not is_comment:
            lines.append(line.strip("\\"))
            continue
        lines.append(f" {line}" if is_comment else line)
        yield "".join(lines)
        lines.clear()
    if lines:
        yield "".join(lines)


def _read(line: str) -> tuple[RequirementLine | None, list[tuple[str, str]]]:
    """Return a line's requirement, and its options that are ignored. Raises `ValueError`."""
    before, options = _options(line)
    if before:
        return _requirement(line, before, options)
    name = options[0][0]
    if name in _REFUSED:
        raise ValueError(_REFUSED[name])
    unknown = next((option for option, _ in options if option not in _IGNORED), None)
    if unknown is not None:
        raise ValueError(f"{unknown[:80]}: {NO_OPTION}")
    return None, [(option, _IGNORED[option]) for option, _ in options]


def _options(line: str) -> tuple[str, list[tuple[str, str]]]:
    """Return the text before the first option, and the options with their values."""
    before, *options = _BEFORE_OPTION.split(f" {line}")
    found = [match for match in map(_OPTION.match, options) if match is not None]
    return before.strip(), [(match[1], match[2].strip(" \t'\"")) for match in found]


def _requirement(
    line: str, before: str, options: list[tuple[str, str]]
) -> tuple[RequirementLine, list[tuple[str, str]]]:
    hashes: set[tuple[str, str]] = set()
    ignored: list[tuple[str, str]] = []
    for name, value in options:
        if name == "--hash":
            hashes.add(_hash(value))
        elif name in _OF_ONE:
            ignored.append((name, NO_MEANING))
        else:
            raise ValueError(f"{name[:80]}: {NO_OPTION}")
    requirement = _parsed(before)
    try:
        project = project_name(requirement.name)
    except BadName as error:
        raise ValueError(str(error)) from None
    marker = "" if requirement.marker is None else str(requirement.marker)
    return RequirementLine(
        line, project, str(requirement), str(requirement.specifier), marker, frozenset(hashes)
    ), ignored


def _hash(value: str) -> tuple[str, str]:
    match = _HASH.match(value)
    if match is None:
        raise ValueError(f"--hash={value[:80]} is not sha256:..., in hexadecimal")
    return match[1], match[2].lower()


def _parsed(text: str) -> Requirement:
    if len(text) > LONGEST:
        raise ValueError(f"it is longer than {LONGEST} characters")
    from packaging.requirements import (
        InvalidRequirement,
        Requirement,
    )  # imported here: no page needs it

    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        if "/" in text:
            raise ValueError(ELSEWHERE) from None
        raise ValueError(
            f"it is not a requirement (PEP 508): {str(error).splitlines()[0]}"
        ) from None
    except (
        ValueError,
        RecursionError,
    ):  # a version of thousands of digits, or thousands of parentheses
        raise ValueError("it is not a requirement that can be read (PEP 508)") from None
    if len(requirement.specifier) > MOST_CLAUSES:
        raise ValueError(f"it has more than {MOST_CLAUSES} clauses about versions")
    if requirement.url is not None or requirement.name.lower().endswith(
        _ARCHIVES
    ):  # pip takes it for a file if one exists
        raise ValueError(ELSEWHERE)
    return requirement


# Targets of a collection: a platform and a Python version, the wheels that fit them, and their
# marker environment. Pure.
#
# The names of platforms are those of uv's ``--python-platform``, and mean the same: where uv
# chooses a version because a wheel of it fits, a wheel of it fits here. Sources: PEP 425, 600, 656
# (tags), PEP 508 (environment markers).

DEFAULT_PLATFORM = "linux"
MOST_TARGETS = 12
"""Maximum number of targets of one collection."""

_PYTHON = re.compile(r"3\.(\d{1,2})(?:\.(\d{1,2}))?\Z")
_OLDEST = 7
_GLIBC_NAMED = (17, 28, *range(31, 41))
_OLD_NAMES = {17: ("manylinux2014",), 12: ("manylinux2010",), 5: ("manylinux1",)}
_MACOS = (13, 0)
"""The oldest version that uv targets by default."""


@frozen
class TargetPlatform:
    """A platform as wheels and markers see it. `tags`: its platform tags, the best first."""

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
        for minor in _GLIBC_NAMED:
            known[f"{machine}-manylinux_2_{minor}"] = _glibc(minor, machine)
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
    """A platform (of `PLATFORMS`) and a Python (``3.12``, ``3.12.4``); made by `target`."""

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
    if len(named) * len(versions) > MOST_TARGETS:
        raise BadRequest(
            f"At most {MOST_TARGETS} pairs of a platform and a Python can be collected for at once."
        )
    return tuple(target(platform, python) for platform in named for python in versions)


def best(files: Iterable[File], wanted: InstallTarget) -> File | None:
    """Return what an installer takes of a release on the target: the best wheel, else the sdist."""
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


# The pins of lock files: ``pylock.toml`` (PEP 751). Pure.
#
# A lock file names releases, their files and the hashes of these; the releases that a target needs
# are selected here, the files further below. All extras and all groups of a
# lock file are included: a collection may be more than one installation needs.

LARGEST_LOCK = 4 << 20
"""Maximum length of one lock file in characters."""
MOST_LOCKED = 20_000
"""Maximum number of releases in one lock file."""
MOST_OF_ONE = 100
"""Releases of one project in one lock file: uv locks several for different platforms."""
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
"""A comment or a string of TOML; without an end it extends to that of its line or the text."""
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

    if len(text) > LARGEST_LOCK:
        raise BadRequest(f"pylock.toml may have {LARGEST_LOCK} characters.")
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
    if len(lock.packages) > MOST_LOCKED:
        raise BadRequest(f"A pylock.toml may have {MOST_LOCKED} packages.")
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
    """Return whether the marker holds, or cannot be evaluated: too much beats too little."""
    from packaging.markers import UndefinedComparison, UndefinedEnvironmentName

    try:
        return marker.evaluate(environment, "lock_file")
    except (UndefinedComparison, UndefinedEnvironmentName, KeyError, ValueError, RecursionError):
        return True


# The request and the result of a collection. Pure values.


@frozen
class CollectOptions:
    """What to collect for each target: requirements, still to be resolved, and lock files."""

    requirements: Requirements
    locks: tuple[Lock, ...]
    targets: tuple[InstallTarget, ...]
    lines: Mapping[InstallTarget, tuple[RequirementLine, ...]] = field(hash=False)
    """The requirement lines whose markers hold there."""


class CollectOutcome(Enum):
    """The outcome for a file."""

    KEPT = "kept"
    """It was fetched, and is stored now."""
    HAD = "had"
    """It was stored before, or is local."""
    REFUSED = "refused"
    """Refused by a rule of this index, or by a hash in the request."""
    FAILED = "failed"
    """It could not be fetched."""


@frozen(kw_only=True)
class FileReport:
    """The report on one file. `needs_build`: an installer has to build it (it is an sdist).
    `reason`: why it is not here, else empty.
    """

    project: ProjectName
    version: str
    filename: str
    targets: tuple[InstallTarget, ...]
    outcome: CollectOutcome
    needs_build: bool = False
    reason: str = ""

    @property
    def is_here(self) -> bool:
        """Whether it can be installed from here now."""
        return self.outcome in (CollectOutcome.KEPT, CollectOutcome.HAD)


@frozen
class Problem:
    """Why a line was not (completely) collected. `target` None: on all of them."""

    line: str
    reason: str
    target: InstallTarget | None = None


@frozen
class Collected:
    """The whole result."""

    files: tuple[FileReport, ...]
    failed: tuple[Problem, ...]
    requirements: Requirements
    resolved: tuple[Resolved, ...]

    @property
    def complete(self) -> bool:
        """Whether everything requested is here."""
        return (
            not self.failed
            and not self.requirements.unparseable
            and all(file.is_here for file in self.files)
        )


# --- how far it is --------------------------------------------------------------------------------


@frozen
class Resolving:
    """Progress: a target is being resolved. `seconds`: for how long already; sent repeatedly."""

    target: InstallTarget
    seconds: float


@frozen
class Resolved:
    """Progress: the pins that a target needs."""

    target: InstallTarget
    pins: tuple[Pin, ...] = field(repr=False)


@frozen
class FileDone:
    """Progress: one of the files is done, the `done`-th of `of`."""

    report: FileReport
    done: int
    of: int


Event = Resolving | Resolved | FileDone


# Choosing the files of a release that fit, and the releases that a line allows. Pure.


def applicable(
    lines: Iterable[RequirementLine], targets: Sequence[InstallTarget]
) -> dict[InstallTarget, tuple[RequirementLine, ...]]:
    """Return the lines whose markers hold on each target."""
    from packaging.markers import Marker  # imported here: no page needs it

    environments = [{**target.environment, "extra": ""} for target in targets]
    found: dict[InstallTarget, list[RequirementLine]] = {target: [] for target in targets}
    for line in lines:
        marker = Marker(line.marker) if line.marker else None
        for target, environment in zip(targets, environments, strict=True):
            if marker is None or marker.evaluate(environment):
                found[target].append(line)
    return {target: tuple(each) for target, each in found.items()}


def by_release(files: Iterable[File]) -> dict[object, list[File]]:
    """Return the files of each release, by the `version_key` of its version."""
    found: dict[object, list[File]] = {}
    for file in files:
        found.setdefault(version_key(file.version), []).append(file)
    return found


def allowed(project: Project, line: RequirementLine) -> list[str]:
    """Return the releases that the line allows, the newest first."""
    versions = []
    for text in project.versions:
        try:
            versions.append(version_of(text))
        except ValueError:
            continue
    return [str(version) for version in sorted(line.specifier.filter(versions), reverse=True)]


def named(file: File, pin: Pin) -> bool:
    """Return whether the lock file names the file; True if it names none."""
    return not pin.hashes or file.filename in pin.hashes


def proven(file: File, lines: Sequence[RequirementLine]) -> bool:
    """Return whether the file has one of the hashes of each line that gives some."""
    return all(
        not line.hashes
        or any(digest(file, name) == f"{name}={value}" for name, value in line.hashes)
        for line in lines
    )


def digest(file: File, algorithm: str) -> str | None:
    """Return ``algorithm=hex`` of the file, or None if it is unknown."""
    known = {"sha256": file.sha256, "md5": file.md5}.get(algorithm)
    if known is not None:
        return f"{algorithm}={known}"
    return (
        file.digest if file.digest is not None and file.digest.startswith(f"{algorithm}=") else None
    )


# Parsing a client's requirements and lock files, for a collection or for a check. Pure.
#
# It takes time linear in the size of the request: for the largest lock file seconds, in a thread.

MOST_TEXTS = 200
"""Maximum number of files in one collection request."""
LARGEST_REQUEST = 6 << 20
"""Maximum size in bytes of one request."""
JSON = ""
"""The name of the part that is not a form field but a JSON document with all of them."""
NO_RESOLVER = (
    "Working out what requirements need takes an optional part of pypid that is not installed on "
    f"this server. {install_hint('collect')}"
)
UNPINNED = "it names no exact version: check a lock file, or write name==version"

Texts = str | tuple[str, ...]
RequestFields = Sequence[tuple[str, bytes]]
"""The fields of a request, each with its name; or one part with the name `JSON`."""


EXPORTS = {
    "uv.lock": "uv export --format pylock.toml --output-file pylock.toml",
    "poetry.lock": "poetry export --output requirements.txt",
    "pdm.lock": "pdm export --format pylock --output pylock.toml",
    "Pipfile.lock": "pipenv requirements > requirements.txt",
}
"""The lock files of single tools, with the command that writes one that pypid reads."""


def read_instead(name: str) -> str:
    """Return the advice for a lock file of `EXPORTS`."""
    return f"{name} is read by its own tool only. Export it, and use the result: {EXPORTS[name]}"


class CollectionRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The fields of a form, or of a JSON document."""

    requirements: Texts = ()
    pylock_toml: Texts = msgspec.field(default=(), name="pylock.toml")
    platform: Texts = ()
    python: Texts = ()


FIELDS = {field.encode_name: field.name for field in msgspec.structs.fields(CollectionRequest)}
"""The attribute of each field, by the name that clients use."""


def parse_collection(fields: RequestFields, running: str) -> CollectOptions | None:
    """Return what is to be collected; None if nothing is.

    `running` is the default Python version. Raises `BadRequest` with the problem.
    """
    request = _decoded(fields)
    parsed = _parsed_request(request)
    if parsed is None:
        return None
    wanted, locks = parsed
    chosen = targets(_words_of(request.platform), _words_of(request.python), running=running)
    return CollectOptions(wanted, tuple(locks), chosen, applicable(wanted.wanted, chosen))


def parse_dependencies(fields: RequestFields) -> DependencyList | None:
    """Return the releases that the files pin; None if there are no files. Raises `BadRequest`."""
    parsed = _parsed_request(_decoded(fields))
    if parsed is None:
        return None
    wanted, locks = parsed
    pins: dict[tuple[str, str], Pin] = {}
    unpinned: list[Remark] = []
    for line in wanted.wanted:
        version = _exact_version(line.specifiers)
        if version is None:
            unpinned.append(Remark(line.text, UNPINNED))
        else:
            pins.setdefault((line.project, version), Pin(line.project, version))
    for pin in (pin for lock in locks for pin in lock.pins):
        pins[pin.project, pin.version] = pin
    return DependencyList(tuple(pins.values()), tuple(unpinned), wanted.unparseable)


def _exact_version(specifiers: str) -> str | None:
    """Return the version of ``==1.0`` or ``===1.0``; None for anything that allows several."""
    version = specifiers.removeprefix("==").removeprefix("=")
    is_exact = specifiers.startswith("==") and "," not in version and not version.endswith(".*")
    return version.strip() if is_exact else None


def _parsed_request(request: CollectionRequest) -> tuple[Requirements, list[Lock]] | None:
    """Return the requirements with the remarks on all files, and the locks; None without files."""
    requirements = _texts(request.requirements)
    pylocks = _texts(request.pylock_toml)
    if not requirements and not pylocks:
        return None
    if len(requirements) + len(pylocks) > MOST_TEXTS:  # JSON may hold millions
        raise BadRequest(f"At most {MOST_TEXTS} files are accepted in one request.")
    wanted = parse_requirements(*requirements)
    locks = [parse_pylock(text) for text in pylocks]
    remarks = [remark for lock in locks for remark in lock.unparseable]
    return evolve(wanted, unparseable=(*wanted.unparseable, *remarks)), locks


def _decoded(fields: RequestFields) -> CollectionRequest:
    if [name for name, _ in fields] == [JSON]:
        try:
            return msgspec.json.decode(fields[0][1], type=CollectionRequest)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadRequest(
                f"The JSON document is not what is expected here: {str(error)[:200]}"
            ) from None
    found: dict[str, list[str]] = {}
    for name, data in fields:
        if name in EXPORTS:
            raise BadRequest(read_instead(name))
        if name in FIELDS:
            found.setdefault(FIELDS[name], []).append(data.decode("utf-8", "replace"))
    return CollectionRequest(**{name: tuple(texts) for name, texts in found.items()})


def _texts(value: Texts) -> list[str]:
    return [text for text in ((value,) if isinstance(value, str) else value) if text.strip()]


def _words_of(value: Texts) -> list[str]:
    return [word for text in _texts(value) for word in text.replace(",", " ").split()]
