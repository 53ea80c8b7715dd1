"""The parser of collections: in a child process for each request, which ends with it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from attrs import define, field
from twisted.logger import Logger

from pypid.core.errors import BadRequest, Busy
from pypid.rendering.child import Child, ChildEnded, start_child
from pypid.rendering.frames import framed

if TYPE_CHECKING:
    from pypid.core.packaging.collection import CollectOptions
    from pypid.core.packaging.collection_request import RequestFields
    from pypid.core.packaging.lock_files import DependencyList

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_log = Logger()

PROGRAM = (sys.executable, "-P", "-s", "-m", "pypid.resolver.collection_parser.program")
LIMIT, STARTING = 30.0, 30.0
"""Seconds that one collection may take to be parsed, and that a child may take to be ready."""
TOO_LONG = "These files cannot be read within {limit:g} s: divide them, or correct them."


class Assembler(Protocol[T_co]):
    """Assembles the frames of a child's answer into a value."""

    def add(self, document: Mapping[str, Any]) -> None:
        """Add one frame."""

    def finish(self, last: Mapping[str, Any]) -> T_co | None:
        """Return the value after the last frame."""


@define(eq=False)
class CollectionParser:
    """The parser of collections. `reactor` is an `IReactorProcess` and `IReactorTime`; None: in
    this process.
    """

    reactor: Any = field(default=None, repr=False)
    program: tuple[str, ...] = PROGRAM
    limit: float = LIMIT

    async def parse(self, form: RequestFields, running: str) -> CollectOptions | None:
        """Parse the parts as `parse_collection` does. Returns, raises or is cancelled only after
        the child has ended.
        """
        if self.reactor is None:
            from pypid.core.packaging.collection_request import (
                parse_collection,
            )  # no first page needs it

            return parse_collection(form, running)
        from pypid.resolver.collection_parser.wire import FrameAssembler  # no first page needs it

        return await self._parse(form, {"running": running}, FrameAssembler())

    async def dependencies(self, form: RequestFields) -> DependencyList | None:
        """Parse the parts as `parse_dependencies` does; otherwise like `parse`."""
        if self.reactor is None:
            from pypid.core.packaging.collection_request import parse_dependencies

            return parse_dependencies(form)
        from pypid.resolver.collection_parser.wire import DependencyAssembler

        return await self._parse(form, {}, DependencyAssembler())

    async def _parse(
        self, form: RequestFields, head: Mapping[str, Any], assembler: Assembler[T]
    ) -> T | None:
        try:
            child = start_child(self.reactor, self.program)
        except OSError as error:
            raise Busy(
                f"The process that reads requirements cannot be started ({error.strerror}).", 30
            ) from None
        try:
            return await self._parse_in(child, form, head, assembler)
        except ChildEnded as error:
            _log.warn(
                "a collection was not parsed: {error}; child={last!r}",
                error=str(error),
                last=child.complaint,
            )
            raise BadRequest(TOO_LONG.format(limit=self.limit)) from None
        finally:
            child.kill("it is not needed any more")
            await child.gone()

    async def _parse_in(
        self, child: Child, form: RequestFields, head: Mapping[str, Any], assembler: Assembler[T]
    ) -> T | None:
        """Return the child's answer. Raises `ChildEnded` and `BadRequest`."""
        await child.expect(self.reactor, STARTING)
        child.transport.write(framed({**head, "parts": [[name, len(data)] for name, data in form]}))
        for _, data in form:
            child.transport.write(data)
        ends = self.reactor.seconds() + self.limit
        while True:
            document = await child.expect(self.reactor, max(0.0, ends - self.reactor.seconds()))
            if "refused" in document:
                raise BadRequest(str(document["refused"]))
            try:
                assembler.add(document)
                if "end" in document:
                    return assembler.finish(document)
            except (LookupError, TypeError, ValueError) as error:
                raise ChildEnded(f"what it said is no answer: {error!r}") from None
            child.say({})
