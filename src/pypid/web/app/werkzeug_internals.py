"""Private names of werkzeug that save time at the start: URL builders, which pypid does not use,
are not compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from werkzeug.routing import Map, Rule

from pypid.flow.internals import name_obstacle, version_obstacle

RULE = ("_compile_builder",)


def without_builders(routes: Map) -> None:
    """Have werkzeug compile the two functions that build a URL of a rule only on first use: they
    are half of what a route costs. With an untested werkzeug nothing is changed.
    """
    if version_obstacle("Werkzeug") is not None or name_obstacle(Rule, RULE) is not None:
        return
    add: Callable[[Any], None] = routes.add

    def add_rule(rule: Any) -> None:
        compile_builder = rule._compile_builder
        # werkzeug calls this method of each rule twice, and offers no setting
        rule._compile_builder = lambda unknown=True: (
            lambda self, **values: compile_builder(unknown)(self, **values)
        )
        add(rule)

    routes.add = add_rule  # type: ignore[method-assign, assignment]
