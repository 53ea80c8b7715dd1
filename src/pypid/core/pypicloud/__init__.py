"""Translate the configuration of pypicloud (1.3.12 and earlier) into pypid's. Pure.

`keys` is the table of all keys and their translations; `paste` reads the file as PasteDeploy does;
`storage`, `upstream`, `people`, `rules`, `directory` and `serving` each translate a part into the
`ledger`; `translation` combines them, and is imported only if there is such a file.
"""

from __future__ import annotations

from collections.abc import Iterable

LEADING = ("app", "application", "composite", "composit", "pipeline", "filter-app")
"""The kinds of PasteDeploy's sections that lead to an app."""


def is_pypicloud(sections: Iterable[str]) -> bool:
    """Return whether these are the names of sections of a PasteDeploy file."""
    return any(name.partition(":")[0] in LEADING for name in sections)
