"""OpenStack Swift with its S3 API: proxy, account, container and object server in one process (see
swift_server.py).
"""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final
from unittest import SkipTest

from tests.live.clients import Unavailable, client, in_ci
from tests.live.processes import free_port, running, scratch
from tests.live.stores.asking import Abilities, Store
from tests.live.stores.signing import Keys

KEYS: Final = Keys("pypid:key", "swift/K7MDENG+bPxRfiCYEXAMPLEKEY")
REGION: Final = "eu-central-1"
CAN: Final = Abilities(
    exclusive=False,
    exclusive_multipart=True,
    checks_sha256=True,
    encrypts=False,
    classes=("STANDARD",),
    policies=False,
    temporary=False,
    checks_region=True,
)


@contextmanager
def swift() -> Iterator[Store]:
    """A new one, empty; ended by its pid.

    Raises `unittest.SkipTest` where Swift cannot be installed or the scratch folder has no extended
    attributes; in CI `Unavailable`.
    """
    python = client("swift")
    with ExitStack() as stack:
        folder = stack.enter_context(scratch("pypid-swift-"))
        try:
            os.setxattr(folder, "user.pypid", b"x" * 256)
        except OSError as error:
            reason = f"swift: {folder.parent} has no user xattrs (TMPDIR names another folder)"
            raise Unavailable(reason) if in_ci() else SkipTest(reason) from error
        port = free_port()
        server = Path(__file__).with_name("swift_server.py")
        line: list[str | Path] = [
            python,
            "-I",
            server,
            folder,
            str(port),
            REGION,
            KEYS.access,
            KEYS.secret,
        ]
        process = stack.enter_context(running(line, folder / "log", cwd=folder))
        stack.callback(process.stop, signal.SIGKILL)
        store = Store("swift", f"http://127.0.0.1:{port}", REGION, KEYS, CAN, process)
        store.until_answers()
        yield store
