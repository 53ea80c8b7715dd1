"""Measures of the source that may only go down: ``python -m tests.ceilings``, part of ``make
check``.

``tests/ceilings.json`` holds the counts that are allowed today. A count above its ceiling fails. A
ceiling above any that the file ever had fails, too, unless it stays within the final budget of its
measure (`BUDGETS`). ``--write`` lowers the ceilings to the counts of today, and raises one only within
its budget. See docs/project/decisions.

Options: ``--show MEASURE`` lists the places that one measure counts.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import re
import subprocess
import sys
import tokenize
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Final

from attrs import frozen

ROOT: Final = Path(__file__).parents[1]
CEILINGS: Final = Path(__file__).with_suffix(".json")
WIDTH: Final = 100
BUDGETS: Final = {
    "statements": 36_000,
    "modules": 280,
    "entries": 15,
    "test_lines": 90_000,
    "doc_words": 62_000,
}
"""The size that the project may have at the end. Up to it a count may rise, and no further."""
SHORTEST: Final = 12
"""Characters that a public docstring has at least."""
MODULE_STATEMENTS: Final = 500
FUNCTION_LINES: Final = 40
VAGUE: Final = re.compile(r"\b(nobody|somebody|whoever)\b", re.IGNORECASE)
"""Words that stand for *client*, *user*, *administrator* or for nothing."""
FORMER: Final = re.compile(
    r"""_*(
    theirs|heard|remembered|correspondent|envoy|outage|keeper|growing|keptfiles|stock|touches|surplus|upkeep|
    giver|parts|truth|finder|beside|standing|brought|meanwhile|become|moments|asof|past|life|asked|directly|
    face|facing|sight|sights|seer|exhibits|given|deeds|epoch|turnstile|riddles|leaves|said|going_on|formed|
    taking|frontdoor|front_door|turning|doorway|door|variant|shelf|pouring|sending|pour|incoming|outgoing|
    tap|reaching|safekeeping|throwaway|crewing|working|alone|workers|make_sure|demand|stands|told|wishes|
    loudness|blend
    )_*""",
    re.IGNORECASE | re.VERBOSE,
)
"""Names that others replaced (docs/project/decisions), as identifiers and as modules, in any case."""

Functions = (ast.FunctionDef, ast.AsyncFunctionDef)


@frozen(eq=False)
class Module:
    """One module of the package, read once. `name` is dotted."""

    name: str
    path: Path
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        """Its syntax tree."""
        return ast.parse(self.text)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """All nodes of the tree."""
        return list(ast.walk(self.tree))

    @cached_property
    def statements(self) -> list[ast.stmt]:
        """All statements except imports and docstrings: small modules and documentation cost nothing."""
        return [
            node
            for node in self.nodes
            if isinstance(node, ast.stmt)
            and not isinstance(node, ast.Import | ast.ImportFrom)
            and not (
                isinstance(node, ast.Expr)
                and isinstance(node.value, ast.Constant)
                and isinstance(node.value.value, str)
            )
        ]

    def at(self, node: ast.AST, what: str) -> str:
        """Return a line that leads to the node."""
        return f"{self.path}:{getattr(node, 'lineno', 1)}: {what}"


def read_modules(package: Path) -> list[Module]:
    """Read all modules below `package`, a folder whose name is that of the package."""
    found = []
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found.append(Module(name, path.relative_to(package.parent), path.read_text()))
    return found


def entries(source: Iterable[Module]) -> Iterator[str]:
    """Files and folders directly in the package."""
    yield from sorted(
        {each.path.parts[1] for each in source if each.path.parts[1] != "__init__.py"}
    )


def statements(source: Iterable[Module]) -> Iterator[str]:
    """All statements except imports and docstrings."""
    return (each.at(node, "") for each in source for node in each.statements)


def modules(source: Iterable[Module]) -> Iterator[str]:
    """All modules."""
    return (str(each.path) for each in source)


def run_git(*arguments: str) -> str:
    """Return what git prints; nothing outside of a checkout."""
    return subprocess.run(
        ["git", "-C", ROOT, *arguments], capture_output=True, text=True, check=False
    ).stdout


def committed_files(folder: str, suffix: str) -> Iterator[Path]:
    """Yield the files of a folder that git tracks and that are there."""
    for name in run_git("ls-files", folder).splitlines():
        if name.endswith(suffix) and (ROOT / name).is_file():
            yield ROOT / name


def test_lines(_: Iterable[Module]) -> Iterator[str]:
    """The lines of the tests."""
    for path in committed_files("tests", ".py"):
        yield from path.read_text().splitlines()


def doc_words(_: Iterable[Module]) -> Iterator[str]:
    """The words of the documentation."""
    for path in committed_files("docs", ".rst"):
        yield from path.read_text().split()


def wide_lines(source: Iterable[Module]) -> Iterator[str]:
    """Lines of more than 100 columns."""
    for each in source:
        for number, line in enumerate(each.text.splitlines(), 1):
            if len(line) > WIDTH:
                yield f"{each.path}:{number}: {len(line)} columns"


def shared_class_names(source: Iterable[Module]) -> Iterator[str]:
    """Public classes whose name an earlier class has."""
    seen: Counter[str] = Counter()
    for each in source:
        for node in each.nodes:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                seen[node.name] += 1
                if seen[node.name] > 1:
                    yield each.at(node, node.name)


def foreign_assignments(source: Iterable[Module]) -> Iterator[str]:
    """Assignments to an attribute of another object than ``self`` or ``cls``."""
    for each in source:
        for node in each.nodes:
            targets: list[ast.expr] = []
            if isinstance(node, ast.Assign):
                targets = node.targets
            elif isinstance(node, ast.AugAssign | ast.AnnAssign):
                targets = [node.target]
            flat = [
                part
                for target in targets
                for part in (target.elts if isinstance(target, ast.Tuple) else [target])
            ]
            for target in flat:
                if isinstance(target, ast.Attribute) and not (
                    isinstance(target.value, ast.Name) and target.value.id in ("self", "cls")
                ):
                    yield each.at(target, ast.unparse(target))


def imported(each: Module, names: frozenset[str]) -> set[str]:
    """Return the modules of `names` that one imports, also in functions and
    for annotations only.
    """
    found = set()
    for node in each.nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} & names
            found.add(node.module)
    return (found & names) - {each.name}


def circles(source: Iterable[Module]) -> Iterator[str]:
    """Modules that import each other in a circle, counted with imports in functions and for
    annotations only.
    """
    source = list(source)
    names = frozenset(each.name for each in source)
    edges = {each.name: imported(each, names) for each in source}
    reaches: dict[str, set[str]] = {}
    for start in edges:
        seen: set[str] = set()
        waiting = list(edges[start])
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                waiting += edges[name]
        reaches[start] = seen
    for name in sorted(edges):
        if name in reaches[name]:
            yield f"{name}: in a circle of imports"


def long_modules(source: Iterable[Module]) -> Iterator[str]:
    """Modules of more than 500 statements."""
    for each in source:
        if len(each.statements) > MODULE_STATEMENTS:
            yield f"{each.path}:1: {len(each.statements)} statements"


def long_functions(source: Iterable[Module]) -> Iterator[str]:
    """Functions of more than 40 lines, docstrings not counted."""
    for each in source:
        for node in each.nodes:
            if isinstance(node, Functions):
                documented = ast.get_docstring(node, clean=False) is not None
                first = node.body[0].end_lineno or 0 if documented else node.lineno - 1
                lines = (node.end_lineno or 0) - first
                if lines > FUNCTION_LINES:
                    yield each.at(node, f"{node.name}: {lines} lines")


def empty_docstrings(source: Iterable[Module]) -> Iterator[str]:
    """Public docstrings that do not stand by themselves: very short ones, and those that only refer
    to another.
    """
    for each in source:
        for node in each.nodes:
            if not isinstance(node, (ast.ClassDef, *Functions)) or node.name.startswith("_"):
                continue
            said = ast.get_docstring(node)
            if said is not None and (len(said) < SHORTEST or said.startswith(("The same", "As `"))):
                yield each.at(node, repr(said.splitlines()[0] if said else ""))


def prose(each: Module) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of each comment and each string that is more than one word."""
    for token in tokenize.generate_tokens(io.StringIO(each.text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in each.nodes:
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and " " in node.value.strip()
        ):
            yield node.lineno, node.value


def vague_words(source: Iterable[Module]) -> Iterator[str]:
    """The words nobody, somebody, whoever in comments, docstrings and messages."""
    for each in source:
        for line, said in prose(each):
            for match in VAGUE.finditer(said):
                yield f"{each.path}:{line}: {match.group()}"


def former_words(source: Iterable[Module]) -> Iterator[str]:
    """Places where a replaced word is defined: modules, classes, functions, arguments, attributes
    and variables.
    """
    for each in source:
        last = each.name.rpartition(".")[2]
        if FORMER.fullmatch(last):
            yield f"{each.path}:1: module {last}"
        for node in each.nodes:
            name = ""
            if isinstance(node, (ast.ClassDef, *Functions)):
                name = node.name
            elif isinstance(node, ast.arg):
                name = node.arg
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                name = node.id
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                name = node.attr
            if FORMER.fullmatch(name):
                yield each.at(node, name)


Measure = Callable[[Iterable[Module]], Iterator[str]]
MEASURES: Final[dict[str, Measure]] = {
    each.__name__: each
    for each in (
        statements,
        modules,
        entries,
        test_lines,
        doc_words,
        wide_lines,
        shared_class_names,
        foreign_assignments,
        circles,
        long_modules,
        long_functions,
        empty_docstrings,
        vague_words,
        former_words,
    )
}


def counted(source: list[Module]) -> dict[str, int]:
    """Return the count of each measure."""
    return {name: sum(1 for _ in measure(source)) for name, measure in MEASURES.items()}


def lowest_ceilings() -> dict[str, int]:
    """Return the lowest ceiling of each measure in the history of the file.

    Versions before the budgets, which counted otherwise, do not count.
    """
    lowest: dict[str, int] = {}
    name = CEILINGS.relative_to(ROOT).as_posix()
    for commit in run_git("log", "--format=%H", "--", name).split():
        version: dict[str, int] = json.loads(run_git("show", f"{commit}:{name}") or "{}")
        if "test_lines" in version:
            for measure, ceiling in version.items():
                lowest[measure] = min(ceiling, lowest.get(measure, ceiling))
    return lowest


def complaints(
    counts: dict[str, int], ceilings: dict[str, int], lowest: dict[str, int]
) -> list[str]:
    """Return what is wrong with the counts and the ceilings; nothing if all is well."""
    found = []
    for name, count in counts.items():
        ceiling = ceilings.get(name, 0)
        if count > ceiling:
            found.append(
                f"{name}: {count}, {count - ceiling} more than allowed; python -m tests.ceilings "
                f"--show {name}"
            )
        elif count < ceiling and name not in BUDGETS:
            found.append(
                f"{name}: {count}, better than {ceiling}: python -m tests.ceilings --write, and "
                "commit it"
            )
        if ceiling > max(lowest.get(name, ceiling), BUDGETS.get(name, 0)):
            found.append(f"{name}: the ceiling was raised from {lowest[name]} to {ceiling}")
    return found


def lowered(counts: dict[str, int], ceilings: dict[str, int]) -> dict[str, int]:
    """Return the ceilings to write: the counts, none above its ceiling except within its budget."""
    return {
        name: min(count, max(ceilings.get(name, count), BUDGETS.get(name, 0)))
        for name, count in counts.items()
    }


def main(arguments: list[str]) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.ceilings", description=__doc__)
    parser.add_argument(
        "--write", action="store_true", help="write the counts of today to tests/ceilings.json"
    )
    parser.add_argument(
        "--show", choices=MEASURES, metavar="MEASURE", help=f"one of: {' '.join(MEASURES)}"
    )
    options = parser.parse_args(arguments)
    source = read_modules(ROOT / "src" / "pypid")
    if options.show:
        print("\n".join(MEASURES[options.show](source)))
        return 0
    counts = counted(source)
    ceilings = json.loads(CEILINGS.read_text())
    if options.write:
        CEILINGS.write_text(json.dumps(lowered(counts, ceilings), indent=2) + "\n")
        return 0
    found = complaints(counts, ceilings, lowest_ceilings())
    print("\n".join(found) if found else f"{len(counts)} ceilings kept")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
