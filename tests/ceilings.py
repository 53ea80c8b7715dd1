"""Measures of the source that may only go down: ``python -m tests.ceilings``, part of ``make
check``.

Each measure counts what docs/project/decisions/0029 wants to be rid of. The file ``tests/ceilings.json``
holds the counts that are allowed today. A count above its ceiling fails; one below it fails, too,
with the new number to write down, so that what was gained is not lost again. ``--write`` writes the
counts of today.

Options: ``--show MEASURE`` lists the places that one measure counts.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import re
import sys
import tokenize
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Final

from attrs import frozen

from pypid.web.app import route_table

ROOT: Final = Path(__file__).parents[1]
CEILINGS: Final = Path(__file__).with_suffix(".json")
WIDTH: Final = 100
SHORTEST: Final = 12
"""Characters that a public docstring has at least."""
MODULE_STATEMENTS: Final = 250
FUNCTION_STATEMENTS: Final = 25
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
"""Names that docs/project/decisions/0029 replaces, as identifiers and as modules, in any case."""

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

    def at(self, node: ast.AST, what: str) -> str:
        """Return a line that leads to the node."""
        return f"{self.path}:{getattr(node, 'lineno', 1)}: {what}"


def modules(package: Path) -> list[Module]:
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
    """All statements."""
    return (
        each.at(node, "") for each in source for node in each.nodes if isinstance(node, ast.stmt)
    )


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


def single_importers(source: Iterable[Module]) -> Iterator[str]:
    """Modules that exactly one other module imports.

    Modules that the route table names as well do not count, nor do packages without code of their
    own, which are imported with each of their modules.
    """
    source = list(source)
    names = frozenset(each.name for each in source)
    importers = defaultdict(set)
    for each in source:
        for name in imported(each, names):
            importers[name].add(each.name)
    others = {
        each.name for each in source if each.path.name == "__init__.py" and len(each.tree.body) <= 1
    }
    others.update(route_table.MODULES)
    for name, by in sorted(importers.items()):
        if len(by) == 1 and name not in others:
            yield f"{name}: imported by {next(iter(by))} only"


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
    """Modules of more than 250 statements."""
    for each in source:
        count = sum(isinstance(node, ast.stmt) for node in each.nodes)
        if count > MODULE_STATEMENTS:
            yield f"{each.path}:1: {count} statements"


def long_functions(source: Iterable[Module]) -> Iterator[str]:
    """Functions of more than 25 statements, those inside of them included."""
    for each in source:
        for node in each.nodes:
            if isinstance(node, Functions):
                count = sum(isinstance(inner, ast.stmt) for inner in ast.walk(node)) - 1
                if count > FUNCTION_STATEMENTS:
                    yield each.at(node, f"{node.name}: {count} statements")


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
        entries,
        statements,
        wide_lines,
        shared_class_names,
        foreign_assignments,
        single_importers,
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


def complaints(counts: dict[str, int], ceilings: dict[str, int]) -> list[str]:
    """Return what is to be said of the counts; nothing where each is what its ceiling is."""
    found = []
    for name, count in counts.items():
        ceiling = ceilings.get(name, 0)
        if count > ceiling:
            found.append(
                f"{name}: {count}, {count - ceiling} more than allowed; python -m tests.ceilings "
                f"--show {name}"
            )
        elif count < ceiling and name != "statements":
            found.append(
                f"{name}: {count}, better than {ceiling}: python -m tests.ceilings --write, and "
                "commit it"
            )
    return found


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
    source = modules(ROOT / "src" / "pypid")
    if options.show:
        print("\n".join(MEASURES[options.show](source)))
        return 0
    counts = counted(source)
    if options.write:
        CEILINGS.write_text(json.dumps(counts, indent=2) + "\n")
        return 0
    found = complaints(counts, json.loads(CEILINGS.read_text()))
    print("\n".join(found) if found else f"{len(counts)} ceilings kept")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
