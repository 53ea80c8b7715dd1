"""The program of the child: reads one collection from its input, and writes its parsed form to its
output.

Run as ``python -m pypid.resolver.collection_parser.program``. Its first frame, an empty one, says
that it is ready. The request is a frame with ``parts`` (names and sizes) and, for a collection,
``running`` (a Python), and then the bytes of the parts. Each frame of the answer is followed by an
empty one of the parent, which asks for the next; a refusal is a frame with ``refused``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO

from pypid.rendering.confinement import compute_for, confine
from pypid.rendering.frames import HEAD, framed, length_of, read

CPU = 20
"""Seconds of computing for one collection."""


def main() -> None:
    """Serve one request."""
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    confine()
    _send(answers, framed({}))
    request = _received(requests)
    form = [(name, requests.read(size)) for name, size in request["parts"]]
    compute_for(CPU)
    for frame in _answer(form, request.get("running")):
        _send(answers, frame)
        if not requests.read(HEAD + len(b"{}")):
            return


def _answer(form: list[tuple[str, bytes]], running: str | None) -> Iterator[bytes]:
    from pypid.core.errors import BadRequest
    from pypid.core.packaging.collection_request import parse_collection, parse_dependencies
    from pypid.resolver.collection_parser.wire import frames_of, frames_of_dependencies

    try:
        if running is None:
            frames = frames_of_dependencies(parse_dependencies(form))
        else:
            frames = frames_of(parse_collection(form, running))
        yield from map(framed, frames)
    except BadRequest as error:
        yield framed({"refused": str(error)})
    except MemoryError:
        yield framed({"refused": "These files take too much memory to be read: divide them."})
    except ValueError:  # one item is larger than a frame
        yield framed({"refused": "One entry of these files is too large: divide it."})


def _received(requests: BinaryIO) -> dict[str, Any]:
    return read(requests.read(length_of(requests.read(HEAD))))


def _send(answers: BinaryIO, frame: bytes) -> None:
    answers.write(frame)
    answers.flush()


if __name__ == "__main__":
    sys.setrecursionlimit(2000)
    main()
