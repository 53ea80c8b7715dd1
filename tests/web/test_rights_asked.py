"""How handlers ask for rights: by `RequestContext` or `App`, which know the index that is asked."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from unittest import TestCase

import pypid

SOURCE = Path(pypid.__file__).parent
HANDLERS = ("web/api", "web/ui", "web/installers", "web/root.py", "compat")
OF_RULES = {"rules", "rules_in", "index_access"}
DECISIONS = {"Rules", "may", "may_take", "authorize"}
LOOKS = {"view": 2, "project": 2, "home": 2, "file": 3, "variant_list": 3}
"""What is looked up in an index, and the number of arguments with the permission, whose default is
that of internal requests.
"""


def _modules() -> Iterator[Path]:
    for place in HANDLERS:
        path = SOURCE / place
        yield from [path] if path.is_file() else path.rglob("*.py")


def _asked(node: ast.AST) -> Iterator[str]:
    """The names by which a handler gets at rules itself."""
    match node:
        case ast.Attribute(value=ast.Name(id=owner) | ast.Attribute(attr=owner), attr=name):
            if owner in ("app", "ctx", "original", "default") and name in OF_RULES:
                yield name
        case ast.ImportFrom(module="pypid.core.permissions" | "pypid.core.permissions"):
            yield from (each.name for each in node.names if each.name in DECISIONS)
        case ast.Call(func=ast.Attribute(value=ast.Attribute(attr="index"), attr=name)):
            if len(node.args) + len(node.keywords) < LOOKS.get(name, 0):
                yield f"{name} without a permission"


class AskedTests(TestCase):
    def test_no_handler_asks_the_rules_itself(self) -> None:
        """Those of the app are the rules of one index: which one decides is for `web.app` to
        know.
        """
        modules = list(_modules())
        self.assertGreater(len(modules), 30)
        found = {
            f"{path.relative_to(SOURCE)}: {name}"
            for path in modules
            for node in ast.walk(ast.parse(path.read_text()))
            for name in _asked(node)
        }
        self.assertEqual(found, set())

    def test_slips_are_found(self) -> None:
        for text in (
            "ctx.app.rules.read",
            "app.rules_in('team')",
            "ctx.app.index_access.rules('', default)",
            "from pypid.core.permissions import Action, may",
            "ctx.app.index.project(name)",
        ):
            found = [name for node in ast.walk(ast.parse(text)) for name in _asked(node)]
            self.assertTrue(found, text)
