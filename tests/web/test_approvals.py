"""New upstream projects that wait for approval (`[upstream] new_projects = ask`)."""

from __future__ import annotations

from pathlib import Path

from attrs import evolve

from pypid.blobs.memory import MemoryBlobs
from pypid.core.configuration.choices import Mode, NewProjects
from pypid.core.errors import StorageDown
from pypid.core.packaging.names import project_name
from pypid.core.policy import Policy
from pypid.core.restrictions import ApprovalVerdict, RestrictionsInForce
from pypid.flow import BytesBody, start
from pypid.index.decisions import Decisions
from pypid.index.upstream import approvals
from pypid.index.upstream.approvals import MOST_OF_ONE, UpstreamDecisions
from tests.distributions import sdist, sdist_filename, wheel, wheel_filename
from tests.index.faulty_blobs import Gated
from tests.web.app_with_accounts import Peopled
from tests.web.full_app import J, Pypid, WholeCase
from tests.web.memory_upstream import Elsewhere
from tests.web.ui.administered import AdministeredCase

HAM, NEWER = wheel_filename("ham"), wheel_filename("ham", "2.0")
FILE = f"/packages/ham/{HAM}"
REASON = "waiting for approval: an administrator has to approve the project first"


class ApprovalCase(AdministeredCase):
    """``ham`` is upstream's, in two releases; nothing is cached."""

    policy = Policy(mode=Mode.CACHE, new_projects=NewProjects.ASK, reserved=("acme-*",))

    def setUp(self) -> None:
        WholeCase.setUp(self)
        self.upstream = Elsewhere()
        self.upstream.has("ham", HAM, wheel("ham", files={"ham/x.so": b"\0", "ham.pth": b"x"}))
        self.upstream.has("ham", NEWER, wheel("ham", "2.0"))
        self.pypid = Pypid(Path(self.mktemp()), policy=self.policy, upstream=self.upstream)
        self.have(self.pypid.catalog.complete())
        self.have_wheel("spam")
        self.peopled = Peopled(self.pypid, Path(self.mktemp()))
        self.browsers = {user: self.log_in(user) for user in ("ada", "bob")}
        self.approvals = self.pypid.app.approvals

    def files(self, name: str = "ham") -> list[str]:
        """The files on the page for installers."""
        return [
            file["filename"] for file in self.pypid.get(f"/simple/{name}/", accept=J).json["files"]
        ]

    def waiting(self) -> list[str]:
        """The projects that wait, by the API."""
        return [each["project"] for each in self.pypid.api("GET", "/api/approvals").json["waiting"]]

    def decide(self, spec: str, verdict: str = "approved", reason: str = "") -> str:
        """Decide by the API; return the id."""
        document = {"spec": spec, "verdict": verdict, "reason": reason}
        answer = self.pypid.api("POST", "/api/approvals", document)
        self.assertEqual(answer.status, 201, answer)
        id: str = answer.json["id"]
        return id


class WaitingTests(ApprovalCase):
    """What clients of a project that waits get."""

    def test_files_are_refused_with_the_reason(self) -> None:
        """The page for installers lists the files, since they show the refusal of a file only; each
        way to the bytes or to metadata is refused, and nothing is cached.
        """
        self.assertEqual(self.files(), [HAM, NEWER])
        for target in (FILE, f"{FILE}.metadata", f"/packages/ham/{NEWER}"):
            answer = self.pypid.get(target)
            self.assertEqual(answer.status, 403, target)
            self.assertIn(REASON, answer.reason)
            self.assertIn(REASON, answer.text)
        self.assertEqual(self.upstream.urls, [])
        self.assertEqual(self.pypid.get(f"/packages/ham/{wheel_filename('ham', '9')}").status, 404)

    def test_other_routes_show_no_files(self) -> None:
        """No other page, list or archive listing of users has the files."""
        self.files()
        for target in (
            "/api/projects/ham",
            "/project/ham/",
            "/pypi/ham/json",
            "/local/ham/",
            f"/project/ham/-/contents/{HAM}",
            "/project/ham/-/versions",
            f"/api/projects/ham/contents/{HAM}",
            f"/api/projects/ham/files/{HAM}/contents",
            f"/integrity/ham/1.0/{HAM}/provenance",
            "/api/search?q=ham",
            "/simple/",
        ):
            answer = self.pypid.api("GET", target, user="bob")
            named = HAM in answer.text and answer.status == 200
            self.assertFalse(named, (target, answer.status))
        self.assertIn(REASON.partition(": ")[2], self.page("/project/ham/").lower())
        self.assertEqual(self.upstream.urls, [])
        self.assertIn("waiting for approval", self.page("/project/ham/-/why"))

    def test_no_page_from_memory(self) -> None:
        """A page of a project that waits is not answered from memory, so that each request counts;
        after the approval it is.
        """
        for _ in range(3):
            self.files()
        [request] = self.pypid.api("GET", "/api/approvals").json["waiting"]
        self.assertEqual((request["count"], request["by"]), (3, ["192.0.2.7"]))

    def test_approved(self) -> None:
        """After the approval all files are served, and the project no longer waits."""
        self.files()
        self.assertEqual(self.waiting(), ["ham"])
        self.assertEqual(self.decide("Ham"), "ham")
        self.assertEqual((self.files(), self.waiting()), ([HAM, NEWER], []))
        self.assertEqual(self.pypid.get(FILE).status, 200)
        self.assertEqual(
            self.peopled.done(what="approval approve"), [("ada", "approval approve", "ham")]
        )

    def test_approved_range(self) -> None:
        """Only approved versions are listed; a request for another one is refused and queued."""
        self.decide("ham<2")
        self.assertEqual(self.files(), [HAM])
        self.assertEqual(self.pypid.get(FILE).status, 200)
        self.assertEqual(self.waiting(), [])
        answer = self.pypid.get(f"/packages/ham/{NEWER}")
        self.assertEqual(answer.status, 403)
        self.assertIn("approve this version first", answer.reason)
        self.assertEqual(self.waiting(), ["ham"])
        self.decide("ham==2.0")
        self.assertEqual(self.files(), [HAM, NEWER])
        self.assertEqual(self.waiting(), [])

    def test_denied(self) -> None:
        """A denied project stays refused, with the reason, and is not queued again."""
        self.files()
        self.decide("ham", "denied", "use spam\ninstead")
        self.assertEqual(self.files(), [])
        answer = self.pypid.get(FILE)
        self.assertEqual(answer.status, 403)
        self.assertEqual(answer.reason, "denied: use spam instead")
        self.assertEqual(self.waiting(), [])
        self.decide("ham")  # a decision about the same versions replaces the other one
        self.assertEqual(self.files(), [HAM, NEWER])
        self.decide("ham==1.0", "denied")
        self.assertEqual(self.files(), [NEWER])

    def test_deleted(self) -> None:
        """Without its decision, a project waits again unless files are cached."""
        id = self.decide("ham==1.0")
        self.assertEqual(self.pypid.api("DELETE", f"/api/approvals/{id}").status, 200)
        self.assertEqual(self.pypid.get(FILE).status, 403)
        self.assertEqual(self.pypid.api("DELETE", f"/api/approvals/{id}").status, 404)
        id = self.decide("ham")
        self.assertEqual(self.pypid.get(FILE).status, 200)
        self.pypid.api("DELETE", f"/api/approvals/{id}")
        self.assertEqual(self.pypid.get(f"/packages/ham/{NEWER}").status, 200)

    def test_local_projects_never_wait(self) -> None:
        """Local files need no approval; a name that is not disclosed is neither asked nor queued."""
        self.assertEqual(len(self.files("spam")), 1)
        for name in ("acme-secret", "spam", "nothing-there"):
            self.pypid.get(f"/simple/{name}/", accept=J)
            self.pypid.get(f"/packages/{name}/{wheel_filename(name)}")
        self.assertEqual(self.waiting(), [])
        self.assertEqual(self.upstream.heard, ["nothing-there"])


class QueueTests(ApprovalCase):
    """The queue is bounded, whatever clients request."""

    def request(self, name: str, by: str) -> None:
        """Request a project."""
        self.have(self.approvals.request(project_name(name), by))

    def test_one_user_cannot_fill_it(self) -> None:
        for number in range(MOST_OF_ONE + 5):
            self.request(f"p{number}", "bob")
        self.request("other", "carol")
        self.request("p1", "carol")
        waiting = {each.name: each.request for each in self.approvals.waiting()}
        self.assertEqual(len(waiting), MOST_OF_ONE + 1)
        self.assertEqual(waiting[project_name("p1")].by, ("bob", "carol"))

    def test_one_network_cannot_fill_it(self) -> None:
        """The addresses of one IPv6 network, of which there are 2^64, count as one."""
        for number in range(MOST_OF_ONE + 5):
            self.request(f"p{number}", f"2001:db8::{number:x}")
        self.assertEqual(len(self.approvals.waiting()), MOST_OF_ONE)

    def test_requests_expire(self) -> None:
        """A project leaves the queue 30 days after the last request for it, and begins anew with
        the next one. New projects remove what has expired from the storage.
        """
        self.files()
        self.pypid.clock.advance(29 * 86400)
        self.request("eggs", "bob")
        self.request("ham", "bob")
        self.pypid.clock.advance(29 * 86400)
        self.assertEqual(self.waiting(), ["ham", "eggs"])
        self.pypid.clock.advance(1 * 86400 + 1)
        self.assertEqual(self.waiting(), [])
        self.browsers["ada"] = self.log_in("ada")  # the session has expired as well
        self.assertIn("0 projects wait", self.page("/manage/approvals"))
        self.request("ham", "carol")
        [waiting] = self.approvals.waiting()
        self.assertEqual((waiting.request.by, waiting.request.count), (("carol",), 1))
        self.assertEqual(list(self.approvals.requests.all), ["ham"])

    def test_removed_by_another_process(self) -> None:
        """A project that another process removed from the queue is new again."""
        self.request("ham", "bob")
        self.request("ham", "bob")
        self.have(self.approvals.requests.delete("ham"))
        self.request("ham", "carol")
        [waiting] = self.approvals.waiting()
        self.assertEqual((waiting.request.by, waiting.request.count), (("carol",), 1))

    def test_all_users_cannot_fill_the_storage(self) -> None:
        self.patch(approvals, "MOST_REQUESTS", 20)
        for number in range(25):
            self.request(f"p{number}", f"user{number}")
        self.assertEqual(len(self.approvals.waiting()), 20)

    def test_storage_away(self) -> None:
        """A client is refused as before if its request cannot be stored."""
        self.assertEqual(self.pypid.get("/simple/ham/", accept=J).status, 200)
        self.have(self.approvals.delete("ham"))
        self.pypid.blobs.away = StorageDown("gone")
        self.request("ham", "bob")
        self.pypid.blobs.away = None
        self.assertEqual(list(self.approvals.waiting()), [])

    def test_simultaneous_requests_are_bounded(self) -> None:
        """Requests that are being stored count, and no client waits for the request of another."""
        policy, world = evolve(self.policy, restrictions=RestrictionsInForce()), self.pypid.world
        blobs = Gated(MemoryBlobs(world.now))
        decisions = Decisions(blobs, world, policy.restrictions)
        approvals = UpstreamDecisions.of(decisions, policy, world).approvals
        under_way = [
            start(approvals.request(project_name(f"p{number}"), "bob"))
            for number in range(MOST_OF_ONE + 20)
        ]
        self.assertEqual(len(blobs.waiting), MOST_OF_ONE)
        self.successResultOf(start(approvals.request(project_name("p1"), "carol")))
        blobs.all()
        for each in under_way:
            self.successResultOf(each)
        self.assertEqual(len(approvals.waiting()), MOST_OF_ONE)

    def test_unreadable_decision(self) -> None:
        """A document that cannot be read withholds the project: it may be a denial."""
        self.decide("ham")
        for id in ("ham", "ham.0a1b2c3d"):
            key = f".pypid/approvals/{id}.json"
            self.have(self.pypid.blobs.write(key, BytesBody(b"{"), replace=True))
        self.have(self.approvals.decisions.decisions.refresh())
        answer = self.pypid.get(FILE)
        self.assertEqual(answer.status, 403)
        self.assertIn("cannot be read", answer.text)
        for id in ("ham", "ham.0a1b2c3d"):
            self.assertEqual(self.pypid.api("DELETE", f"/api/approvals/{id}").status, 200)
        self.assertEqual(self.pypid.get(FILE).status, 403)
        self.decide("ham")
        self.assertEqual(self.pypid.get(FILE).status, 200)

    def test_open_ignores_decisions(self) -> None:
        """With `new_projects = open` nothing waits, and decisions hide nothing."""
        pypid = Pypid(Path(self.mktemp()), policy=Policy(mode=Mode.CACHE), upstream=self.upstream)
        self.have(pypid.catalog.complete())
        self.have(
            pypid.app.approvals.decide(project_name("ham"), "", ApprovalVerdict.DENIED, "", "ada")
        )
        self.assertEqual(pypid.get(FILE).status, 200)


class InsideTests(ApprovalCase):
    """Administrators look into releases that are not approved, and compare them."""

    def test_look_inside(self) -> None:
        """The files can be browsed, by administrators only, and nothing is cached."""
        self.files()
        page = self.page("/manage/approvals")
        self.assertRegex(page, r"2 releases, the first \d+ days? ago")
        inside = f"/project/ham/-/contents/{NEWER}"
        self.assertIn(f'href="..{inside}"', page)
        self.assertIn(
            "METADATA", self.page(f"/project/ham/-/contents/{HAM}?in=ham-1.0.dist-info%2F")
        )
        self.assertIn("Name: ham", self.page(f"{inside}?path=ham-2.0.dist-info%2FMETADATA"))
        answer = self.pypid.get(inside, user="bob")
        self.assertEqual(answer.status, 403)
        self.assertEqual(self.pypid.get(FILE).status, 403)

    def test_of_an_sdist(self) -> None:
        """An sdist, which is read from its beginning, is not cached either."""
        name = sdist_filename("eggs")
        self.upstream.has("eggs", name, sdist("eggs", files={"setup.py": b"exec('x')"}))
        self.files("eggs")
        self.assertIn("setup.py", self.page(f"/project/eggs/-/contents/{name}?in=eggs-1.0%2F"))
        self.assertEqual(self.pypid.get(f"/packages/eggs/{name}").status, 403)

    def test_compare(self) -> None:
        """A release that is not approved is compared with one that is."""
        self.decide("ham==1.0")
        self.files()
        self.assertIn("ham/x.so", self.page("/project/ham/-/compare"))
        answer = self.pypid.get("/project/ham/-/compare?from=1.0&to=2.0", user="bob")
        self.assertEqual(answer.status, 404)

    def test_local_projects(self) -> None:
        """Of a local project, administrators see what others see."""
        self.files()
        name = wheel_filename("ham", "3.0")
        self.published(self.publish(name, wheel("ham", "3.0"), user="ada"))
        self.assertNotIn(NEWER, self.page("/project/ham/-/compare"))

    def test_known_of_upstream(self) -> None:
        """The API has the number of releases and the first upload of each project."""
        self.files()
        [found] = self.pypid.api("GET", "/api/approvals").json["waiting"]
        self.assertEqual((found["releases"], found["uploaded"]), (2, "2026-01-01T00:00:00Z"))
