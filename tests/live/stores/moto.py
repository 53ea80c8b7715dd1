"""moto_server: it verifies no signature, so it proves nothing of what is asked; but objects come
back from its archives.

No other store here has them (``GLACIER``, ``InvalidObjectState``, ``RestoreObject``).
"""

import json
import signal
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from tests.live.clients import client
from tests.live.processes import clean_environ, free_port, running, scratch
from tests.live.stores.asking import Store
from tests.live.stores.signing import Keys

KEYS: Final = Keys("AKIAMOTO", "moto/K7MDENG+bPxRfiCYEXAMPLEKEY")


@contextmanager
def moto() -> Iterator[Store]:
    """A new one, empty; ended by its pid. Raises as `tests.live.clients.client`."""
    server = client("moto")
    with scratch("pypid-moto-") as folder:
        port = free_port()
        command = [server, "-H", "127.0.0.1", "-p", str(port)]
        with running(command, folder / "log", cwd=folder, environ=clean_environ()) as process:
            store = Store("moto", f"http://127.0.0.1:{port}", "us-east-1", KEYS, process)
            store.until_answers()
            yield store
            process.stop(signal.SIGKILL)


def restores_take(store: Store, looks: int) -> None:
    """From now on a restore is done when the object was looked at so many times."""
    transition = {"progression": "manual", "times": looks}
    body = json.dumps({"model_name": "s3::keyrestore", "transition": transition}).encode()
    url = f"{store.endpoint}/moto-api/state-manager/set-transition"
    headers = {"Content-Type": "application/json"}
    with urllib.request.urlopen(
        urllib.request.Request(url, body, headers, method="POST"), timeout=30
    ) as answer:
        assert answer.status in (200, 201), answer.status
