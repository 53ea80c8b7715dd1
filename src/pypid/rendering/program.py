"""The program of the child: reads READMEs from its input, and writes their HTML to its output,
until the input ends.

Run as ``python -m pypid.rendering.program``. Its first frame, an empty one, means that it is ready.
A request has a ``number``, ``text`` and ``kind``; an answer has that number, ``html``, which is
null for what is to be shown as it is, and ``error``: the exception of a renderer that failed, or
null.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, BinaryIO

from pypid.rendering.confinement import CPU, compute_for, confine
from pypid.rendering.frames import HEAD, framed, length_of, read
from pypid.rendering.markup import MarkupKind

if TYPE_CHECKING:
    from pypid.rendering.render import RenderOutcome


def main() -> None:
    """Answer requests until the end of the input."""
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a renderer prints is not an answer
    confine()
    from pypid.rendering.render import render

    _send(answers, framed({}))
    while head := requests.read(HEAD):
        document = read(requests.read(length_of(head)))
        compute_for(CPU)
        outcome = render(str(document["text"]), MarkupKind(document["kind"]))
        _send(answers, _answer(document["number"], outcome))


def _answer(number: int, outcome: RenderOutcome) -> bytes:
    try:
        return framed({"number": number, "html": outcome.html, "error": outcome.error})
    except ValueError as error:  # far longer than its source
        return framed({"number": number, "html": None, "error": str(error)})


def _send(answers: BinaryIO, frame: bytes) -> None:
    answers.write(frame)
    answers.flush()


if __name__ == "__main__":
    sys.setrecursionlimit(2000)
    main()
