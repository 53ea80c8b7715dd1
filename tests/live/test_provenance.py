"""Provenance of upstream files, verified by `pypi-attestations` while upstream is away."""

import json
import ssl
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pypid.core.accounts.provenance import GitHub, Signed, provenance_object
from tests.live.certificates import Authority
from tests.live.daemon import IndexTestCase, LiveIndex, Settings, pypid
from tests.live.isolation import fails, works
from tests.live.processes import BIN, free_port
from tests.live.projects import Artifact, wheel
from tests.live.workers import until
from tests.sigstores import OwnSigstore, statement
from tests.upstream.fake import J

SPAM = wheel("spam", "1.0")
EGGS = wheel("eggs", "1.0")
SIGSTORE = quote("https://tuf-repo-cdn.sigstore.dev", safe="")
REPOSITORY = "https://github.com/monty/spam"


def attested_by(sigstore: OwnSigstore, artifact: Artifact) -> bytes:
    """The provenance object of the file, signed by a job of monty/spam."""
    about = statement(artifact.filename, sha256(artifact.data).hexdigest())
    attestation = json.dumps(sigstore.attestation(about)).encode()
    return provenance_object([Signed(GitHub("monty/spam", "release.yml"), attestation)])


class ProvenanceTests(IndexTestCase):
    """An upstream index with TLS that attests its files, and a pypid in front of it."""

    def start(self) -> LiveIndex:
        authority = Authority()
        self.trusted = authority.pem(self.folder)
        chain, key = self.folder / "chain.pem", self.folder / "key.pem"
        authority.issue(chain, key)
        self.sigstore = OwnSigstore()
        self.answers: dict[str, tuple[str, bytes]] = {}
        self.listed: dict[str, list[dict[str, Any]]] = {}
        self.upstream = self.serve(chain, key)
        self.list_file(SPAM, attested_by(self.sigstore, SPAM))
        self.list_file(EGGS, b'{"version": 1, "attestation_bundles": []}')
        place = self.folder / "pypid"
        place.mkdir()
        settings = Settings(
            certificate=chain,
            key=key,
            trusted=self.trusted,
            upstream=f"mode = cache\nttl = 0\nurl = {self.upstream}/simple/",
            server=f"public_url = https://127.0.0.1:{(port := free_port())}",
            sections=(
                "[trust]\nratchet = hold\n"
                f"trust_root = {self.sigstore.trusted_root(self.folder / 'root.json')}\n"
            ),
        )
        self.port = port
        return self.entered(pypid(place, settings))

    def serve(self, chain: Path, key: Path) -> str:
        """Start the upstream index; return its URL."""
        answers = self.answers

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                kind, data = answers.get(self.path, ("", b""))
                self.send_response(200 if kind else 404)
                self.send_header("Content-Type", kind or "text/plain")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None:
                """Write no log."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain, key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()

        def stop() -> None:
            server.shutdown()
            server.server_close()

        self.stop_upstream: Callable[[], None] = stop
        return f"https://127.0.0.1:{server.server_address[1]}"

    def list_file(
        self, artifact: Artifact, provenance: bytes | None, uploaded: str = "2026-01-01"
    ) -> None:
        """Have upstream list the file, uploaded on that day, with this provenance object."""
        name, version = artifact.filename.split("-")[:2]
        path = f"/integrity/{name}/{version}/{artifact.filename}/provenance"
        self.answers[path] = ("application/vnd.pypi.integrity.v1+json", provenance or b"")
        self.answers[f"/files/{artifact.filename}"] = ("application/octet-stream", artifact.data)
        file = {
            "filename": artifact.filename,
            "url": f"/files/{artifact.filename}",
            "hashes": {"sha256": sha256(artifact.data).hexdigest()},
            "size": len(artifact.data),
            "upload-time": f"{uploaded}T00:00:00Z",
            **({} if provenance is None else {"provenance": f"{self.upstream}{path}"}),
        }
        files = self.listed.setdefault(name, [])
        files.append(file)
        page = {"meta": {"api-version": "1.1"}, "name": name, "files": files}
        self.answers[f"/simple/{name}/"] = (J, json.dumps(page).encode())

    def get(self, path: str, accept: str = "*/*") -> bytes:
        context = ssl.create_default_context(cafile=str(self.trusted))
        request = urllib.request.Request(
            f"https://127.0.0.1:{self.index.port}{path}", headers={"Accept": accept}
        )
        with urllib.request.urlopen(request, timeout=30, context=context) as answer:
            return bytes(answer.read())

    def provenance_on_page(self, name: str) -> str | None:
        """What the JSON page names as provenance of the project's one file."""
        file = json.loads(self.get(f"/simple/{name}/", J))["files"][0]
        found: str | None = file.get("provenance")
        return found

    def test_offline(self) -> None:
        """Upstream's provenance is on the page of a cached file, and verifies with upstream
        away, against the file that came from here; a changed file does not verify (C121).
        """
        self.assertIsNone(self.provenance_on_page("spam"))
        data = self.get(f"/packages/spam/{SPAM.filename}")
        until(lambda: self.provenance_on_page("spam") is not None, self.index)
        self.stop_upstream()
        url = self.provenance_on_page("spam")
        path = f"/integrity/spam/1.0/{SPAM.filename}/provenance"
        self.assertEqual(url, f"https://127.0.0.1:{self.port}{path}")
        html = self.get("/simple/spam/", "text/html").decode()
        self.assertIn(f'data-provenance="{url}"', html)
        provenance = self.folder / "provenance.json"
        provenance.write_bytes(self.get(path))
        root = self.folder / ".cache/sigstore-python/tuf" / SIGSTORE
        root.mkdir(parents=True)
        self.sigstore.trusted_root(root / "trusted_root.json")
        verify = [sys.executable, "-m", "pypi_attestations", "verify", "pypi", "--offline"]
        verify += ["--repository", REPOSITORY, "--provenance-file", str(provenance)]
        right = Artifact(SPAM.filename, data).into(self.folder / "right")
        self.assertIn(f"OK: {SPAM.filename}", works([*verify, right], self.folder))
        wrong = Artifact(SPAM.filename, data + b"x").into(self.folder / "wrong")
        fails([*verify, wrong], self.folder)

    def command(self, *words: str) -> str:
        """What the command prints."""
        return works([BIN / "pypid", *words, "--config", self.index.config], self.folder)
