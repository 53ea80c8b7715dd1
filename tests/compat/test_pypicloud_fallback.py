"""pypicloud's fallback matrix, row by row, minus its holes; and each hole as a test of its own that
stays closed.

The columns and pypicloud's answers are those of its ``doc/topics/fallback.rst``, and, for
``redirect`` with ``always_show_upstream``, of its code and tests. Ours stand beside them, written
by hand.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from pypid.core.errors import StorageDown
from pypid.core.permissions import EVERYONE, NOBODY, Principals, Rules
from pypid.core.policy import Policy
from pypid.daemon.identities import rules_of
from tests.distributions import wheel, wheel_filename
from tests.support.configuration import parse
from tests.web.full_app import Answer, J, Pypid, WholeCase, basic
from tests.web.memory_upstream import FILES, Elsewhere

NAME = "spam"
OURS, THEIRS = wheel_filename(NAME, "1.0"), wheel_filename(NAME, "99.0")
ALICE = Principals(users=frozenset({"alice"}))

SAME = "="
"""We answer what pypicloud did."""
A, B, C = "a", "b", "c"
"""We differ, and so this hole stays closed:

a. Whoever is logged in without the right to read was sent to the public index for the same name.
b. ``always_show_upstream`` put public files under names of ours.
c. The redirect to the public index, and direct URLs of files, went past ``disallow_fallback``, and past ``cache_update``; the
   public index heard names before anything was checked. Here the page is ours, with what rules allow, and leads to its files.
"""
KNOWN = "403"
"""We differ: somebody who is known and lacks a right is told so, with 403 and not 404, as
everywhere here. Whether there is such a project the answer does not tell: it is the same for every
name that they may not read or have fetched.
"""

SETTINGS = {
    "none": "pypi.fallback = none",
    "redirect": "pypi.fallback = redirect",
    "redirect, always_show_upstream": "pypi.fallback = redirect\npypi.always_show_upstream = true",
    "cache": "pypi.fallback = cache",
    "cache, always_show_upstream": "pypi.fallback = cache\npypi.always_show_upstream = true",
    "mirror": "pypi.fallback = mirror",
}
"""The lines of a config.ini; what becomes of them is `core.pypicloud`'s."""

CONFIG = """
[app:main]
use = egg:pypicloud
pypi.storage = file
storage.dir = /srv/packages
{lines}
pypi.cache_update = {update}
pypi.disallow_fallback = {reserved}
"""

MATRIX = {
    # stored, read, update cache, logged in: what pypicloud answered, what we answer, why
    "none": """
        0 0 0 0   401        401      =
        0 0 0 1   404        403      403
        0 1 0 0   404        404      =
        0 1 0 1   404        404      =
        0 1 1 0   404        404      =
        0 1 1 1   404        404      =
        1 0 0 0   401        401      =
        1 0 0 1   404        403      403
        1 1 0 0   ours       ours     =
        1 1 0 1   ours       ours     =
        1 1 1 0   ours       ours     =
        1 1 1 1   ours       ours     =
    """,
    "redirect": """
        0 0 0 0   302        401      a
        0 0 0 1   302        403      a
        0 1 0 0   302        links    c
        0 1 0 1   302        links    c
        0 1 1 0   302        links    c
        0 1 1 1   302        links    c
        1 0 0 0   401        401      =
        1 0 0 1   302        403      a
        1 1 0 0   ours       ours     =
        1 1 0 1   ours       ours     =
        1 1 1 0   ours       ours     =
        1 1 1 1   ours       ours     =
    """,
    "redirect, always_show_upstream": """
        0 0 0 0   302        401      a
        0 0 0 1   302        403      a
        0 1 0 0   302        links    c
        0 1 0 1   302        links    c
        0 1 1 0   302        links    c
        0 1 1 1   302        links    c
        1 0 0 0   401        401      =
        1 0 0 1   302        403      a
        1 1 0 0   ours+links ours     b
        1 1 0 1   ours+links ours     b
        1 1 1 0   ours+links ours     b
        1 1 1 1   ours+links ours     b
    """,
    "cache": """
        0 0 0 0   401        401      =
        0 0 0 1   404        403      403
        0 1 0 0   401        401      =
        0 1 0 1   404        403      403
        0 1 1 0   cached     cached   =
        0 1 1 1   cached     cached   =
        1 0 0 0   401        401      =
        1 0 0 1   404        403      403
        1 1 0 0   ours       ours     =
        1 1 0 1   ours       ours     =
        1 1 1 0   ours       ours     =
        1 1 1 1   ours       ours     =
    """,
    "mirror": """
        0 0 0 0   401        401      =
        0 0 0 1   302        403      a
        0 1 0 0   401        401      =
        0 1 0 1   302        403      c
        0 1 1 0   cached     cached   =
        0 1 1 1   cached     cached   =
        1 0 0 0   401        401      =
        1 0 0 1   302        403      a
        1 1 0 0   401        ours     b
        1 1 0 1   ours+links ours     b
        1 1 1 0   ours+cached ours    b
        1 1 1 1   ours+cached ours    b
    """,
}

MATRIX["cache, always_show_upstream"] = MATRIX["mirror"]
"""``links``: a page of what is upstream's, whose files are redirects there; ``cached``: whose files
are fetched, and kept.
"""

ADDRESSES = ("/simple/{}/", "/pypi/{}/", "/{}/")
DOCUMENTS = ("/pypi/{}/json", "/simple/{}/json")
"""By all of them pypicloud answered from the same function."""


@frozen
class Row:
    """One line of the matrix."""

    fallback: str
    stored: bool
    read: bool
    update: bool
    known: bool
    theirs: str
    ours: str
    why: str

    def __str__(self) -> str:
        return (
            f"{self.fallback}: stored {self.stored}, read {self.read}, update {self.update}, "
            f"known {self.known}"
        )


def rows() -> Iterator[Row]:
    """All of them."""
    for fallback, lines in MATRIX.items():
        for line in lines.split("\n"):
            if line.strip():
                *flags, theirs, ours, why = line.split()
                yield Row(fallback, *(flag == "1" for flag in flags), theirs, ours, why)


class FallbackCase(WholeCase):
    """A pypid in front of an index that has a project of the same name, as an attacker would."""

    def setUp(self) -> None:
        """Make an index when one is needed."""
        super().setUp()
        self.elsewhere = Elsewhere()
        self.elsewhere.has(NAME, THEIRS, wheel(NAME, "99.0"))

    def index(
        self,
        fallback: str,
        *,
        read: bool = True,
        update: bool = True,
        stored: bool = False,
        reserved: str = "",
        **policy: Any,
    ) -> Pypid:
        """A pypid with these settings of pypicloud's; nobody has asked it anything yet."""
        text = CONFIG.format(
            lines=SETTINGS[fallback], update="everyone" if update else "", reserved=reserved
        )
        config = parse(text, filename="config.ini")
        rules = evolve(
            rules_of(config), read=EVERYONE if read else ALICE, write=ALICE, delete=ALICE
        )
        of_config = {
            name: getattr(config.upstream, name)
            for name in ("mode", "reserved", "allow", "deny", "allow_mixed", "cooldown")
        }
        pypid = Pypid(
            Path(self.mktemp()),
            rules=rules,
            policy=Policy(**{**of_config, **policy}),
            upstream=self.elsewhere,
        )
        if stored:
            self.published(self.publish(OURS, wheel(NAME, "1.0"), pypid=pypid))
        else:
            self.have(pypid.index.maintenance.reconcile())  # else whether it is ours is not known
        self.elsewhere.heard.clear()
        return pypid

    def kind_of(self, pypid: Pypid, answer: Answer, user: str | None) -> str:
        """What the page is, by the words of the matrix."""
        if answer.status != 200:
            return str(answer.status)
        files = [file["filename"] for file in answer.json["files"]]
        kinds = ["ours"] * (OURS in files)
        if THEIRS in files:
            given = pypid.get(f"/api/package/{NAME}/{THEIRS}", user=user)
            where = given["location"]
            kinds.append(
                "links" if given.status == 302 and (where or "").startswith(FILES) else "cached"
            )
            if given.status == 200:
                self.assertEqual(given.body, wheel(NAME, "99.0"))
        return "+".join(kinds)


class MatrixTests(FallbackCase):
    """Every row."""

    def test_rows(self) -> None:
        """Each row is answered as written, at every address where pypicloud had the page; upstream
        hears the name only where the page has files of theirs.
        """
        count = 0
        for row in rows():
            self.assertEqual(row.theirs == row.ours, row.why == SAME, row)
            self.assertIn(row.why, (SAME, A, B, C, KNOWN), row)
            user = "bob" if row.known else None
            pypid = self.index(row.fallback, read=row.read, update=row.update, stored=row.stored)
            for address in (*ADDRESSES, *DOCUMENTS):
                answer = pypid.get(address.format(NAME), J, user=user)
                heard = list(self.elsewhere.heard)
                if address in ADDRESSES:
                    self.assertEqual(
                        self.kind_of(pypid, answer, user), row.ours, (str(row), address)
                    )
                else:
                    self.assertEqual(
                        answer.status,
                        int(row.ours) if row.ours.isdigit() else 200,
                        (str(row), address),
                    )
                if row.ours not in ("links", "cached"):
                    self.assertEqual(heard, [], (str(row), address))
                if answer.status == 401:
                    self.assertIn("Basic", answer["www-authenticate"] or "")
            count += 1
        self.assertEqual(count, 6 * 12)

    def test_known_lacks(self) -> None:
        """Where somebody known is refused, names that are stored, upstream's, and nobody's are
        answered alike to the byte.
        """
        for fallback in SETTINGS:
            for read, update in ((False, True), (True, False)):
                pypid = self.index(fallback, read=read, update=update, stored=True)
                self.published(
                    self.publish(wheel_filename("mine", "1.0"), wheel("mine", "1.0"), pypid=pypid)
                )
                self.have(pypid.index.maintenance.reconcile())
                self.elsewhere.has("eggs", wheel_filename("eggs", "9.0"), wheel("eggs", "9.0"))
                names = ("mine", "eggs", "none") if not read else ("eggs", "none")
                answers = set()
                for name in names:
                    answer = pypid.get(f"/simple/{name}/", J, user="bob")
                    answers.add((answer.status, answer.text.replace(name, "x")))
                if read and fallback.startswith(("none", "redirect")):
                    continue  # these need no right to fetch
                self.assertEqual(len(answers), 1, (fallback, answers))

    def test_kept(self) -> None:
        """What was fetched once is served on in every mode that is not closed to it, also to those
        who may have nothing fetched: pypicloud took it for a file like any other.
        """
        pypid = self.index("cache")
        self.assertEqual(pypid.get(f"/api/package/{NAME}/{THEIRS}").status, 200)
        self.assertEqual(pypid.get("/api/package/").json, {"packages": [NAME]})
        pypid.app.rules = Rules(fetch=NOBODY, write=ALICE)
        self.elsewhere.heard.clear()
        self.assertEqual(pypid.get(f"/api/package/{NAME}/{THEIRS}").status, 200)
        self.assertEqual(self.elsewhere.heard, [])

    def test_opted_in(self) -> None:
        """Names in ``allow_mixed`` are treated as pypicloud's ``always_show_upstream`` treated all
        names.
        """
        for fallback, kind in (("redirect", "ours+links"), ("cache", "ours+cached")):
            pypid = self.index(fallback, stored=True, allow_mixed=(NAME,))
            self.assertEqual(self.kind_of(pypid, pypid.get(f"/simple/{NAME}/", J), None), kind)


class HoleTests(FallbackCase):
    """What must not be copied, one by one."""

    def test_a(self) -> None:
        """a. Whoever is logged in and may not read is sent nowhere, by no address, in no mode; and
        upstream hears nothing.
        """
        for fallback in SETTINGS:
            for stored in (True, False):
                pypid = self.index(fallback, read=False, stored=stored)
                for address in (
                    *ADDRESSES,
                    *DOCUMENTS,
                    "/api/package/{}/",
                    "/api/package/{}/" + THEIRS,
                    "/local/{}/",
                ):
                    answer = pypid.get(address.format(NAME), user="bob")
                    self.assertEqual(
                        (answer.status, answer["location"]), (403, None), (fallback, address)
                    )
                self.assertEqual(self.elsewhere.heard, [])

    def test_b(self) -> None:
        """b. No public file is under a name of ours: not on a page, not in JSON, not by its own
        address.
        """
        for fallback in SETTINGS:
            pypid = self.index(fallback, stored=True)
            for address in (*ADDRESSES, *DOCUMENTS, "/api/package/{}/", "/packages/"):
                answer = pypid.get(address.format(NAME), user="alice")
                self.assertEqual(answer.status, 200, (fallback, address))
                self.assertIn(b"spam-1.0", answer.body)
                self.assertNotIn(b"99.0", answer.body)
            for below in ("/api/package", "/packages"):
                self.assertEqual(pypid.get(f"{below}/{NAME}/{THEIRS}", user="alice").status, 404)
            self.assertEqual(self.elsewhere.heard, [])

    def test_c(self) -> None:
        """c. A name of ``disallow_fallback`` goes nowhere: no page, no redirect, no file by its own
        address; upstream does not hear it, not even to be told no.
        """
        for fallback in SETTINGS:
            for name in (NAME, "SPAM"):
                pypid = self.index(fallback, reserved=NAME)
                addresses = (
                    *ADDRESSES,
                    *DOCUMENTS,
                    "/api/package/{}/" + THEIRS,
                    "/packages/{}/" + THEIRS,
                )
                for address in addresses:
                    for user in (None, "bob", "ada"):
                        answer = pypid.get(address.format(name), user=user)
                        if name != NAME and answer.status == 301:  # to its normal spelling, here
                            self.assertTrue((answer["location"] or "").startswith(".."), answer)
                            continue
                        self.assertEqual(
                            (answer.status, answer["location"]), (404, None), (fallback, address)
                        )
                self.assertEqual(self.elsewhere.heard, [])
                self.assertEqual(pypid.get(f"/api/package/{name}/").json["packages"], [])

    def test_d(self) -> None:
        """d. A file of upstream's whose bytes are not those that its page promised is given to
        nobody, whole, and not kept.
        """
        wrong = wheel_filename("wrong", "1.0")
        self.elsewhere.has("wrong", wrong, wheel("wrong", "1.0"), sha256="0" * 64)
        pypid = self.index("cache")
        for _ in range(2):
            answer = pypid.try_to_ask("GET", f"/api/package/wrong/{wrong}")
            self.assertTrue(answer is None or answer.status >= 500, answer)
        self.flushLoggedErrors()
        self.assertEqual(pypid.get("/api/package/wrong/").json["packages"], [])
        self.assertEqual(pypid.get("/local/wrong/").status, 404)

    def test_f(self) -> None:
        """f. ``fallback = mirror`` starts, and means what it said: upstream's files are kept. So
        does every older spelling.
        """
        for lines, kind in (
            ("pypi.fallback = mirror", "cached"),
            ("pypi.use_fallback = true", "links"),
            ("pypi.use_fallback = false", "404"),
            ("", "links"),
        ):
            self.patch(sys.modules[__name__], "SETTINGS", {"older": lines})
            pypid = self.index("older")
            self.assertEqual(
                self.kind_of(pypid, pypid.get(f"/simple/{NAME}/", J), None), kind, lines
            )

    def test_g(self) -> None:
        """g. ``/health`` tells nothing of what is behind pypid, whatever is away: it answers as
        long as pypid does.
        """
        pypid = self.index("cache", stored=True)
        before = pypid.get("/health").json
        pypid.blobs.away = StorageDown(
            "/srv/secret/place cannot be reached: password hunter2 was refused."
        )
        answer = pypid.get("/health")
        self.assertEqual((answer.status, answer.json), (200, before))
        self.assertEqual(
            set(answer.json), {"status", "ready", "access", "cache", "storage", "complete"}
        )

    def test_h(self) -> None:
        """h. Who guesses passwords has to wait, at pypicloud's addresses as at all others."""
        pypid = self.index("none")
        guesses = [
            pypid.get("/api/package/", None, basic("ada", f"guess{n}")).status for n in range(30)
        ]
        self.assertEqual(guesses[0], 401)
        self.assertEqual(guesses[-1], 429)

    def test_other_names(self) -> None:
        """One more, which pypicloud's list of holes lacks: a file is had, and deleted, by the
        address of its own project only.

        pypicloud asked for the right on the project of the address, and gave whatever file was
        named behind it.
        """
        pypid = self.index("none", stored=True)
        self.published(
            self.publish(wheel_filename("free", "1.0"), wheel("free", "1.0"), pypid=pypid)
        )
        for user in (None, "bob", "alice", "ada"):
            self.assertEqual(pypid.get(f"/api/package/free/{OURS}", user=user).status, 404)
        self.assertEqual(pypid.ask("DELETE", f"/api/package/free/{OURS}", user="alice").status, 400)
        self.assertEqual(pypid.get(f"/api/package/{NAME}/{OURS}").status, 200)
