"""Collecting: cache all files that requirements and lock files need, for the given platforms and
Python versions.

The resolver selects releases from metadata alone; `core.packaging.requirements` selects the file
of a release; the file is opened through the same view as any download, so that every rule applies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing
from datetime import datetime
from functools import partial

from attrs import Factory, define, evolve, field

from pypid.core.errors import Missing, PypidError, Unresolvable
from pypid.core.model import File, Project, StoredFile
from pypid.core.packaging.names import ProjectName, same_version, version_key
from pypid.core.packaging.requirements import (
    Collected,
    CollectOptions,
    CollectOutcome,
    Event,
    FileDone,
    FileReport,
    InstallTarget,
    Pin,
    Problem,
    RequirementLine,
    Resolved,
    Resolving,
    allowed,
    best,
    by_release,
    digest,
    named,
    needs_build,
    proven,
)
from pypid.core.policy import PassOn, delivery
from pypid.index.explain import hiding_of, why_not_found
from pypid.index.index import Index
from pypid.index.progress import Repeated, all_of
from pypid.index.views import UpstreamPermission
from pypid.resolver.uv import Uv

# Resolution of requirements together when some may be impossible: those are found, and the rest is
# resolved.

MOST_RUNS = 200
"""Maximum number of resolver runs per target: enough for some 25 impossible lines among 2,000."""
NOT_TRIED = (
    "it was not tried: too many of the other lines cannot be resolved. Correct those, and collect "
    "again."
)


@define
class LineResolution:
    """The resolution of many lines for one target."""

    resolver: Uv
    target: InstallTarget
    prereleases: bool
    pins: tuple[Pin, ...] = field(default=(), init=False)
    """The pins of the lines that can be resolved together."""
    failed: list[tuple[RequirementLine, Problem]] = field(factory=list, init=False)
    _good: list[RequirementLine] = field(factory=list, init=False)

    async def resolve(self, wanted: Sequence[RequirementLine]) -> None:
        """Resolve as many lines as are compatible. Of two lines that exclude each other the first
        one is resolved.

        A part that fails is halved until a single failing line remains; lines known to be good are
        always included, so that the last result covers all good lines.
        """
        todo = [list(wanted)] if wanted else []
        for _ in range(MOST_RUNS):
            if not todo:
                return
            part = todo.pop()
            try:
                await self._try(part)
            except Unresolvable as error:
                if len(part) == 1:
                    self._fail(part[0], error.reason)
                else:
                    half = len(part) // 2
                    todo += (part[half:], part[:half])
        for part in reversed(todo):
            for line in part:
                self._fail(line, NOT_TRIED)

    async def _try(self, part: Sequence[RequirementLine]) -> None:
        together = [*self._good, *part]
        found = await self.resolver.resolve(
            [line.text for line in together], self.target, prereleases=self.prereleases
        )
        self.pins = tuple(Pin(project, version) for project, version in found)
        self._good = together

    def _fail(self, line: RequirementLine, reason: str) -> None:
        self.failed.append((line, Problem(line.line, reason, self.target)))


AT_ONCE = 4
"""Maximum number of concurrent project lookups and file fetches."""
STILL = 10.0
"""Seconds between two progress events of a resolution."""

NEEDS_BUILD = (
    "no wheel of it fits, it has to be built: {filename} is here, but what it depends on is known "
    "only once it is built. Build the wheel elsewhere and publish it, or list its dependencies."
)
REDIRECTED = "nothing is kept: clients are sent to the upstream index ([upstream] mode = redirect)"


@define(eq=False)
class Collector:
    """One collection run. `permission_for` returns the permission under which a project is read
    (and raises if the user may not read it).
    """

    index: Index
    resolver: Uv | None
    """None if there is nothing to resolve."""
    permission_for: Callable[[ProjectName], UpstreamPermission]
    tell: Callable[[Event], None]
    _problems: list[Problem] = field(factory=list, init=False)
    _resolved: list[Resolved] = field(factory=list, init=False)
    _files: dict[tuple[ProjectName, str], tuple[File, FileReport]] = field(factory=dict, init=False)
    """The files to cache; a refused file already has its outcome."""
    _projects: dict[ProjectName, Project | PypidError] = field(factory=dict, init=False)
    _releases: dict[ProjectName, dict[object, list[File]]] = field(factory=dict, init=False)
    """The files of each project by release."""
    _began: datetime = field(
        default=Factory(lambda self: self.index.context.world.now(), takes_self=True), init=False
    )

    async def collect(self, options: CollectOptions) -> Collected:
        """Run the collection. Files that are not available are reported in the result; raises only
        `Busy` and `StorageDown`.
        """
        await self._look({line.project for lines in options.lines.values() for line in lines})
        for target in options.targets:
            await self._for_target(options, target)
        reports = await self._keep_all()
        return Collected(
            files=tuple(sorted(reports, key=lambda report: (report.project, report.filename))),
            failed=tuple(dict.fromkeys(self._problems)),
            requirements=options.requirements,
            resolved=tuple(self._resolved),
        )

    # --- choosing releases ------------------------------------------------------------------------

    async def _for_target(self, options: CollectOptions, target: InstallTarget) -> None:
        lines = options.lines[target]
        pins = list(
            await self._pins_of_lines(lines, target, prereleases=options.requirements.prereleases)
        )
        by_project: dict[ProjectName, list[RequirementLine]] = {}
        for line in lines:
            by_project.setdefault(line.project, []).append(line)
        for lock in options.locks:
            pins += await self.index.context.world.thinking(lock.pins_for, target)
        pins = list(dict.fromkeys(pins))
        self._resolved.append(Resolved(target, tuple(pins)))
        self.tell(self._resolved[-1])
        await self._look({pin.project for pin in pins})
        for pin in pins:
            await self._choose(pin, target, by_project.get(pin.project, ()))

    async def _pins_of_lines(
        self, wanted: Sequence[RequirementLine], target: InstallTarget, *, prereleases: bool
    ) -> tuple[Pin, ...]:
        """Return the pins that the lines need. Lines of projects that are certainly unavailable do
        not reach the resolver.
        """
        there: list[RequirementLine] = []
        for line in wanted:
            found = self._projects[line.project]
            if isinstance(found, PypidError):
                self._problems.append(
                    Problem(line.line, await why_not_found(self.index, line.project, found))
                )
            else:
                there.append(line)
        if not there or self.resolver is None:
            return ()
        since = self.index.context.world.clock.seconds()
        lines = LineResolution(self.resolver, target, prereleases)

        def say() -> None:
            self.tell(Resolving(target, self.index.context.world.clock.seconds() - since))

        with Repeated(self.index.context.world.clock, STILL, say):
            await lines.resolve(there)
        for line, problem in lines.failed:
            await self._failed(line, problem, target)
        return lines.pins

    async def _failed(self, line: RequirementLine, problem: Problem, target: InstallTarget) -> None:
        """Report a line that cannot be resolved. If the project itself has to be built, its sdist
        is cached anyway.
        """
        project = self._projects[line.project]
        assert isinstance(project, Project)  # else it had not been resolved
        # off the reactor thread: a line has up to 50 clauses, and a project thousands of versions
        versions = await self.index.context.world.thinking(allowed, project, line)
        releases = [self._release(project, version) for version in versions]
        choices = [
            best([file for file in files if proven(file, (line,))], target) for files in releases
        ]
        if choices and all(choice is None or needs_build(choice) for choice in choices):
            sdist = choices[0]
            if sdist is not None:
                self._note(sdist, target)
                problem = evolve(problem, reason=NEEDS_BUILD.format(filename=sdist.filename))
        elif not releases:
            hiding = await hiding_of(self.index, line.project, line.specifier.contains)
            problem = problem if hiding is None else evolve(problem, reason=hiding.rule)
        self._problems.append(problem)

    # --- choosing files ---------------------------------------------------------------------------

    async def _choose(
        self, pin: Pin, target: InstallTarget, lines: Sequence[RequirementLine]
    ) -> None:
        """Select the file of the release that an installer takes on the target."""
        text = f"{pin.project}=={pin.version}"
        project = self._projects[pin.project]
        if isinstance(project, PypidError):
            self._problems.append(
                Problem(text, await why_not_found(self.index, pin.project, project), target)
            )
            return
        files = self._release(project, pin.version)
        file = best([file for file in files if named(file, pin) and proven(file, lines)], target)
        if file is None:
            await self._no_file(pin, target, files, lines)
            return
        expected = pin.hashes.get(file.filename)
        found = None if expected is None else digest(file, expected.partition("=")[0])
        if found is not None and found != expected:
            reason = f"the lock says {expected}, and this index has {found}"
            self._note(file, target, reason)
            self._problems.append(Problem(text, f"{file.filename}: {reason}", target))
            return
        self._note(file, target)

    async def _no_file(
        self,
        pin: Pin,
        target: InstallTarget,
        files: Sequence[File],
        lines: Sequence[RequirementLine],
    ) -> None:
        text = f"{pin.project}=={pin.version}"
        if lines and files and not any(proven(file, lines) for file in files):
            for line in lines:
                self._problems.append(
                    Problem(
                        line.line, f"no file of {pin.version} here has one of its hashes", target
                    )
                )
            return
        hiding = await hiding_of(
            self.index, pin.project, lambda version: same_version(version, pin.version)
        )
        if hiding is not None:
            file = best([file for file in hiding.files if named(file, pin)], target)
            if file is not None:
                self._note(file, target, hiding.rule)
            self._problems.append(Problem(text, hiding.rule, target))
        else:
            reason = (
                "this index has no file of it that fits"
                if files
                else "this index does not have this release"
            )
            self._problems.append(Problem(text, reason, target))

    def _release(self, project: Project, version: str) -> Sequence[File]:
        """Return the files of one release. They are grouped once per project, since a lock file may
        name hundreds of releases.
        """
        if project.name not in self._releases:
            self._releases[project.name] = by_release(project.files)
        return self._releases[project.name].get(version_key(version), ())

    def _note(self, file: File, target: InstallTarget, refusal: str = "") -> None:
        """Note that the target needs the file, and why it is refused ("": it is not)."""
        key = (file.project, file.filename)
        if key in self._files:
            known, report = self._files[key]
            self._files[key] = (
                known,
                evolve(report, targets=tuple(dict.fromkeys((*report.targets, target)))),
            )
            return
        self._files[key] = (
            file,
            FileReport(
                project=file.project,
                version=file.version,
                filename=file.filename,
                targets=(target,),
                outcome=CollectOutcome.REFUSED if refusal else CollectOutcome.KEPT,
                needs_build=needs_build(file),
                reason=refusal,
            ),
        )

    # --- looking projects up ----------------------------------------------------------------------

    async def _look(self, names: Iterable[ProjectName]) -> None:
        """Look up the projects that were not looked up yet."""

        async def look(name: ProjectName) -> None:
            try:
                self._projects[name] = await self.index.project(name, self.permission_for(name))
            except PypidError as error:
                self._projects[name] = error

        new = [name for name in sorted(names) if name not in self._projects]
        await all_of([partial(look, name) for name in new], AT_ONCE)

    # --- caching files ----------------------------------------------------------------------------

    async def _keep_all(self) -> list[FileReport]:
        reports: list[FileReport] = []

        async def keep(wanted: tuple[File, FileReport]) -> None:
            file, report = wanted
            settled = (
                report
                if report.outcome is CollectOutcome.REFUSED
                else await self._keep(file, report)
            )
            reports.append(settled)
            self.tell(FileDone(settled, len(reports), len(self._files)))

        await all_of([partial(keep, wanted) for wanted in self._files.values()], AT_ONCE)
        return reports

    async def _keep(self, file: File, report: FileReport) -> FileReport:
        """Have the file cached unless it already is, and return the report with its outcome."""
        if file.source is None:
            return evolve(report, outcome=CollectOutcome.HAD)
        permission = self.permission_for(file.project)
        try:
            home, its_file = await self.index.home(file, permission)
            if isinstance(delivery(home.context.policy, file), PassOn):
                return evolve(report, outcome=CollectOutcome.REFUSED, reason=REDIRECTED)
            stored = await home.file_cache.settled(its_file)
            if stored is not None:
                home.file_cache.touched(stored)
                has_come = await self._has_come(home, stored)
                return evolve(
                    report, outcome=CollectOutcome.KEPT if has_come else CollectOutcome.HAD
                )
            async with aclosing(await self.index.open(file, None, permission)) as body:
                async for _ in body:
                    pass
            stored = await home.file_cache.settled(its_file)
        except PypidError as error:
            return evolve(report, outcome=CollectOutcome.FAILED, reason=str(error))
        if stored is None:
            return evolve(
                report,
                outcome=CollectOutcome.FAILED,
                reason="it was fetched, and could not be stored: see the log",
            )
        return evolve(report, outcome=CollectOutcome.KEPT)

    async def _has_come(self, home: Index, stored: StoredFile) -> bool:
        """Return whether the file was stored during this collection: reading metadata out of a
        small wheel may have cached it already.
        """
        try:
            return (await home.context.blobs.stat(stored.key)).modified > self._began
        except Missing:
            return False
