"""Trusted publishing (C94): real clients in jobs of a forge publish without any
password, over TLS.
"""

import http.client
import json
import ssl
import sys
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlencode

from tests.live.certificates import Authority
from tests.live.clients import client
from tests.live.daemon import IndexTestCase, LiveIndex, Settings, pypid
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

    def document(self, path: str) -> object:
        """The JSON document at a path of the index."""
        context = ssl.create_default_context(cafile=str(self.trusted))
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.index.port, timeout=30, context=context
        )
        try:
            connection.request("GET", path, headers={"Accept": "application/json"})
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()


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
            self.assertIn(path.name, json.dumps(self.document("/api/projects/tp-uv")))
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
