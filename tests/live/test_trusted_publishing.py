"""Trusted publishing (C94): real clients in jobs of a forge publish without any
password, over TLS.
"""

import http.client
import json
import ssl
import sys
import time
from base64 import b64encode
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from tests.issuers import Documents
from tests.live.certificates import Authority
from tests.live.clients import client
from tests.live.daemon import PASSWORDS, IndexTestCase, LiveIndex, Settings, pypid
from tests.live.isolation import works
from tests.live.issuer import JOB
from tests.live.processes import ROOT, clean_environ, free_port, running
from tests.live.projects import source_tree, wheel

RULES = """
[issuer:github]
url = https://127.0.0.1:{port}
allow =
    tp-* repository=octo/app environment=release    ; this workflow, and no other of octo's
[issuer:gitlab]
url = https://localhost:{port}
allow = tp-gitlab* project_path=octo/app ref_protected=true
"""


class TrustedPublishingCase(IndexTestCase):
    """A forge, and a pypid that trusts it; both speak TLS, and nobody in it believes another
    authority than theirs.
    """

    def start(self) -> LiveIndex:
        authority = Authority()
        self.trusted = authority.pem(self.folder)
        chain, key = self.folder / "chain.pem", self.folder / "key.pem"
        authority.issue(chain, key)
        self.port = free_port()
        forge = [sys.executable, "-m", "tests.live.issuer", str(self.port), chain, key]
        self.entered(running(forge, self.folder / "forge.log", cwd=ROOT, environ=clean_environ()))
        self.settings = Settings(
            certificate=chain, key=key, trusted=self.trusted, sections=RULES.format(port=self.port)
        )
        self.place = self.folder / "pypid"
        self.place.mkdir()
        self.life = ExitStack()
        self.addCleanup(self.life.close)
        return self.life.enter_context(pypid(self.place, self.settings))

    def restart(self) -> None:
        """A new process, with the same state."""
        self.life.close()
        self.index = self.life.enter_context(pypid(self.place, self.settings))
        self.since = 0

    def job(self, **claims: str) -> dict[str, str]:
        """The environment of a job of GitHub's, with these claims."""
        claims = {"environment": "release", **claims}
        return {
            "SSL_CERT_FILE": str(self.trusted),
            "GITHUB_ACTIONS": "true",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": JOB,
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"https://127.0.0.1:{self.port}/token?{urlencode(claims)}",
        }

    def uv(self, *files: Path, check: str = "always") -> list[str | Path]:
        """uv publish."""
        where = ["--publish-url", self.index.url("/legacy/")]
        return [client("uv"), "publish", "--trusted-publishing", check, *where, *files]

    def asked(
        self, method: str, port: int, path: str, document: object = None, **headers: str
    ) -> tuple[int, Any]:
        """Status and document of one answer."""
        context = ssl.create_default_context(cafile=str(self.trusted))
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=context)
        try:
            body = None if document is None else json.dumps(document)
            connection.request(method, path, body, {"Accept": "application/json", **headers})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def identity(self, **claims: str) -> str:
        """An identity token for a job with these claims."""
        query = urlencode({"audience": "pypid", "environment": "release", **claims})
        status, document = self.asked(
            "GET", self.port, f"/token?{query}", Authorization=f"Bearer {JOB}"
        )
        self.assertEqual(status, 200, document)
        return str(document["value"])

    def mint(self, token: str) -> tuple[int, Any]:
        """What pypid answers to an identity token."""
        return self.asked("POST", self.index.port, "/_/oidc/mint-token", {"token": token})


class ClientTests(TrustedPublishingCase):
    """Real clients."""

    def test_uv(self) -> None:
        """uv publishes from a job that the rule means, as often as it likes, with no password
        anywhere (C94).
        """
        for version in ("1.0", "2.0"):
            path = wheel("tp-uv", version).into(self.folder / "dist")
            works(self.uv(path), self.folder, **self.job())
            self.answered("POST", "/legacy/", agent="uv/")
            self.assertIn(
                path.name, json.dumps(self.asked("GET", self.index.port, "/api/projects/tp-uv")[1])
            )
        self.answered("POST", "/_/oidc/mint-token", agent="uv/", times=2)

    def test_uv_in_gitlab(self) -> None:
        """In GitLab's CI the job is given its token in the environment; uv looks for it under the
        audience's name (C94).
        """
        query = urlencode(
            {"audience": "pypid", "project_path": "octo/app", "ref_protected": "true"}
        )
        context = ssl.create_default_context(cafile=str(self.trusted))
        connection = http.client.HTTPSConnection(
            "localhost", self.port, timeout=30, context=context
        )
        self.addCleanup(connection.close)
        connection.request("GET", f"/token?{query}", None, {"Authorization": f"Bearer {JOB}"})
        token = json.loads(connection.getresponse().read())["value"]
        path = wheel("tp-gitlab").into(self.folder / "dist")
        works(
            self.uv(path),
            self.folder,
            SSL_CERT_FILE=str(self.trusted),
            GITLAB_CI="true",
            PYPID_ID_TOKEN=token,
        )
        self.answered("POST", "/legacy/", agent="uv/")

    def test_pdm(self) -> None:
        """pdm publishes from a job, with no password anywhere (C94)."""
        project = source_tree(self.folder / "tp-pdm", "tp-pdm", "1.0", "")
        wheel("tp-pdm").into(project / "dist")
        command = [
            client("pdm"),
            "publish",
            "--no-build",
            "--repository",
            self.index.url("/legacy/"),
            "--ca-certs",
            self.trusted,
        ]
        works(command, self.folder, cwd=project, **self.job())
        self.answered("POST", "/legacy/")
        self.answered("POST", "/_/oidc/mint-token")


class ExchangeTests(TrustedPublishingCase):
    """The exchange itself, over a real port."""

    def test_exchange(self) -> None:
        """The token is good for a quarter of an hour, by Basic and by Bearer, and the audit log
        says whose it is (C94).
        """
        self.assertEqual(
            self.asked("GET", self.index.port, "/_/oidc/audience"), (200, {"audience": "pypid"})
        )
        found = self.asked(
            "GET", self.index.port, "/.well-known/pytp?discover=%2Flegacy%2F", Accept="*/*"
        )
        base = f"https://127.0.0.1:{self.index.port}/_/oidc"
        self.assertEqual(
            found,
            (
                200,
                {
                    "audience-endpoint": f"{base}/audience",
                    "token-mint-endpoint": f"{base}/mint-token",
                },
            ),
        )
        status, minted = self.mint(self.identity())
        self.assertEqual((status, set(minted)), (200, {"success", "token", "expires"}))
        self.assertTrue(870 < minted["expires"] - time.time() <= 900)
        path = wheel("tp-bearer").into(self.folder / "dist")
        publish = [
            client("uv"),
            "publish",
            "--trusted-publishing",
            "never",
            "--publish-url",
            self.index.url("/legacy/"),
            path,
        ]
        works(
            publish, self.folder, SSL_CERT_FILE=str(self.trusted), UV_PUBLISH_TOKEN=minted["token"]
        )
        [deed] = self.audit("token mint")
        self.assertEqual(deed["user"], "github:repo:octo/app:ref:refs/heads/main")
        self.assertEqual(
            (deed["details"]["repository"], deed["details"]["environment"]), ("octo/app", "release")
        )
        [published] = self.audit("project publish")
        self.assertEqual((published["user"], published["token"]), (deed["user"], deed["subject"]))
        self.assertNotIn(minted["token"], self.index.log())

    def audit(self, what: str) -> list[dict[str, Any]]:
        """The deeds of that kind, as an admin reads them."""
        credential = "Basic " + b64encode(f"admin:{PASSWORDS['admin']}".encode()).decode()
        status, document = self.asked(
            "GET", self.index.port, f"/api/audit?action={quote(what)}", Authorization=credential
        )
        self.assertEqual(status, 200, document)
        deeds: list[dict[str, Any]] = document["entries"]
        return deeds

    def test_replay(self) -> None:
        """An identity token is good once, also after a restart of pypid (C94)."""
        token = self.identity()
        self.assertEqual(self.mint(token)[0], 200)
        for _ in range(2):
            status, failure = self.mint(token)
            self.assertEqual((status, failure["errors"][0]["code"]), (422, "invalid-reuse-token"))
            self.restart()

    def test_forged(self) -> None:
        """A token of a key that is not the forge's is refused, though all that it says is right."""
        forged = Documents(f"https://127.0.0.1:{self.port}").token(
            datetime.now(UTC), environment="release"
        )
        status, failure = self.mint(forged)
        self.assertEqual((status, failure["errors"][0]["code"]), (422, "invalid-token"))
        self.assertIn("signature", failure["errors"][0]["description"])
