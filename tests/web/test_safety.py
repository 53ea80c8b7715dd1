"""A name that is ours never goes upstream: no route, spelling, mode, or moment in the life of a
pypid lets it out.

Upstream is `Elsewhere`, which has projects of the very names that are ours, as an attacker would;
time goes on between any two requests, so that nothing that was heard is fresh, and whoever may ask
does ask.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pypid.catalog.shared import SharedCatalog
from pypid.core.configuration.choices import Mode
from pypid.core.cooldown import Cooldown
from pypid.core.errors import StorageDown, UpstreamDown
from pypid.core.model import Status
from pypid.core.packaging.names import project_name
from pypid.core.policy import Policy
from pypid.core.records.layout import key
from pypid.flow import BytesBody
from pypid.jobs.cache_maintenance import CacheMaintenance
from tests.distributions import sdist, sdist_filename, wheel, wheel_filename
from tests.support.engines import Place, a_catalog, rows_of
from tests.support.worlds import BEGINNING
from tests.web.full_app import Answer, Fragile, J, Pypid, WholeCase
from tests.web.memory_upstream import FILES, Elsewhere
from tests.web.routes import ALL_ROUTES

SECRET, RESERVED, PUBLIC = "acme-secret", "acme-plans", "spam"
SPELLINGS = (
    "acme-secret",
    "Acme_Secret",
    "ACME.SECRET",
    "acme-_.-secret",
    "%61cme-secret",
    "acme%2Dsecret",
    "acme%5fsecret",
    "%41CME%2e%2E%5FSECRET",
)
THEIRS = wheel("acme-secret", "99.0")
OURS = wheel("acme-secret", "1.0")
FILENAMES = (
    wheel_filename("acme-secret", "1.0"),  # of ours
    wheel_filename("acme-secret", "99.0"),  # of theirs
    sdist_filename("acme-secret", "99.0"),
    "nothing",
)
ONLINE = (Mode.CACHE, Mode.REDIRECT, Mode.MIRROR)
METHODS = ("OPTIONS", "HEAD", "GET", "PUT", "POST", "DELETE")
"""In the order in which they are tried: what deletes comes last."""
RELEASE = "/api/names/<project>"
"""The one route that gives a name away."""


def targets(method: str, rule: str, spelling: str) -> Iterator[str]:
    """The paths of a route, for the project in this spelling; in its normal one, what can be read
    for every file, and what lies beside it.
    """
    if spelling != SECRET and method in ("HEAD", "OPTIONS"):
        return  # the name is read as for GET
    wanted = FILENAMES if spelling == SECRET and method in ("GET", "HEAD") else FILENAMES[1:2]
    for filename in (
        [name + beside for name in wanted for beside in ("", ".metadata")]
        if "<filename>" in rule
        else [""]
    ):
        path = (
            rule.replace("<project>", spelling)
            .replace("<filename>", filename)
            .replace("<version>", "99.0")
        )
        yield path.replace("<python>", "py3").replace("<letter>", spelling[0])


@cache
def project_routes() -> tuple[tuple[str, str], ...]:
    """Method and rule of all routes that a project stands in, what deletes last."""
    found = {
        (method, route.path)
        for route in ALL_ROUTES
        for method in route.methods
        if "<project>" in route.path
    }
    return tuple(sorted(found, key=lambda each: (METHODS.index(each[0]), each[1])))


class SafetyCase(WholeCase):
    """A pypid in front of an index that has all the names."""

    policy = Policy(mode=Mode.CACHE, reserved=("acme-plans",))

    def setUp(self) -> None:
        super().setUp()
        self.elsewhere = Elsewhere()
        for name in (SECRET, RESERVED, PUBLIC):
            self.elsewhere.has(name, wheel_filename(name, "99.0"), wheel(name, "99.0"))
            self.elsewhere.has(name, sdist_filename(name, "99.0"), sdist(name, "99.0"))
        self.blobs = self.pypid.blobs
        self.pypid = self.another()

    def another(
        self, blobs: Fragile | None = None, catalog: SharedCatalog | None = None, **policy: Any
    ) -> Pypid:
        """A new process with the same storage, or with `blobs`; its catalog is empty, or `catalog`,
        and nothing has been compared.
        """
        settings = {
            name: getattr(self.policy, name)
            for name in ("mode", "reserved", "allow", "deny", "allow_mixed", "cooldown")
        }
        return Pypid(
            Path(self.mktemp()),
            blobs=self.blobs if blobs is None else blobs,
            catalog=catalog,
            policy=Policy(**{**settings, **policy}),
            upstream=self.elsewhere,
        )

    def compare(self, pypid: Pypid | None = None) -> None:
        """What a start does in the background."""
        self.have((pypid or self.pypid).index.maintenance.reconcile())

    def have_secret(self, pypid: Pypid | None = None) -> None:
        """Publish a file of ours."""
        self.published(self.publish(FILENAMES[0], OURS, user="ada", pypid=pypid or self.pypid))

    def ask(
        self,
        target: str,
        method: str = "GET",
        *headers: tuple[str, str],
        pypid: Pypid | None = None,
    ) -> Answer:
        """The answer to the administrator, later than anything that was asked before."""
        asked = pypid or self.pypid
        asked.clock.advance(3600)
        answer = asked.ask(
            method, target, *headers, user="ada", body=b"" if method in ("PUT", "POST") else None
        )
        self.assertNotEqual(answer.status, 500, (method, target, answer))
        return answer

    def ask_all(
        self,
        spellings: tuple[str, ...] = SPELLINGS,
        pypid: Pypid | None = None,
        but: tuple[str, ...] = (),
        methods: tuple[str, ...] = METHODS,
    ) -> list[Answer]:
        """The answers of every route that a project stands in, but the one that gives the name
        away.
        """
        answers = []
        for method, rule in project_routes():
            for spelling in spellings if method in methods and rule not in (RELEASE, *but) else ():
                for target in targets(method, rule, spelling):
                    answers.append(self.ask(target, method, pypid=pypid))
                    if method == "GET" and "<filename>" in rule:
                        answers.append(
                            self.ask(target, method, ("Range", "bytes=-10"), pypid=pypid)
                        )
        return answers

    def silent(self, *names: str) -> None:
        """Upstream has heard nothing but these names."""
        self.assertEqual(set(self.elsewhere.heard) - set(names), set())


class RoutesTests(SafetyCase):
    """Everything that can be asked."""

    def test_it_would_be_heard(self) -> None:
        """A name that is not ours is heard, by its page and by its files: the tests below could
        fail.
        """
        self.ask_all((SECRET,))
        self.assertIn(SECRET, self.elsewhere.heard)
        self.assertIn(f"{FILES}{SECRET}/{FILENAMES[1]}", self.elsewhere.urls)

    def test_ours(self) -> None:
        """A name of ours is not heard upstream by any route or method, in any spelling, in any
        mode; only our file is there (C36).
        """
        for mode in Mode:
            self.blobs = Fragile(self.pypid.world.now)
            self.pypid = self.another(mode=mode)
            self.have_secret()
            answers = self.ask_all(SPELLINGS if mode is Mode.CACHE else (SECRET,))
            self.assertTrue(any(answer.body == OURS for answer in answers))
            self.assertFalse(
                any(FILES in answer.text for answer in answers if answer.body[:2] != b"PK")
            )
            self.assertFalse(
                any((answer["location"] or "").startswith("http") for answer in answers)
            )
            self.assertFalse(any(answer.body == THEIRS for answer in answers))
        self.silent()

    def test_reserved(self) -> None:
        """A name that matches `reserved`, in whatever spelling that is written, is not heard
        either, and nothing is there.
        """
        for glob in (
            "acme-secret",
            "ACME_Secret",
            "acme.*",
            "Acme-_*",
            "*secret",
            "acme[-_]secret",
            "a?me-secre?",
        ):
            for mode in Mode if glob == "acme.*" else (Mode.CACHE,):
                self.pypid = self.another(mode=mode, reserved=("other", glob))
                if glob == "acme.*":
                    answers = self.ask_all(SPELLINGS if mode is Mode.CACHE else SPELLINGS[1:2])
                else:  # every way to write it is the same rule: it is enough to get what there is
                    answers = self.ask_all(SPELLINGS[1:2], methods=("GET",))
                self.assertFalse(any(FILES in answer.text for answer in answers))
                for target in (
                    f"/simple/{SECRET}/",
                    f"/packages/{SECRET}/{FILENAMES[1]}",
                    f"/local/{SECRET}/",
                ):
                    self.assertEqual(self.ask(target).status, 404, target)
        self.silent()

    def test_released(self) -> None:
        """Once an administrator has released it, a name of ours may go upstream; not while files of
        it are there, or after they were deleted.
        """
        self.have_secret()
        self.assertGreaterEqual(self.ask(f"/api/names/{SECRET}", "DELETE").status, 400)
        self.ask(f"/simple/{SECRET}/")
        self.assertEqual(self.ask(f"/api/projects/{SECRET}", "DELETE").status, 200)
        self.ask_all(SPELLINGS[::7])
        self.pypid = self.another()
        self.ask_all((SECRET,))
        self.silent()
        self.assertEqual(self.ask(f"/api/names/{SECRET}", "DELETE").status, 200)
        self.assertEqual(
            [file["filename"] for file in self.pypid.page(SECRET)["files"]], sorted(FILENAMES[1:3])
        )
        self.assertEqual(self.ask(f"/packages/{SECRET}/{FILENAMES[1]}").body, THEIRS)

    def test_every_status(self) -> None:
        """A project of ours is not asked for upstream whatever its status."""
        self.have_secret()
        for status in Status:
            self.pypid.api("PUT", f"/api/projects/{SECRET}/status", {"status": status.value})
            for target in (
                f"/simple/{SECRET}/",
                *(f"/packages/{SECRET}/{filename}" for filename in FILENAMES),
            ):
                self.ask(target)
        self.silent()

    def test_allowed(self) -> None:
        """Only what `allow` says and `deny` does not may be heard, and only such names
        have a page.
        """
        for policy in (
            {"deny": ("ACME_*",)},
            {"allow": ("spam", "eggs*")},
            {"allow": ("*",), "deny": ("*secret",)},
        ):
            self.pypid = self.another(**policy)
            self.ask_all((SECRET, "ACME_Secret") if "deny" not in policy else ("ACME_Secret",))
            self.assertEqual(self.ask(f"/simple/{SECRET}/").status, 404)
            self.assertEqual(self.ask(f"/simple/{PUBLIC}/").status, 200)
        self.silent(PUBLIC)
        self.pypid = self.another(allow=())
        self.assertEqual(self.ask("/simple/eggs/").status, 404)
        self.silent(PUBLIC)

    def test_blend(self) -> None:
        """`allow_mixed` is the one exception: local and upstream files are on one page, a local file
        wins over an upstream file of its name; `reserved` and `deny` are stronger.
        """
        self.have_secret()
        ours = self.elsewhere.has(
            SECRET, FILENAMES[0], wheel("acme-secret", "1.0", files={"evil.py": b""})
        )
        self.pypid = self.another(allow_mixed=("acme_*",))
        self.assertEqual(
            next(file["filename"] for file in self.pypid.page(SECRET)["files"]), FILENAMES[0]
        )
        self.assertEqual(len(self.pypid.page(SECRET)["files"]), 3)
        self.assertEqual(self.ask(f"/packages/{SECRET}/{FILENAMES[0]}").body, OURS)
        self.assertEqual(self.ask(f"/packages/{SECRET}/{FILENAMES[1]}").body, THEIRS)
        self.assertNotIn(ours.source, self.elsewhere.urls)
        del self.elsewhere.heard[:]
        for policy in ({"reserved": ("acme-*",)}, {"deny": ("acme-*",)}):
            self.pypid = self.another(allow_mixed=("acme_*",), **policy)
            self.assertEqual(len(self.pypid.page(SECRET)["files"]), 1)
            self.assertEqual(self.ask(f"/packages/{SECRET}/{FILENAMES[1]}").status, 404)
        self.silent()

    def test_refresh(self) -> None:
        """A mirror's refreshing asks for what is kept, and never for what has become ours, is
        reserved, or is denied since.
        """
        for policy in ({}, {"reserved": (SECRET,)}, {"deny": (SECRET,)}, {"allow": (PUBLIC,)}):
            self.blobs = Fragile(self.pypid.world.now)
            self.pypid = self.another(mode=Mode.MIRROR)
            for name in (SECRET, PUBLIC):
                self.assertEqual(
                    self.ask(f"/packages/{name}/{wheel_filename(name, '99.0')}").status, 200
                )
            self.pypid = self.another(mode=Mode.MIRROR, **policy)
            self.compare()
            if not policy:
                self.have_secret(self.another())  # by another process: this one has not heard of it
            del self.elsewhere.heard[:]

            async def nothing() -> None:
                return None

            maintenance = CacheMaintenance(self.pypid.index, nothing, refresh=timedelta(hours=1))
            self.have(maintenance.refresh_pages())
            self.assertEqual(self.elsewhere.heard, [PUBLIC])


class StartTests(SafetyCase):
    """The first second of a process, which knows nothing, or what is not so any more."""

    def restarted(self, rows: Place, **policy: Any) -> Pypid:
        """A new process that has found these rows."""
        return self.another(catalog=a_catalog(place=deepcopy(rows)), **policy)

    def check(self, pypid: Pypid) -> None:
        """Nothing is heard before and after the storage is compared, and what is ours is served at
        once.
        """
        for compare in (False, True):
            if compare:
                self.compare(pypid)
            self.assertEqual(
                [file["filename"] for file in pypid.page(SECRET)["files"]], [FILENAMES[0]]
            )
            self.assertEqual(pypid.get(f"/packages/{SECRET}/{FILENAMES[0]}").body, OURS)
            self.assertEqual(
                self.ask(f"/packages/{SECRET}/{FILENAMES[1]}", pypid=pypid).status, 404
            )
            self.assertEqual(
                self.ask(f"/packages/{SECRET}/{FILENAMES[1]}.metadata", pypid=pypid).status, 404
            )
        self.ask_all((SECRET,), pypid)
        self.silent()

    def test_empty(self) -> None:
        """With no rows at all what is ours is found in the storage, and not heard; nor what was
        deleted there.
        """
        self.have_secret()
        self.check(self.another())
        self.ask(f"/api/projects/{SECRET}", "DELETE")
        fresh = self.another()
        self.assertNotIn(FILENAMES[1], self.ask(f"/simple/{SECRET}/", pypid=fresh).text)
        self.ask_all((SECRET,), fresh)
        self.silent()

    def test_old(self) -> None:
        """With rows from before the name was published, when upstream's project of that name
        was known, and kept: the first request already gets ours.
        """
        self.compare()
        self.assertEqual(self.ask(f"/packages/{SECRET}/{FILENAMES[1]}").body, THEIRS)
        rows = rows_of(self.pypid.catalog)
        self.have_secret(self.another())
        del self.elsewhere.heard[:]
        for mode in Mode:
            fresh = self.restarted(rows, mode=mode)
            self.assertEqual(
                [file["filename"] for file in fresh.page(SECRET)["files"]], [FILENAMES[0]]
            )
            self.assertEqual(fresh.get(f"/packages/{SECRET}/{FILENAMES[1]}").status, 404)
        self.check(self.restarted(rows))

    def test_released_elsewhere(self) -> None:
        """What old rows take for ours, and was released by another process since, is not ours
        from the first request on.
        """
        self.have_secret()
        rows = rows_of(self.pypid.catalog)
        other = self.another()
        self.ask(f"/api/projects/{SECRET}", "DELETE", pypid=other)
        self.ask(f"/api/names/{SECRET}", "DELETE", pypid=other)
        fresh = self.restarted(rows)
        self.assertEqual(len(fresh.page(SECRET)["files"]), 2)


class StorageAwayTests(SafetyCase):
    """Where it cannot be found out whose a name is."""

    def away(self) -> None:
        self.blobs.away = StorageDown("it is away.")

    def test_from_the_start(self) -> None:
        """A process whose storage was never there answers 503 to everything that would need
        upstream, and asks nobody.
        """
        self.away()
        for target in (
            "/simple/{}/",
            "/packages/{}/x-1.0.tar.gz",
            "/packages/{}/x-1.0.tar.gz.metadata",
            "/+simple/{}/",
        ):
            for name in (SECRET, PUBLIC):
                answer = self.ask(target.format(name))
                self.assertEqual(
                    (answer.status, answer["retry-after"] is None), (503, False), target
                )
        self.ask_all()
        self.silent()

    def test_later(self) -> None:
        """A storage that goes away later stops every question, also for names of which it is known
        that they were not ours.
        """
        self.compare()
        self.assertEqual(self.ask(f"/simple/{PUBLIC}/").status, 200)
        self.ask(f"/simple/{SECRET}/")
        del self.elsewhere.heard[:]
        self.away()
        for name in (SECRET, PUBLIC):
            self.assertEqual(self.ask(f"/simple/{name}/").status, 503)
            self.assertEqual(
                self.ask(f"/packages/{name}/{wheel_filename(name, '99.0')}").status, 503
            )
            self.assertEqual(
                self.ask(f"/packages/{name}/{wheel_filename(name, '99.0')}.metadata").status, 503
            )
        self.assertEqual(self.elsewhere.heard, [])
        self.blobs.away = None
        self.assertEqual(self.ask(f"/simple/{PUBLIC}/").status, 200)


class StrayTests(SafetyCase):
    """Private files that somebody has copied into the storage, or that are just being published
    there.
    """

    def test_not_taken_in(self) -> None:
        """As long as a file of a project has no record nobody upstream hears the name; once it is
        taken in it is served.
        """
        where = key(project_name(SECRET), FILENAMES[0])
        self.have(self.blobs.write(where, BytesBody(OURS)))
        for compare in (False, True):
            self.pypid = self.another()
            if compare:
                self.compare()
            self.assertEqual(self.ask(f"/simple/{SECRET}/").status, 404)
            self.ask_all((SECRET,), but=("/api/rebuild/<project>",))
        self.silent()
        self.assertEqual(self.ask(f"/api/rebuild/{SECRET}", "POST").status, 200)
        self.assertEqual(
            [file["filename"] for file in self.pypid.page(SECRET)["files"]], [FILENAMES[0]]
        )
        self.silent()

    def test_swept(self) -> None:
        """What a crash left in the middle of a publish keeps the name from upstream until it is
        swept.
        """
        where = key(project_name(PUBLIC), wheel_filename(PUBLIC, "1.0"))
        self.have(self.blobs.write(where, BytesBody(b"half of it")))
        self.assertEqual(self.ask(f"/simple/{PUBLIC}/").status, 404)
        self.silent()
        self.have(self.blobs.delete(where))
        self.assertEqual(self.ask(f"/simple/{PUBLIC}/").status, 200)


class TwoNodesTests(SafetyCase):
    """Two processes with one storage; what one publishes the other hears of at
    its next comparison.
    """

    def test_just_published(self) -> None:
        """What one has just published the other does not ask upstream for, though it has compared
        the storage before; its first page has our file.
        """
        for mode in ONLINE:
            self.blobs = Fragile(self.pypid.world.now)
            one, other = self.another(mode=mode), self.another(mode=mode)
            self.compare(other)
            self.have_secret(one)
            self.assertEqual(
                [file["filename"] for file in other.page(SECRET)["files"]], [FILENAMES[0]]
            )
            self.ask_all((SECRET,), other)
        self.silent()

    def test_file_first(self) -> None:
        """So also where a file is asked for before the page."""
        for beside in ("", ".metadata"):
            self.blobs = Fragile(self.pypid.world.now)
            one, other = self.another(), self.another()
            self.compare(other)
            self.have_secret(one)
            self.assertEqual(
                self.ask(f"/packages/{SECRET}/{FILENAMES[1]}{beside}", pypid=other).status, 404
            )
            self.assertEqual(
                self.ask(f"/packages/{SECRET}/{FILENAMES[0]}{beside}", pypid=other).status, 200
            )
        self.silent()

    def test_known_before(self) -> None:
        """A name whose page the other knows already (it is theirs' until now) is not asked for
        again, nor are its files, as soon as it is ours.
        """
        for mode in ONLINE:
            self.blobs = Fragile(self.pypid.world.now)
            one, other = self.another(mode=mode), self.another(mode=mode)
            self.compare(other)
            self.elsewhere.now = other.world.now
            self.assertEqual(len(other.page(SECRET)["files"]), 2)
            self.have_secret(one)
            del self.elsewhere.heard[:]
            answer = other.get(
                f"/packages/{SECRET}/{FILENAMES[1]}"
            )  # the page is still fresh there
            self.assertEqual(answer.status, 404, mode)
            self.assertEqual(
                other.get(f"/packages/{SECRET}/{FILENAMES[1]}.metadata").status, 404, mode
            )
            self.silent()
            self.assertEqual(
                [file["filename"] for file in other.page(SECRET)["files"]], [FILENAMES[0]], mode
            )

    def test_deleted_there(self) -> None:
        """What one has deleted is still ours to a new one."""
        one = self.another()
        self.have_secret(one)
        self.ask(f"/api/projects/{SECRET}", "DELETE", pypid=one)
        other = self.another()
        self.ask_all((SECRET,), other)
        self.silent()


class HiddenFileTests(SafetyCase):
    """What the page does not show cannot be had by its URL, nor what lies beside it."""

    def check_hidden(self, filename: str, pypid: Pypid | None = None) -> None:
        """It is not on the page, and not to be had; upstream hears of no file."""
        asked = pypid or self.pypid
        page = asked.get(f"/simple/{PUBLIC}/", J)
        self.assertNotIn(filename, page.text)
        before = list(self.elsewhere.urls)
        self.check_urls(filename, asked)
        self.assertEqual(self.elsewhere.urls, before)

    def check_urls(self, filename: str, asked: Pypid) -> None:
        letter = PUBLIC[0]
        version = "99.0"
        for place in (
            f"/packages/{PUBLIC}/",
            f"/packages/source/{letter}/{PUBLIC}/",
            f"/packages/py3/{letter}/{PUBLIC}/",
        ):
            for beside in ("", ".metadata"):
                for method in ("GET", "HEAD"):
                    for headers in ((), (("Range", "bytes=0-9"),)):
                        answer = asked.ask(
                            method, f"{place}{filename}{beside}", *headers, user="ada"
                        )
                        self.assertEqual(
                            (answer.status, answer["location"]),
                            (404, None),
                            (method, place, filename, beside),
                        )
        self.assertEqual(
            asked.get(f"/integrity/{PUBLIC}/{version}/{filename}/provenance").status, 404
        )
        self.assertEqual(asked.get(f"/local/{PUBLIC}/{filename}").status, 404)

    def test_cooldown(self) -> None:
        """A file that is too young, also one that was kept before the rule was made; the moment
        that it is old enough, it is there.
        """
        young, data = wheel_filename(PUBLIC, "99.0"), wheel(PUBLIC, "99.0")
        file = self.elsewhere.has(PUBLIC, young, data)
        self.elsewhere.has_beside(file, b"Name: spam\n")
        for keep in (False, True):
            for mode in ONLINE:
                if keep:
                    self.assertEqual(
                        self.another(mode=Mode.CACHE).get(f"/packages/{PUBLIC}/{young}").body, data
                    )
                pypid = self.another(mode=mode, cooldown=Cooldown(timedelta(days=3)))
                pypid.clock.advance(
                    (BEGINNING + timedelta(days=3) - pypid.world.now()).total_seconds() - 1
                )
                self.check_hidden(young, pypid)
                pypid.clock.advance(1)
                self.assertIn(young, pypid.get(f"/simple/{PUBLIC}/", J).text)
                self.assertIn(pypid.get(f"/packages/{PUBLIC}/{young}").status, (200, 302))

    def test_quarantined(self) -> None:
        """Every file of a project that upstream has put in quarantine, also those that are kept."""
        kept = wheel_filename(PUBLIC, "99.0")
        self.assertEqual(self.ask(f"/packages/{PUBLIC}/{kept}").status, 200)
        self.elsewhere.statuses[PUBLIC] = Status.QUARANTINED
        for mode in ONLINE:
            pypid = self.another(mode=mode)
            pypid.clock.advance(3600)
            for filename in (kept, sdist_filename(PUBLIC, "99.0")):
                self.check_hidden(filename, pypid)

    def test_denied(self) -> None:
        """Every file of a project that `deny` lists, also those that are kept; offline too."""
        kept = wheel_filename(PUBLIC, "99.0")
        self.assertEqual(self.ask(f"/packages/{PUBLIC}/{kept}").status, 200)
        for mode in Mode:
            for filename in (kept, sdist_filename(PUBLIC, "99.0")):
                self.check_hidden(filename, self.another(mode=mode, deny=("spam",)))

    def test_of_ours(self) -> None:
        """Theirs is hidden by ours of the same name, which is served with its own bytes and
        metadata (allow_mixed).
        """
        filename = wheel_filename(PUBLIC, "99.0")
        self.published(self.publish(filename, wheel(PUBLIC, "99.0", extra=[("Author", "ours")])))
        self.pypid = self.another(allow_mixed=("*",))
        self.assertIn(b"ours", self.ask(f"/packages/{PUBLIC}/{filename}.metadata").body)
        [listed] = [
            file for file in self.pypid.page(PUBLIC)["files"] if file["filename"] == filename
        ]
        self.assertNotEqual(
            listed["hashes"]["sha256"], self.elsewhere._files[PUBLIC][filename].sha256
        )
        self.ask(f"/packages/{PUBLIC}/{filename}")
        self.assertEqual(self.elsewhere.urls, [])

    def test_withdrawn(self) -> None:
        """A file that upstream does not list any more, though it is kept; and all of a project that
        upstream deleted.
        """
        kept = wheel_filename(PUBLIC, "99.0")
        self.assertEqual(self.ask(f"/packages/{PUBLIC}/{kept}").status, 200)
        del self.elsewhere._files[PUBLIC][kept]
        self.pypid.clock.advance(3600)
        self.check_hidden(kept)
        self.elsewhere.has_not(PUBLIC)
        self.pypid.clock.advance(3600)
        self.check_hidden(sdist_filename(PUBLIC, "99.0"))

    def test_file_that_is_not_stored_fails_while_upstream_is_away(self) -> None:
        """The page lists it as before, and the file is an error rather than 404; the stored one is
        served.
        """
        kept, other = wheel_filename(PUBLIC, "99.0"), sdist_filename(PUBLIC, "99.0")
        self.assertEqual(self.ask(f"/packages/{PUBLIC}/{kept}").status, 200)
        self.elsewhere.away = UpstreamDown("it refuses connections.", unreachable=True)
        self.pypid.clock.advance(3600)
        self.assertIn(other, [file["filename"] for file in self.pypid.page(PUBLIC)["files"]])
        self.assertEqual(self.ask(f"/packages/{PUBLIC}/{other}").status, 503)
        self.assertEqual(self.ask(f"/packages/{PUBLIC}/{kept}").body, wheel(PUBLIC, "99.0"))


# --- anything, in any order -----------------------------------------------------------------------

NAMES = ("acme-secret", "acme-plans", "spam", "eggs")
GLOBS = {
    "acme-*": {"acme-secret", "acme-plans"},
    "Acme_Plans": {"acme-plans"},
    "spam": {"spam"},
    "*": set(NAMES),
}
GLOB = st.lists(st.sampled_from(sorted(GLOBS)), max_size=2).map(tuple)
POLICIES = st.fixed_dictionaries(
    {
        "mode": st.sampled_from(Mode),
        "reserved": GLOB,
        "allow": st.just(("*",)) | GLOB,
        "deny": GLOB,
        "allow_mixed": st.just(()) | GLOB,
    }
)
OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "page",
                "file",
                "metadata",
                "ranged",
                "publish",
                "delete",
                "release",
                "start",
                "compare",
                "refresh",
            ]
        ),
        st.sampled_from(NAMES),
        st.integers(0, 1),
    ),
    max_size=12,
)


def listed(name: str, globs: tuple[str, ...]) -> bool:
    """Whether one of `GLOBS` is meant for the name."""
    return any(name in GLOBS[glob] for glob in globs)


class AnythingTests(SafetyCase):
    """Two processes with one storage, that do anything in any order."""

    @given(POLICIES, OPERATIONS)
    @settings(max_examples=40, deadline=None, database=None)
    def test_never_heard(
        self, policy: dict[str, Any], operations: list[tuple[str, str, int]]
    ) -> None:
        """Upstream hears a name only while the policy lets it, and it was not ours since it was
        last released (C36).
        """
        blobs = Fragile(lambda: BEGINNING)
        self.elsewhere.heard.clear()
        for name in NAMES:
            self.elsewhere.has(name, wheel_filename(name, "99.0"), b"no wheel")
        nodes = [self.another(blobs, **policy) for _ in range(2)]
        ours: set[str] = set()
        for operation, name, number in operations:
            may = {
                each
                for each in NAMES
                if policy["mode"] is not Mode.OFFLINE
                and not listed(each, policy["reserved"])
                and (each not in ours or listed(each, policy["allow_mixed"]))
                and listed(each, policy["allow"])
                and not listed(each, policy["deny"])
            }
            if operation == "publish":
                ours.add(name)
                if not listed(name, policy["allow_mixed"]):
                    may.discard(name)
            if operation == "start":
                nodes[number] = self.another(blobs, **policy)
            elif self.does(nodes[number], operation, name) and operation == "release":
                ours.discard(name)
            self.assertLessEqual(set(self.elsewhere.heard), may, (operation, name))
            self.elsewhere.heard.clear()

    def does(self, node: Pypid, operation: str, name: str) -> bool:
        """Whether it was done."""
        file = f"/packages/{name}/{wheel_filename(name, '99.0')}"
        match operation:
            case "page":
                self.ask(f"/simple/{name}/", pypid=node)
            case "file":
                self.ask(file, pypid=node)
            case "ranged":
                self.ask(file, "GET", ("Range", "bytes=1-2"), pypid=node)
            case "metadata":
                self.ask(f"{file}.metadata", pypid=node)
            case "publish":
                self.publish(
                    wheel_filename(name, "1.0"), wheel(name, "1.0"), user="ada", pypid=node
                )
            case "delete":
                self.ask(f"/api/projects/{name}", "DELETE", pypid=node)
            case "release":
                return self.ask(f"/api/names/{name}", "DELETE", pypid=node).status == 200
            case "compare":
                self.compare(node)
            case "refresh":

                async def nothing() -> None:
                    return None

                self.have(
                    CacheMaintenance(
                        node.index, nothing, refresh=timedelta(hours=1)
                    ).refresh_pages()
                )
        return True
