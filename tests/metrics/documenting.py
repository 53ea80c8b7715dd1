"""The table of docs/reference/metrics.rst, made of the table of the code: ``python -m
tests.metrics.documenting`` writes it there.
"""

from __future__ import annotations

from pathlib import Path
from textwrap import wrap

from pypid.metrics.exposition import OF_PROCESSES, WORKER_COUNT
from pypid.metrics.families import TABLE

PAGE = Path(__file__).parents[2] / "docs/reference/metrics.rst"
BEGIN, END = ".. The table begins here.\n", ".. The table ends here.\n"


def rows() -> list[tuple[str, str, str, str]]:
    """Name, kind, labels, meaning."""
    found = [
        (family.shown, family.kind.value, ", ".join(family.shown_labels), family.help)
        for family in TABLE
    ]
    found.append(("pypid_workers", "gauge", "", WORKER_COUNT))
    for name, meaning in OF_PROCESSES.items():
        kind, shown = (
            ("counter", f"{name}_total") if name == "process_cpu_seconds" else ("gauge", name)
        )
        found.append((shown, kind, "worker", meaning))
    return found


def table() -> str:
    """As reStructuredText."""
    lines = [
        ".. list-table::",
        "   :header-rows: 1",
        "   :widths: 46 54",
        "",
        "   * - Metric",
        "     - Meaning",
    ]
    for name, kind, labels, meaning in rows():
        plural = "s" if "," in labels else ""
        ends = f"{kind}; label{plural} {labels}" if labels else kind
        lines.append(f"   * - ``{name}``")
        lines += [
            f"{'     - ' if first else '       '}{line}"
            for first, line in zip([True, *[False] * 9], wrap(meaning, 92), strict=False)
        ]
        lines += ["", f"       ({ends})"]
    return "\n".join(lines) + "\n"


def written(page: str) -> str:
    """The page with this table."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n{table()}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
