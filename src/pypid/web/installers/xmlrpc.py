"""XML-RPC calls, parsed and answered from the projects that a viewer sees.

The methods that mirrors use (C112), and the search of ``pip search``, as in pypicloud.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn
from xml.parsers.expat import ParserCreate
from xmlrpc.client import Fault, Unmarshaller, dumps

from pypid.core.model import Project, Summary
from pypid.core.search.legacy_search import LegacySearchQuery, search
from pypid.core.simple_api.render import plain

SEARCH = "search"
KNOWN = (
    "changelog_last_serial(), changelog_since_serial(serial), list_packages(), "
    "list_packages_with_serial(), search({name: [words], summary: [words]}, 'or' or 'and')"
)


def read_call(call: bytes) -> tuple[tuple[Any, ...], str | None]:
    """Return the parameters and the method of a call, like `xmlrpc.client.loads`, which would
    expand entities: a second's work for half a kilobyte. Document types are refused: no call has
    one.
    """

    def refuse(*_: object) -> NoReturn:
        raise ValueError("a call has no document type")

    parser, target = ParserCreate(), Unmarshaller(use_builtin_types=True)
    # expat takes its handlers as attributes only
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler, parser.EndElementHandler = target.start, target.end
    parser.CharacterDataHandler = target.data
    target.xml("", None)  # texts come decoded
    parser.Parse(call, True)
    return target.close(), target.getmethodname()


def answer(
    method: str | None,
    parameters: tuple[object, ...],
    names: Sequence[Summary],
    serial: int,
    projects: Sequence[Project] = (),
) -> bytes:
    """Return the answer, about the projects that the client sees; `serial` is that of their list.
    Takes a second for 100,000.

    `projects` are those with their files, for a search.
    """
    if method == SEARCH and len(parameters) == 2:
        answered: Any = _search(projects, *parameters)
    else:
        answered = _answer(method, parameters, names, serial)
    if not isinstance(answered, Fault):
        answered = (answered,)
    return dumps(answered, methodresponse=True, allow_none=True).encode()


def _answer(
    method: str | None, parameters: tuple[object, ...], names: Sequence[Summary], serial: int
) -> object:
    match method, parameters:
        case "changelog_last_serial", ():
            return serial
        case "list_packages_with_serial", ():
            return {summary.name: summary.serial for summary in names}
        case "list_packages", ():
            return [summary.name for summary in names]
        case "changelog_since_serial", (int() as since,):
            changed = sorted((s for s in names if s.serial > since), key=lambda s: s.serial)
            return [(summary.name, None, 0, "change", summary.serial) for summary in changed]
        case _:
            return Fault(
                -32601, f"{method} with these arguments is not known here; there are {KNOWN}"
            )


def _search(projects: Sequence[Project], criteria: object, query_type: object) -> object:
    try:
        query = LegacySearchQuery.read(criteria, query_type)
    except ValueError as error:
        return Fault(-32602, f"{error}; there are {KNOWN}")
    # control characters would make the answer invalid XML
    return [
        {"name": found.name, "version": plain(found.version), "summary": plain(found.summary)}
        for found in search(projects, query)
    ]
