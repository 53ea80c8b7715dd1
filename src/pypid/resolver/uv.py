"""uv's resolver, run as a program: it contacts only the given index, for metadata, and has
limits of time and output.

Source: ``uv help pip compile`` (0.7 and later). It ends with 1 where there is no solution, with 2
where it failed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from attrs import field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from pypid.core.errors import BadName, Busy, Unresolvable, shortened
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.packaging.requirements import InstallTarget

_log = Logger()

WITHIN = 120.0
"""Seconds for one resolution; some hundred projects take a few, if the index answers at once."""
IN_ALL = 1200.0
"""Seconds for all the resolutions of one collection."""
MOST = 4 << 20
"""Bytes of each of its two output streams."""
LONGEST_REASON = 1500
"""Characters of uv's explanation that are passed on."""

_NO_SOLUTION = 1


def find_uv() -> str | None:
    """Return the program that the package ``uv`` contains; None where it is not installed."""
    try:
        from uv import find_uv_bin
    except ImportError:
        return None
    try:
        return str(find_uv_bin())
    except FileNotFoundError:
        return None


@frozen
class ResolverIndex:
    """The index for uv. Its `url` holds a password, and is passed in the environment."""

    url: str = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)


@frozen(kw_only=True)
class Uv:
    """Finds the releases that the requirements of one collection need, `until` that time of the
    reactor's clock; `folder` is its home and its cache.
    """

    reactor: Any
    program: str
    place: ResolverIndex
    folder: Path
    until: float

    async def resolve(
        self, requirements: Sequence[str], target: InstallTarget, *, prereleases: bool
    ) -> Sequence[tuple[ProjectName, str]]:
        """Return the project and version of each release that the target needs, dependencies
        included. `requirements` are in their normal form (PEP 508).

        Reads metadata only: no file is downloaded whole or built. Raises `Unresolvable`, and `Busy`
        where it took too long.
        """
        left = self.until - self.reactor.seconds()
        if left <= 0:
            raise Busy(
                f"Working out what is needed took longer than {IN_ALL:g} s in all, and was "
                "given up.",
                60,
            )
        ended = await run(
            self.reactor,
            self._command(target, prereleases=prereleases),
            environ=self._environ(),
            folder=self.folder,
            stdin="".join(f"{requirement}\n" for requirement in requirements).encode(),
            within=min(WITHIN, left),
        )
        if ended.status != 0:
            raise self._failure(ended)
        return _releases(ended.out.decode())

    def _command(self, target: InstallTarget, *, prereleases: bool) -> list[str]:
        words = [
            self.program,
            "pip",
            "compile",
            "--no-config",
            "--no-build",
            "--no-sources",
            "--keyring-provider",
            "disabled",
        ]
        words += ["--quiet", "--no-progress", "--color", "never", "--no-header", "--no-annotate"]
        words += [
            "--python",
            sys.executable,
            "--python-platform",
            target.platform,
            "--python-version",
            target.python,
        ]
        return [*words, *(["--prerelease", "allow"] if prereleases else []), "-"]

    def _environ(self) -> dict[str, str]:
        """Return uv's environment: no configuration, proxy, password or cache of the machine."""
        home = str(self.folder)
        return {
            "PATH": "/usr/bin:/bin",
            "HOME": home,
            "TMPDIR": home,
            "LC_ALL": "C.UTF-8",
            "UV_CACHE_DIR": str(self.folder / "cache"),
            "UV_DEFAULT_INDEX": self.place.url,
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_CONCURRENT_DOWNLOADS": "16",
            "UV_HTTP_TIMEOUT": "60",
            "UV_HTTP_RETRIES": "1",
        }

    def _failure(self, ended: ProgramResult) -> Unresolvable:
        text = ended.err.decode(errors="replace")
        for secret in self.place.secrets:
            text = text.replace(secret, "***")
        if ended.status != _NO_SOLUTION:
            _log.warn(
                "uv ended with {status}: {text}",
                status=ended.status,
                text=shortened(text, LONGEST_REASON),
            )
        return Unresolvable(_explanation(text))


def _explanation(text: str) -> str:
    """Return uv's explanation as one paragraph, without the prefixes of its parts."""
    explanation = re.sub(r"^\W*(?:(?:error|cause): )?", "", text, flags=re.MULTILINE)
    explanation = re.sub(r"https?://[^\s`]*", "this index", explanation)
    explanation = explanation.removeprefix("No solution found when resolving dependencies").lstrip(
        ":. \n"
    )
    plain = "".join(character if character.isprintable() else " " for character in explanation)
    return (
        shortened(" ".join(plain.split()), LONGEST_REASON)
        or "uv found no solution, and did not say why"
    )


def _releases(text: str) -> list[tuple[ProjectName, str]]:
    """Return the releases in the lines ``name==version`` of uv's answer."""
    from packaging.requirements import (
        InvalidRequirement,
        Requirement,
    )  # here, since no page needs it

    found = []
    for line in text.splitlines():
        if not line.strip() or line.startswith(("#", " ", "-")):
            continue
        try:
            requirement = Requirement(line)
            [pinned] = requirement.specifier
            found.append((project_name(requirement.name), pinned.version))
        except (InvalidRequirement, BadName, ValueError):
            raise Unresolvable(
                f"uv answered with a line that is not understood here: {shortened(line)}"
            ) from None
    return found


# --- the process ----------------------------------------------------------------------------------


@frozen
class ProgramResult:
    """The result: the exit status (None: a signal ended it), and the output."""

    status: int | None
    out: bytes
    err: bytes


class _Bounded(ProcessProtocol):
    """The protocol that writes the input, and reads up to `MOST` bytes of each stream."""

    def __init__(self, stdin: bytes) -> None:
        self._stdin = stdin
        self._streams = {1: bytearray(), 2: bytearray()}
        self._waiting: list[Deferred[None]] = []
        self._ended: ProgramResult | None = None
        self.overflowed = False

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self._stdin)
        self.transport.closeStdin()

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        stream = self._streams[childFD]
        stream += data[: MOST - len(stream)]
        if len(stream) == MOST:
            self.overflowed = True
            self.kill()

    def processEnded(self, reason: Failure) -> None:
        status = getattr(reason.value, "exitCode", None)
        self._ended = ProgramResult(status, bytes(self._streams[1]), bytes(self._streams[2]))
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if not each.called:
                each.callback(None)

    def kill(self) -> None:
        """Kill the program, if it has not ended."""
        assert self.transport is not None
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess("KILL")

    async def ended(self, clock: Any = None, within: float | None = None) -> ProgramResult:
        """Wait for the end of the program. Raises `TimedOut`."""
        if self._ended is None:
            waiter: Deferred[None] = Deferred()
            self._waiting.append(waiter)
            if within is not None:
                waiter.addTimeout(within, clock)
            await waiter
        assert self._ended is not None
        return self._ended


async def run(
    reactor: Any,
    command: Sequence[str],
    *,
    environ: Mapping[str, str],
    folder: Path,
    stdin: bytes,
    within: float,
) -> ProgramResult:
    """Run the program in `folder`, with `environ` and nothing else of the environment, and `stdin`
    as its input.

    `reactor` is an `IReactorProcess` and `IReactorTime`. Raises `Busy` where it takes longer than
    `within` seconds or writes too much. However this ends, also when cancelled, the program has
    ended then.
    """
    protocol = _Bounded(stdin)
    reactor.spawnProcess(protocol, command[0], list(command), env=dict(environ), path=str(folder))
    try:
        ended = await protocol.ended(reactor, within)
    except TimedOut:
        raise Busy(
            f"Working out what is needed took longer than {within:g} s, and was given up.", 60
        ) from None
    finally:
        protocol.kill()
        await protocol.ended()
    if protocol.overflowed:
        raise Busy(f"Working out what is needed gave more than {MOST} bytes, and was given up.", 60)
    return ended
