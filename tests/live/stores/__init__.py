"""Real S3 servers for the tests, on free ports of 127.0.0.1, that truly verify each signature.

::

    with store("radosgw") as s3:
        bucket = s3.bucket()  # new and empty
        s3.endpoint, s3.region, s3.access_key, s3.secret_key  # what pypid is told
        s3.ask("PUT", f"/{bucket}/key", b"body")  # what the tests ask, signed by the tests themselves

What they do (`Abilities` has what differs, for tests that want to know):

* Both refuse a wrong signature, in headers (path, query, headers, body) and in URLs, an expired
  URL, and a clock that is half an hour off (``RequestTimeTooSkewed``); keep every odd key; list in
  the order of UTF-8, page by page; do multipart uploads; take ``If-None-Match: *`` where something
  is there already; refuse a wrong Content-MD5. A URL signed for GET is no good for HEAD. None looks
  at ``If-Match`` as AWS does (radosgw wants the ETag without its quotes, Swift says 501), and none
  gives a SHA-256 back.
* ``radosgw`` (Ceph 16.2, from Debian's packages; starts in two seconds and keeps all in memory): of
  several writers with ``If-None-Match: *`` exactly one wins, but `CompleteMultipartUpload` ignores
  the header and replaces. It encrypts (AES256, aws:kms), has storage classes (not their delays:
  nothing must be restored), policies that deny, session tokens that it looks at, and TLS. It
  ignores a wrong SHA-256 checksum, and which region a signature names. What is missing is 404 even
  to who may not list (AWS: 403). A listing has a ``'`` as ``&apos;``, also where it quotes keys as
  in URLs.
* ``swift`` (OpenStack Swift with s3api, from PyPI, all in one process): of several writers at once
  more than one may be told that it won, but `CompleteMultipartUpload` looks at the header. It
  refuses a wrong SHA-256 checksum, and a signature that names another region
  (``AuthorizationHeaderMalformed``). No encryption, storage classes, policies, session tokens: it
  answers 501 or 400, and does not look at a token. A listing without ``encoding-type=url`` is a 500
  where a key has control characters, to make a bucket twice is 409 (radosgw: 200), what is not
  signed at all is 400, and an unknown access key is ``SignatureDoesNotMatch``.

moto_server would add nothing: it verifies nothing, and session tokens, for which one might take it,
are had from radosgw.

The server is started on its first use and ends with the process that runs the tests; `own` starts
another, for tests that break or stop it. Where one cannot be had its tests are skipped by its name;
with CI set they fail.
"""

import atexit
import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Final

from tests.live.stores.asking import Abilities, Answer, Store
from tests.live.stores.radosgw import radosgw
from tests.live.stores.signing import Keys, Signer
from tests.live.stores.swift import swift

__all__ = ("STARTED_BY", "Abilities", "Answer", "Keys", "Signer", "Store", "own", "store")

STARTED_BY: Final[Mapping[str, Callable[[], AbstractContextManager[Store]]]] = {
    "radosgw": radosgw,
    "swift": swift,
}


@contextmanager
def store(name: str) -> Iterator[Store]:
    """The one of this process. Raises `unittest.SkipTest` or, in CI,
    `tests.live.clients.Unavailable`.
    """
    yield _shared(name)


def own(name: str) -> AbstractContextManager[Store]:
    """One for this test alone, which it may stop. Raises as `store` does."""
    return STARTED_BY[name]()


@functools.cache
def _shared(name: str) -> Store:
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(own(name))
