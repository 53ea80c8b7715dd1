"""A store that runs: its buckets, and questions to it that are signed by the tests
themselves.
"""

import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from email.message import Message
from http.client import HTTPConnection, HTTPException
from itertools import count
from pathlib import Path
from typing import Final
from urllib.parse import urlencode, urlsplit

from attrs import field, frozen

from tests.live.processes import Running
from tests.live.stores.signing import NOTHING, Keys, Signer, queried, quoted

ANSWERS_WITHIN: Final = 60.0
"""Seconds for one answer: the machine may be busy, and some do real work."""


@frozen
class Answer:
    """What was answered."""

    status: int
    headers: Message
    body: bytes

    @property
    def code(self) -> str | None:
        """The code of an ``<Error>``."""
        found = self.find("Code")
        return found[0] if found and b"<Error>" in self.body else None

    def find(self, tag: str) -> list[str]:
        """The texts of these elements, as they stand in the XML."""
        return re.findall(f"<{tag}>(.*?)</{tag}>", self.body.decode(), re.DOTALL)


@frozen
class Store:
    """An S3 on this machine. Buckets are this test's own if it asks for a new one."""

    name: str
    endpoint: str
    """http, on 127.0.0.1."""
    region: str
    keys: Keys
    running: Running
    """Its process, or the one of several that answers: stop it, or let it wait, if the store is
    your own.
    """
    secure_endpoint: str | None = None
    """https, of the same store, with a certificate by `authority`."""
    authority: Path | None = None
    _numbers: Iterator[int] = field(factory=lambda: count(1), repr=False)

    @property
    def access_key(self) -> str:
        """The name of the keys of the one who may do all."""
        return self.keys.access

    @property
    def secret_key(self) -> str:
        """The secret that belongs to it."""
        return self.keys.secret

    @property
    def host(self) -> str:
        """As in ``Host``."""
        return urlsplit(self.endpoint).netloc

    def bucket(self, name: str = "bucket") -> str:
        """A new bucket, empty; its name begins with `name`."""
        made = f"{name}-{next(self._numbers)}"
        answer = self.ask("PUT", f"/{made}")
        assert answer.status == 200, f"{self.name} makes no bucket: {answer.status} {answer.body!r}"
        return made

    def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        query: Mapping[str, str] = NOTHING,
        headers: Mapping[str, str] = NOTHING,
        *,
        keys: Keys | None = None,
        region: str | None = None,
        at: datetime | None = None,
    ) -> Answer:
        """Ask with a signature; `path` ("/bucket/key") and `query` are not quoted. `at`: as if it
        were then.
        """
        signer = Signer(keys or self.keys, region or self.region, at)
        signed = signer.headers(method, self.host, path, query, headers, body)
        return self.send(
            method, quoted(path) + (f"?{queried(query)}" if query else ""), body, signed
        )

    def link(
        self,
        path: str,
        seconds: int = 60,
        query: Mapping[str, str] = NOTHING,
        *,
        keys: Keys | None = None,
        at: datetime | None = None,
    ) -> str:
        """Path and query of a signed URL to GET `path`; see `send`."""
        return Signer(keys or self.keys, self.region, at).link(
            "GET", self.host, path, seconds, query
        )

    def send(
        self, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] = NOTHING
    ) -> Answer:
        """Ask with nothing but these headers; `target` is quoted."""
        connection = HTTPConnection(self.host, timeout=ANSWERS_WITHIN)
        try:
            connection.request(
                method, target, body or None, {**headers, "Content-Length": str(len(body))}
            )
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def deny(self, bucket: str, *actions: str) -> None:
        """From now on these (``s3:ListBucket``) are denied in the bucket, to everybody; none: all
        is allowed again.
        """
        resources = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
        statement = {"Effect": "Deny", "Principal": "*", "Action": actions, "Resource": resources}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]}).encode()
        answer = self.ask(
            "PUT" if actions else "DELETE", f"/{bucket}", policy if actions else b"", {"policy": ""}
        )
        assert answer.status in (200, 204), f"{self.name}: {answer.status} {answer.body!r}"

    def temporary(self) -> Keys:
        """Keys that end after 15 minutes, the least that there is, with a session token
        (``GetSessionToken``).
        """
        answer = self.act("GetSessionToken", "2011-06-15", DurationSeconds="900")
        (access,), (secret,), (token,) = map(
            answer.find, ("AccessKeyId", "SecretAccessKey", "SessionToken")
        )
        return Keys(access, secret, token)

    def act(self, action: str, version: str, **parameters: str) -> Answer:
        """One action of STS or IAM; raises `AssertionError` unless it is done."""
        form = urlencode({"Action": action, "Version": version, **parameters}).encode()
        answer = self.ask(
            "POST",
            "/",
            form,
            headers={"content-type": "application/x-www-form-urlencoded; charset=utf-8"},
        )
        assert answer.status == 200, (
            f"{self.name} does not {action}: {answer.status} {answer.body!r}"
        )
        return answer

    def until_answers(self, within: float = 30.0) -> None:
        """Wait until a signed question is answered. Raises `AssertionError` with the log if it
        ends, or when time is up.
        """
        deadline = time.monotonic() + within
        while time.monotonic() < deadline and self.running.process.poll() is None:
            with suppress(OSError, HTTPException):
                if self.ask("GET", "/").status == 200:
                    return
            time.sleep(0.05)
        raise AssertionError(f"{self.name} does not answer:\n{self.running.output()[-6000:]}")
