"""The table of docs/reference/metrics.rst, made of the table of the code: ``python -m
tests.metrics.documenting`` writes it there.
"""

from __future__ import annotations

from pathlib import Path

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
        "",
        "   * - name",
        "     - kind",
        "     - labels",
        "     - what it is",
    ]
    for name, kind, labels, meaning in rows():
        lines += [
            f"   * - ``{name}``",
            f"     - {kind}",
            f"     - {labels}".rstrip(),
            f"     - {meaning}",
        ]
    return "\n".join(lines) + "\n"


def written(page: str) -> str:
    """The page with this table."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n{table()}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
