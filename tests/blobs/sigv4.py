"""AWS's signatures, checked as AWS describes them, on what came over the wire: written without
botocore, which makes ours.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from urllib.parse import parse_qsl, quote, unquote

UNSIGNED = "UNSIGNED-PAYLOAD"


def _encoded(text: str) -> str:
    return quote(text, safe="-_.~")


def _mac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), sha256).digest()


def signature(
    secret: str,
    scope: str,
    at: str,
    method: str,
    path: str,
    query: list[tuple[str, str]],
    headers: Mapping[str, str],
    content: str,
) -> str:
    """The signature that such a request must have. `path` as it was sent; `headers` are those that
    are signed.
    """
    told = "\n".join(
        [
            method,
            quote(unquote(path), safe="/-_.~"),
            "&".join(sorted(f"{_encoded(name)}={_encoded(value)}" for name, value in query)),
            *(f"{name}:{' '.join(headers[name].split())}" for name in sorted(headers)),
            "",
            ";".join(sorted(headers)),
            content,
        ]
    )
    day, region, service, end = scope.split("/")
    key = _mac(_mac(_mac(_mac(f"AWS4{secret}".encode(), day), region), service), end)
    signed = "\n".join(["AWS4-HMAC-SHA256", at, scope, sha256(told.encode()).hexdigest()])
    return hmac.new(key, signed.encode(), sha256).hexdigest()


def refused(
    secrets: Mapping[str, str],
    now: datetime,
    method: str,
    target: str,
    headers: Mapping[str, str],
    body: bytes,
) -> str:
    """Why a request is refused: S3's code for it, or "" where its signature is good. `headers` by
    lower-case name.
    """
    path, _, text = target.partition("?")
    query = parse_qsl(text, keep_blank_values=True, errors="strict")
    asked = dict(query)
    if "X-Amz-Signature" in asked:
        return _refused_link(secrets, now, method, path, query, headers)
    kind, _, said = headers.get("authorization", "").partition(" ")
    if kind != "AWS4-HMAC-SHA256":
        return "AccessDenied"
    parts = dict(part.strip().split("=", 1) for part in said.split(","))
    access, _, scope = parts["Credential"].partition("/")
    if access not in secrets:
        return "InvalidAccessKeyId"
    names = parts["SignedHeaders"].split(";")
    must = {"host", "content-type"} & set(headers) | {
        name for name in headers if name.startswith("x-amz-")
    }
    if not must <= set(names):
        return "AccessDenied"
    at, content = headers["x-amz-date"], headers["x-amz-content-sha256"]
    if abs(datetime.strptime(at, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC) - now) > timedelta(
        minutes=15
    ):
        return "RequestTimeTooSkewed"
    chosen = {name: headers[name] for name in names}
    if (
        signature(secrets[access], scope, at, method, path, query, chosen, content)
        != parts["Signature"]
    ):
        return "SignatureDoesNotMatch"
    if content not in (UNSIGNED, sha256(body).hexdigest()):
        return "XAmzContentSHA256Mismatch"
    return ""


def _refused_link(
    secrets: Mapping[str, str],
    now: datetime,
    method: str,
    path: str,
    query: list[tuple[str, str]],
    headers: Mapping[str, str],
) -> str:
    asked = dict(query)
    access, _, scope = asked["X-Amz-Credential"].partition("/")
    if access not in secrets:
        return "InvalidAccessKeyId"
    at = asked["X-Amz-Date"]
    begin = datetime.strptime(at, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    if now > begin + timedelta(seconds=int(asked["X-Amz-Expires"])):
        return "AccessDenied"
    chosen = {name: headers[name] for name in asked["X-Amz-SignedHeaders"].split(";")}
    rest = [(name, value) for name, value in query if name != "X-Amz-Signature"]
    right = signature(secrets[access], scope, at, method, path, rest, chosen, UNSIGNED)
    return "" if right == asked["X-Amz-Signature"] else "SignatureDoesNotMatch"
