"""Trusted publishing over HTTP (C94): the answers that clients have built in, and everything that
is no good request.
"""

from __future__ import annotations

import json
from typing import Any, cast

from pypid.access import oidc
from pypid.access.accounts import SqlAccounts
from pypid.access.oidc import DISCOVERY
from pypid.core.configuration.keys import IssuerSettings
from pypid.core.permissions import NOBODY, Rules
from pypid.database.logs import SqlJournal
from pypid.http_client.connections import HttpConnections
from tests.access.test_oidc import Books, Published
from tests.access.wired_agent import Wired
from tests.distributions import wheel, wheel_filename
from tests.issuers import Documents, jwt
from tests.web.full_app import HOST, Answer, WholeCase, basic

URL = "https://issuer.example"
MINT = "/_/oidc/mint-token"
PYTP = "application/vnd.pypi.pytp.v1+json"


class MintCase(WholeCase):
    """A pypid that trusts an issuer, and takes uploads of nobody but admins."""

    rules = Rules(read=NOBODY, write=NOBODY)

    def setUp(self) -> None:
        """Make both."""
        super().setUp()
        self.documents = Documents(URL)
        self.site = Published(self.documents)
        self.books = Books()
        accounts, journal = cast(SqlAccounts, self.books), cast(SqlJournal, self.books)
        reached = HttpConnections(
            lambda: (Wired(cast(Any, self.site), self.pypid.clock), cast(Any, None))
        )
        issuers = {"github": IssuerSettings(url=URL, allow=("spam repository=octo/app",))}
        self.publishers = oidc.open(issuers, accounts, journal, self.pypid.world, reached)
        self.pypid.app.publishers = self.publishers

    def token(self, **options: Any) -> str:
        """An identity token, made now."""
        return self.documents.token(self.pypid.world.now(), **options)

    def mint(self, document: object, path: str = MINT, *headers: tuple[str, str]) -> Answer:
        """The answer to a document."""
        return self.send(json.dumps(document).encode(), path, *headers)

    def send(self, body: bytes, path: str = MINT, *headers: tuple[str, str]) -> Answer:
        """The answer to a body."""
        return self.pypid.ask(
            "POST", path, ("Content-Type", "application/json"), *headers, body=body
        )

    def fails(self, answer: Answer, status: int, code: str, *words: str) -> None:
        """The answer is a failure as clients read it."""
        self.assertEqual(
            (answer.status, answer["content-type"]), (status, "application/json"), answer
        )
        self.assertEqual(answer.json["message"], "Token request failed")
        [error] = answer.json["errors"]
        self.assertEqual((set(error), error["code"]), ({"code", "description"}, code))
        for word in words:
            self.assertIn(word, error["description"])
        self.assertEqual(answer["cache-control"], "no-store")


class MintTests(MintCase):
    """The exchange."""

    def test_audience(self) -> None:
        """The audience is told to anybody (C94)."""
        answer = self.pypid.get("/_/oidc/audience")
        self.assertEqual(
            (answer.status, answer.json, answer["content-type"]),
            (200, {"audience": "pypid"}, "application/json"),
        )

    def test_minted(self) -> None:
        """A good identity token gives a token, which publishes what the rule says, and nothing else
        (C94).
        """
        answer = self.mint({"token": self.token()})
        self.assertEqual(
            (answer.status, set(answer.json)), (200, {"success", "token", "expires"}), answer
        )
        self.assertIs(answer.json["success"], True)
        self.assertEqual(answer.json["expires"], int(self.pypid.world.now().timestamp()) + 900)
        self.assertEqual(
            (answer["cache-control"], answer["content-type"]), ("no-store", "application/json")
        )
        self.pypid.papers.tokens.update({token.digest: token for token in self.books.tokens})
        credential = [basic("__token__", answer.json["token"])]
        self.published(self.publish(wheel_filename(), wheel(), user=None, headers=credential))
        other = self.publish(wheel_filename("other"), wheel("other"), user=None, headers=credential)
        self.refused(other, 403, "github:repo:octo/app:ref:refs/heads/main")
        self.assertEqual(self.pypid.get("/simple/spam/", None, *credential).status, 200)
        self.assertEqual(self.pypid.api("DELETE", "/api/projects/spam", user=None).status, 401)

    def test_replay(self) -> None:
        """Shown twice it is refused as that (C94)."""
        token = self.token()
        self.assertEqual(self.mint({"token": token}).status, 200)
        self.fails(self.mint({"token": token}), 422, "invalid-reuse-token", "used before")

    def test_bad_tokens(self) -> None:
        """Bad tokens are 422 with the public index's words for why, and nothing of them comes back
        (C94).
        """
        for token, code in (
            ("x", "invalid-token"),
            (self.token()[:-40], "invalid-token"),
            (self.token(aud="pypi"), "invalid-token"),
            (jwt({"alg": "none"}, self.documents.claims(self.pypid.world.now())), "invalid-token"),
            (self.token(repository="octo/else"), "invalid-publisher"),
            ("\u2028.\ud800.\0", "invalid-payload"),
            ("é" * 30_000, "invalid-token"),
        ):
            body = json.dumps({"token": token}, ensure_ascii="\ud800" in token).encode()
            answer = self.send(body)
            self.fails(answer, 422, code)
            self.assertNotIn(token.rpartition(".")[2] or "\0", answer.text)
        self.assertEqual(self.books.tokens, [])

    def test_bad_bodies(self) -> None:
        """What is no document with a token is 422, too (C94)."""
        for body in (
            b"",
            b"{}",
            b"[]",
            b"null",
            b"token",
            b'{"token": null}',
            b'{"token": ""}',
            b'{"token": ["x"]}',
            b'{"token": {"token": "x"}}',
            b'{"token": "\xff"}',
            b'{"x": ' * 9000,
            b'{"token": "x"',
            b"\xff\xfe{\0}\0",
            b"token=x",
        ):
            self.fails(self.send(body), 422, "invalid-payload")

    def test_too_large(self) -> None:
        """A body of a megabyte is not read to its end."""
        answer = self.mint({"token": "x" * (1 << 20)})
        self.assertEqual((answer.status, answer.json["errors"][0]["code"]), (413, "TooLarge"))
        connection = self.pypid.connect()
        connection.send(
            f"POST {MINT} HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        )
        for _ in range(5):
            connection.send(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
        refusal = connection.answer()
        assert refusal is not None
        self.assertEqual(refusal.status, 413)

    def test_away(self) -> None:
        """While the issuer is away it is 503 with Retry-After, in a form that clients read."""
        self.site.replaced[DISCOVERY] = b"<html>"
        answer = self.mint({"token": self.token()})
        self.fails(answer, 503, "PeopleUnknown", "https://issuer.example")
        self.assertEqual(answer["retry-after"], "10")

    def test_wrong_password(self) -> None:
        """A wrong password is told, also where none is needed (C91)."""
        self.assertEqual(
            self.mint({"token": self.token()}, MINT, basic("ada", "wrong")).status, 401
        )
        self.assertEqual(self.books.tokens, [])

    def test_not_in_the_log(self) -> None:
        """Neither token comes into the access log (C95)."""
        token = self.token()
        answer = self.mint({"token": token})
        for secret in (token, answer.json["token"]):
            self.assertNotIn(secret, "\n".join(self.pypid.log))


class NotEnabledTests(MintCase):
    """A pypid that trusts nobody."""

    def test_not_enabled(self) -> None:
        """Where no issuer is configured clients are told so: 404 for the audience, 422 for a token,
        404 for the discovery.
        """
        for publishers in (None, self.publishers):
            self.publishers.trust({})
            self.pypid.app.publishers = publishers
            answer = self.pypid.get("/_/oidc/audience")
            self.assertEqual(
                (answer.status, answer.json["errors"][0]["code"]), (404, "not-enabled")
            )
            self.fails(self.mint({"token": self.token()}), 422, "not-enabled", "[issuer:github]")
            self.assertEqual(self.pypid.get("/.well-known/pytp?discover=%2Flegacy%2F").status, 404)


class DiscoveryTests(MintCase):
    """The draft discovery (PEP 807)."""

    def discover(self, query: str, accept: str | None = PYTP) -> Answer:
        """The answer."""
        return self.pypid.get(f"/.well-known/pytp{query}", accept)

    def test_found(self) -> None:
        """For the paths that take uploads it says where the rest is, at the host that was asked."""
        base = f"http://{HOST}/_/oidc"
        for query in (
            "?discover=%2Flegacy%2F",
            "?discover=/legacy/",
            "?discover=%2Flegacy",
            "?discover=%2F",
            "?discover=%2Fsimple%2F",
        ):
            for accept in (PYTP, "*/*", None, "application/*", f"text/html, {PYTP};q=0.5"):
                answer = self.discover(query, accept)
                self.assertEqual((answer.status, answer["content-type"]), (200, PYTP), answer)
                found = {
                    "audience-endpoint": f"{base}/audience",
                    "token-mint-endpoint": f"{base}/mint-token",
                }
                self.assertEqual(answer.json, found)
