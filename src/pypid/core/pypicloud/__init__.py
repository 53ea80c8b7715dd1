"""The configuration of a pypicloud (1.3.12 and all before it) in our words. Pure.

`keys` is the table of all keys and of what becomes of each; `paste` reads the file as PasteDeploy
does; `storage`, `upstream`, `people`, `rules`, `directory` and `serving` each translate a part into
the `ledger`; `translation` puts them together, and is imported only where there is such a file.
"""

from __future__ import annotations

from collections.abc import Iterable

LEADING = ("app", "application", "composite", "composit", "pipeline", "filter-app")
"""The kinds of PasteDeploy's sections that lead to an app."""


def is_pypicloud(sections: Iterable[str]) -> bool:
    """Whether sections of these names are of a file for PasteDeploy, and so of no file of ours."""
    return any(name.partition(":")[0] in LEADING for name in sections)
