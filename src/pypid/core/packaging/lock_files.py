"""The pins of lock files: ``pylock.toml`` (PEP 751) and ``uv.lock``. Pure.

A lock file names releases, their files and the hashes of these; the releases that a target needs
are selected here, the files in `core.packaging.install_targets`. All extras and all groups of a
lock file are included: a collection may be more than one installation needs.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urlsplit

import msgspec
from attrs import field, frozen

from pypid.core.errors import BadName, BadRequest
from pypid.core.packaging.install_targets import InstallTarget
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.packaging.requirements import ELSEWHERE, Remark

if TYPE_CHECKING:
    from packaging.markers import Marker
    from packaging.pylock import Package, PackageSdist, PackageWheel, Pylock

LARGEST = 16 << 20
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

T = TypeVar("T")


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


def _toml(text: str, what: str) -> dict[str, Any]:
    if len(text) > LARGEST:
        raise BadRequest(f"{what} may have {LARGEST} characters.")
    if _LONG_KEY.search(
        _OPAQUE.sub('""', text)
    ):  # tomllib's memory and time are quadratic in the number of parts
        raise BadRequest(f"{what} has a key of more than {LONGEST_KEY} parts.")
    import tomllib  # imported here: no page needs it

    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"{what} is not TOML: {str(error)[:200]}") from None


def _bound_releases(what: str, names: Iterable[str]) -> None:
    """Raise `BadRequest` if one project has more releases than `MOST_OF_ONE`: each is compared with
    all its files.
    """
    if any(count > MOST_OF_ONE for count in Counter(names).values()):
        raise BadRequest(f"A {what} may have {MOST_OF_ONE} releases of one project.")


# --- pylock.toml ----------------------------------------------------------------------------------


def parse_pylock(text: str) -> Lock:
    """Parse a ``pylock.toml``. Raises `BadRequest` if it is invalid."""
    from packaging.pylock import Pylock, PylockUnsupportedVersionError, PylockValidationError

    document = _toml(text, "pylock.toml")
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
    _bound_releases("pylock.toml", (str(package.name) for package in lock.packages))
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
            if package.marker is None or _holds(package.marker, environment, "lock_file")
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


def _holds(marker: Marker, environment: dict[str, Any], context: Any) -> bool:
    """Return whether the marker holds; one that cannot be evaluated does, since too much is better
    than too little.
    """
    from packaging.markers import UndefinedComparison, UndefinedEnvironmentName

    try:
        return marker.evaluate(environment, context)
    except (UndefinedComparison, UndefinedEnvironmentName, KeyError, ValueError, RecursionError):
        return True


# --- uv.lock --------------------------------------------------------------------------------------


class _Artifact(msgspec.Struct, rename="kebab"):
    url: str = ""
    path: str = ""
    filename: str = ""
    hash: str = ""

    @property
    def name(self) -> str:
        return self.filename or unquote((self.path or urlsplit(self.url).path).rpartition("/")[2])


class _Dependency(msgspec.Struct, rename="kebab"):
    name: str
    version: str | None = None
    marker: str = ""
    extra: tuple[str, ...] = ()


class _Locked(msgspec.Struct, rename="kebab"):
    name: str
    version: str | None = None
    source: dict[str, Any] = {}
    resolution_markers: tuple[str, ...] = ()
    dependencies: tuple[_Dependency, ...] = ()
    optional_dependencies: dict[str, tuple[_Dependency, ...]] = {}
    dev_dependencies: dict[str, tuple[_Dependency, ...]] = {}
    sdist: _Artifact | None = None
    wheels: tuple[_Artifact, ...] = ()

    @property
    def is_root(self) -> bool:
        """Whether it is (a member of) the project that was locked."""
        return bool({"virtual", "editable", "directory"} & self.source.keys())


class _Manifest(msgspec.Struct, rename="kebab"):
    requirements: tuple[_Dependency, ...] = ()
    dependency_groups: dict[str, tuple[_Dependency, ...]] = {}


class _UvLock(msgspec.Struct, rename="kebab"):
    version: int
    package: tuple[_Locked, ...] = ()
    manifest: _Manifest = msgspec.field(default_factory=_Manifest)


UV_LOCK = 1
"""The supported version of the format; uv raises it if older readers would misread it."""


def parse_uv_lock(text: str) -> Lock:
    """Parse a ``uv.lock``. Raises `BadRequest` if it is invalid."""
    document = _toml(text, "uv.lock")
    try:
        lock = msgspec.convert(document, _UvLock)
        packages = [(project_name(package.name), package) for package in lock.package]
    except (msgspec.ValidationError, BadName, RecursionError) as error:
        raise BadRequest(f"This is not a uv.lock: {str(error)[:200]}") from None
    if lock.version != UV_LOCK:
        raise BadRequest(
            f"This uv.lock is of version {lock.version}, and {UV_LOCK} is what is known here."
        )
    if len(packages) > MOST:
        raise BadRequest(f"A uv.lock may have {MOST} packages.")
    _bound_releases("uv.lock", (package.name for _, package in packages))
    elsewhere = tuple(
        Remark(package.name, ELSEWHERE)
        for _, package in packages
        if not package.is_root and _pin(package) is None
    )
    pins = tuple(pin for _, package in packages if (pin := _pin(package)) is not None)
    return Lock(lambda target: _Walk(lock, target.environment).pins(), elsewhere, pins)


def _pin(package: _Locked) -> Pin | None:
    if "registry" not in package.source or package.version is None:
        return None
    files = (*package.wheels, *([package.sdist] if package.sdist is not None else []))
    return Pin(
        project_name(package.name),
        package.version,
        {file.name: file.hash.replace(":", "=", 1) or None for file in files},
    )


class _Walk:
    """Traversal from the locked project along the dependencies whose markers hold."""

    def __init__(self, lock: _UvLock, environment: dict[str, str]) -> None:
        self._lock = lock
        self._environment = environment
        self._by_name: dict[str, list[_Locked]] = {}
        self._markers: dict[str, bool] = {}
        self._followed: set[tuple[str, str | None, str | None]] = set()
        """Project, release and extra that a dependency has led to: those named by thousands are
        followed once.
        """
        for package in lock.package:
            if self._any_holds(package.resolution_markers):
                self._by_name.setdefault(package.name, []).append(package)

    def pins(self) -> list[Pin]:
        """Return the pins reached. Without any roots (a lock file of another kind), all
        that fit.
        """
        seen: dict[tuple[str, str | None], _Locked] = {}
        done: set[tuple[str, str | None, str | None]] = set()
        todo: list[tuple[_Locked, str | None]] = [*self._roots()]
        while todo:
            package, extra = todo.pop()
            key = (package.name, package.version, extra)
            if key in done:
                continue
            done.add(key)
            seen[package.name, package.version] = package
            needs = (
                package.dependencies
                if extra is None
                else package.optional_dependencies.get(extra, ())
            )
            for dependency in needs:
                todo += self._follow(dependency)
        return [pin for package in seen.values() if (pin := _pin(package)) is not None]

    def _roots(self) -> Iterator[tuple[_Locked, str | None]]:
        manifest = self._lock.manifest
        roots = [
            package
            for packages in self._by_name.values()
            for package in packages
            if package.is_root
        ]
        named = [*manifest.requirements, *_flat(manifest.dependency_groups)]
        if not roots and not named:
            roots = [package for packages in self._by_name.values() for package in packages]
        for package in roots:
            yield package, None
            yield from ((package, extra) for extra in package.optional_dependencies)
            for dependency in _flat(package.dev_dependencies):
                yield from self._follow(dependency)
        for dependency in named:
            yield from self._follow(dependency)

    def _follow(self, dependency: _Dependency) -> Iterator[tuple[_Locked, str | None]]:
        if not self._any_holds((dependency.marker,) if dependency.marker else ()):
            return
        for extra in (None, *dependency.extra):
            key = (dependency.name, dependency.version, extra)
            if key in self._followed:
                continue
            self._followed.add(key)
            for package in self._by_name.get(dependency.name, ()):
                if dependency.version is None or package.version == dependency.version:
                    yield package, extra

    def _any_holds(self, markers: Sequence[str]) -> bool:
        return not markers or any(self._holds(marker) for marker in markers)

    def _holds(self, text: str) -> bool:
        if text not in self._markers:
            self._markers[text] = self._judged(text)
        return self._markers[text]

    def _judged(self, text: str) -> bool:
        if (
            "extra" in text
        ):  # uv's encoding of mutually exclusive groups and extras: all of them are wanted here
            return True
        from packaging.markers import InvalidMarker, Marker

        try:
            return _holds(Marker(text), self._environment, "metadata")
        except (InvalidMarker, ValueError, RecursionError):
            return True


def _flat(groups: Mapping[str, Sequence[T]]) -> list[T]:
    return [member for group in groups.values() for member in group]
