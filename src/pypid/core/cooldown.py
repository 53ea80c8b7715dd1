"""How long upstream files stay hidden (`[upstream] cooldown`). Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import chain, repeat
from typing import TYPE_CHECKING

from attrs import frozen

from pypid.core.model import File
from pypid.core.packaging.names import ProjectName, VersionKeys, matches, version_key, version_of
from pypid.core.simple_api.listed_files import ListedFiles

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

BEGINNING = datetime.min.replace(tzinfo=UTC)
NEVER = datetime.max.replace(tzinfo=UTC)

Wait = timedelta | datetime
"""The age that a file must reach; or a time, and only older files are visible."""


def visible_after(begun: datetime | None, wait: Wait) -> datetime:
    """Return when a file is visible that was uploaded or first seen at `begun` (None: unknown)."""
    if isinstance(wait, datetime):
        return BEGINNING if begun is not None and begun < wait else NEVER
    if not wait:  # an upload time that is later than this machine's clock hides nothing
        return BEGINNING
    return NEVER if begun is None or begun > NEVER - wait else begun + wait


@frozen
class CooldownException:
    """Another wait for the files of some projects."""

    projects: str
    """A name or a glob."""
    wait: Wait
    versions: str = ""
    """A version specifier (PEP 440); empty: all versions."""
    expires: datetime | None = None
    """From when on the exception does not count; None: it always counts."""

    def has_version(self, version: str) -> bool:
        """Return whether the exception is for this version; those not PEP 440 match none."""
        if not self.versions:
            return True
        try:
            return specifier_of(self.versions).contains(version_of(version), prereleases=True)
        except ValueError:
            return False


@lru_cache(maxsize=256)
def specifier_of(text: str) -> SpecifierSet:
    """Return the version specifier. Raises `ValueError`."""
    from packaging.specifiers import SpecifierSet  # imported here: few configurations need it

    return SpecifierSet(text)


@frozen
class CooldownRules:
    """The waits of one project's files, `until` an exception expires (None: never)."""

    wait: Wait = timedelta()
    by_version: tuple[CooldownException, ...] = ()
    """Exceptions for some versions; the first match counts, and `wait` where none matches."""
    until: datetime | None = None
    fixes: timedelta = timedelta()
    fixed: VersionKeys = frozenset()
    """Versions that wait for `fixes` at most."""

    def wait_of(self, version: str) -> Wait:
        """Return how long the files of this version wait."""
        exceptions = (each.wait for each in self.by_version if each.has_version(version))
        wait = next(exceptions, self.wait)
        if self.fixed and isinstance(wait, timedelta) and version_key(version) in self.fixed:
            return min(wait, self.fixes)
        return wait

    def visible_from(self, file: File) -> datetime:
        """Return when the file is visible, by these rules."""
        return visible_after(file.uploaded or file.seen, self.wait_of(file.version))

    def may_hide(self, latest: datetime | None, now: datetime) -> bool:
        """Return whether files can be hidden of which the latest is from this time."""
        waits = {self.wait, *(each.wait for each in self.by_version)}
        return any(now < visible_after(latest, wait) for wait in waits)

    def times(self, files: ListedFiles, now: datetime) -> Iterator[tuple[int, datetime]]:
        """Yield the positions of the files that can be hidden, with the times from which they are
        visible. Blocks without such files are not read.
        """
        if not self.may_hide(files.latest, now):
            return
        spans = [
            (span, wait)
            for span, wait in self._spans(files)
            if now < visible_after(files.latest, wait)
        ]
        positions = chain.from_iterable([span for span, _ in spans])
        waits = chain.from_iterable([repeat(wait, len(span)) for span, wait in spans])
        for (position, begun), wait in zip(files.times(positions), waits, strict=True):
            yield position, visible_after(begun, wait)

    def _spans(self, files: ListedFiles) -> Iterator[tuple[range, Wait]]:
        """Yield the positions of consecutive files that have the same wait."""
        if not (self.by_version or self.fixed):
            yield range(len(files)), self.wait
            return
        start = 0
        for version, count in files.runs:
            yield range(start, start + count), self.wait_of(version)
            start += count


@frozen
class Cooldown:
    """The wait of all files, and the exceptions, of which the first match counts."""

    wait: Wait = timedelta()
    exceptions: tuple[CooldownException, ...] = ()
    fixes: timedelta = timedelta()
    """How long versions wait that fix a vulnerability of a version in use
    (`[upstream] cooldown_fixes`); 0: as long as others.
    """

    def rules_of(
        self, name: ProjectName, now: datetime, fixed: VersionKeys = frozenset()
    ) -> CooldownRules:
        """Return the rules for the project's files now; `fixed`: versions that fix something."""
        by_version = []
        until, wait = None, self.wait
        for exception in self.exceptions:
            expires = exception.expires
            if (expires is not None and expires <= now) or not matches(name, (exception.projects,)):
                continue
            until = min(expires or NEVER, until or NEVER)
            if not exception.versions:
                wait = exception.wait
                break
            by_version.append(exception)
        end = None if until == NEVER else until
        return CooldownRules(
            wait, tuple(by_version), end, self.fixes, fixed if self.fixes else frozenset()
        )

    def visible_from(self, file: File, now: datetime, fixed: VersionKeys = frozenset()) -> datetime:
        """Return from when on the file is visible, or `NEVER`; a time that has passed if it is
        visible now.

        The age of a file counts from upstream's upload time, else from when it was first seen here.
        """
        rules = self.rules_of(file.project, now, fixed)
        begin, visible = BEGINNING, rules.visible_from(file)
        while rules.until is not None and rules.until <= visible:  # an exception expires before
            begin = rules.until
            rules = self.rules_of(file.project, begin, fixed)
            visible = rules.visible_from(file)
        return max(begin, visible)

    def may_hide(self, name: ProjectName) -> bool:
        """Return whether any rule can hide a file of the project, at any time."""
        waits = (each.wait for each in self.exceptions if matches(name, (each.projects,)))
        return any((self.wait, *waits))
