"""What ``make bench`` makes of the benchmarks' output: a page that docutils reads, and a plot."""

from __future__ import annotations

import contextlib
import io
import time
from pathlib import Path
from unittest import SkipTest

from attrs import evolve
from benchmarks import _all as bench
from benchmarks._figures import GOALS, Outcome, page, read
from benchmarks._rig import compare, report
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

ROWS = [
    ("10 files, HTML", "1.05 x nginx (20,000 : 19,000 a second)", ">= 1.0"),
    ("... *with* a `pass|word`_, and_ |so| on::", "1. one", ""),
    ("- a list? :field: .. comment", "", "<= 20 µs"),
]
FIGURES: dict[str, object] = {
    "10 files, HTML": {"ratio": 1.05, "pypid": 20000, "nginx": 19000},
    "<list> & more": {"ratio": 3.5, "nginx": 1},
    "... against the same without": {"ratio": 0.9, "pypid": 1},
}
TITLE = "The fast path against nginx, one core each"
CELLS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def printed(title: str, rows: list[tuple[str, str, str]], figures: dict[str, object]) -> str:
    """What a benchmark prints."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        print("('a row', 'as it comes', '')")
        report(title, rows, figures)
    return out.getvalue()


def gone(state: Path) -> bool:
    """Whether the process of this /proc/.../stat has ended, also if its status was not read yet."""
    try:
        return state.read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def outcome(text: str, trouble: str = "") -> Outcome:
    return Outcome("frontdoor.py", ("--seconds", "2"), 250, 12.3, text, trouble)


def document(*outcomes: Outcome) -> list[list[str]]:
    """The rows of all tables, as docutils reads the page; a warning is an error."""
    try:
        from docutils import nodes
        from docutils.core import publish_doctree
    except ImportError as error:
        raise SkipTest("docutils is not installed") from error
    text = page([("processor", "A_B* |c|")], outcomes, {"s3.py": "it needs radosgw."}, drawn=True)
    strictly = {
        "report_level": 1,
        "halt_level": 2,
        "warning_stream": io.StringIO(),
        "file_insertion_enabled": False,
    }
    tree = publish_doctree("Performance\n===========\n\n" + text, settings_overrides=strictly)
    return [
        [entry.astext() for entry in row.findall(nodes.entry)] for row in tree.findall(nodes.row)
    ]


class ReadTests(SynchronousTestCase):
    """What is printed."""

    def test_table(self) -> None:
        """A table is read as it was reported, whatever was printed before it."""
        said = read(printed(TITLE, ROWS, FIGURES))
        self.assertEqual((said.title, list(said.rows)), (TITLE, ROWS))
        self.assertEqual(said.figures, {"benchmark": TITLE, **FIGURES})


class PageTests(SynchronousTestCase):
    """build/figures/figures.rst."""

    def test_words(self) -> None:
        """Marks of reStructuredText are words in the cells, which are the ones
        that were reported.
        """
        rows = document(outcome(printed(TITLE, ROWS, FIGURES)))
        self.assertEqual(rows[0], ["processor", "A_B* |c|"])
        self.assertEqual(rows[1:], [["what", "measured", "goal"], *map(list, ROWS)])


class GoalTests(SynchronousTestCase):
    """The table of goals at the head of the page."""

    def setUp(self) -> None:
        self.warm = [("HTML, 45 kB", "1.496 x nginx", ">= 1.3 x"), ("JSON", "0.8 x nginx", "")]

    def rows(self, text: str, trouble: str = "") -> list[list[str]]:
        """The table of a run of `pages.py` alone."""
        ran = evolve(outcome(text, trouble), script="pages.py")
        rows = document(ran)
        return rows[1:3] if rows[1][0] == "work" else []

    def test_figure_and_goal_come_from_one_row(self) -> None:
        """The table has what the script printed, and only scripts that were asked for."""
        header, row = self.rows(printed("A warm page", self.warm, {}))
        self.assertEqual(header, ["work", "measured", "goal", "script"])
        self.assertEqual(row[1:], ["1.496 x nginx", ">= 1.3 x", "pages.py"])
        self.assertEqual(document(outcome(printed(TITLE, ROWS, FIGURES)))[1][0], "what")

    def test_missing_figure_has_its_reason(self) -> None:
        """A script that was skipped, or failed, or printed no such row, is in the table."""
        for text, trouble, reason in (
            ("skipped: nginx not installed\n", "", "not measured: nginx not installed"),
            ("", "it ended with code 1.", "not measured: it ended with code 1."),
            (printed("A warm page", ROWS[1:], {}), "", "not measured: its script printed no"),
        ):
            self.assertIn(reason, self.rows(text, trouble)[1][1])

    def test_scripts_are_run(self) -> None:
        """Each goal is measured by a script that ``make bench`` runs."""
        self.assertLessEqual({goal.script for goal in GOALS}, {job.script for job in bench.JOBS})


class JobTests(SynchronousTestCase):
    """What ``make bench`` runs."""

    def test_every_script(self) -> None:
        """Each benchmark is run once, or left out with a reason."""
        scripts = sorted(path.name for path in bench.HERE.glob("[a-z]*.py"))
        self.assertEqual(sorted([*(job.script for job in bench.JOBS), *bench.LEFT_OUT]), scripts)

    def test_time(self) -> None:
        """Even if each of them has to be ended, all end within 20 minutes."""
        self.assertLessEqual(sum(job.limit + bench.GRACE for job in bench.JOBS), bench.WITHIN - 10)

    def test_ended(self) -> None:
        """A script that takes longer than it may is ended with all that it started, and said to be;
        one that fails, too.
        """
        scratch = Path(self.mktemp())
        scratch.mkdir()
        self.patch(bench, "HERE", scratch.resolve())
        (scratch / "slow.py").write_text(
            "import subprocess, sys, time\n"
            "child = subprocess.Popen(['sleep', '60'], stdout=subprocess.PIPE)\n"
            "print(child.pid, flush=True)\ntime.sleep(60)\n"
        )
        (scratch / "fails.py").write_text("import sys\nsys.exit(3)\n")
        (scratch / "fine.py").write_text(
            "import os\nprint(os.environ['BENCH_FOLDER'], os.getcwd())\n"
        )
        slow = bench.run(bench.Job("slow.py", "", 1), scratch, 1)
        self.assertIn("ended after 1 s", slow.trouble)
        state = Path(f"/proc/{int(slow.text)}/stat")
        for _ in range(200):  # it has been killed; that it is gone takes the kernel a moment
            if gone(state):
                break
            time.sleep(0.01)
        self.assertTrue(gone(state))
        self.assertIn("code 3", bench.run(bench.Job("fails.py", "", 20), scratch, 20).trouble)
        fine = bench.run(bench.Job("fine.py", "--an option", 20), scratch.resolve(), 20)
        self.assertEqual(
            (fine.trouble, fine.options, fine.text), ("", ("--an", "option"), "scratch .\n")
        )


class ComparisonTests(SynchronousTestCase):
    """The ratio of a row, and the figures beside it."""

    @given(st.lists(st.tuples(st.floats(0.1, 1e6), st.floats(0.1, 1e6)), min_size=1, max_size=9))
    def test_ratio_is_made_of_the_figures_beside_it(self, turns: list[tuple[float, float]]) -> None:
        """Both figures come from one turn, whose ratio is the median."""
        comparison = compare([ours for ours, _ in turns], [theirs for _, theirs in turns])
        self.assertIn((comparison.ours, comparison.theirs), turns)
        self.assertEqual(comparison.ratio, comparison.ours / comparison.theirs)
        smaller = sum(ours / theirs < comparison.ratio for ours, theirs in turns)
        larger = sum(ours / theirs > comparison.ratio for ours, theirs in turns)
        self.assertLessEqual(smaller, len(turns) / 2)
        self.assertLessEqual(larger, len(turns) / 2)
