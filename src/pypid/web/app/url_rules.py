"""The map of Klein's routes, without what nobody here asks of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from werkzeug.routing import Map


def without_builders(routes: Map) -> None:
    """Have werkzeug compile the two functions that make a URL of a rule when somebody wants one:
    half of what a route costs.
    """
    add: Callable[[Any], None] = routes.add

    def add_rule(rule: Any) -> None:
        write = (
            rule._compile_builder
        )  # a name of werkzeug's own: where it is another one some day, nothing is saved here
        rule._compile_builder = lambda unknown=True: (
            lambda self, **values: write(unknown)(self, **values)
        )
        add(rule)

    routes.add = add_rule  # type: ignore[method-assign, assignment]
