"""A pypid with several indexes, a private project in each, and users with every kind of right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from attrs import evolve

from pypid.core.indexes import IndexSettings, settings_of_values
from pypid.core.permissions import Rules
from tests.index.named import set_index
from tests.support.worlds import BEGINNING
from tests.web.full_app import Pypid, WholeCase
from tests.web.memory_upstream import Elsewhere
from tests.web.rights_cases import IS, OWN, PLAIN, crowded, file_of

DEFAULT, TEAM, LAB, SOLO, CUT, PAST = "", "team", "lab", "solo", "cut", "past"
INDEXES = (DEFAULT, TEAM, LAB, SOLO, CUT)
# of one length, so that answers can be compared to the byte
OF = {
    TEAM: "acme-teams",
    LAB: "acme-labor",
    SOLO: "acme-alone",
    CUT: "acme-filed",
    PAST: "acme-ended",
}
"""The private project of each named index."""
PRIVATE = tuple(OF.values())
SETTINGS: tuple[IndexSettings, ...] = (
    settings_of_values(TEAM, {"read": "group:writers"}),
    settings_of_values(LAB, {"bases": "team default"}),
    settings_of_values(SOLO, {"bases": "none"}),
    settings_of_values(CUT, {"bases": "lab", "deny": PLAIN, "volatile": "yes"}),
    settings_of_values(PAST, {}),
)
"""`TEAM` has readers of its own; `LAB` has it, and the default index, as a base; `SOLO` inherits
nothing; `CUT` denies a project, and has volatile files; `PAST` has expired.
"""


def indexed(
    case: WholeCase, rules: Rules, prepare: Callable[[Pypid], object] = lambda pypid: None
) -> Pypid:
    """Return a pypid with all these indexes and their projects. Its upstream has projects of the
    same names, as an attacker would publish. `prepare` is called before its first request.
    """
    upstream = Elsewhere()
    for name in (*PRIVATE, PLAIN, OWN):
        upstream.has(name, *file_of(name))
    pypid = crowded(Path(case.mktemp()), upstream, rules, indexes=())
    prepare(pypid)
    indexes = pypid.indexes
    for settings in SETTINGS:
        case.have(indexes.create(settings))
    pypid.app.rules = Rules()  # who publishes does not matter here
    for index, name in (("", PLAIN), ("", OWN), *OF.items()):
        target = f"/{index}/legacy/" if index else "/legacy/"
        headers = IS["ada"].headers
        filename, data = file_of(name)
        answer = case.publish(
            filename, data, target=target, user=None, headers=headers, pypid=pypid
        )
        case.published(answer)
    case.have(set_index(indexes, evolve(indexes.settings[PAST], expires=BEGINNING)))
    pypid.app.rules = rules
    return pypid
