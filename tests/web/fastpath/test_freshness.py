"""No answer of the fast path is older than the last change that was acknowledged, whatever happens
in whatever order.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

from argon2 import PasswordHasher
from attrs import evolve
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.error import ConnectionDone

from pypid.core.accounts.rights import Account, AccountStatus, Right, Session, Whom
from pypid.core.accounts.sessions import COOKIE, digest_of
from pypid.core.configuration.choices import Mode
from pypid.core.cooldown import Cooldown, CooldownException
from pypid.core.errors import UpstreamDown
from pypid.core.model import Status
from pypid.core.packaging.names import ProjectName
from pypid.core.permissions import AUTHENTICATED, EVERYONE, Action, Principals, Scope
from pypid.core.policy import Claims, Policy
from pypid.core.restrictions import ProjectRestrictions
from pypid.web.fastpath.channel import FastPath
from pypid.web.http.connections import HostPolicy
from pypid.web.http.site import Site
from pypid.web.root import resource
from tests.core.test_restrictions import VersionRule
from tests.distributions import wheel, wheel_filename
from tests.web.app_with_accounts import KEY, Peopled, have
from tests.web.fast_path_pair import Lines, link_files
from tests.web.full_app import HOST, Connection, J, Pypid, WholeCase, basic, spelled
from tests.web.memory_upstream import Elsewhere

OURS = ("alpha", "beta")
THEIRS, YOUNG, BOTH = "gamma", "delta", "alpha"
DATE = re.compile(rb"\r\nDate: [^\r]*")
HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
VERSIONS = ("1.0", "2.0", "3.0")
FILES = [
    f"/packages/{name}/{wheel_filename(name, version)}"
    for name in (*OURS, THEIRS)
    for version in VERSIONS[:2]
]
PATHS = (
    *(f"/simple/{name}/" for name in (*OURS, THEIRS, YOUNG)),
    "/simple/",
    "/local/",
    f"/local/{THEIRS}/",
    *(f"/pypi/{name}/json" for name in (*OURS, THEIRS)),
    *FILES,
    *(f"{path}.metadata" for path in FILES),
)
WHO = st.sampled_from(["anonymous", "alice", "carol", "token", "cookie"])
FORMATS = st.sampled_from([J, "text/html"])
Asked = tuple[str, str, str, str]


class Case(WholeCase):
    """Lends its assertions and its uploads."""

    def runTest(self) -> None:
        """Nothing by itself."""


class Changing(RuleBasedStateMachine):
    """A pypid with accounts and another index behind it; what it answers with the fast path is
    what it answers without.
    """

    linked = False
    answered = 0
    """By the fast path, in all runs."""

    def __init__(self) -> None:
        super().__init__()
        self.case = Case()
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        self.upstream = Elsewhere()
        policy = Policy(
            mode=Mode.CACHE,
            allow_mixed=(BOTH,),
            cooldown=Cooldown(timedelta(), (CooldownException(YOUNG, timedelta(days=1)),)),
            claims=Claims(),
        )
        self.pypid = self.case.pypid = Pypid(folder, policy=policy, upstream=self.upstream)
        self.upstream.now = self.pypid.world.now
        self.peopled = Peopled(self.pypid, folder / "people")
        if self.linked:
            link_files(self.pypid)
        self.lines = Lines(self.pypid)
        app = self.pypid.app
        self.fast_path = FastPath(app, self.lines)
        self.hot = Site(
            resource(app),
            reactor=self.pypid.clock,
            access_log=self.lines,
            fast_path=self.fast_path,
            hosts=HostPolicy(("*",)),
        )
        self.cold = Site(resource(app), reactor=self.pypid.clock, hosts=HostPolicy(("*",)))
        for site in (self.hot, self.cold):
            site.startFactory()
        self.passwords = ["carol's"]
        self.secret = self.cookie = ""
        self.sessions = 0
        self.blocked: set[tuple[str, str]] = set()
        self.asked: list[Asked] = []
        self.tags: dict[tuple[str, str], str] = {}

    folder: str
    """Of all runs."""

    @initialize(
        asked=st.lists(
            st.tuples(st.sampled_from(PATHS), WHO, FORMATS, st.just("")), min_size=6, max_size=8
        )
    )
    def begin(self, asked: list[Asked]) -> None:
        """Something is there, and was asked for."""
        self.asked = asked
        have(self.pypid.index.maintenance.reconcile())
        now = self.pypid.world.now()
        carol = Account(name="carol", hash=HASHER.hash("carol's"), created=now, changed=now)
        have(self.peopled.accounts.add_user(carol))
        self.publish("alpha", "1.0")
        self.upload_there(THEIRS, "1.0")
        self.upload_there(YOUNG, "1.0")
        self.new_token(600)
        self.log_in()

    # --- what changes ---

    @rule(name=st.sampled_from(OURS), version=st.sampled_from(VERSIONS))
    def publish(self, name: str, version: str) -> None:
        """A release, which may be there already."""
        answer = self.case.publish(wheel_filename(name, version), wheel(name, version))
        assert answer.status in (200, 400, 403, 503), answer
        restrictions = self.pypid.index.context.policy.restrictions.current.of(ProjectName(name))
        if answer.status == 200 and restrictions is None:
            self.shown(name, version, True)

    def shown(self, name: str, version: str, there: bool) -> None:
        """What was acknowledged is seen at once, by whoever may see everything."""
        page = self.exchange(self.hot, (f"/simple/{name}/", "ada", J, ""))
        if name == BOTH and self.upstream.away is not None:
            return
        is_shown = there and (name, version) not in self.blocked
        assert (wheel_filename(name, version).encode() in page) is is_shown, page

    @rule(
        name=st.sampled_from(OURS),
        version=st.sampled_from(VERSIONS),
        how=st.sampled_from(["yank", "unyank", "delete"]),
    )
    def change_file(self, name: str, version: str, how: str) -> None:
        """Yank, unyank or delete it."""
        filename = wheel_filename(name, version)
        found = have(self.pypid.catalog.local.get(ProjectName(name)))
        if filename not in {file.filename for file in getattr(found, "files", ())}:
            return
        index = self.pypid.index
        match how:
            case "yank":
                have(index.manager.yank(ProjectName(name), [filename], "broken"))
            case "unyank":
                have(index.manager.unyank(ProjectName(name), [filename]))
            case _:
                have(index.manager.delete(ProjectName(name), [filename], "ada"))
                if name != BOTH:
                    self.shown(name, version, False)

    @rule(name=st.sampled_from(OURS), status=st.sampled_from(list(Status)))
    def set_status(self, name: str, status: Status) -> None:
        """Archive a project, quarantine it, take that back."""
        if hasattr(have(self.pypid.catalog.local.get(ProjectName(name))), "files"):
            have(self.pypid.index.manager.set_status(ProjectName(name), status, "why not"))

    @rule(
        name=st.sampled_from([THEIRS, YOUNG, BOTH]), version=st.sampled_from(["1.0", "2.0", "4.0"])
    )
    def upload_there(self, name: str, version: str) -> None:
        """The other index has another file, as it will say when it is asked again."""
        self.upstream.has(
            name,
            wheel_filename(name, version),
            wheel(name, version),
            uploaded=self.pypid.world.now(),
        )

    @rule(away=st.booleans())
    def go_away(self, away: bool) -> None:
        """The other index cannot be reached any more, or again."""
        self.upstream.away = UpstreamDown("nobody answers", unreachable=True) if away else None

    @rule(seconds=st.sampled_from([0.5, 1, 4, 30, 200, 299, 601, 3000, 90_000]))
    def wait(self, seconds: float) -> None:
        """Time goes by: pages have to be asked for again, files become old enough, tokens and
        sessions end.
        """
        self.pypid.clock.advance(seconds)

    @rule(step=st.sampled_from([-86_400, -3600, 3600, 86_400]))
    def set_clock(self, step: float) -> None:
        """The wall clock is set; a second later that is noticed."""
        self.pypid.wall.step(step)
        self.pypid.clock.advance(1)

    @rule(
        name=st.sampled_from([*OURS, THEIRS]),
        user=st.sampled_from(["alice", "carol"]),
        gives=st.booleans(),
    )
    def change_right(self, name: str, user: str, gives: bool) -> None:
        """A project gets a rule of its own, or loses it."""
        accounts, project = self.peopled.accounts, ProjectName(name)
        if gives:
            have(accounts.grant(Right(project, Whom.USER, user, write=user == "alice")))
        else:
            have(accounts.withdraw(project, Whom.USER, user))

    @rule(
        names=st.sets(st.sampled_from([*OURS, THEIRS]), max_size=2),
        versions=st.frozensets(st.sampled_from(VERSIONS), min_size=1),
    )
    def block(self, names: set[str], versions: frozenset[str]) -> None:
        """Versions are blocked, and others are not any more; no byte of them is sent from then
        on.
        """
        rule = ProjectRestrictions((VersionRule(versions),))
        restrictions = self.pypid.index.context.policy.restrictions
        restrictions.replace("blocks", {ProjectName(name): rule for name in names})
        self.blocked = {(name, version) for name in names for version in versions}
        for name in names:
            for version in versions:
                path = f"/packages/{name}/{wheel_filename(name, version)}"
                for each in (path, f"{path}.metadata"):
                    answer = self.exchange(self.hot, (each, "ada", J, ""))
                    assert answer[9:12] in (b"403", b"404", b"503"), answer

    @rule(read=st.sampled_from([EVERYONE, AUTHENTICATED, Principals(groups=frozenset({"team"}))]))
    def reload(self, read: Principals) -> None:
        """The defaults are others."""
        self.peopled.defaults = evolve(self.peopled.defaults, read=read)
        self.peopled._apply()

    @rule(fetch=st.sampled_from([EVERYONE, AUTHENTICATED]))
    def reload_fetch(self, fetch: Principals) -> None:
        """Others may have us ask the other index."""
        self.peopled.defaults = evolve(self.peopled.defaults, fetch=fetch)
        self.peopled._apply()

    @rule(joins=st.booleans())
    def change_group(self, joins: bool) -> None:
        """carol comes to the team, or leaves it."""
        accounts = self.peopled.accounts
        if "team" not in have(accounts.memberships()):
            have(accounts.add_group("team"))
        have(accounts.join("team", "carol") if joins else accounts.leave("team", "carol"))

    @precondition(lambda self: len(self.passwords) < 3)
    @rule()
    def new_password(self) -> None:
        """carol has another one, and the old one is worth nothing."""
        self.passwords.append(f"carol's {len(self.passwords) + 1}.")
        hash = HASHER.hash(self.passwords[-1])
        have(self.peopled.accounts.edit_user("carol", lambda account: evolve(account, hash=hash)))
        for site in (self.hot, self.cold):
            answer = self.exchange(site, ("/simple/alpha/", "old carol", J, ""))
            assert answer[9:12] in (b"401", b"429"), answer

    @rule(
        status=st.sampled_from([AccountStatus.ACTIVE, AccountStatus.ACTIVE, AccountStatus.DISABLED])
    )
    def change_status(self, status: AccountStatus) -> None:
        """carol is disabled, or not any more."""
        have(
            self.peopled.accounts.edit_user("carol", lambda account: evolve(account, status=status))
        )

    @rule(seconds=st.sampled_from([100, 600, 100_000]))
    def new_token(self, seconds: float) -> None:
        """carol has another token, which ends by itself."""
        now = self.pypid.world.now()
        self.secret, self.token = self.peopled.registry.new_token(
            name="t",
            user="carol",
            scope=Scope(frozenset({Action.READ, Action.FETCH})),
            now=now,
            expires=now + timedelta(seconds=seconds),
        )
        have(self.peopled.accounts.add_token(self.token))

    @rule()
    def revoke_token(self) -> None:
        """The token is revoked."""
        have(self.peopled.accounts.revoke_token(self.token.id))
        answer = self.exchange(self.hot, ("/simple/alpha/", "token", J, ""))
        assert answer[9:12] in (b"401", b"429"), answer

    @rule()
    def log_in(self) -> None:
        """carol has a session of an hour."""
        self.sessions += 1
        self.cookie = f"{self.sessions:043}"
        now = self.pypid.world.now()
        session = Session(
            digest=digest_of(self.cookie, KEY),
            user="carol",
            created=now,
            expires=now + timedelta(hours=1),
        )
        have(self.peopled.accounts.add_session(session))

    @rule()
    def log_out(self) -> None:
        """The session ends."""
        have(self.peopled.accounts.end_session(digest_of(self.cookie, KEY)))

    @rule(closed=st.booleans())
    def close(self, closed: bool) -> None:
        """Nobody knows any more who may do what; or it is known again."""
        self.pypid.app.closed = UpstreamDown("the accounts", unreachable=True) if closed else None

    # --- what is read ---

    @rule(path=st.sampled_from(PATHS), who=WHO, accept=FORMATS, has=st.booleans())
    def read(self, path: str, who: str, accept: str, has: bool) -> None:
        """Somebody asks for something else, perhaps with what they have already."""
        asked = (path, who, accept, self.tags.get((path, accept), "") if has else "")
        self.asked = [*(each for each in self.asked if each != asked), asked][-8:]

    @invariant()
    def fresh(self) -> None:
        """What was asked before is asked again."""
        for asked in self.asked:
            self.same(asked)

    def same(self, asked: Asked) -> None:
        """What the fast path answers is what would be answered without it. (What it has no answer
        for, it is without.)
        """
        before = self.fast_path.answered
        hot = self.exchange(self.hot, asked)
        if self.fast_path.answered > before:
            cold = self.exchange(self.cold, asked)
            assert hot == cold, (asked, hot[:400], cold[:400])
            type(self).answered += 1
        found = re.search(rb"\r\nETag: ([^\r]*)", hot)
        if found is not None:
            self.tags[asked[0], asked[2]] = found[1].decode()

    def exchange(self, site: Site, asked: Asked) -> bytes:
        """The answer's bytes."""
        path, who, accept, tag = asked
        headers = [
            ("Accept", accept),
            *self.credentials(who),
            *([("If-None-Match", tag)] if tag else []),
        ]
        connection = Connection(site)
        connection.send(spelled("GET", path, *headers))
        sent = DATE.sub(b"", connection.socket.value())
        connection.lose(ConnectionDone())
        assert sent, asked
        return sent

    def credentials(self, who: str) -> Iterable[tuple[str, str]]:
        """What they send to prove it."""
        match who:
            case "carol":
                return [basic("carol", self.passwords[-1])]
            case "old carol":
                return [basic("carol", self.passwords[-2])]
            case "token":
                return [("Authorization", f"Bearer {self.secret}")]
            case "cookie":
                return [("Cookie", f"{COOKIE}={self.cookie}")]
            case "anonymous":
                return []
            case _:
                return [basic(who)]


class LinkedChanging(Changing):
    """The same, where clients are sent elsewhere for files, by URLs that end."""

    linked = True
    answered = 0


class FreshnessTests(WholeCase):
    """All of it, in any order."""

    def run_machine(self, machine: type[Changing], examples: int) -> None:
        """Run it, and see that the fast path had something to do."""
        machine.folder = self.mktemp()
        Path(machine.folder).mkdir()
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=examples,
                stateful_step_count=30,
                deadline=None,
                database=None,
                phases=(
                    Phase.generate,
                ),  # each run opens databases: to shrink one takes minutes, and tells little more
                suppress_health_check=list(HealthCheck),
            ),
        )
        self.assertGreater(machine.answered, examples * 20)

    def test_any_order(self) -> None:
        """Publishes, yanks, deletions, rights, groups, passwords, tokens, sessions, reloads, news
        and outages of the other index, and time, in any order: what the fast path answers is what
        would be answered without it.
        """
        self.run_machine(Changing, 10)

    def test_links(self) -> None:
        """The same of URLs that are signed for a while."""
        self.run_machine(LinkedChanging, 4)
        self.assertEqual(HOST, "index.example")
