"""Plain language in the documentation (README.rst and the pages of docs/) and
in what users read of the program: strings and templates in src/, comments in etc/.

Finds words that `tests/words.toml` lists, sentences of more than 40 words, sentences whose subject
is a clause ("What is not yours ..."), and what proselint finds. In the program it finds vague
words, listed phrases and such clauses only. `tests/prose.json` has the number
of findings that each page may still have; it may only go down. A new page may have none.

    python -m tests.prose                       # the check
    python -m tests.prose --show docs/index.rst # the findings of pages
    python -m tests.prose --write               # lower the ceilings to the counts of today
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Final

from attrs import frozen
from proselint.checks import __register__
from proselint.config import Config
from proselint.registry import CheckRegistry
from proselint.tools import LintFile

ROOT: Final = Path(__file__).parent.parent
WORDS: Final = ROOT / "tests/words.toml"
CEILINGS: Final = ROOT / "tests/prose.json"
EXCLUDED: Final = (
    "src/pypid/testing/",
    "src/pypid/web/app/route.py",
)
LONGEST: Final = 40
"""Words of a sentence."""
MESSAGES: Final = ("vague", "phrases")
"""The sections of words.toml that hold for the program: its labels are shorter than prose."""

CODE: Final = frozenset(
    {
        *("code-block", "code", "literalinclude", "parsed-literal", "highlight", "sourcecode"),
        *("toctree", "include", "image", "math", "raw", "contents", "only", "http"),
        *("automodule", "autoclass", "autofunction", "currentmodule", "autodata", "py"),
    }
)
"""Directives whose content is no prose."""
PROSELINT: Final = {
    "checks": dict.fromkeys(
        (
            *("archaism", "cliches", "hedging", "industrial_language"),
            *("malapropisms", "mixed_metaphors", "mondegreens", "needless_variants", "nonwords"),
            *("oxymorons", "redundancy", "skunked_terms", "social_awareness", "terms"),
            "uncomparables",
        ),
        True,
    ),
    "max_errors": 1000,
}

Masks = tuple[tuple[re.Pattern[str], str | None], ...]

_DIRECTIVE = re.compile(r"(\s*)\.\. +([\w-]+)(?::[\w-]+)?::")
_COMMENT = re.compile(r"(\s*)\.\.(\s|$)")
_RULE = re.compile(r"\s*([-=~^\"'`#*+_.:])\1{2,}[\s=]*$|\s*[=+][=+ \-|]+$")
_OPTION = re.compile(r"\s*:[\w-]+:(\s|$)")
_MASKS: Masks = (
    (re.compile(r"``[^`]+?``(?!`)", re.DOTALL), "X"),
    (re.compile(r":[\w:-]+:`([^`<]+?)\s*<[^`>]+>`", re.DOTALL), None),
    (re.compile(r":[\w:-]+:`[^`]+`"), "X"),
    (re.compile(r"`([^`<]+?)\s*<[^`>]+>`__?", re.DOTALL), None),
    (re.compile(r"`[^`]+`_{0,2}"), "X"),
    (re.compile(r"\|[\w-]+\||'\w+'|(?<=[|,] )nobody\b"), "X"),
    (re.compile(r"https?://\S+"), "X"),
    (re.compile(r"\*{1,2}([^*\n]+)\*{1,2}"), None),
)
_CLAUSE = re.compile(
    r"(?:^|(?<=[.:;!?]\s)|(?<=\n\n))(?:What|Who|Whose|Whom)\s(?:(?!\n\s*\n)[^.?!])*\.", re.DOTALL
)
_ITEM = re.compile(r"\n\s*\n|\n(?=\s*(?:[*+-]|\d+\.|#\.)\s)|\n(?=\s*\* - )")
_SENTENCE = re.compile(r"(?<=[.?!])\s+(?=[A-Z])|;\s|:\n|:\s")
_COLUMNS = re.compile(r"\S {2,}\S")
"""Rows of a table: their cells are no sentences."""
_VALUE = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|CREATE|name, version)\b|\s*\S*\s*\S*\s*\Z")
"""Texts for a database, and of one or two words: values, names and labels."""
_MARKUP: Masks = (
    (re.compile(r"\{#.*?#\}|\{%.*?%\}|<(script|style|svg)\b.*?</\1>", re.DOTALL), ""),
    (re.compile(r"\{\{.*?\}\}|<(code|pre)\b.*?</\1>", re.DOTALL), "X"),
    (re.compile(r"<[^>]*>"), ""),
)
_REMARK = re.compile(r"(?:^|.*?\s)[#;]+\s+(.*)|.*")
_WORD = re.compile(r"[^\s]*\w[^\s]*")


@frozen(order=True)
class Finding:
    """A place in a page, and what is wrong there."""

    line: int
    text: str


def prose_of(text: str) -> str:
    """Return the prose of a page in reStructuredText: the same lines, without code, directives and
    markup, so that positions stay. An inline literal is ``X``.
    """
    lines: list[str] = []
    skipped: int | None = None  # the indentation of what introduces the current block of code
    last, last_indent = "", 0
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip())
        if skipped is not None and (not line.strip() or indent > skipped):
            lines.append("")
            continue
        skipped = None
        directive = _DIRECTIVE.match(line)
        if directive is not None:
            skipped = indent if directive[2] in CODE else None
            lines.append("")
            continue
        if _COMMENT.match(line):
            skipped = indent
            lines.append("")
            continue
        if _RULE.match(line) or _OPTION.match(line):
            lines.append("")
            continue
        if line.rstrip().endswith("::"):
            skipped = indent if line.strip() != "::" or not last else last_indent
        if line.strip():
            last, last_indent = line, indent
        lines.append(line.rstrip().removesuffix("::"))
    return _masked("\n".join(lines))


class _Strings(ast.NodeVisitor):
    """Collects the strings of a module that are no docstrings, by line; inserted values are X."""

    def __init__(self) -> None:
        self.found: list[tuple[int, str]] = []

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):
            self.generic_visit(node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        parts = [each.value if isinstance(each, ast.Constant) else "X" for each in node.values]
        self.found.append((node.lineno, "".join(map(str, parts))))

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self.found.append((node.lineno, node.value))


def messages_of(text: str, suffix: str) -> Iterator[tuple[int, str]]:
    """Yield what users read in a file of the program, with the number of its first line."""
    if suffix == ".py":
        strings = _Strings()
        strings.visit(ast.parse(text))
        yield from (each for each in strings.found if not _VALUE.match(each[1]))
    elif suffix == ".html":
        yield 1, _masked(text, _MARKUP)
    else:
        yield 1, "\n".join(_REMARK.sub(r"\1", line) for line in text.splitlines())


def findings_in_messages(text: str, suffix: str) -> list[Finding]:
    """Return what is wrong in a file of the program (`messages_of`), by line."""
    return sorted(
        Finding(line + each.line - 1, each.text)
        for line, message in messages_of(text, suffix)
        for prose in [_masked(message)]
        for each in {*_words(prose, MESSAGES), *_clauses(prose)}
    )


def _masked(text: str, masks: Masks = _MASKS) -> str:
    for pattern, mask in masks:
        text = pattern.sub(
            lambda match, mask=mask: (
                (match[1] if mask is None else mask)
                + "\n" * (match[0].count("\n") - (match[1].count("\n") if mask is None else 0))
            ),
            text,
        )
    return text


@cache
def rules(sections: tuple[str, ...] = ()) -> tuple[tuple[re.Pattern[str], str], ...]:
    """Return the patterns of words.toml, or those of some sections, with their replacements."""
    return tuple(
        (re.compile(rf"(?<![\w-])(?:{_spaced(words)})(?![\w-])", re.IGNORECASE), instead)
        for name, section in tomllib.loads(WORDS.read_text()).items()
        if not sections or name in sections
        for words, instead in section.items()
    )


def _spaced(words: str) -> str:
    return words.replace(" ", r"\s+")


@cache
def proselint_config() -> Config:
    """Return the configuration of proselint, whose checks are registered once."""
    CheckRegistry().register_many(__register__)
    return Config(**PROSELINT)


def findings(text: str, suffix: str = ".rst") -> list[Finding]:
    """Return what is wrong in a page, or another file of this kind, by line."""
    if suffix != ".rst":
        return findings_in_messages(text, suffix)
    prose = prose_of(text)
    return sorted({*_words(prose), *_clauses(prose), *_long_sentences(prose), *_proselint(prose)})


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _words(prose: str, sections: tuple[str, ...] = ()) -> Iterator[Finding]:
    for pattern, instead in rules(sections):
        for match in pattern.finditer(prose):
            said = " ".join(match[0].split())
            yield Finding(_line(prose, match.start()), f"{said!r}: write {instead}")


def _clauses(prose: str) -> Iterator[Finding]:
    for match in _CLAUSE.finditer(prose):
        said = " ".join(match[0].split()[:6])
        yield Finding(_line(prose, match.start()), f"{said!r} ...: begin with a noun")


def _long_sentences(prose: str) -> Iterator[Finding]:
    start = 0
    for item in _ITEM.split(prose):
        start = prose.index(item, start)
        position = start
        for sentence in _SENTENCE.split(item):
            position = prose.index(sentence, position)
            count = len(_WORD.findall(sentence))
            if count > LONGEST and not _COLUMNS.search(sentence):
                said = " ".join(sentence.split()[:6])
                line = _line(prose, position + len(sentence) - len(sentence.lstrip()))
                yield Finding(line, f"{said!r} ...: a sentence of {count} words")


def _proselint(prose: str) -> Iterator[Finding]:
    if not prose.strip():
        return
    for found in LintFile("page", prose).lint(proselint_config()):
        result = found.check_result
        yield Finding(found.pos[0], f"{' '.join(result.message.split())} (proselint)")


def pages() -> dict[str, Path]:
    """Return the pages that are checked, by their path in the checkout."""
    found = [ROOT / "README.rst", *sorted((ROOT / "docs").rglob("*.rst"))]
    found += sorted(
        path for path in (ROOT / "src/pypid").rglob("*") if path.suffix in (".py", ".html")
    )
    found += sorted(
        path
        for path in (ROOT / "etc").rglob("*")
        if path.suffix not in (".json", ".md") and path.is_file()
    )
    named = {path.relative_to(ROOT).as_posix(): path for path in found}
    return {name: path for name, path in named.items() if not name.startswith(EXCLUDED)}


def complaints(counts: Mapping[str, int], ceilings: Mapping[str, int]) -> list[str]:
    """Return the pages with more findings than their ceilings allow."""
    return [
        f"{name}: {count} findings, at most {ceilings.get(name, 0)} allowed; see python -m "
        f"tests.prose --show {name}"
        for name, count in counts.items()
        if count > ceilings.get(name, 0)
    ]


def main(arguments: list[str]) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.prose", description=__doc__)
    parser.add_argument("--write", action="store_true", help="lower the ceilings to the counts")
    parser.add_argument("--show", nargs="+", metavar="PAGE", help="print the findings of pages")
    options = parser.parse_args(arguments)
    if options.show:
        for name in options.show:
            for each in findings((ROOT / name).read_text(), Path(name).suffix):
                print(f"{name}:{each.line}: {each.text}")
        return 0
    counts = {name: len(findings(path.read_text(), path.suffix)) for name, path in pages().items()}
    ceilings = json.loads(CEILINGS.read_text()) if CEILINGS.exists() else counts
    if options.write:
        lowered = {name: min(count, ceilings.get(name, 0)) for name, count in counts.items()}
        kept = {name: count for name, count in lowered.items() if count}
        CEILINGS.write_text(json.dumps(kept, indent=2) + "\n")
        return 0
    found = complaints(counts, ceilings)
    rest = sum(counts.values())
    print("\n".join(found) if found else f"plain language: {len(counts)} pages, {rest} findings")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
