"""The directive ``.. metrics-table::``: all metrics, made of the table of the code."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from textwrap import wrap
from typing import Any

from generated import GeneratedText
from sphinx.application import Sphinx

from pypid.metrics.counts import TABLE
from pypid.metrics.exposition import OF_PROCESSES, WORKER_COUNT


def rows() -> list[tuple[str, str, str, str]]:
    """Return name, kind, labels and meaning of each metric."""
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
    """Return all metrics as reStructuredText."""
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


class MetricsTable(GeneratedText):
    """Inserts all metrics."""

    def text(self) -> Iterator[str]:
        """Return the table."""
        yield table()


def setup(app: Sphinx) -> Mapping[str, Any]:
    """Register the directive."""
    app.add_directive("metrics-table", MetricsTable)
    return {"parallel_read_safe": True}
