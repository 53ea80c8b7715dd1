"""What is in force after a reload, as an administrator is told; `test_config` holds what
`check-config` prints.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pypid.core.configuration.in_force import (
    in_force,
    written,
)
from pypid.core.configuration.keys import ISSUER, SECTIONS, IssuerSettings, keys
from pypid.core.configuration.parse import Config, parse
from tests.core.configuration.test_parse import HASH

SECRET = "hunter2hunter2hunter2hunter2hunter2"
BEFORE = (
    f"[server]\nmetrics = admins\n[access]\nread = bob\nbackend = config\n[users]\nbob = {HASH}\n"
    "[log]\nlevel = info\nformat = text\n"
)
AFTER = (
    f"[server]\nmetrics = everyone\nmax_upload = 1G\n[access]\nread = everyone\nbackend = sql "
    f"config\n[users]\nann = {HASH}\n"
    "[log]\nlevel = debug\nformat = json\n[issuer:forge]\nurl = https://forge.example\nallow = "
    "spam a=b\n"
)


def config(text: str, name: str = "x.ini") -> Config:
    return parse(text, filename=name)


class InForceTests(SynchronousTestCase):
    def test_secrets(self) -> None:
        """No secret key's value is told, in whatever section; nor who logs in at an index, nor a
        hash of a password.
        """
        secret = {
            (name, key)
            for name, section in {**SECTIONS, f"{ISSUER}x": IssuerSettings}.items()
            for key, it in keys(section).items()
            if it.secret
        }
        self.assertGreaterEqual(
            secret,
            {
                ("server", "secret"),
                ("storage", "secret_key"),
                ("catalog", "url"),
                ("access", "url"),
            },
        )
        values = {
            ("catalog", "url"): f"postgresql://u:{SECRET}@db/x",
            ("access", "url"): f"postgresql://u:{SECRET}@db/y",
        }
        parts = [
            f"[{name}]\n{key} = {values.get((name, key), SECRET)}\n" for name, key in sorted(secret)
        ]
        merged: dict[str, list[str]] = {}
        for part in parts:
            section, line, _ = part.split("\n")
            merged.setdefault(section, []).append(line)
        merged.setdefault("[upstream]", []).append(f"url = https://u:{SECRET}@index.example/simple")
        merged.setdefault("[catalog]", []).append("backend = sql")
        merged.setdefault("[access]", []).append("backend = config sql")
        merged.setdefault("[storage]", []).extend(["backend = s3", "bucket = bucket"])
        merged.setdefault("[ldap]", []).append("bind_dn = cn=x")
        text = (
            "\n".join("\n".join([section, *said]) for section, said in merged.items())
            + f"\n[users]\nbob = {HASH}\n"
        )
        for started, read in ((text, text), (BEFORE, text), (text, BEFORE)):
            said = in_force(config(started), config(read))
            self.assertNotIn(SECRET, repr(said) + written(said))
            self.assertNotIn(HASH, repr(said) + written(said))
