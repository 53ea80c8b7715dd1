"""Secrets for machines in the hands of real clients, and what guessing brings, behind a proxy."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

import json
from hashlib import sha256
from typing import Any, Final

from tests.live.asking import command
from tests.live.clients import client
from tests.live.daemon import IndexTestCase, Settings
from tests.live.isolation import fails, pip, twine, uv, works
from tests.live.projects import publish, wheel
from tests.live.test_install import NEWEST, installed
from tests.live.test_rights import RULES

CURL: Final = "/usr/bin/curl"


class TokenTests(IndexTestCase):
    """Secrets for machines."""

    settings = Settings(sections=RULES, access="backend = config sql")

    def make(self, name: str, user: str, *more: str) -> dict[str, Any]:
        """A token, as the command gives it."""
        made: dict[str, Any] = json.loads(
            command(self.index.config, "token", "create", name, "--user", user, *more, "--json")
        )
        return made

    def test_publishing(self) -> None:
        """A token for one project publishes there, by twine and uv, and nowhere else: the text says
        that it is the token.
        """
        made = self.make("CI of eggs", "alice", "--can", "publish", "--project", "eggs")
        url, secret = self.index.url("/legacy/"), made["secret"]
        one, two, other = (
            wheel(*what).into(self.folder) for what in (("eggs",), ("eggs", "2.0"), ("ham",))
        )
        works(twine(url, "__token__", secret, one), self.folder)
        line = [client("uv"), "publish", "--publish-url", url]
        works([*line, two], self.folder, UV_PUBLISH_TOKEN=secret)
        for said in (
            fails(twine(url, "__token__", secret, other), self.folder),
            fails([*line, other], self.folder, UV_PUBLISH_TOKEN=secret),
        ):
            self.assertIn("403", said)
            self.assertIn("token of 'alice' may not publish in the project 'ham'", said)
        audit = command(
            self.index.config, "audit", "--subject", "eggs", "--action", "project publish"
        )
        self.assertEqual(audit.count(f"token {made['id']}"), 2, audit)
        self.assertIn(made["id"], command(self.index.config, "audit", "--action", "token create"))

    def test_reading(self) -> None:
        """pip takes one in its URL and out of .netrc, uv in its URL, curl as a Bearer; who fetched
        what is remembered.
        """
        artifact = wheel("acme-billing")
        publish(self.index, artifact, user="admin")
        made = self.make("builds", "bob", "--can", "read")
        secret = made["secret"]
        url = self.index.url().replace("//", f"//__token__:{secret}@")
        (self.folder / ".netrc").write_text(
            f"machine 127.0.0.1 login __token__ password {secret}\n"
        )
        (self.folder / ".netrc").chmod(0o600)
        empty = self.folder / "nobody"
        for at, (line, home) in enumerate(
            (
                (pip(NEWEST, "install", url), empty),
                (uv(url, "--no-cache"), empty),
                (pip(NEWEST, "install", self.index.url()), self.folder),
                (uv(self.index.url(), "--no-cache"), self.folder),
            )
        ):
            target = self.folder / f"target{at}"
            works([*line, "--target", target, "acme-billing"], home)
            self.assertEqual(installed(target), {"acme_billing-1.0"})
        asking = [CURL, "--silent", "--fail", "--header", f"Authorization: Bearer {secret}"]
        self.assertIn("acme-billing", works([*asking, self.index.url()], empty))
        works(
            [
                *asking,
                "--output",
                "/dev/null",
                self.index.url(f"/packages/acme-billing/{artifact.filename}"),
            ],
            empty,
        )
        said = command(self.index.config, "downloads", sha256(artifact.data).hexdigest())
        self.assertEqual(said.count(f"bob  127.0.0.1 token {made['id']}  acme-billing"), 5, said)
        listed = json.loads(command(self.index.config, "token", "list", "--user", "bob", "--json"))[
            "tokens"
        ]
        self.assertEqual(
            [token["used_from"] for token in listed if token["id"] == made["id"]], ["127.0.0.1"]
        )
