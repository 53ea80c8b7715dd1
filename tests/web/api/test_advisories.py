"""The advisories that hit stored files, and the check of lock files."""

from __future__ import annotations

import json
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet.address import IPv4Address

from pypid.advisories.service import Advisories
from pypid.core.accounts.rights import DownloadEntry
from pypid.core.configuration.choices import Mode
from pypid.core.errors import UpstreamDown
from pypid.core.packaging.names import project_name
from pypid.core.permissions import Grants, Principals
from pypid.core.policy import Policy
from pypid.core.restrictions import ProjectRestrictions
from pypid.web.api.advisories import CHECKING
from tests.core.test_restrictions import VersionRule
from tests.distributions import wheel
from tests.support.worlds import Turns
from tests.web.advised import advise, advisory
from tests.web.app_with_accounts import Peopled
from tests.web.full_app import RULES, Answer, Connection, Pypid, WholeCase, basic, spelled
from tests.web.memory_upstream import Elsewhere

SECRET = project_name("acme-secret")
BOBS = Grants(read=Principals(users=frozenset({"bob"})))
PUBLIC = (
    advisory("PYSEC-1", ("spam", "0", "1.5"), database_specific={"severity": "HIGH"}),
    advisory("PYSEC-2", ("spam", "3", None)),
    advisory("GHSA-3", ("spam", "2", None), ("ham", "0", None)),
    advisory("MAL-4", ("acme-secret", "0", None)),
    advisory("PYSEC-5", ("spam", "0", None), withdrawn="2026-01-03T00:00:00Z"),
)
OWN = (advisory("ACME-1", ("acme-secret", "0", "3"), ("spam", "0", "1.1"), summary="acme-secret!"),)


class HostedTests(WholeCase):
    def setUp(self) -> None:
        super().setUp()
        self.spam, data = self.have_wheel("spam", "1.0")
        self.digest = sha256(data).hexdigest()
        self.have_wheel("spam", "2.0")
        self.have_wheel("acme-secret", "1.0")
        self.peopled = Peopled(self.pypid, Path(self.mktemp()))
        self.pypid.app.rules = evolve(RULES, projects={SECRET: BOBS})
        self.advisories = advise(self.pypid, Path(self.mktemp()), PUBLIC, OWN)

    def listed(self, query: str = "", user: str | None = None) -> list[dict[str, Any]]:
        answer = self.pypid.api("GET", f"/api/advisories{query}", user=user)
        self.assertEqual(answer.status, 200, answer)
        self.assertEqual(answer.json["total"], len(answer.json["advisories"]))
        found: list[dict[str, Any]] = answer.json["advisories"]
        return found

    def ids(self, query: str = "", user: str | None = None) -> list[str]:
        return [f"{each['project']} {each['id']}" for each in self.listed(query, user)]

    def test_files_that_are_hit(self) -> None:
        """Each advisory in force that hits a stored version, with the files, the worst first."""
        high, own, other = self.listed()
        self.assertEqual(
            {
                name: high[name]
                for name in ("id", "severity", "fixed", "versions", "files", "local")
            },
            {
                "id": "PYSEC-1",
                "severity": "high",
                "fixed": ["1.5"],
                "versions": ["1.0"],
                "files": [self.spam],
                "local": True,
            },
        )
        self.assertEqual((other["id"], other["versions"]), ("GHSA-3", ["2.0"]))
        self.assertEqual((own["id"], own["private"]), ("ACME-1", True))

    def test_downloads(self) -> None:
        """Those of the last 30 days; by whom only administrators see."""
        now = self.pypid.world.now()
        for days, who in ((0, "bob"), (1, "bob"), (29, "ann"), (31, "eve")):
            when = now - timedelta(days=days)
            self.peopled.downloads.note(
                DownloadEntry(
                    when=when, sha256=self.digest, project="spam", filename=self.spam, who=who
                )
            )
        found = self.listed(user="ada")[1]
        self.assertEqual((found["id"], found["downloads"]), ("PYSEC-1", 3))
        expected = [{"user": "bob", "downloads": 2}, {"user": "ann", "downloads": 1}]
        self.assertEqual(found["users"], expected)
        found = self.listed(user="bob")[1]
        self.assertEqual((found["downloads"], found["users"]), (3, None))
        token = {"name": "ci", "actions": ["read"]}
        secret = self.pypid.api("POST", "/api/tokens", token, user="ada").json["secret"]
        by_token = self.pypid.ask("GET", "/api/advisories", basic("__token__", secret)).json
        self.assertEqual(by_token["advisories"][1]["downloads"], 3)
        self.assertIsNone(by_token["advisories"][1]["users"])


class CheckTests(WholeCase):
    def setUp(self) -> None:
        super().setUp()
        for name, version in (("spam", "1.0"), ("spam", "2.0"), ("eggs", "1.0"), ("eggs", "2.0")):
            self.have_wheel(name, version)
        self.have_wheel("acme-secret", "1.0")
        self.pypid.app.rules = evolve(RULES, projects={SECRET: BOBS})
        advise(self.pypid, Path(self.mktemp()), PUBLIC, OWN)

    def check(self, user: str | None = None, **texts: str) -> Answer:
        return self.pypid.api("POST", "/api/advisories/check", texts, user=user)

    def checked(self, lines: str, user: str | None = None) -> dict[str, dict[str, Any]]:
        answer = self.check(user, requirements=lines)
        self.assertEqual(answer.status, 200, answer)
        releases = answer.json["releases"]
        self.assertEqual(answer.json["clean"], all(map(is_clean, releases)))
        return {f"{each['project']} {each['version']}": each for each in releases}

    def test_vulnerable(self) -> None:
        """The advisories of each pinned release, those that the user may see."""
        found = self.checked("spam==1\neggs==1.0\n")
        ids = [each["id"] for each in found["spam 1"]["vulnerable"]]
        self.assertEqual(sorted(ids), ["ACME-1", "PYSEC-1"])
        self.assertNotIn("secret", json.dumps(found))
        self.assertTrue(is_clean(found["eggs 1.0"]), found)

    def test_unread_source(self) -> None:
        """Before the source was read once, no release is clean."""
        self.pypid.app.advisories = Advisories(self.pypid.world, Path(self.mktemp()))
        found = self.checked("eggs==1.0\n")["eggs 1.0"]
        self.assertIn("not been read", found["unknown"])
        self.assertFalse(is_clean(found))

    def test_gone(self) -> None:
        """A release or project that is not here; a hidden project is like one that is not."""
        found = self.checked("spam==9\nnothing==1\nacme-secret==1.0\n")
        self.assertIn("does not have this release", found["spam 9"]["gone"])
        gone = {name: found[name]["gone"] for name in ("nothing 1", "acme-secret 1.0")}
        self.assertIn("There is no project", gone["nothing 1"])
        self.assertEqual(
            gone["acme-secret 1.0"].replace("acme-secret", "nothing"), gone["nothing 1"]
        )
        self.assertEqual(self.checked("acme-secret==1.0", "bob")["acme-secret 1.0"]["gone"], "")

    def test_blocked(self) -> None:
        """A withheld release says why, and is not gone."""
        rules = ProjectRestrictions((VersionRule(frozenset(["1.0"])),))
        self.pypid.index.context.policy.restrictions.replace(
            "blocks", {project_name("eggs"): rules}
        )
        found = self.checked("eggs==1.0\neggs==2.0")
        [hold] = found["eggs 1.0"]["blocked"]
        self.assertEqual((hold["kind"], hold["reason"]), ("blocked", "bad"))
        self.assertEqual(found["eggs 1.0"]["gone"], "")
        self.assertEqual(found["eggs 2.0"]["blocked"], [])

    def test_lock_file(self) -> None:
        """All releases of a lock; its files must be here."""
        lock = """lock-version = "1.0"
created-by = "test"
[[packages]]
name = "eggs"
version = "1.0"
marker = "sys_platform == 'win32'"
wheels = [{name = "eggs-1.0-py3-none-any.whl", url = "https://x.example/1", hashes = {sha256 = "00"}}]
[[packages]]
name = "eggs"
version = "2.0"
wheels = [{name = "eggs-2.0-cp39-none-any.whl", url = "https://x.example/1", hashes = {sha256 = "00"}}]
"""
        first, second = self.check(**{"pylock.toml": lock}).json["releases"]
        self.assertEqual(first["gone"], "")
        self.assertIn("None of the files", second["gone"])

    def unfinished(self, address: str) -> Connection:
        """A connection from this address whose check has begun, and whose body does not end."""
        connection = Connection(self.pypid.site, peer=IPv4Address("TCP", address, 4711))
        head = spelled("POST", "/api/advisories/check", ("Content-Length", "100000"))
        connection.send(head + b'{"requirements": "')
        return connection

    def test_slow_clients(self) -> None:
        """Checks whose bodies do not end take neither the places nor the bytes of collections, and
        keep clients at other addresses from nothing. A second one from the same address waits.
        """
        slow = [self.unfinished(f"10.0.0.{number}") for number in range(1, 6)]
        waiting = self.unfinished("10.0.0.1")
        self.assertEqual(self.pypid.app.collections.tokens, 2)
        self.assertEqual(self.pypid.app.collection_bodies.taken, 0)
        self.assertEqual(self.checked("eggs==1.0").keys(), {"eggs 1.0"})
        for _ in range(int(CHECKING)):
            for connection in (*slow, waiting):
                connection.send(b" " * 1000)
            self.pypid.clock.advance(1)
        answers = [connection.answer() for connection in (*slow, waiting)]
        self.assertEqual([answer and answer.status for answer in answers], [408] * 5 + [503])
        self.assertEqual(self.pypid.app.check_bodies.taken, 0)

    def test_check_that_does_not_end(self) -> None:
        """It is given up in time, and its place is free again."""
        world = self.pypid.app.world
        self.pypid.app.world = evolve(world, thinking=Turns())
        connection = self.pypid.connect()
        body = json.dumps({"requirements": "eggs==1.0"}).encode()
        connection.send(spelled("POST", "/api/advisories/check", body=body))
        self.assertEqual(self.pypid.app.collections.tokens, 2)
        self.pypid.clock.advance(CHECKING)
        answer = connection.answer()
        assert answer is not None
        self.assertEqual((answer.status, answer["retry-after"]), (503, "5"))
        self.pypid.app.world = world
        self.assertEqual(self.checked("eggs==1.0").keys(), {"eggs 1.0"})


class UpstreamTests(WholeCase):
    """An index with another one behind it."""

    def setUp(self) -> None:
        super().setUp()
        self.elsewhere = Elsewhere()
        self.pypid = self.over(Policy(mode=Mode.CACHE))
        for name in ("theirs", "signed"):
            for version in ("1.0", "2.0"):
                url = "https://elsewhere.example/provenance" if name == "signed" else None
                self.elsewhere.has(
                    name,
                    f"{name}-{version}-py3-none-any.whl",
                    wheel(name, version),
                    provenance_url=url,
                )

    def over(self, policy: Policy) -> Pypid:
        pypid = Pypid(self.spool, policy=policy, upstream=self.elsewhere)
        self.have(pypid.index.maintenance.reconcile())
        advise(pypid, Path(self.mktemp()), [advisory("MAL-1", ("theirs", "0", "1.5"))])
        return pypid

    def checked(self, *pins: str) -> list[dict[str, Any]]:
        document = {"requirements": "\n".join(pins)}
        answer = self.pypid.api("POST", "/api/advisories/check", document, user=None)
        self.assertEqual(answer.status, 200, answer)
        releases: list[dict[str, Any]] = answer.json["releases"]
        return releases

    def test_links_to_malware(self) -> None:
        """The page links to the project of cached malware: the release has no page, as it is hidden
        where advisories are in force.
        """
        self.assertEqual(self.pypid.get("/packages/theirs/theirs-1.0-py3-none-any.whl").status, 200)
        text = self.pypid.get("/advisories", "text/html").text
        self.assertIn('href="./project/theirs/"', text)
        self.assertNotIn("theirs/1.0/", text)

    def test_listed_files(self) -> None:
        """What upstream lists counts, with its attestations, although nothing is stored here; each
        project is asked for once.
        """
        one, other, signed, none = self.checked(
            "theirs==1.0", "theirs==2.0", "signed==1.0", "nothing==1"
        )
        self.assertEqual([each["id"] for each in one["vulnerable"]], ["MAL-1"])
        self.assertEqual((one["attested"], signed["attested"]), (False, True))
        self.assertTrue(is_clean(other) and is_clean(signed), (other, signed))
        self.assertIn("There is no project", none["gone"])
        self.assertEqual(sorted(self.elsewhere.heard), ["nothing", "signed", "theirs"])

    def test_withheld(self) -> None:
        """A listed file that a rule withholds is blocked."""
        rules = ProjectRestrictions((VersionRule(frozenset(["1.0"])),))
        self.pypid.index.context.policy.restrictions.replace(
            "blocks", {project_name("theirs"): rules}
        )
        one, other = self.checked("theirs==1.0", "theirs==2.0")
        self.assertEqual([hold["kind"] for hold in one["blocked"]], ["blocked"])
        self.assertEqual((one["gone"], other["blocked"]), ("", []))

    def test_private_names_are_not_heard(self) -> None:
        """A check sends no local and no reserved name upstream."""
        self.pypid = self.over(Policy(mode=Mode.CACHE, reserved=("acme-*",)))
        self.have_wheel("mine", "1")
        mine, reserved, _ = self.checked("mine==1", "acme-billing==1", "theirs==1.0")
        self.assertEqual((mine["gone"], bool(reserved["gone"])), ("", True))
        self.assertEqual(self.elsewhere.heard, ["theirs"])

    def test_upstream_is_away(self) -> None:
        """What cannot be looked up is unknown, which is not clean, and other releases are."""
        self.have_wheel("eggs", "1")
        self.elsewhere.away = UpstreamDown("https://elsewhere.example/", "gone fishing")
        mine, theirs = self.checked("eggs==1", "theirs==2.0")
        self.assertTrue(is_clean(mine))
        self.assertIn("elsewhere.example", theirs["unknown"])


def is_clean(release: dict[str, Any]) -> bool:
    return release["yanked"] is None and not any(
        release[name] for name in ("blocked", "gone", "vulnerable", "unknown")
    )
