"""Who may do what, by hand: real clients, commands while pypid runs, another index that must not
hear of it, storms.
"""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

import json
import threading
from hashlib import sha256
from typing import Final

from tests.live.asking import ask, basic, command
from tests.live.daemon import (
    PASSWORDS,
    IndexTestCase,
    LiveIndex,
    Settings,
)
from tests.live.isolation import fails, pip, twine, uv, works
from tests.live.projects import Artifact, publish, wheel
from tests.live.test_install import NEWEST, installed
from tests.live.upstreams import FrontedCase

RULES: Final = """
[groups]
data = bob
release = carol
[projects]
acme-billing.group.data = rw
acme-billing.user.alice = r
acme-plans.group.data = rw
"""
UNKNOWN: Final = "401 Client Error: .*[Ll]og in"
REFUSED: Final = (
    "403 Client Error: The user 'carol' may not read in the project 'acme-(billing|plans)'. Ask "
    "an administrator"
)
"""pip says why only if it is asked to tell much more."""


class HiddenTests(FrontedCase):
    """Projects with rights of their own; the other index has higher versions of them."""

    def setUp(self) -> None:
        super().setUp()
        for name in ("acme-billing", "acme-plans", "theirs"):
            self.upstream_has(name, wheel(name, "99.0"))

    def heard(self) -> str:
        """All that upstream heard."""
        return bytes(self.fake.heard).decode("latin-1").lower()

    async def test_by_clients(self) -> None:
        """twine, pip and uv may what a right of a user or a group gives them and nothing else, from
        the next request on after a command has given or taken one; who is refused is told why, and
        of no name that is hidden the other index hears.
        """
        index = await self.index(sections=RULES)
        await self.run_(self.publishes, index)
        await self.run_(self.installs, index)
        await self.run_(self.changes, index)
        self.assertIn("/simple/theirs/", self.heard())
        self.assertNotIn("acme", self.heard())

    def publishes(self, index: LiveIndex) -> None:
        """Only who may write; alice may publish everything else."""
        url, path = index.url("/legacy/"), wheel("acme-billing").into(self.folder / "dist")
        for user in ("alice", "carol"):
            said = fails(twine(url, user, PASSWORDS[user], path), self.folder)
            self.assertIn("403", said)
            self.assertIn(
                f"'{user}' may not publish in the project 'acme-billing'", said.replace('"', "'")
            )
        works(twine(url, "bob", PASSWORDS["bob"], path), self.folder)
        for user in ("bob", "carol"):
            works(
                twine(
                    url,
                    "admin",
                    PASSWORDS["admin"],
                    wheel(f"open-{user}").into(self.folder / "dist"),
                ),
                self.folder,
            )
        self.assertIn(
            "403",
            fails(
                twine(url, "bob", PASSWORDS["bob"], wheel("other").into(self.folder / "dist")),
                self.folder,
            ),
        )

    def installs(self, index: LiveIndex) -> None:
        """What is hidden is absent, and nobody is sent elsewhere for it; who may
        read installs it.
        """
        for user, line in (
            ("bob", pip(NEWEST, "install", index.url(user="bob"))),
            ("alice", uv(index.url(user="alice"))),
            ("admin", uv(index.url(user="admin"))),
        ):
            works(
                [*line, "--no-deps", "--target", self.folder / user, "acme-billing", "theirs"],
                self.folder,
            )
            self.assertEqual(installed(self.folder / user), {"acme_billing-1.0", "theirs-99.0"})
        none = ["--target", self.folder / "none"]
        for user, wanted, said in (
            (None, "acme-billing", UNKNOWN),
            ("carol", "acme-plans", REFUSED),
        ):
            line = [*pip(NEWEST, "install", index.url(user=user), "-vv"), *none, wanted]
            self.assertRegex(fails(line, self.folder), said)
        for wanted in ("acme-billing", "acme-plans", "Acme.Plans==99.0"):
            for user, said in ((None, "401 Unauthorized"), ("carol", "403 Forbidden")):
                self.assertIn(said, fails([*uv(index.url(user=user)), *none, wanted], self.folder))

    def changes(self, index: LiveIndex) -> None:
        """Rights of the database hold beside those of the file, at once; the first one of a public
        name makes it ours.
        """
        page, carol = "/simple/acme-billing/", basic("carol")
        self.assertEqual(ask(index.port, page, carol).status, 403)
        said = command(index.config, "right", "grant", "acme-billing", "carol", "r")
        self.assertIn("user:carol", said)
        self.assertEqual(ask(index.port, page, carol).status, 200)
        command(index.config, "right", "revoke", "acme-billing", "carol")
        self.assertEqual(ask(index.port, page, carol).status, 403)
        command(index.config, "group", "create", "new")
        command(index.config, "group", "add-user", "new", "carol")
        command(index.config, "right", "grant", "acme-billing", "group:new", "rw")
        self.assertEqual(ask(index.port, page, carol).status, 200)
        command(index.config, "group", "remove-user", "new", "carol")
        self.assertEqual(ask(index.port, page, carol).status, 403)
        asked = len(self.fake.asked)
        self.assertEqual(ask(index.port, "/simple/theirs/", carol).status, 200)
        command(index.config, "right", "grant", "theirs", "alice", "rw")
        for who, status in (({}, 401), (carol, 403), (basic("alice"), 404)):
            self.assertEqual(ask(index.port, "/simple/theirs/", who).status, status)
            self.assertEqual(
                ask(index.port, f"/packages/theirs/{wheel('theirs', '99.0').filename}", who).status,
                status,
            )
        self.assertEqual(len(self.fake.asked), asked)


class OverwriteTests(IndexTestCase):
    """A group that may publish other bytes under a name."""

    settings = Settings(access="overwrite = group:release\nowners = none", sections=RULES)
    SIZE = 12 << 20

    def version(self, number: int, name: str = "storm", size: int = 20_000) -> Artifact:
        """The same name, and other bytes."""
        data = sha256(b"%d" % number).digest() * (size // 32)
        return wheel(name, "1.0", files={"storm.py": data}, compression=0)

    def test_storm(self) -> None:
        """While a file is overwritten again and again every reader gets one whole version, and the
        one that its page says.
        """
        versions = [self.version(number) for number in range(15)]
        known = {sha256(artifact.data).hexdigest() for artifact in versions}
        publish(self.index, versions[0], user="alice")
        said = fails(
            twine(
                self.index.url("/legacy/"),
                "alice",
                PASSWORDS["alice"],
                versions[1].into(self.folder),
            ),
            self.folder,
        )
        self.assertIn("File already exists", said)
        ended, wrong, rounds = threading.Event(), list[str](), [0]

        def read() -> None:
            while not ended.is_set():
                trouble = self.trouble(known)
                rounds[0] += 1
                if trouble:
                    wrong.append(trouble)

        readers = [threading.Thread(target=read) for _ in range(4)]
        for reader in readers:
            reader.start()
        try:
            for artifact in versions[1:]:
                publish(self.index, artifact, user="carol")
                listed = self.listed()
                self.assertEqual(listed, sha256(artifact.data).hexdigest())
        finally:
            ended.set()
            for reader in readers:
                reader.join(30)
        self.assertEqual(wrong, [])
        self.assertGreater(rounds[0], 20)
        audit = command(
            self.index.config, "audit", "--subject", f"storm/{versions[0].filename}", "--json"
        )
        told = [
            (deed["user"], deed["details"]["sha256"])
            for deed in reversed(json.loads(audit)["entries"])
        ]
        digests = [sha256(artifact.data).hexdigest() for artifact in versions]
        self.assertEqual(
            told, [("alice", digests[0]), *(("carol", digest) for digest in digests[1:])]
        )

    def listed(self) -> str:
        """The digest on the page."""
        page = ask(
            self.index.port, "/simple/storm/", {"Accept": "application/vnd.pypi.simple.v1+json"}
        )
        return str(page.json["files"][0]["hashes"]["sha256"])

    def trouble(self, known: set[str]) -> str:
        """What a reader finds wrong."""
        before = self.listed()
        got = ask(self.index.port, f"/packages/storm/{self.version(0).filename}")
        after = self.listed()
        if got.status == 503 and b"was just replaced" in got.body and "Retry-After" in got.headers:
            return ""  # looked up before it was replaced, and opened after; installers retry
        digest = sha256(got.body).hexdigest()
        if got.status != 200 or digest not in known:
            return f"{got.status}, {len(got.body)} bytes that nobody published"
        if got.headers["ETag"] != f'"{digest}"':
            return f"the ETag is {got.headers['ETag']}, the bytes are {digest}"
        if before == after != digest:
            return f"the page says {before}, the bytes are {digest}"
        return ""
