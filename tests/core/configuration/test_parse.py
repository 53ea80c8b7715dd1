"""The configuration: the contract's table, the dialect, the environment, and all
problems at once.
"""

from __future__ import annotations

import configparser
import io
from collections.abc import Mapping
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

from attrs import evolve
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.configuration import ini
from pypid.core.configuration.choices import LogFormat, Mode, StorageBackend, Tls
from pypid.core.configuration.environment import variable
from pypid.core.configuration.in_force import describe
from pypid.core.configuration.ini import IniEntry
from pypid.core.configuration.keys import (
    SECTIONS,
    AdvisorySettings,
    IssuerSettings,
    NamedUpstreamSettings,
    UpstreamSettings,
    keys,
)
from pypid.core.configuration.parse import Config
from pypid.core.cooldown import Cooldown
from pypid.core.errors import BadConfig
from pypid.core.permissions import Principals
from tests.support.configuration import parse

quick = settings(max_examples=30, deadline=None, database=None)

HASH = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2g"

CONTRACT: dict[str, dict[str, str]] = {
    "server": {
        "listen": "tcp:6543:interface=127.0.0.1",
        "tls_certificate": "",
        "tls_key": "",
        "tls_minimum": "1.2",
        "hsts": "365d",
        "public_url": "",
        "allowed_hosts": "",
        "cors": "off",
        "trusted_proxies": "",
        "max_upload": "4G",
        "header_timeout": "20s",
        "max_connections_per_client": "1000",
        "workers": "1",
        "fast_path": "yes",
        "state": "",
        "secret": "",
        "metrics": "admins",
    },
    "storage": {
        "backend": "files",
        "path": "",
        "bucket": "",
        "prefix": "",
        "region": "us-east-1",
        "endpoint_url": "",
        "ca_certificates": "",
        "addressing": "auto",
        "access_key": "",
        "secret_key": "",
        "session_token": "",
        "redirect": "yes",
        "expire_after": "1d",
        "buffer_time": "5m",
        "server_side_encryption": "",
        "kms_key_id": "",
        "storage_class": "",
        "adopt": "no",
        "cloudfront_domain": "",
        "cloudfront_key_id": "",
        "cloudfront_key_file": "",
    },
    "database": {
        "url": "",
        "stale_for": "10m",
    },
    "signed_urls": {"cache": "", "url": ""},
    "upstream": {
        "mode": "cache",
        "url": "",
        "upstreams": "",
        "file_hosts": "files.pythonhosted.org",
        "ca_certificates": "",
        "timeout": "10s",
        "ttl": "10m",
        "reserved": "",
        "allow": "*",
        "deny": "",
        "allow_mixed": "",
        "cooldown": "0",
        "cooldown_fixes": "0",
        "require_hashes": "no",
        "new_projects": "open",
        "unknown_names": "2000",
        "restored": "",
        "refresh": "1h",
        "max_cache": "",
        "memory": "128M",
    },
    "access": {
        "backend": "config sql",
        "read": "everyone",
        "write": "authenticated",
        "cache_update": "everyone",
        "collect": "authenticated",
        "overwrite": "nobody",
        "delete": "admins",
        "delete_needs": "read",
        "owners": "uploader",
        "admins": "",
        "registration": "closed",
        "captcha": "no",
        "session_lifetime": "12h",
    },
    "ldap": dict.fromkeys(
        [
            "url",
            "bind_dn",
            "bind_password",
            "base_dn",
            "user_filter",
            "group_base_dn",
            "group_filter",
            "admin_group",
            "ca_certificates",
        ],
        "",
    ),
    "issuer:github": {"url": "", "audience": "pypid", "allow": ""},
    "upstream:cu128": {
        "url": "",
        "only": "",
        "exclusive": "no",
        "credentials": "",
        "cooldown": "",
        "file_hosts": "",
        "ca_certificates": "",
        "timeout": "",
        "ttl": "",
        "require_hashes": "",
    },
    "advisories": {"source": "", "own": "", "refresh": "1h", "block": "malware"},
    "trust": {"require": "", "ratchet": "warn", "trust_root": ""},
    "log": {"level": "info", "format": "text", "access": "yes"},
}
"""The contract's sections, keys and defaults, copied by hand: a change here is a change of what
users rely on.
"""

SAMPLES: dict[tuple[str, str], str] = {
    ("database", "url"): "postgresql://u:hunter2@h/db",
    ("signed_urls", "cache"): "redis",
    ("signed_urls", "url"): "redis://:hunter2@h/0",
    ("server", "workers"): "2",
    ("upstream", "url"): "https://u:hunter2@index.example/simple",
    ("server", "secret"): "hunter2" * 9,
    ("ldap", "bind_dn"): "cn=pypid,dc=example",
    ("ldap", "bind_password"): "hunter2",
    ("issuer:github", "allow"): "app repository=octo/app",
    ("issuer:github", "url"): "https://token.example",
    ("upstream:cu128", "url"): "https://index.example/whl/cu128",
    ("upstream:cu128", "only"): "torch nvidia-*",
    ("upstream:cu128", "credentials"): "bob:hunter2",
}
"""Values that differ from the defaults; those of secrets contain hunter2."""


def problems(
    text: bytes | str, environ: Mapping[str, str] | None = None, **more: object
) -> list[str]:
    """The lines that `parse` complains with; empty if it does not."""
    try:
        parse(text, filename="x.ini", environ=environ or {}, **more)  # type: ignore[arg-type]
    except BadConfig as error:
        return [str(problem) for problem in error.problems]
    return []


def as_ini(sections: Mapping[str, Mapping[str, str]]) -> str:
    """The INI text of the sections."""
    return "".join(
        f"[{name}]\n" + "".join(f"{k} = {v}\n" for k, v in kv.items())
        for name, kv in sections.items()
    )


def with_secrets() -> str:
    """The INI text of all samples."""
    return as_ini(
        {name: {k: v for (n, k), v in SAMPLES.items() if n == name} for name, _ in SAMPLES}
    )


class TheContract(SynchronousTestCase):
    """The table is the contract's."""

    def test_table(self) -> None:
        """Sections, keys, their order and defaults are the contract's."""
        declared = {
            **SECTIONS,
            "issuer:github": IssuerSettings,
            "upstream:cu128": NamedUpstreamSettings,
        }
        ours = {
            name: {key: one.default for key, one in keys(section).items()}
            for name, section in declared.items()
        }
        self.assertEqual(ours, CONTRACT)
        self.assertEqual([list(ours[name]) for name in ours], [[*CONTRACT[name]] for name in ours])

    def test_no_key_is_another_ones_file(self) -> None:
        """PYPID_..._FILE has one meaning: no section has both a key and that key with _file behind
        it.
        """
        for section in SECTIONS.values():
            self.assertEqual([key for key in keys(section) if f"{key}_file" in keys(section)], [])

    def test_embedded_default(self) -> None:
        """The embedded default is etc/pypid.ini: the defaults, a cooldown, and the public advisories."""
        import pypid

        embedded = Path(pypid.__file__).with_name("pypid.ini").read_bytes()
        config = parse(embedded, filename="pypid.ini")
        self.assertEqual(config.upstream.cooldown, Cooldown(timedelta(days=3)))
        self.assertEqual(config.advisories.source, "osv")
        rest = evolve(config, upstream=UpstreamSettings(), advisories=AdvisorySettings())
        self.assertEqual(rest, Config())
        self.assertEqual((Path(__file__).parents[3] / "etc/pypid.ini").read_bytes(), embedded)


class Reading(SynchronousTestCase):
    """What a good file gives."""

    def test_values(self) -> None:
        """Values have their types, and the rest its defaults."""
        config = parse(
            "[server]\nlisten = tcp:80\n  unix:/run/pypid.sock ; two\nmax_upload=1k\ntls_minimum "
            "= 1.3\n"
            "tls_key = k.pem\ntls_certificate = c.pem\npublic_url = https://h/\n"
            "trusted_proxies = 10.0.0.0/8\n\n[storage]\nbackend = memory\npath = pk\n"
            "[database]\nstale_for = 2m\n[upstream]\nmode = offline\n"
            "[access]\nread = alice authenticated\nadmins = root user:op\n"
            f"[users]\nAlice = {HASH}\n[log]\nformat = json\naccess = no\n",
            filename="/srv/etc/pypid.ini",
        )
        server = config.server
        self.assertEqual(server.listen, ("tcp:80", "unix:/run/pypid.sock"))
        self.assertEqual(
            (server.max_upload, server.tls_minimum, server.public_url),
            (1024, Tls.V1_3, "https://h"),
        )
        self.assertEqual(server.trusted_proxies, (ip_network("10.0.0.0/8"),))
        self.assertEqual(
            (config.storage.backend, config.database.stale_for),
            (StorageBackend.MEMORY, timedelta(minutes=2)),
        )
        self.assertIs(config.upstream.mode, Mode.OFFLINE)
        self.assertEqual(
            config.access.read, Principals(authenticated=True, users=frozenset({"alice"}))
        )
        self.assertEqual(
            (config.access.admins, config.log.format, config.log.access),
            (("root", "op"), LogFormat.JSON, False),
        )
        self.assertEqual(dict(config.users), {"Alice": HASH})
        self.assertEqual(config.path("c.pem"), "/srv/etc/c.pem")
        self.assertEqual(config.path("/abs"), "/abs")
        self.assertEqual(Config().path("c.pem"), "c.pem")

    def test_repr_is_silent(self) -> None:
        """No secret, hash or password in a URL is in the repr."""
        text = with_secrets()
        shown = repr(parse(f"{text}[users]\na = {HASH}\n", filename="x"))
        self.assertIn("index.example", shown)
        self.assertNotIn("hunter2", shown)
        self.assertNotIn("argon2", shown)


class Problems(SynchronousTestCase):
    """What is wrong is said, all of it, and never with a secret."""

    def assert_says(
        self, text: bytes | str, *expected: str, environ: Mapping[str, str] | None = None
    ) -> None:
        found = problems(text, environ)
        self.assertEqual(len(found), len(expected), found)
        for one, words in zip(found, expected, strict=True):
            for word in words.split("|"):
                self.assertIn(word, one)

    def test_all_at_once(self) -> None:
        """Each problem has file, line, key, what was read, what is allowed, and what was meant."""
        self.assert_says(
            (
                "lost = 1\n[server]\nmax_upload = 4GB\nmaxupload = 3\npath = x\n[sevrer]\nx = "
                "y\n[log]\nlevel = inf\n"
            ),
            "x.ini:1: there is no [section]",
            "x.ini:3: [server] max_upload: invalid value '4GB' (allowed: a whole number of bytes",
            "x.ini:4: [server] maxupload: unknown key; did you mean 'max_upload'?",
            "x.ini:5: [server] path: unknown key; it belongs to [storage]",
            "x.ini:6: [sevrer]: unknown section; did you mean [server]?",
            (
                "x.ini:9: [log] level: invalid value 'inf' (allowed: debug, info, warn, error, "
                "critical); did you mean 'info'?"
            ),
        )

    def test_removed(self) -> None:
        """What pypid had once ends the start with what to do instead, from the environment too."""
        self.assert_says(
            "[publish]\ntarget = /srv/index\n",
            "x.ini:1: [publish]: |run `pypid export` from a timer",
        )
        instead = (
            "pypid redirects no addresses of a devpi-server any more; let nginx redirect them "
            "(docs: From devpi), and remove the key"
        )
        self.assert_says(
            "[index:dev]\ndevpi = alice/dev\n",
            f"x.ini:2: [index:dev] devpi: {instead}",
            f"PYPID_INDEX_DEV_DEVPI: {instead}",
            environ={"PYPID_INDEX_DEV_DEVPI": "alice/dev"},
        )
        self.assert_says(
            "[remote]\nurl = https://auth.example\n",
            "x.ini:1: [remote]: |use [ldap] or the accounts",
        )
        self.assert_says(
            "[index:dev]\nrequire = spam=github:acme/*\n",
            "x.ini:2: [index:dev] require: |use [trust] require",
        )
        self.assert_says(
            "[access]\ngates = attested\n[index:dev]\ngates = attested\n",
            "x.ini:2: [access] gates: |give `write` of the index to those who may promote",
            "x.ini:4: [index:dev] gates: |give `write` of the index to those who may promote",
        )
        self.assert_says(
            "[storage]\nlayout = pypicloud\nprepend_hash = yes\n",
            "x.ini:2: [storage] layout: |use adopt = yes instead of layout = pypicloud",
            "x.ini:3: [storage] prepend_hash: |existing ones stay where they are",
        )
        instead = "pypid has no variant wheels any more; remove the key"
        self.assert_says(
            "[server]\nexperimental = variants\n",
            f"x.ini:2: [server] experimental: {instead}",
            f"PYPID_SERVER_EXPERIMENTAL: {instead}",
            environ={"PYPID_SERVER_EXPERIMENTAL": "variants"},
        )

    def test_duplicates(self) -> None:
        """A section or key that comes twice is named with the line of the first, and the first
        holds.
        """
        self.assert_says(
            "[log]\nlevel = info\n[server]\n[log]\nlevel = warn\n",
            "x.ini:4: [log]: the section is already in line 1",
            "x.ini:5: [log] level: the key is already in line 2",
        )

    def test_garbage_is_not_shown(self) -> None:
        """A line that is none may hold a secret: only its place is told, and a colon explained."""
        found = problems("[storage]\nsecret_key: hunter2\nhunter2\n= hunter2\n[hunter2\n")
        self.assertEqual(len(found), 4)
        self.assertNotIn("hunter2", "".join(found))
        self.assertIn("write key = value, not key: value", found[0])

    def test_encodings(self) -> None:
        """UTF-16, NUL and bytes that are not UTF-8 are named for what they are."""
        self.assert_says("[log]\n".encode("utf-16"), "x.ini: the file is UTF-16")
        self.assert_says(b"[log]\nlevel = in\0fo\n", "x.ini: there are NUL")
        self.assert_says(
            b"[log]\r\n; caf\xe9\r\nlevel = inf\n",
            "x.ini:2: this line is not UTF-8",
            "x.ini:3: [log] level",
        )

    def test_passwords(self) -> None:
        """A clear-text password, however it is written, is refused with advice and not shown."""
        found = problems("[users]\nalice = hunter2\nbob:hunter2 = x\ncarl =\neveryone = $2b$12$x\n")
        self.assertEqual(len(found), 4)
        self.assertIn("`pypid gen-password ", found[0])
        self.assertNotIn("hunter2", "".join(found))

    def test_tls_needs_both(self) -> None:
        """A certificate without its key is refused, and the other way round."""
        self.assert_says(
            "[server]\ntls_key = k\n",
            "x.ini:2: [server] tls_certificate: tls_certificate and tls_key belong together",
        )
        self.assert_says(
            "[server]\ntls_key = \n",
            "PYPID_SERVER_TLS_CERTIFICATE: [server] tls_key",
            environ={"PYPID_SERVER_TLS_CERTIFICATE": "c"},
        )
        self.assert_says(
            "[server]\ntls_key = k\n",
            "tls_certificate: invalid value '\\x01'",
            environ={"PYPID_SERVER_TLS_CERTIFICATE": "\x01"},
        )

    def test_short_secret_is_refused(self) -> None:
        """A secret that could be guessed is refused, without being told."""
        self.assert_says(
            "[server]\nsecret = hunter2\n",
            "x.ini:2: [server] secret: it has 7 characters and could be guessed",
        )
        self.assertNotIn("hunter2", str(problems("[server]\nsecret = hunter2\n")))
        self.assertEqual(problems(f"[server]\nsecret = {'x' * 16}\n"), [])

    def test_impossible_bucket_and_region_names_are_refused(self) -> None:
        """What cannot be a bucket's or a region's name is told before anything starts, with its
        line.
        """
        for name in (
            "b",
            "acme/packages",
            "s3://acme",
            "acme_",
            "acme packages",
            "-acme",
            "a" * 256,
        ):
            text = f"[storage]\nbackend = s3\nbucket = {name}\n"
            self.assert_says(text, f"x.ini:3: [storage] bucket: {name!r} cannot be a bucket's name")
        self.assert_says(
            "[storage]\nbackend = s3\nbucket = acme\nregion = eu/1\n",
            "x.ini:4: [storage] region: 'eu/1'",
        )

    def test_what_a_bucket_needs(self) -> None:
        """S3 needs a bucket, both halves of a key or none, and URLs that last longer than the time
        before their end.
        """
        self.assert_says(
            "[storage]\nbackend = s3\n",
            "x.ini:2: [storage] bucket: backend = s3 needs the name of a bucket",
        )
        bucket = "[storage]\nbackend = s3\nbucket = bucket\n"
        self.assertEqual(problems(bucket), [])
        self.assert_says(
            f"{bucket}access_key = a\n",
            "x.ini:4: [storage] secret_key: access_key and secret_key belong",
        )
        self.assert_says(
            f"{bucket}secret_key = hunter2\n",
            "x.ini:4: [storage] access_key: access_key and secret_key belong",
        )
        for lines in (
            "expire_after = 5m",
            "buffer_time = 1d",
            "expire_after = 10s\nbuffer_time = 10s",
        ):
            self.assert_says(
                f"{bucket}{lines}\n",
                "[storage] buffer_time: it has to be shorter than expire_after",
            )
            self.assertEqual(problems(f"{bucket}{lines}\nredirect = no\n"), [])
        self.assert_says(
            f"{bucket}expire_after = 8d\n",
            "x.ini:4: [storage] expire_after: invalid value '8d'|up to 7d",
        )

    def test_ldap(self) -> None:
        """[ldap] needs its URL and where to search once it is asked; its filters are filters, and
        find one name for a user.
        """
        listed = "[access]\nbackend = config ldap\n"
        self.assert_says(
            listed,
            (
                "x.ini:2: [ldap] url: [access] backend lists ldap, which needs the URL of the "
                "directory"
            ),
            (
                "x.ini:2: [ldap] base_dn: [access] backend lists ldap, which needs to know below "
                "which entry"
            ),
        )
        base = f"{listed}[ldap]\nbase_dn = dc=example,dc=org\n"
        for url in ("ldaps://h", "ldap://h", "ldap://127.0.0.1:3389", "ldaps://[::1]:3636/"):
            bind = "bind_dn = EXAMPLE\\pypid\nbind_password = hunter2\n"
            self.assertEqual(problems(f"{base}url = {url}\n{bind}"), [], url)
        base += "url = ldaps://h\n"
        for user_filter in (
            "(uid={user})",
            "(&(objectClass=user)(sAMAccountName={user})\n    (!(disabled=TRUE)))",
        ):
            self.assertEqual(problems(f"{base}user_filter = {user_filter}\n"), [], user_filter)
        for user_filter, why in (
            ("uid={user}", "needs ( )"),
            ("(&(uid={user})", "needs ( )"),
            ("(uid=alice)", "it has to hold (attribute={user})"),
            ("(|(uid={user})(mail={user}))", "for one attribute only"),
            ("(&(uid={user})(cn=*{user}*))", "for one attribute only"),
        ):
            self.assert_says(
                f"{base}user_filter = {user_filter}\n",
                f"x.ini:6: [ldap] user_filter: |{why}|allowed: ",
            )
        self.assert_says(
            f"{base}group_filter = (member=alice)\n",
            "[ldap] group_filter: |it has to hold {dn} or {user}",
        )
        self.assert_says(
            f"{base}group_base_dn = groups\n",
            "[ldap] group_base_dn: invalid value 'groups' (allowed: a distinguished",
        )
        self.assert_says(
            f"{base}bind_dn = cn=pypid\n",
            "[ldap] bind_password: bind_dn and bind_password belong together",
        )
        self.assert_says(
            f"{base}bind_password = hunter2\n",
            "[ldap] bind_dn: bind_dn and bind_password belong together",
        )
        self.assert_says(
            "[ldap]\nurl = ldap://h/dc=example\n", "x.ini:2: [ldap] url: it ends with the host"
        )
        self.assert_says("[ldap]\nurl = ldap://é.example\n", "x.ini:2: [ldap] url: |xn--")

    def test_registration(self) -> None:
        """Where people make accounts, these have to be looked at, and may not publish or delete
        just by being there.
        """
        words = "[access]\nregistration = %s\nbackend = %s\nwrite = %s\n"

        def said(
            mode: str, backend: str = "config sql", write: str = "alice", more: str = ""
        ) -> list[str]:
            return problems(words % (mode, backend, write) + more)

        self.assertEqual(said("closed", "config", "authenticated"), [])
        for mode in ("approval", "token", "open"):
            self.assertEqual(said(mode), [])
            self.assertEqual(said(mode, more="captcha = yes\nsession_lifetime = 30d\n"), [])
            [line] = said(mode, "config")
            self.assertIn("x.ini:2: [access] registration: ", line)
            self.assertIn("backend = config sql", line)
            for write, more, words_said in (
                ("authenticated", "", "(write = authenticated)"),
                (
                    "alice",
                    "delete = authenticated\noverwrite = authenticated alice\n",
                    "overwrite = authenticated and delete",
                ),
                ("", "", "(write = authenticated)"),  # the default
            ):
                [line] = said(mode, write=write, more=more)
                self.assertIn(words_said, line)
                self.assertIn("group:developers", line)

    def test_members(self) -> None:
        """Only users are members: groups in groups, which might go round in circles, are refused
        with advice, and commas.
        """
        self.assert_says(
            (
                "[groups]\nall = alice group:team\nteam = group:all\nlist = alice, bob\nwords = "
                "everyone\na:b = bob\nempty =\n"
            ),
            "x.ini:2: [groups] all: invalid value|: 'group:team' is a group|name its members",
            "x.ini:3: [groups] team: invalid value|: 'group:all' is a group",
            "x.ini:4: [groups] list: |write spaces between names, no commas",
            "x.ini:5: [groups] words: invalid value 'everyone'|: 'everyone' is a reserved word",
            "x.ini:6: [groups] a: |cannot contain :",
        )
        config = parse("[groups]\nteam = user:alice bob\n  carol bob\nnone =\n", filename="x")
        self.assertEqual(
            dict(config.groups), {"team": ("alice", "bob", "carol", "bob"), "none": ()}
        )

    def test_rules_of_projects(self) -> None:
        """Each bad line of [projects] is named with its place, what was read, and how rules are
        written.
        """
        self.assert_says(
            "[projects]\nacme.user.bob = w\nacme.bob = r\n-acme.everyone = r\nacme.user.everyone "
            "= r\nacme.group. = rw\n"
            "acme.everyone =\nacme.User.bob = r\nacme.user.bob:hunter2 = r\n",
            "x.ini:2: [projects] acme.user.bob: invalid value 'w' (allowed: r, rw)",
            "x.ini:3: [projects] acme.bob: invalid key (allowed: <project>.user.<name>",
            "x.ini:4: [projects] -acme.everyone: '-acme' is not a valid project name",
            "x.ini:5: [projects] acme.user.everyone: 'everyone' is a reserved word",
            "x.ini:6: [projects] acme.group.: |cannot be empty",
            "x.ini:7: [projects] acme.everyone: invalid value '' (allowed: r, rw)",
            "x.ini:8: [projects] acme.User.bob: invalid key (allowed:",
            "x.ini:9: [projects] acme.user.bob: |cannot contain :",
        )

    def test_a_rule_twice(self) -> None:
        """The same rule under another spelling of the project's name is refused, and both are
        named; other rules are not.
        """
        self.assert_says(
            (
                "[projects]\nAcme_Tools.user.bob = r\nacme-tools.user.bob = "
                "rw\nacme.tools.user.bob = r\nacme.tools.everyone = r\n"
            ),
            (
                "x.ini:3: [projects] acme-tools.user.bob: this is the rule 'Acme_Tools.user.bob' "
                "again; remove one"
            ),
            "x.ini:4: [projects] acme.tools.user.bob: this is the rule 'Acme_Tools.user.bob' again",
        )
        self.assert_says(
            "[projects]\nacme.user.bob = r\nacme.user.bob = r\n",
            "x.ini:3: [projects] acme.user.bob: the key is already in line 2",
        )
        self.assertEqual(
            problems(
                "[projects]\na.user.bob = r\na.user.Bob = r\na.authenticated = rw\nb.user.bob = r\n"
            ),
            [],
        )

    def test_issuers(self) -> None:
        """Each rule of an issuer that is none, or would let strangers publish, is told; so is an
        issuer that can be anybody.
        """
        hub = "[issuer:github]\nurl = https://token.actions.githubusercontent.com\n"
        self.assertEqual(
            problems(
                f"{hub}allow =\n  app repository=octo/app\n  ; a comment\n  lib-* "
                f"repository_owner=octo\n"
            ),
            [],
        )
        self.assert_says(
            f"{hub}allow =\n  app repository=octo/app\n  lib\n  core ref=main\n",
            "x.ini:3: [issuer:github] allow: rule 2, 'lib': everybody on GitHub could publish",
            (
                "x.ini:3: [issuer:github] allow: rule 3, 'core ref=main': everybody on GitHub "
                "could publish"
            ),
        )
        self.assert_says(
            "[issuer:hub]\nurl = http://hub.example\n", "x.ini:2: [issuer:hub] url: |https"
        )
        self.assertEqual(problems("[issuer:hub]\nurl = http://127.0.0.1:8000\n"), [])
        self.assert_says(
            "[issuer:hub]\nallow = app sub=x\n", "x.ini:2: [issuer:hub] url: |say its url"
        )
        self.assert_says(
            "[issuer:hub]\nurl = hub\nallow = app sub=x\n",
            "x.ini:2: [issuer:hub] url: invalid value 'hub'",
        )
        self.assert_says(
            "[issuer:a]\nurl = https://h\n[issuer:b]\nurl = https://h/\n",
            "x.ini:4: [issuer:b] url: this is [issuer:a]",
        )

    def test_named_upstreams(self) -> None:
        """A further upstream has an address and names of its own; sections share one kind of
        name.
        """
        cu128 = "[upstream:cu128]\nurl = https://gpu.example/whl/cu128\nonly = torch nvidia-*\n"
        self.assertEqual(problems(f"{cu128}[upstream]\nupstreams = cu128 public\n"), [])
        self.assert_says(
            "[upstream:cu128]\nonly = torch\n",
            "x.ini: [upstream:cu128] url: it is required",
        )
        self.assert_says(
            "[upstream:cu128]\nurl = https://gpu.example\n",
            "x.ini: [upstream:cu128] only: it is required",
        )
        self.assertEqual(
            problems("[upstream:cu128]\nurl = gpu\nonly = torch\n"),
            [
                "x.ini:2: [upstream:cu128] url: invalid value 'gpu' (allowed: absolute http or "
                "https URLs, like https://index.example.org/simple; several are separated by "
                "whitespace)"
            ],
        )
        for name in ("public", "default"):
            self.assert_says(cu128.replace("cu128]", f"{name}]"), f"[upstream:{name}]: |reserved")
        for name in ("", "CU", "a b", "a/b", "-a", "x" * 41):
            self.assert_says(
                cu128.replace("cu128]", f"{name}]"), "lower-case letters, digits and -"
            )
        self.assert_says(
            f"{cu128}[upstream]\nupstreams = cu12 public\n",
            "x.ini:5: [upstream] upstreams: there is no [upstream:cu12]; did you mean 'cu128'?",
        )

    def test_credentials_of_upstreams(self) -> None:
        """Credentials are for one origin, and set once; no message shows them."""
        section = "[upstream:x]\nonly = x\ncredentials = bob:hunter2\nurl = "
        self.assertEqual(problems(f"{section}https://a.example/x https://a.example/y\n"), [])
        at = "x.ini:3: [upstream:x] credentials: "
        self.assert_says(f"{section}https://eve:hunter2@a.example\n", f"{at}url has a user already")
        self.assert_says(
            f"{section}https://a.example https://b.example\n", f"{at}url names several hosts"
        )
        wrong = problems("[upstream:x]\nurl = https://a.example\nonly = x\ncredentials = hunter2\n")
        self.assertEqual(len(wrong), 1)
        self.assertNotIn("hunter2", wrong[0])

    def test_bad_values(self) -> None:
        """One bad value for each rule of the keys that there are."""
        bad = {
            ("server", "listen"): "65536",
            ("server", "tls_minimum"): "1.1",
            ("server", "public_url"): "index.example.org",
            ("server", "allowed_hosts"): "http://h",
            ("server", "trusted_proxies"): "proxy",
            ("server", "max_upload"): "0",
            ("storage", "backend"): "disk",
            ("database", "stale_for"): "-1",
            ("access", "write"): "nobody alice",
            ("access", "admins"): "group:a",
            ("log", "access"): "maybe",
        }
        for (section, key), value in bad.items():
            self.assert_says(
                f"[{section}]\n{key} = {value}\n", f"x.ini:2: [{section}] {key}: |{value}|allowed: "
            )

    def test_workers(self) -> None:
        """Several workers need files that all of them see; where they were set is said."""
        memory = "[storage]\nbackend = memory\n"
        for where, more in (
            ("x.ini:4", {}),
            ("PYPID_SERVER_WORKERS", {"environ": {"PYPID_SERVER_WORKERS": "2"}}),
            ("--workers", {"options": {("server", "workers"): IniEntry("2", "--workers")}}),
        ):
            workers = "1" if more else "2"
            [found] = problems(f"{memory}[server]\nworkers = {workers}\n", **more)
            expected = f"{where}: [server] workers: several workers need a [storage]"
            self.assertTrue(found.startswith(expected), found)
        self.assertEqual(problems("[server]\nworkers = 2\n"), [])

    def test_signed_urls(self) -> None:
        """`cache = redis` and `url` need each other, and the URL is never repeated."""
        self.assert_says("[signed_urls]\ncache = redis\n", "x.ini:2|[signed_urls] url: set it")
        url = "url = redis://:hunter2@h/0"
        self.assert_says(f"[signed_urls]\n{url}\n", "x.ini:2|set cache = redis")
        self.assertEqual(problems(f"[signed_urls]\ncache = redis\n{url}\n"), [])
        for wrong in (
            "redis://:hunter/2@h",
            "redis://:hunter2#@h",
            "redis://:hunter2@",
            "http://h",
        ):
            [found] = problems(f"[signed_urls]\ncache = redis\nurl = {wrong}\n")
            self.assertIn("a redis or rediss URL", found)
            self.assertNotIn("hunter", found)


class Environment(SynchronousTestCase):
    """PYPID_* variables."""

    def test_file(self) -> None:
        """PYPID_..._FILE names a file with the value; a key that ends in _file is itself."""
        files = {"/run/secret": "hunter2-hunter2-hunter2\n", "/run/which": "cf.pem"}
        config = parse(
            "",
            filename="x",
            environ={
                "PYPID_SERVER_SECRET_FILE": "/run/secret",
                "PYPID_STORAGE_CLOUDFRONT_KEY_FILE_FILE": "/run/which",
                "PYPID_STORAGE_SECRET_KEY_FILE": "/run/secret",
            },
            read_file=files.__getitem__,
        )
        self.assertEqual(
            (config.server.secret, config.storage.secret_key), ("hunter2-hunter2-hunter2",) * 2
        )
        self.assertEqual(config.storage.cloudfront_key_file, "cf.pem")
        plain = parse(
            "",
            filename="x",
            environ={"PYPID_STORAGE_CLOUDFRONT_KEY_FILE": "cf.pem"},
        )
        self.assertEqual(plain.storage.cloudfront_key_file, "cf.pem")

    def test_file_missing(self) -> None:
        """A file that cannot be read is named, with the reason."""

        def gone(path: str) -> str:
            raise FileNotFoundError(2, "No such file or directory", path)

        def binary(path: str) -> str:
            return b"\xff".decode()

        [found] = problems("", {"PYPID_LOG_LEVEL_FILE": "/nope"}, read_file=gone)
        self.assertIn(
            (
                "PYPID_LOG_LEVEL_FILE: [log] level: the file '/nope' cannot be read (No such file "
                "or directory)"
            ),
            found,
        )
        [found] = problems("", {"PYPID_LOG_LEVEL_FILE": "/nope"}, read_file=binary)
        self.assertIn("no readable text", found)
        self.assertEqual(len(problems("", {"PYPID_LOG_LEVEL_FILE": "/nope"})), 1)

    def test_unknown(self) -> None:
        """An unknown variable is a problem with advice, and its value is not shown."""
        environ = {
            "PYPID_SERVER_LISTENN": "hunter2",
            "PYPID_USERS_ALICE": "hunter2",
            "PYPID_": "hunter2",
            "PYPID_server_listen": "hunter2",
        }
        found = problems("", environ)
        self.assertEqual(len(found), 4)
        self.assertIn(
            "PYPID_SERVER_LISTENN: unknown variable; did you mean PYPID_SERVER_LISTEN?", found
        )
        self.assertIn(
            "PYPID_USERS_ALICE: [users] comes from the file only; unset the variable", found
        )
        self.assertNotIn("hunter2", "".join(found))

    def test_issuers(self) -> None:
        """A variable speaks for the issuer of the file that spells like it, or makes one."""
        rules = ("a repository=b/c", "d repository_owner=e")
        environ = {
            "PYPID_ISSUER_MY_HUB_URL": "https://a",
            "PYPID_ISSUER_GITHUB_URL": "https://b/",
            "PYPID_ISSUER_GITHUB_ALLOW": "\n".join(rules),
        }
        config = parse("[issuer:My-hub]\naudience = x\n", filename="x", environ=environ)
        urls = {name: issuer.url for name, issuer in config.issuers.items()}
        self.assertEqual(urls, {"My-hub": "https://a", "github": "https://b"})
        self.assertEqual(config.issuers["github"].allow, rules)

    def test_named_upstreams(self) -> None:
        """Variables set keys of named upstreams, and make further ones; those of [upstream] keep
        their meaning.
        """
        environ = {
            "PYPID_UPSTREAM_MY_HUB_CREDENTIALS": "bob:hunter2",
            "PYPID_UPSTREAM_CU_128_URL": "https://b",
            "PYPID_UPSTREAM_CU_128_ONLY": "torch",
            "PYPID_UPSTREAM_FILE_HOSTS": "files.example",
            "PYPID_UPSTREAM_CU_128_FILE_HOSTS": "gpu.example",
            "PYPID_UPSTREAM_CA_CERTIFICATES": "ca.pem",
        }
        text = "[upstream:my-hub]\nurl = https://a\nonly = x\n"
        config = parse(text, filename="x", environ=environ)
        self.assertEqual(list(config.upstreams), ["my-hub", "cu-128"])
        self.assertEqual(config.upstreams["my-hub"].credentials, "bob:hunter2")
        self.assertEqual(config.upstreams["cu-128"].file_hosts, ("gpu.example",))
        self.assertEqual(config.upstream.file_hosts, ("files.example",))
        self.assertEqual(config.upstream.ca_certificates, "ca.pem")
        self.assertNotIn("hunter2", repr(config) + describe(config))

    def test_every_key_has_a_variable(self) -> None:
        """Each key can be set by its variable: the default, said so, changes nothing."""
        environ = {
            variable(name, key): one.default
            for name, section in SECTIONS.items()
            for key, one in keys(section).items()
        }
        self.assertEqual(parse("", filename="pypid.ini", environ=environ), Config())
        self.assertEqual(variable("storage", "bucket"), "PYPID_STORAGE_BUCKET")
        self.assertEqual(variable("issuer:github", "url"), "PYPID_ISSUER_GITHUB_URL")
        self.assertEqual(variable("upstream:cu-128", "url"), "PYPID_UPSTREAM_CU_128_URL")


class Describing(SynchronousTestCase):
    """The configuration in words."""

    def test_secrets(self) -> None:
        """Secrets and hashes are (set); a URL is shown without its password; an unset secret is
        empty.
        """
        text = with_secrets()
        config = parse(f"{text}[users]\nalice = {HASH}\n", filename="x.ini")
        shown = describe(config)
        lines = [line.partition(" ; ")[0].strip() for line in shown.splitlines()]
        for line in (
            "alice = (set)",
            "secret = (set)",
            "url = https://(set)@index.example/simple",
            "secret_key =",
            "url = (set)",
        ):
            self.assertIn(line, lines)
        self.assertNotIn("hunter2", shown)
        self.assertNotIn("argon2", shown)

    def test_reads_again(self) -> None:
        """What is shown is a file that says the same."""
        text = (
            "[server]\nlisten = tcp:1 \n unix:/x\nmax_upload = 1024\ntrusted_proxies = ::1\n"
            "[database]\nstale_for = 3600\n[access]\nread = b a\n"
        )
        config = parse(text, filename="x")
        self.assertEqual(parse(describe(config), filename="x"), config)


DIALECT = st.lists(
    st.sampled_from(
        [
            "[log]",
            "[users]",
            "[",
            "]",
            "level",
            "a",
            "=",
            " ",
            "\t",
            "\n",
            "\n",
            "\n ",
            "\n\t",
            ";",
            " ;",
            "#",
            "x",
            ":",
            "\r\n",
            "\x1c",
            "é",
            "%(a)s",
            "\x0b",
        ]
    ),
    max_size=30,
).map("".join)


class Dialect(SynchronousTestCase):
    """The reader beside the standard library's, whose dialect it is."""

    @settings(quick, max_examples=120)
    @given(DIALECT)
    @example("[a]\nk = 1\n  2 ; c\n\n  ; c\n  3\n\n[b]\nk=")
    def test_same_as_configparser(self, text: str) -> None:
        """What is read without a problem is what configparser reads, and what configparser refuses
        is a problem.
        """
        parser = configparser.RawConfigParser(
            delimiters=("=",),
            comment_prefixes=("#", ";"),
            inline_comment_prefixes=(";",),
            default_section="\0",
        )
        parser.optionxform = str  # type: ignore[assignment,method-assign]
        document = ini.read(text, "x.ini")
        try:
            parser.read_file(io.StringIO(text, newline=None))
        except configparser.Error:
            self.assertTrue(document.problems)
            return
        if not document.problems:
            ours = {
                name: {key: entry.text for key, entry in section.entries.items()}
                for name, section in document.sections.items()
            }
            self.assertEqual(ours, {name: dict(parser.items(name)) for name in parser.sections()})


NAMES = st.sampled_from([*SECTIONS, "users", "groups", "issuer:x", "upstream:x", "nobody"])
KEYS = st.sampled_from(sorted({key for section in SECTIONS.values() for key in keys(section)}))
LINES = st.one_of(
    NAMES.map("[{}]".format),
    st.tuples(
        KEYS,
        st.one_of(
            st.text(max_size=20), st.sampled_from([*SAMPLES.values(), "yes", "10m", "4G", HASH])
        ),
    ).map(" = ".join),
    st.text(max_size=20),
)


class Robustness(SynchronousTestCase):
    """Whatever is given, there is a configuration or a `BadConfig` with text."""

    def attempt(self, text: bytes | str, environ: Mapping[str, str] | None = None) -> Config | None:
        try:
            return parse(text, filename="x.ini", environ=environ or {})
        except BadConfig as error:
            self.assertTrue(error.problems)
            self.assertTrue(all(len(line) < 1500 for line in str(error).splitlines()))
            return None

    @settings(quick, max_examples=50)
    @given(st.one_of(st.text(), st.binary(), st.lists(LINES, max_size=12).map("\n".join)))
    @example("[issuer:]\n[issuer:a b]\n[]\n[[]]\n")
    @example("\ud800[log]\n\udcff = \udcff")
    def test_any_text(self, text: bytes | str) -> None:
        """Any text or bytes."""
        config = self.attempt(text)
        if config is not None:
            describe(config)

    @quick
    @given(
        st.dictionaries(
            st.one_of(st.text(max_size=20), KEYS.map(str.upper), st.just("STORAGE_PATH")).map(
                "PYPID_".__add__
            ),
            st.text(),
        )
    )
    def test_any_environment(self, environ: dict[str, str]) -> None:
        """Any variables."""
        self.attempt("", environ)

    @quick
    @given(
        st.text(alphabet=st.characters(categories=["L", "N"]), min_size=1, max_size=8).map(
            "Sesame{}x".format
        ),
        st.sampled_from(["", "=", " ", "\n", "@", ";", "\x1b", "$a$"]),
    )
    def test_secrets_never_show(self, secret: str, odd: str) -> None:
        """A secret shows neither in the description nor in a problem, whatever else stands beside
        it.
        """
        places = [
            (name, key)
            for name, section in SECTIONS.items()
            for key, one in keys(section).items()
            if one.secret
        ]
        text = as_ini(
            {name: {k: f"{odd}{secret}" for n, k in places if n == name} for name in SECTIONS}
        )
        try:
            config = parse(
                f"{text}[users]\na = $2b$12${secret}\nb = {odd}{secret}\n", filename="x.ini"
            )
        except BadConfig as error:
            self.assertNotIn("Sesame", str(error))
            self.assertNotIn("Sesame", repr(error))
        else:
            self.assertNotIn("Sesame", describe(config) + repr(config))
