"""What the benchmarks printed, read back, and made into a page of the documents and a plot.
``_all.py`` runs them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isfinite
from xml.sax.saxutils import escape

from attrs import frozen

HEADER = re.compile(r"what {2,}measured {2,}goal")
BLOCK = re.compile(r"[\W_]|\w+[.)](\s|$)")
"""What begins like this could be a list, a field, a comment or the like for reStructuredText."""
NGINX = "The fast path against nginx"
"""How the title begins of the benchmark that is drawn."""


@frozen
class Goal:
    """A line of the table of goals: the row of a script's table that begins with `row`."""

    work: str
    script: str
    row: str


GOALS = (
    Goal(
        "cold install, JSON upstream, against straight",
        "cold_install.py",
        "JSON: cold, against straight",
    ),
    Goal("... against pypiron", "cold_install.py", "JSON: cold, against pypiron"),
    Goal(
        "... again right after, against straight",
        "cold_install.py",
        "JSON: right after, against straight",
    ),
    Goal(
        "cold install, HTML upstream without metadata, against straight",
        "cold_install.py",
        "HTML: cold, against straight",
    ),
    Goal("first page of 400 upstream files, CPU", "upstream_pages.py", "first page of 400 files"),
    Goal(
        "first page of 10,000 upstream files, CPU",
        "upstream_pages.py",
        "first page of 10,000 files",
    ),
    Goal("upstream page that left memory, CPU", "upstream_pages.py", "page that left memory, CPU"),
    Goal("... until the answer", "upstream_pages.py", "page that left memory, until"),
    Goal("400,000 listed files, memory", "upstream_pages.py", "400,000 listed files"),
    Goal(
        "2,000,000 listed files in 5,000 projects, memory",
        "upstream_pages.py",
        "2,000,000 listed files, memory",
    ),
    Goal("... longest stall of the reactor", "upstream_pages.py", "2,000,000 listed files, the"),
    Goal("upload of 500 MiB to S3, time against a bare PUT", "s3.py", "time against a bare PUT"),
    Goal("export of 100,000 files, time against dumb-pypi", "export.py", "100,000 files, all new"),
    Goal("... one file more", "export.py", "100,000 files, one file more"),
    Goal("/health after a start", "health.py", "after a start"),
    Goal("/health during cold pages of 10,000 files", "health.py", "cold pages of 10,000 files"),
    Goal("/health during cold pages of 400 files", "health.py", "cold pages of 400 files"),
    Goal("/health during an export", "health.py", "pypid export"),
    Goal("warm page of 100 files, rate against nginx", "pages.py", "HTML"),
)
"""What is promised of pages of upstream projects, S3, exports and stalls."""


@frozen
class Said:
    """What one script printed: skips by name, and a table of (what, measured, goal) or, of others,
    the lines as they are.
    """

    title: str
    rows: tuple[tuple[str, str, str], ...]
    figures: Mapping[str, object]
    skipped: tuple[str, ...]
    lines: tuple[str, ...]


@frozen
class Outcome:
    """One script that ran: its command line, the seconds that it took of those that it might, what
    it printed.

    `trouble` says why there are no figures, or is empty.
    """

    script: str
    options: tuple[str, ...]
    limit: int
    seconds: float
    text: str
    trouble: str = ""

    @property
    def command(self) -> str:
        """What to type for this one alone."""
        return " ".join(("python", f"benchmarks/{self.script}", *self.options))


def read(text: str) -> Said:
    """The table that `_rig.report` printed last, cut where its header's columns begin, and the last
    line of JSON.
    """
    lines = [line.rstrip() for line in text.splitlines()]
    told = [
        (number, found)
        for number, line in enumerate(lines)
        if (found := figures_in(line)) is not None
    ]
    end, figures = told[-1] if told else (len(lines), {})
    skipped = tuple(
        line.removeprefix("skipped:").strip() for line in lines if line.startswith("skipped:")
    )
    title = str(figures.get("benchmark", ""))
    headers = [number for number, line in enumerate(lines[:end]) if HEADER.fullmatch(line)]
    if not headers:
        plain = tuple(line for line in lines[:end] if not line.startswith("skipped:"))
        return Said(title, (), figures, skipped, plain if any(plain) else ())
    header = lines[headers[-1]]
    measured, goal = header.index("measured"), header.rindex("goal")
    rows = tuple(
        (line[:measured].strip(), line[measured:goal].strip(), line[goal:].strip())
        for line in lines[headers[-1] + 1 : end]
        if line
    )
    return Said(title, rows, figures, skipped, ())


def figures_in(line: str) -> Mapping[str, object] | None:
    """The line of JSON that ends each benchmark; None for any other line."""
    if not line.startswith("{"):
        return None
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and "benchmark" in found else None


def plain(text: str) -> str:
    """The words as reStructuredText that means nothing but these words, in one line."""
    words = " ".join(printable(text).split())
    words = re.sub(r"([\\*`|_])", r"\\\1", words).replace("::", ":\\:")
    return "\\ " + words if BLOCK.match(words) else words


def printable(text: str) -> str:
    """Without what has no shape: docutils takes some of it for its own marks, and some for ends of
    lines.
    """
    return "".join(char if char.isprintable() else " " if char.isspace() else "?" for char in text)


def page(
    machine: Iterable[tuple[str, str]],
    outcomes: Sequence[Outcome],
    left_out: Mapping[str, str],
    *,
    drawn: bool,
) -> str:
    """The page in reStructuredText: one section, whose title is underlined with hyphens."""
    parts = [
        ".. Generated by ``make bench``: do not edit, the next run overwrites it.",
        "",
        "What ``make bench`` measured",
        "-" * 29,
        "",
    ]
    parts += table([(plain(name), plain(value)) for name, value in machine], "22 78", header=False)
    if drawn:
        alternative = (
            "Horizontal bars: pypid's rate for each kind of answer as a multiple of nginx's"
        )
        parts += [".. image:: figures.svg", f"   :alt: {alternative}", ""]
    parts += summary(outcomes)
    for outcome in outcomes:
        parts += section(outcome)
    parts += [".. rubric:: Not run by ``make bench``", ""]
    for script, why in left_out.items():
        parts += [f"- ``benchmarks/{script}``: {why}"]
    return "\n".join(parts) + "\n"


def summary(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """The table of goals, as far as their scripts were asked for."""
    ran = {outcome.script: outcome for outcome in outcomes}
    rows = [
        tuple(map(plain, (goal.work, *measured(goal, ran[goal.script]), goal.script)))
        for goal in GOALS
        if goal.script in ran
    ]
    if rows:
        yield from (".. rubric:: Goals", "")
        yield from table(
            [("work", "measured", "goal", "script"), *rows], "38 34 14 14", header=True
        )


def measured(goal: Goal, outcome: Outcome) -> tuple[str, str]:
    """The figure and the goal; in place of the figure the reason if there is none."""
    said = read(outcome.text)
    for what, figure, wanted in said.rows:
        if what.startswith(goal.row):
            return figure, wanted
    reason = outcome.trouble or "; ".join(said.skipped) or "its script printed no such row"
    return f"not measured: {reason}", ""


def section(outcome: Outcome) -> Iterator[str]:
    """One benchmark: title, command, table."""
    said = read(outcome.text)
    yield from (f".. rubric:: {plain(said.title) or plain(outcome.script)}", "")
    yield from (
        f"``{outcome.command}`` ({outcome.seconds:.0f} s, of at most {outcome.limit} s)",
        "",
    )
    if outcome.trouble:
        yield from (f"**No figures:** {plain(outcome.trouble)}", "")
        return
    for reason in said.skipped:
        yield from (f"Skipped: {plain(reason)}.", "")
    if said.rows:
        yield from table(
            [("what", "measured", "goal"), *(tuple(map(plain, row)) for row in said.rows)],
            "46 38 16",
            header=True,
        )
    elif said.lines:
        yield from ("::", "", *(f"    {printable(line)}".rstrip() for line in said.lines), "")


def table(rows: Sequence[tuple[str, ...]], widths: str, *, header: bool) -> Iterator[str]:
    """A list-table of cells that are reStructuredText already."""
    yield ".. list-table::"
    if header:
        yield "   :header-rows: 1"
    yield from (f"   :widths: {widths}", "")
    for row in rows:
        for column, cell in enumerate(row):
            yield f"   {'*' if column == 0 else ' '} - {cell}".rstrip()
    yield ""


def ratios(outcomes: Iterable[Outcome]) -> dict[str, float]:
    """By title, in order: pypid's rate as a multiple of nginx's. What is compared with something
    else is not in it.
    """
    found: dict[str, float] = {}
    for outcome in outcomes:
        said = read(outcome.text)
        if outcome.trouble or not said.title.startswith(NGINX):
            continue
        for title, figure in said.figures.items():
            if (
                isinstance(figure, dict)
                and "nginx" in figure
                and isfinite(ratio := float(figure.get("ratio", "nan")))
            ):
                found[title] = ratio
    return found


LABELS, BARS, AFTER, ROW, TOP, BOTTOM = 250, 400, 60, 24, 34, 14
"""Pixels: the columns of titles, bars and figures, the height of one bar's row, and what is above
and below of all rows.
"""


def drawing(figures: Mapping[str, float]) -> str:
    """An SVG of horizontal bars, and a line where pypid is as fast as nginx (1.0)."""
    scale = BARS / max([1.2, *figures.values()])
    width, height, one = LABELS + BARS + AFTER, TOP + ROW * len(figures) + BOTTOM, LABELS + scale
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="sans-serif" font-size="13" fill="#222">',
        "<title>Answers a second, as a multiple of nginx's with the same bytes</title>",
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text x="{one:.1f}" y="20" text-anchor="middle">nginx = 1.0</text>',
    ]
    for number, (title, ratio) in enumerate(figures.items()):
        top, length = TOP + ROW * number, scale * max(ratio, 0.0)
        parts += [
            (
                f'<text x="{LABELS - 8}" y="{top + 16}" '
                f'text-anchor="end">{escape(printable(title))}</text>'
            ),
            (
                f'<rect x="{LABELS}" y="{top + 3}" width="{length:.1f}" height="{ROW - 6}" '
                f'fill="#4a7fb5"/>'
            ),
            f'<text x="{LABELS + length + 6:.1f}" y="{top + 16}">{ratio:.2f}</text>',
        ]
    parts.append(
        f'<line x1="{one:.1f}" y1="{TOP - 8}" x2="{one:.1f}" y2="{height - BOTTOM + 4}" '
        f'stroke="#b33" stroke-width="1.5"/>'
    )
    return "\n".join([*parts, "</svg>"]) + "\n"
