"""Translation of errors of the server, its driver or the network into exceptions of
`catalog.engine`, with advice.
"""

from __future__ import annotations

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet import error as network
from twisted.internet.defer import TimeoutError

from pypid.catalog.engine import DatabaseAway, DatabaseFull, DatabaseUnusable
from pypid.catalog.redis.place import RedisPlace

_NOT_ALLOWED = (
    "its user lacks permissions. Give it the keys and commands that docs/guides/nodes.rst "
    "names (ACL SETUSER)."
)
_NO_PASSWORD = (
    "it has no password, and [catalog] url has one. Take it out, or set requirepass there."
)
_UNUSABLE = {
    "NOAUTH": (
        "it wants a password: write it into [catalog] url, redis://:password@host or "
        "redis://user:password@host."
    ),
    "WRONGPASS": (
        "it refuses the user or the password of [catalog] url. Correct them there (quoted), or in "
        "the server's ACL."
    ),
    "invalid password": (
        "it refuses the password of [catalog] url. Correct it there (quoted), or in the server's "
        "requirepass."
    ),
    "without any password configured": _NO_PASSWORD,
    "no password is set": _NO_PASSWORD,
    "arguments for 'auth'": (
        "it knows no users (they came with Redis 6). Take the user out of [catalog] url, not the "
        "password."
    ),
    "user executing the script": _NOT_ALLOWED,
    "NOPERM": _NOT_ALLOWED,
    "DENIED": (
        "it is in protected mode: it has no password, and talks to its own machine only. Set one "
        "(requirepass)."
    ),
    "DB index is out of range": (
        "it has no database of that number. Correct the end of [catalog] url."
    ),
    "SELECT is not allowed": (
        "a Redis Cluster has database 0 only. Correct the end of [catalog] url."
    ),
    "MOVED": (
        "it is a node of a Redis Cluster without our keys: give the address of the master that "
        "has them (CLUSTER SLOTS)."
    ),
    "WRONGTYPE": (
        "keys with pypid's prefix belong to another application. Use another database, or "
        "another ?prefix= in [catalog] url."
    ),
    "unknown command": (
        "it lacks a command that Redis has since version 5, or that was renamed. Use Redis 5 or "
        "later."
    ),
    "Unknown Redis command": (
        "it lacks a command that Redis has since version 5. Use Redis 5 or later."
    ),
}
_AWAY = {
    "LOADING": "it reads its data from disk, after a start",
    "MASTERDOWN": "it is a replica that has lost its master",
    "NOREPLICAS": "it has too few replicas to take changes (min-replicas-to-write)",
    "READONLY": "it is a replica, which takes no changes: [catalog] url is to lead to the master",
    "REPLICA": "it is a replica: [catalog] url is to lead to the master",
    "MISCONF": (
        "it cannot write its data to its disk, and takes no changes until it can. See its log"
    ),
    "CLUSTERDOWN": "its cluster is down",
    "TRYAGAIN": "its cluster moves our keys",
    "BUSY": "it is busy with the script of a client",
    "UNKILLABLE": "it is busy with the script of a client",
    "max number of clients": "it has too many clients (maxclients)",
    "UNBLOCKED": "it has become a replica",
}


class Lost(DatabaseAway):
    """The connection was closed, perhaps long before it was used: the question may be repeated at
    once.
    """


_NO_ROOM = "OOM command not allowed"


def refusal(place: RedisPlace, text: str) -> Exception:
    """Return the exception for an error reply of the server."""
    if _NO_ROOM in text:
        return DatabaseFull(
            "it has no memory left (maxmemory). Give it more: a catalog needs about twice the "
            "bytes of its lines"
        )
    for word, reason in _UNUSABLE.items():
        if word in text:
            return DatabaseUnusable(reason)
    for word, reason in _AWAY.items():
        if word in text:
            return DatabaseAway(reason)
    return DatabaseAway(_short(place, f"it refused: {text}"))


def loss(place: RedisPlace, error: BaseException) -> Exception:
    """Return the exception for a connection that failed or was lost."""
    if isinstance(error, VerificationError) or (
        isinstance(error, SSL.Error) and "certificate" in repr(error.args)
    ):
        return DatabaseUnusable(
            f"the certificate of {place.server} is not believed: it has to be that of the host in "
            "[catalog] url, and of one of the system's authorities (Debian: "
            "/usr/local/share/ca-certificates, update-ca-certificates)."
        )
    if isinstance(error, SSL.Error):
        return DatabaseAway(
            _short(
                place, f"TLS with {place.server} failed: {error.args}. Is this port one for TLS?"
            )
        )
    if isinstance(error, TimeoutError | network.TimeoutError):
        return DatabaseAway(f"{place.server} does not answer")
    if isinstance(error, network.ConnectionDone | network.ConnectionLost) and not isinstance(
        error, network.ConnectionAborted
    ):
        return Lost(f"{place.server} closed the connection")
    if isinstance(error, network.ConnectionAborted):
        return DatabaseAway(f"the connection to {place.server} was closed here")
    return DatabaseAway(
        _short(place, f"{place.server} cannot be reached: {type(error).__name__}: {error}")
    )


def _short(place: RedisPlace, text: str) -> str:
    return place.clean(text).partition("\n")[0][:300]
