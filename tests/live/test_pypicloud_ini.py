"""A real twistd that is started with pypicloud's config.ini as people have them, and pip and twine
with its users.

The files are those that ``ppc-make-config`` of a real pypicloud writes, and what stands in its
documentation, in its docker image, in charts of others and in its first versions.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import md5
from pathlib import Path
from typing import Final

from tests.live.clients import client
from tests.live.daemon import IndexTestCase, LiveIndex, for_each, stop, until_ready
from tests.live.isolation import fails, pip, twine, works
from tests.live.processes import BIN, clean_environ, free_port, running, scratch
from tests.live.projects import wheel
from tests.live.pypicloud import hash_of
from tests.live.stores import store

NEWEST: Final = "pip-on-3.11"
PASSWORD: Final = "gunface-secret"

DOCUMENTED: Final = """
[app:main]
use = egg:pypicloud
pypi.storage = file
storage.dir = %(here)s/packages
db.url = sqlite:///%(here)s/db.sqlite
pypi.fallback = none
pypi.default_read = nobody-at-all
# USERS
user.root = HASH
user.dsa = HASH
user.donlan = HASH
auth.admins = root
# GROUPS
group.brotatos =
    donlan
    dsa
# PACKAGES
package.polite-requests.user.dsa = rw
package.polite-requests.group.brotatos = r
package.pyramid-head.group.brotatos = rw
package.pyramid-head.group.everyone = r
[server:main]
use = egg:waitress#main
host = 0.0.0.0
port = PORT
"""
CHART: Final = """
[app:main]
use = egg:pypicloud
pyramid.reload_templates = False

pypi.fallback: none
pypi.default_read: authenticated
pypi.default_write: authenticated
storage.dir: %(here)s/packages
db.url = redis://:secret@redis:6379/0
auth.scheme: sha512_crypt
user.root = HASH
session.secure = True

[uwsgi]
paste = config:%p
paste-logger = %p
master = true
http = 0.0.0.0:PORT
uid = pypicloud

[loggers]
keys = root, botocore, pypicloud
[formatter_generic]
format = %(levelname)s %(asctime)s [%(name)s] %(message)s
"""
BEHIND_A_PROXY: Final = """
[DEFAULT]
http_port = PORT
[pipeline:main]
pipeline = proxy-prefix pypi
[filter:proxy-prefix]
use = egg:PasteDeploy#prefix
scheme = https
[app:pypi]
use = egg:pypicloud#main
pypi.storage = pypicloud.storage.FileStorage
storage.dir = %(here)s/packages
pypi.access_backend = config
pypi.use_fallback = false
pypi.allow_overwrite = false
pypi.default_write = authenticated
user.root = HASH
auth.zero_security_mode = true
sqlalchemy.url = sqlite:///%(here)s/package.sqlite
[server:main]
use = egg:waitress#main
listen = 127.0.0.1:%(http_port)s [::1]:%(http_port)s
trusted_proxy = *
threads = 4
"""


@contextmanager
def started(folder: Path, config: Path, port: int, **environ: str) -> Iterator[LiveIndex]:
    """``twistd pypid --config`` with that file."""
    command = [BIN / "twistd", "--nodaemon", "--pidfile=", "pypid", "--config", config]
    with running(command, folder / "log", cwd=folder, environ=clean_environ(**environ)) as process:
        index = LiveIndex(folder, port, secure=False, running=process)
        until_ready(index)
        yield index
        stop(index)


class Taken(IndexTestCase):
    """A config.ini as it is."""

    def setUp(self) -> None:
        self.folder = self.entered(scratch())

    def made(self, text: str) -> tuple[Path, int]:
        """The file, and the port that it names."""
        port, config = free_port(), self.folder / "config.ini"
        config.write_text(text.replace("HASH", hash_of(PASSWORD)).replace("PORT", str(port)))
        return config, port

    def simple(self, index: LiveIndex, user: str | None = None) -> str:
        credential = f"{user}:{PASSWORD}@" if user else ""
        return f"http://{credential}127.0.0.1:{index.port}/simple/"

    def publish(self, index: LiveIndex, name: str, user: str, *, refused: bool = False) -> str:
        """twine, with pypicloud's address for it."""
        path = wheel(name).into(self.folder)
        url = f"http://127.0.0.1:{index.port}/simple/"
        line = twine(url, user, PASSWORD, path)
        return (fails if refused else works)(line, self.folder)

    def install(
        self, index: LiveIndex, name: str, user: str | None, *, refused: bool = False
    ) -> None:
        command = pip(
            NEWEST,
            "install",
            self.simple(index, user),
            "--target",
            self.folder / f"{name}-{user}",
            name,
        )
        (fails if refused else works)(command, self.folder)

    @for_each("-d", "-t", "-p", "-r")
    def made_by_pypicloud(self, flag: str) -> None:
        """What ppc-make-config writes is started with, listened to, and its administrator publishes
        and installs.
        """
        config, port = self.folder / "config.ini", free_port()
        command = [client("pypicloud").with_name("ppc-make-config"), flag, config]
        subprocess.run(
            command,
            input=f"3\nroot\n{PASSWORD}\n{PASSWORD}\n",
            text=True,
            check=True,
            capture_output=True,
            start_new_session=True,
            env=clean_environ(PATH=os.environ["PATH"]),
            timeout=60,
        )
        text = config.read_text().replace("/var/lib/pypicloud", str(self.folder))
        self.assertTrue("port = 6543" in text or "http = 0.0.0.0:8080" in text)
        config.write_text(text.replace("port = 6543", f"port = {port}"))
        said = {"PYPID_SERVER_LISTEN": f"tcp:{port}"} if "[uwsgi]" in text else {}
        with started(self.folder, config, port, **said) as index:
            self.publish(index, "ini-made", "root")
            self.install(index, "ini-made", "root")
            self.install(
                index, "ini-made", None, refused=flag == "-p"
            )  # the others let everybody read
            log = index.log()
        for words in (
            "db.url: not taken over",
            "session.encrypt_key, session.validate_key",
            "[loggers]",
            "pyramid.reload_templates",
        ):
            self.assertEqual(log.count(words), 1, words)
        self.assertTrue(list((self.folder / "packages/ini-made").glob("ini_made-1.0-*.whl")))

    def test_documented_rights(self) -> None:
        """The example of pypicloud's documentation gives what its table says."""
        config, port = self.made(DOCUMENTED)
        with started(self.folder, config, port) as index:
            for name in ("polite-requests", "pyramid-head", "others"):
                self.publish(index, name, "root")
            self.install(index, "pyramid-head", None)
            for name, user, refused in (
                ("polite-requests", "dsa", False),
                ("polite-requests", "donlan", False),
                ("polite-requests", None, True),
                ("others", "dsa", True),
            ):
                self.install(index, name, user, refused=refused)
            self.publish(index, "polite-requests", "donlan", refused=True)
            self.publish(index, "others", "dsa", refused=True)

    @for_each("chart", "proxy")
    def found_in_the_field(self, name: str) -> None:
        """Files of others: with colons, uWSGI, a pipeline, a variable for the port, old names."""
        config, port = self.made({"chart": CHART, "proxy": BEHIND_A_PROXY}[name])
        said = {"PYPID_SERVER_LISTEN": f"tcp:{port}"} if name == "chart" else {}
        with started(self.folder, config, port, **said) as index:
            self.publish(index, "ini-field", "root")
            self.install(index, "ini-field", "root")
            self.install(index, "ini-field", None, refused=True)
            self.assertNotIn("secret@redis", index.log())

    @for_each("1.3", "0.5", "0.1")
    def three_generations_of_a_bucket(self, version: str) -> None:
        """The names of each time lead to the bucket; what pypicloud put there is installed, and new
        files lie as its do.
        """
        with store() as s3:
            bucket = s3.bucket()
            old, host = wheel("ini-before"), s3.endpoint.removeprefix("http://")
            key = f"p/{md5(old.filename.encode()).hexdigest()[:4]}/ini-before/{old.filename}"
            named = {"x-amz-meta-name": "ini-before", "x-amz-meta-version": "1.0"}
            self.assertEqual(s3.ask("PUT", f"/{bucket}/{key}", old.data, headers=named).status, 200)
            common = f"bucket = {bucket}\nPREFIX.prefix = p/\nPREFIX.expire_after = 600\n"
            lines = {
                "1.3": f"pypi.storage = s3\nPREFIX.{common}PREFIX.aws_access_key_id = ACCESS\n"
                f"PREFIX.aws_secret_access_key = SECRET\nPREFIX.endpoint_url = "
                f"{s3.endpoint}\nPREFIX.region_name = us-east-1\n",
                "0.5": f"pypi.storage = s3\nPREFIX.{common}PREFIX.access_key = "
                f"ACCESS\nPREFIX.secret_key = SECRET\n"
                f"PREFIX.host = {host}\nPREFIX.is_secure = false\nPREFIX.calling_format = "
                f"OrdinaryCallingFormat\n",
                "0.1": f"PREFIX.{common}PREFIX.access_key = ACCESS\nPREFIX.secret_key = "
                f"SECRET\nPREFIX.buffer_time = 60\n"
                "pypi.prepend_hash = true\n",
            }[version].replace("PREFIX", "aws" if version == "0.1" else "storage")
            app = (
                f"pypi.use_fallback = no\npypi.default_read = everyone\nauth.admins = "
                f"root\nuser.root = HASH\n{lines}"
            )
            text = (
                f"[app:main]\nuse = egg:pypicloud\n{app}[server:main]\nhost = 127.0.0.1\nport = "
                f"PORT\n"
            )
            config, port = self.made(
                text.replace("ACCESS", s3.access_key).replace("SECRET", s3.secret_key)
            )
            more = (
                {"PYPID_STORAGE_ENDPOINT_URL": s3.endpoint} if version == "0.1" else {}
            )  # boto then knew Amazon's alone
            with started(self.folder, config, port, **more) as index:
                self.publish(index, "ini-after", "root")
                for name in ("ini-before", "ini-after"):
                    self.install(index, name, None)
                self.assertNotIn(s3.secret_key, index.log())
            new = wheel("ini-after").filename
            self.assertEqual(s3.ask("HEAD", f"/{bucket}/p/ini-after/{new}").status, 200)
