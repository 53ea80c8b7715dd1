"""A change to the map of Klein's routes: URL builders, which pypid does not use, are not
compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from werkzeug.routing import Map


def without_builders(routes: Map) -> None:
    """Have werkzeug compile the two functions that build a URL of a rule only on first use: they
    are half of what a route costs.
    """
    add: Callable[[Any], None] = routes.add

    def add_rule(rule: Any) -> None:
        write = (
            rule._compile_builder
        )  # a private name of werkzeug's: if it is renamed, nothing is saved here
        rule._compile_builder = lambda unknown=True: (
            lambda self, **values: write(unknown)(self, **values)
        )
        add(rule)

    routes.add = add_rule  # type: ignore[method-assign, assignment]
