"""Malicious releases of real projects, replayed: they appear upstream among good ones, and are
removed hours later. Each protection keeps them from an installer by itself.

litellm (March 2026): 1.82.7 and 1.82.8 were uploaded with a stolen token, without attestations; the
latter runs at each start of Python by a ``.pth`` file. ultralytics (December 2024): 8.3.41 and
8.3.42 came from the project's own workflow, whose cache was poisoned; 8.3.45 and 8.3.46 were
uploaded with a stolen token.
"""

import contextlib
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import urljoin

from attrs import frozen

from pypid.core.accounts.provenance import GitHub, Signed, provenance_object
from tests.live.certificates import Authority
from tests.live.daemon import IndexTestCase, LiveIndex, Settings, for_each, pypid
from tests.live.isolation import fails, uv, works
from tests.live.processes import BIN, scratch
from tests.live.projects import Artifact, call, wheel
from tests.live.test_install import installed
from tests.live.workers import until
from tests.sigstores import OwnSigstore, statement
from tests.upstream.fake import J

DAY: Final = timedelta(days=1)


@frozen
class Incident:
    """A project with good releases, and malicious ones in the order of their upload."""

    name: str
    good: str
    malicious: tuple[str, ...]
    from_workflow: tuple[str, ...] = ()
    """The malicious releases with valid attestations of the project's own workflow."""

    def wheel(self, version: str) -> Artifact:
        """Return the wheel of a release; a malicious one leaves a mark at each start of Python."""
        content = {f"{self.name}/__init__.py": f"version = {version!r}\n".encode()}
        if version in self.malicious:
            content[f"{self.name}_init.pth"] = b"import sys; sys.malicious = True\n"
        return wheel(self.name, version, tag="py3-none-any", files=content)


INCIDENTS: Final = {
    incident.name: incident
    for incident in (
        Incident("litellm", "1.82.6", ("1.82.7", "1.82.8")),
        Incident(
            "ultralytics",
            "8.3.40",
            ("8.3.41", "8.3.42", "8.3.45", "8.3.46"),
            from_workflow=("8.3.41", "8.3.42"),
        ),
    )
}


class ReplayedIndex:
    """The public index: what it lists now. Upload times are what the test says."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[str, bytes]] = {}
        self.listed: dict[str, dict[str, Any]] = {}
        self.url = ""

    def upload(self, artifact: Artifact, uploaded: datetime, provenance: bytes = b"") -> None:
        """List a file, with this provenance object, if any."""
        self.answers[f"/files/{artifact.filename}"] = ("application/octet-stream", artifact.data)
        self.listed[artifact.filename] = {
            "filename": artifact.filename,
            "url": f"/files/{artifact.filename}",
            "hashes": {"sha256": sha256(artifact.data).hexdigest()},
            "size": len(artifact.data),
            "upload-time": uploaded.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        }
        if provenance:
            path = f"/provenance/{artifact.filename}"
            self.answers[path] = ("application/vnd.pypi.integrity.v1+json", provenance)
            self.listed[artifact.filename]["provenance"] = urljoin(self.url, path)
        self._write(artifact.filename.partition("-")[0])

    def withdraw(self, artifact: Artifact) -> None:
        """List and serve the file no longer."""
        del self.listed[artifact.filename], self.answers[f"/files/{artifact.filename}"]
        self._write(artifact.filename.partition("-")[0])

    def _write(self, name: str) -> None:
        files = [file for file in self.listed.values() if file["filename"].startswith(f"{name}-")]
        versions = sorted({file["filename"].split("-")[1] for file in files})
        page = {"meta": {"api-version": "1.1"}, "name": name, "versions": versions, "files": files}
        self.answers[f"/simple/{name}/"] = (J, json.dumps(page).encode())

    @contextmanager
    def running(self, tls: ssl.SSLContext | None = None) -> Iterator["ReplayedIndex"]:
        """Serve it on a free port."""
        answers = self.answers

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                kind, data = answers.get(self.path, ("", b""))
                self.send_response(200 if kind else 404)
                self.send_header("Content-Type", kind or "text/plain")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                with contextlib.suppress(ConnectionError):  # pypid was stopped meanwhile
                    self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None:
                """Write no log."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        scheme = "http" if tls is None else "https"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        self.url = f"{scheme}://127.0.0.1:{server.server_address[1]}/simple/"
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


class ReplayCase(IndexTestCase):
    """A public index that lists good and malicious releases, and a pypid with `lines` in front."""

    lines = ""
    sections = ""
    tls: ssl.SSLContext | None = None
    trusted: Path | None = None
    """The authorities that pypid believes, in place of the system's."""

    def start(self) -> LiveIndex:
        self.now = datetime.now(UTC)
        self.upstream = self.entered(ReplayedIndex().running(self.tls))
        for incident in INCIDENTS.values():
            good = incident.wheel(incident.good)
            self.upstream.upload(good, self.now - 30 * DAY, self.attested(incident, good))
        self.place = self.entered(scratch())
        upstream = f"mode = cache\nttl = 1s\nurl = {self.upstream.url}\n{self.lines}"
        self.settings = Settings(upstream=upstream, sections=self.sections, trusted=self.trusted)
        return self.entered(pypid(self.place, self.settings))

    def attack(self, incident: Incident) -> None:
        """The malicious releases appear upstream; they were uploaded in the last hours."""
        for number, version in enumerate(incident.malicious):
            age = timedelta(hours=2) - timedelta(minutes=10 * number)
            artifact = incident.wheel(version)
            is_attested = version in incident.from_workflow
            provenance = self.attested(incident, artifact) if is_attested else b""
            self.upstream.upload(artifact, self.now - age, provenance)

    def attested(self, incident: Incident, artifact: Artifact) -> bytes:
        """Return the provenance object of a file from the project's own workflow."""
        return b""

    def withdraw(self, incident: Incident) -> None:
        """The malicious releases disappear upstream."""
        for version in incident.malicious:
            self.upstream.withdraw(incident.wheel(version))

    def command(self, *words: str | Path) -> str:
        """Run a pypid command that works; return what it printed."""
        command = [BIN / "pypid", *words, "--config", self.place / "pypid.ini"]
        return works(command, self.folder)

    def install(self, wanted: str, url: str = "") -> Path:
        """Install the requirement with uv; return the folder."""
        target = self.folder / f"target-{len(list(self.folder.iterdir()))}"
        works([*uv(url or self.index.url(), "--no-cache"), "--target", target, wanted], self.folder)
        return target

    def hidden(self, incident: Incident) -> dict[str, str]:
        """Return the files that a rule hides now, each with the rule."""
        call(self.index, "GET", f"/simple/{incident.name}/")  # so that upstream is asked again
        answer = json.loads(call(self.index, "GET", f"/api/why/{incident.name}", user="alice"))
        return {file["filename"]: file["rule"] for file in answer["hidden"]}

    def rules_that_hide(self, incident: Incident) -> dict[str, str]:
        """Wait until pypid has read of the malicious releases, and hides them; return the rules."""
        names = {incident.wheel(version).filename for version in incident.malicious}
        until(lambda: names <= set(self.hidden(incident)), self.index)
        return {name: rule for name, rule in self.hidden(incident).items() if name in names}

    def assert_safe(self, incident: Incident) -> None:
        """No installer gets a malicious release, neither unpinned nor pinned, nor by URL."""
        target = self.install(incident.name)
        self.assertEqual(installed(target), {f"{incident.name}-{incident.good}"})
        self.assertEqual(list(target.glob("*.pth")), [])
        self.assert_refused(incident, *incident.malicious)

    def assert_refused(self, incident: Incident, *versions: str) -> None:
        """Nobody gets these versions, neither pinned nor by URL."""
        for version in versions:
            pinned = f"{incident.name}=={version}"
            command = uv(self.index.url(), "--no-cache")
            fails([*command, "--target", self.folder / "pinned", pinned], self.folder)
            path = f"/packages/{incident.name}/{incident.wheel(version).filename}"
            self.assertRaises(AssertionError, call, self.index, "GET", path)

    def assert_no_view_has_it(self, incident: Incident) -> None:
        """No as-of view has a malicious release, from the upload to now."""
        for minutes in (5, 60, 100, 24 * 60):
            at = (self.now - timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")
            text = call(self.index, "GET", f"/at/{at}/simple/{incident.name}/").decode()
            for version in incident.malicious:
                self.assertNotIn(f"{incident.name}-{version}-", text)
            self.assertIn(f"{incident.name}-{incident.good}-", text)


class BlockTests(ReplayCase):
    """A block alone."""

    @for_each(*INCIDENTS)
    def attacked(self, name: str) -> None:
        """The releases were installed before they were known; from the block on nobody gets them,
        also after upstream has removed them.
        """
        incident = INCIDENTS[name]
        self.attack(incident)
        self.assertEqual(installed(self.install(name)), {f"{name}-{incident.malicious[-1]}"})
        spec = f"{name}>={incident.malicious[0]},<={incident.malicious[-1]}"
        self.command("block", "create", spec, "--reason", "steals credentials")
        self.assertEqual(set(self.rules_that_hide(incident).values()), {"blocked"})
        self.assert_safe(incident)
        self.assert_no_view_has_it(incident)
        self.withdraw(incident)
        until(lambda: set(self.hidden(incident).values()) == {"gone"}, self.index)
        self.assert_safe(incident)
        self.assert_no_view_has_it(incident)


class RatchetTests(ReplayCase):
    """The ratchet of trust alone: earlier releases were attested by the project's workflow."""

    def start(self) -> LiveIndex:
        # an index names provenance by https only
        authority = Authority()
        self.trusted = authority.pem(self.folder)
        chain, key = self.folder / "chain.pem", self.folder / "key.pem"
        authority.issue(chain, key)
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(chain, key)
        self.sigstore = OwnSigstore()
        root = self.sigstore.trusted_root(self.folder / "trusted_root.json")
        self.sections = f"[trust]\nratchet = hold\ntrust_root = {root}"
        return super().start()

    def attested(self, incident: Incident, artifact: Artifact) -> bytes:
        about = statement(artifact.filename, sha256(artifact.data).hexdigest())
        attestation = json.dumps(self.sigstore.attestation(about)).encode()
        return provenance_object([Signed(GitHub("monty/spam", "release.yml"), attestation)])

    @for_each(*INCIDENTS)
    def attacked(self, name: str) -> None:
        """Releases that were uploaded with a stolen token have no attestation, and are held; those
        from the poisoned workflow are not.
        """
        incident = INCIDENTS[name]
        self.install(name)
        self.attack(incident)
        held = [each for each in incident.malicious if each not in incident.from_workflow]
        names = {incident.wheel(version).filename for version in held}
        until(lambda: set(self.hidden(incident)) == names, self.index)
        self.assertEqual(set(self.hidden(incident).values()), {"trust"})
        last = [incident.good, *incident.from_workflow][-1]
        self.assertEqual(installed(self.install(name)), {f"{name}-{last}"})
        self.assert_refused(incident, *held)
        self.withdraw(incident)
        until(lambda: set(self.hidden(incident).values()) <= {"gone"}, self.index)
        self.assert_no_view_has_it(incident)
