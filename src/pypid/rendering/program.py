"""The program of the child: reads READMEs from its input, and writes their HTML to its output,
until the input ends.

Run as ``python -m pypid.rendering.program``. Its first answer, number 0, means that it is ready.
"""

from __future__ import annotations

import os
import sys
from typing import BinaryIO

import msgspec

from pypid.rendering.confinement import CPU, compute_for, confine
from pypid.rendering.markup import LONGEST_ANSWER, RenderAnswer, RenderRequest, line_of


def main() -> None:
    """Answer requests until the end of the input."""
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a renderer prints is not an answer
    confine()
    from pypid.rendering.render import render

    _send(answers, RenderAnswer(0, None))
    for line in requests:
        request = msgspec.json.decode(line, type=RenderRequest)
        compute_for(CPU)
        outcome = render(request.text, request.kind)
        _send(answers, RenderAnswer(request.number, outcome.html, outcome.error))


def _send(answers: BinaryIO, answer: RenderAnswer) -> None:
    line = line_of(answer)
    if len(line) > LONGEST_ANSWER:  # far longer than its source
        error = f"{len(line)} bytes are more than {LONGEST_ANSWER}"
        line = line_of(RenderAnswer(answer.number, None, error))
    answers.write(line)
    answers.flush()


if __name__ == "__main__":
    sys.setrecursionlimit(2000)
    main()
