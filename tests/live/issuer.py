"""A forge that says who its jobs are (OIDC), as a process of its own.

    python -m tests.live.issuer PORT CHAIN KEY

It speaks TLS with the certificate's chain and key, and is two issuers: ``https://127.0.0.1:PORT``
and ``https://localhost:PORT``. ``GET /token?audience=...`` gives a job of octo/app an identity
token, as GitHub does; further parameters replace its claims. The job proves itself by `JOB`.
"""

import json
import ssl
import sys
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from tests.issuers import Documents

JOB: Final = "a-job's-own-secret"


class Forge(BaseHTTPRequestHandler):
    """Answers."""

    protocol_version = "HTTP/1.1"
    timeout = 30
    lock: Final = threading.Lock()
    issuers: Final[dict[str, Documents]] = {}

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        """A document, or a token."""
        host, asked = self.headers["Host"], urlsplit(self.path)
        with self.lock:
            issuer = self.issuers.setdefault(host, Documents(f"https://{host}"))
        match asked.path:
            case "/.well-known/openid-configuration":
                self.answer(issuer.discovery())
            case "/.well-known/jwks":
                self.answer(issuer.jwks())
            case "/token" if self.headers.get("Authorization", "").lower() == f"bearer {JOB}":
                said = dict(parse_qsl(asked.query))
                said["aud"] = said.pop("audience")
                with self.lock:
                    self.answer({"value": issuer.token(datetime.now(UTC), **said)})
            case _:
                self.answer({"message": "no"}, 403)

    def answer(self, document: object, status: int = 200) -> None:
        """As JSON."""
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def main() -> None:
    """Serve until it is ended."""
    port, chain, key = sys.argv[1:]
    server = ThreadingHTTPServer(("127.0.0.1", int(port)), Forge)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
