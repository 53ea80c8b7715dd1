"""The StartTLS request (RFC 4511, 4.14) and its answer, as bytes: it is done before libldap has the
connection.
"""

from __future__ import annotations

REQUEST = bytes.fromhex("301d02010177188016") + b"1.3.6.1.4.1.1466.20037"
"""The extended request with the OID of StartTLS, as message 1."""

_MOST = 4096
"""Bytes of an answer."""


def answer(received: bytes) -> bool:
    """Return whether `received` is the complete positive answer; False: there is more to come.

    Raises `ValueError` with the reason for a refusal, for an invalid answer, and for any bytes
    after it: they would be taken for encrypted content.
    """
    whole = _element(received, 0x30)
    if whole is None:
        return False
    content, rest = whole
    if rest:
        raise ValueError("it said more than was asked for before encryption (StartTLS).")
    number = _element(content, 0x02)
    reply = number and _element(number[1], 0x78)
    code = reply and _element(reply[0], 0x0A)
    if not number or not code:
        raise ValueError("its answer to StartTLS is no LDAP.")
    if number[0] != b"\1" or code[0] != b"\0":
        raise ValueError(
            f"it does not want to encrypt (StartTLS, result {code[0].hex() or '?'}); ldaps:// may "
            "be what it has."
        )
    return True


def _element(data: bytes, tag: int) -> tuple[bytes, bytes] | None:
    """Return the content of the element that `data` begins with, and the bytes after it; None if it
    is incomplete.
    """
    if data[:1] != bytes([tag])[: len(data)]:
        raise ValueError("its answer to StartTLS is no LDAP.")
    if len(data) < 2:
        return None
    size, start = data[1], 2
    if size & 0x80:
        start += size & 0x7F
        size = int.from_bytes(data[2:start])
    if start > 6 or size > _MOST:
        raise ValueError("its answer to StartTLS is no LDAP.")
    if len(data) < start + size:
        return None
    return data[start : start + size], data[start + size :]
