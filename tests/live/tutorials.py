"""Pages of the documentation that a reader types into a shell, carried out as they are written.

A block of ``sh`` is run by bash. The block of ``text`` after it is what the reader should see:
``...`` stands for any text.
"""

import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from attrs import frozen

from tests.live.processes import Running, running

SERVERS: Final = ("make run", "pypid serve")
"""The commands that run until they are stopped: each is a block of its own."""
WITHIN: Final = 120.0
_BLOCK: Final = re.compile(
    r"^\.\. code-block:: (?P<kind>sh|text)\n\n(?P<text>(?:(?:   .*)?\n)+)", re.MULTILINE
)


@frozen
class Block:
    """A code block of a page: commands (``sh``), or what they print (``text``)."""

    kind: str
    text: str
    line: int


def blocks_of(page: str) -> Iterator[Block]:
    """The blocks of a page, in order."""
    for match in _BLOCK.finditer(page):
        text = "\n".join(line[4:] for line in match["text"].rstrip().splitlines())
        yield Block(match["kind"], text, page.count("\n", 0, match.start()) + 1)


def shows(expected: str, said: str) -> bool:
    """Whether the output has what is expected, with any text for ``...``. Indents do not count."""
    parts = (re.escape(part.strip()) for part in _dedented(expected).split("..."))
    return re.search(r"[\s\S]*?".join(parts), _dedented(said)) is not None


def _dedented(text: str) -> str:
    return "\n".join(map(str.strip, text.splitlines()))


def follow(
    page: Path, folder: Path, cwd: Path, environ: Mapping[str, str], port: int
) -> list[Block]:
    """Type all commands of the page into one shell, which begins in `cwd`, and compare what they
    print; return the blocks. pypid is at `port` there. `folder` gets what the shell prints.

    Raises `AssertionError` with the line of the page. All that was started has ended then.
    """
    blocks = list(blocks_of(page.read_text().replace("127.0.0.1:6543", f"127.0.0.1:{port}")))
    script = folder / "script"
    script.write_text("set -e\n" + "".join(_lines(folder, blocks)))
    with running(["bash", script], folder / "log", cwd=cwd, environ=environ) as shell:
        said, within = folder / "none", 0.0
        for number, block in enumerate(blocks):
            where = f"{page.name}:{block.line}"
            if block.kind == "text":
                _until_shown(block.text, said, where, within)
                continue
            within = WITHIN if block.text in SERVERS else 0.0
            said = folder / f"said-{number}"
            (folder / f"go-{number}").touch()
            _until_done(folder / f"done-{number}", shell, said, where)
    return blocks


def _lines(folder: Path, blocks: list[Block]) -> Iterator[str]:
    """Each block in turn, when it is told to go on; a server in the background."""
    for number, block in enumerate(blocks):
        if block.kind != "sh":
            continue
        (folder / f"block-{number}").write_text(block.text)
        yield f"until [ -e {folder}/go-{number} ]; do sleep 0.05; done\n"
        behind = " &" if block.text in SERVERS else ""
        yield (  # a server in the background may begin after `done`, which is read at once
            f": > {folder}/said-{number}\n"
            f'eval "$(cat {folder}/block-{number})" >> {folder}/said-{number} 2>&1 < /dev/null'
            f"{behind}\n: > {folder}/done-{number}\n"
        )


def _until_done(mark: Path, shell: Running, said: Path, where: str) -> None:
    deadline = time.monotonic() + WITHIN
    while not mark.exists():
        if shell.process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"{where} failed:\n{said.read_text()}\n{shell.output()}")
        time.sleep(0.05)


def _until_shown(expected: str, said: Path, where: str, within: float) -> None:
    deadline = time.monotonic() + within
    while not shows(expected, said.read_text()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{where} expects:\n{expected}\nand has:\n{said.read_text()}")
        time.sleep(0.1)
