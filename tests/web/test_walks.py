"""Which modules of pypid a request goes through (docs/project/layout, "Six walks")."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pypid
from pypid.core.configuration.choices import Mode
from pypid.core.indexes import IndexSettings
from pypid.core.policy import Policy
from pypid.web.fastpath.channel import FastPath
from pypid.web.http.connections import HostPolicy
from pypid.web.http.site import Site
from pypid.web.root import resource
from tests.distributions import sdist, sdist_filename, wheel, wheel_filename
from tests.web.fast_path_pair import Lines
from tests.web.full_app import Connection, J, Pypid, WholeCase, spelled
from tests.web.memory_upstream import Elsewhere

PACKAGE = f"{Path(pypid.__file__).parent}/"
KIT = f"{PACKAGE}testing/"
PAGE = Path(__file__).parents[2] / "docs/project/layout.rst"
LINE = re.compile(r"^\* (.*): (\d+) modules\.", re.MULTILINE)


def walked(do: Callable[[], object]) -> list[str]:
    """Return the modules that have a frame of their own while `do` runs, in the order of the first."""
    modules: dict[str, None] = {}

    def seen(frame: FrameType, event: str, argument: object) -> None:
        name = frame.f_code.co_filename
        if event == "call" and name.startswith(PACKAGE) and not name.startswith(KIT):
            modules[name.removeprefix(PACKAGE)] = None

    before = sys.getprofile()
    sys.setprofile(seen)
    try:
        do()
    finally:
        sys.setprofile(before)
    return list(modules)


class WalkTests(WholeCase):
    """The walks as they are, by name."""

    def walks(self) -> dict[str, list[str]]:
        """Make each request once with all modules imported, then walk."""
        elsewhere = Elsewhere()
        for number in range(2):
            elsewhere.has(
                f"remote{number}", sdist_filename(f"remote{number}"), sdist(f"remote{number}")
            )
        policy = Policy(mode=Mode.CACHE)
        here = Pypid(Path(self.mktemp()), upstream=elsewhere, policy=policy)
        fast = FastPath(here.app, Lines(here))
        site = Site(
            resource(here.app),
            reactor=here.clock,
            access_log=Lines(here),
            fast_path=fast,
            hosts=HostPolicy(("*",)),
        )
        site.startFactory()
        connection = Connection(site)
        self.pypid = here

        def ask(path: str) -> None:
            connection.send(spelled("GET", path, ("Accept", J)))

        self.have_wheel("eggs")
        ask("/simple/eggs/")
        ask("/simple/remote0/")
        upload = walked(lambda: self.have_wheel("spam"))
        cold = walked(lambda: ask("/simple/spam/"))
        warm = walked(lambda: ask("/simple/spam/"))
        miss = walked(lambda: ask("/simple/remote1/"))
        self.assertEqual(fast.answered, 1)
        return {"Warm page": warm, "Cold page": cold, "Upload": upload, "Upstream miss": miss}

    def named_walks(self) -> dict[str, list[str]]:
        """As `walks`, below a named index that inherits from the default one."""
        here = Pypid(Path(self.mktemp()), indexes=[IndexSettings(name="team")])

        def publish(name: str, target: str) -> None:
            filename, data = wheel_filename(name), wheel(name)
            self.published(self.publish(filename, data, target=target, pypid=here))

        for name, target in (("eggs", "/legacy/"), ("ham", "/legacy/"), ("bacon", "/team/legacy/")):
            publish(name, target)
        here.get("/team/simple/eggs/")
        upload = walked(lambda: publish("spam", "/team/legacy/"))
        page = walked(lambda: here.get("/team/simple/ham/"))
        return {"Inherited page": page, "Upload to a named index": upload}

    def test_walks_are_as_documented(self) -> None:
        """docs/project/layout says how many modules each walk has; a longer one is a reason to look again."""
        walks = self.walks() | self.named_walks()
        documented = {name: int(count) for name, count in LINE.findall(PAGE.read_text())}
        found = {name: len(modules) for name, modules in walks.items()}
        self.assertEqual(found, documented, walks)
