"""``python swift_server.py FOLDER PORT REGION ACCESS SECRET``: all of a small Swift in one process,
until it is ended.

Run by the Python of an environment that has Swift (``swift`` in tests/live/clients.py); nothing of
pypid is imported. Its configuration and its one "disk" are below FOLDER, PORT of 127.0.0.1 is the
proxy's. What it logs goes to the standard error.
"""

# Swift is not installed where mypy runs
# mypy: disable-error-code="import-not-found"

import logging
import sys
from collections.abc import Callable
from pathlib import Path

import eventlet

eventlet.patcher.monkey_patch(all=False, socket=True, select=True, thread=True)

from eventlet import GreenPool, listen, spawn, wsgi  # noqa: E402
from swift.common import storage_policy, utils  # noqa: E402
from swift.common.ring import RingBuilder  # noqa: E402
from swift.common.utils import logs  # noqa: E402
from swift.common.wsgi import loadapp  # noqa: E402

Application = Callable[[dict[str, object], object], object]

BACKEND = """
[DEFAULT]
swift_dir = {folder}
devices = {folder}
mount_check = false
disable_fallocate = true
log_level = WARNING
[pipeline:main]
pipeline = app
[app:app]
use = egg:swift#{kind}
"""

PROXY = """
[DEFAULT]
swift_dir = {folder}
log_level = WARNING
[pipeline:main]
pipeline = catch_errors gatekeeper listing_formats s3api tempauth copy slo dlo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:s3api]
use = egg:swift#s3api
location = {region}
[filter:tempauth]
use = egg:swift#tempauth
user_{user} = {secret} .admin
[filter:copy]
use = egg:swift#copy
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
"""


class Cache:
    """What memcached is to a real Swift, as much as the proxy asks of it: without, it looks for the
    bucket at each request.

    Nothing in it ends by itself: the proxy, the only one, takes out what it changes.
    """

    def __init__(self) -> None:
        self.held: dict[str, object] = {}

    def get(self, key: str, **_: object) -> object:
        return self.held.get(key)

    def set(self, key: str, value: object, **_: object) -> None:
        self.held[key] = value

    def delete(self, key: str, **_: object) -> None:
        self.held.pop(key, None)


def with_cache(app: Application) -> Application:
    """The proxy, which finds a cache where Swift's own middleware would put it."""
    cache = Cache()

    def cached(environ: dict[str, object], start_response: object) -> object:
        environ["swift.cache"] = cache
        return app(environ, start_response)

    return cached


def ring(folder: Path, kind: str, port: int) -> None:
    """One device holds the only replica of everything."""
    builder = RingBuilder(2, 1, 0)
    builder.add_dev(
        {
            "id": 0,
            "region": 1,
            "zone": 1,
            "ip": "127.0.0.1",
            "port": port,
            "device": "disk",
            "weight": 1,
        }
    )
    builder.rebalance()
    builder.get_ring().save(str(folder / f"{kind}.ring.gz"))


def main(folder: Path, port: int, region: str, access: str, secret: str) -> None:
    """Serve."""
    logs.ThreadSafeSysLogHandler = lambda **_: logging.StreamHandler()  # not into the machine's log
    logs.ThreadSafeSysLogHandler.LOG_LOCAL0 = 0
    (folder / "disk").mkdir()
    policy = "[storage-policy:0]\nname = only\ndefault = yes\n"
    (folder / "swift.conf").write_text(f"[swift-hash]\nswift_hash_path_suffix = tests\n{policy}")
    utils.set_swift_dir(str(folder))
    storage_policy.reload_storage_policies()
    servers = []
    for kind in ("account", "container", "object"):
        socket = listen(("127.0.0.1", 0))
        ring(folder, kind, socket.getsockname()[1])
        (folder / f"{kind}.conf").write_text(BACKEND.format(folder=folder, kind=kind))
        servers.append((kind, socket))
    user = access.replace(":", "_")
    (folder / "proxy.conf").write_text(
        PROXY.format(folder=folder, region=region, user=user, secret=secret)
    )
    servers.append(("proxy", listen(("127.0.0.1", port), backlog=500)))
    running = []
    for kind, socket in servers:
        app = loadapp(str(folder / f"{kind}.conf"), global_conf={"log_name": kind})
        pool = GreenPool(500)
        app = with_cache(app) if kind == "proxy" else app
        running.append(
            spawn(
                wsgi.server,
                socket,
                app,
                log_output=False,
                custom_pool=pool,
                capitalize_response_headers=False,
            )
        )
    for thread in running:
        thread.wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
