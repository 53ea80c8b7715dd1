"""etc/compose: valid by the Compose Specification, complete, and with an environment that pypid serves with.

Containers are not started here: their images are in registries, which tests do not use. pypid's environment is tried against
a real S3 store and a real PostgreSQL.
"""

import shutil
from pathlib import Path
from typing import Any, Final

import yaml
from twisted.trial.unittest import SynchronousTestCase

from tests.live import postgresql
from tests.live.clients import ROOT, client
from tests.live.isolation import environ
from tests.live.processes import BIN, clean_environ, done, free_port, running, scratch
from tests.live.stores import store

FOLDER: Final = ROOT / "etc/compose"
VARIABLE: Final = "${SITE_ADDRESS:-localhost}"


class ComposeTests(SynchronousTestCase):
    def setUp(self) -> None:
        made = scratch()
        self.folder = made.__enter__()
        self.addCleanup(made.__exit__, None, None, None)
        self.document: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())

    def secrets(self) -> Path:
        """The folder that secrets.sh makes."""
        shutil.copy(FOLDER / "secrets.sh", self.folder)
        done(["sh", self.folder / "secrets.sh"])
        return self.folder / "secrets"

    def test_schema(self) -> None:
        """The file is what the Compose Specification describes."""
        command = [client("check-jsonschema"), "--builtin-schema", "vendor.compose-spec"]
        done([*command, FOLDER / "compose.yaml"], environ=environ(self.folder))

    def test_complete(self) -> None:
        """Each secret, volume, network and file that a service names is there; each has a health check."""
        document, made = self.document, self.secrets()
        for secret in document["secrets"].values():
            self.assertTrue((made.parent / secret["file"]).stat().st_size)
        for name, service in document["services"].items():
            self.assertLessEqual(set(service.get("secrets", ())), set(document["secrets"]), name)
            self.assertLessEqual(set(service["networks"]), set(document["networks"]), name)
            for volume in service["volumes"]:
                source = volume.partition(":")[0]
                found = source in document["volumes"] or (FOLDER / source).is_file()
                self.assertTrue(found, volume)
            self.assertTrue(name == "pypid" or service["healthcheck"]["test"], name)
        build = document["services"]["pypid"]["build"]
        self.assertIn("HEALTHCHECK", (FOLDER / build["context"] / build["dockerfile"]).read_text())
        (subnet,) = document["networks"]["index"]["ipam"]["config"]
        trusted = document["services"]["pypid"]["environment"]["PYPID_SERVER_TRUSTED_PROXIES"]
        self.assertEqual(trusted, subnet["subnet"])

    def test_secrets_stay(self) -> None:
        """A second run of secrets.sh changes nothing."""
        first = {path.name: path.read_text() for path in self.secrets().iterdir()}
        self.assertEqual({path.name: path.read_text() for path in self.secrets().iterdir()}, first)
        self.assertIn(first["database_password"], first["database_url"])
        self.assertEqual(len(set(first.values())), 4)

    def test_environment(self) -> None:
        """pypid serves with its environment, where storage and database are the tests' own."""
        made, port, database = self.secrets(), free_port(), postgresql.shared()
        with store() as s3:
            (made / "storage_password").write_text(s3.secret_key)
            (made / "database_url").write_text(database.url())
            replaced = {
                "tcp:6543": f"tcp:{port}:interface=127.0.0.1",
                "/run/secrets": str(made),
                "http://storage:9000": s3.endpoint,
                VARIABLE: "localhost",
            }
            values: dict[str, str] = dict(self.document["services"]["pypid"]["environment"])
            for name, value in values.items():
                for old, new in replaced.items():
                    value = value.replace(old, new)
                values[name] = value
            values["PYPID_STORAGE_BUCKET"] = s3.bucket("compose")
            values["PYPID_STORAGE_ACCESS_KEY"] = s3.access_key
            values["PYPID_UPSTREAM_MODE"] = "offline"
            values["PYPID_ADVISORIES_SOURCE"] = ""
            given = clean_environ(**values, STATE_DIRECTORY=str(self.folder / "state"))
            (self.folder / "state").mkdir()
            command = [BIN / "pypid", "serve"]
            log = self.folder / "log"
            with running(command, log, cwd=self.folder, environ=given) as process:
                process.until_answers(f"http://127.0.0.1:{port}/ready")
                process.stop_in_order()
