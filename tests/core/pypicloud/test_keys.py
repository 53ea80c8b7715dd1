"""All keys that any pypicloud had, against the table; and one by one, what becomes of them."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pypid.access.passwords import kind_of
from pypid.core.configuration.parse import Config
from pypid.core.errors import BadConfig
from pypid.core.pypicloud.keys import KEYS, known
from pypid.core.pypicloud.people import HASHES
from tests.support.configuration import parse

HASH = "$6$rounds=1000$saltsalt$aGFzaGhhc2g"

ONE_3 = """
pypi.fallback pypi.always_show_upstream pypi.fallback_url pypi.fallback_base_url pypi.use_json_scraper
pypi.disallow_fallback pypi.default_read pypi.default_write pypi.cache_update pypi.calculate_package_hashes
pypi.allow_overwrite pypi.allow_overwrite_groups pypi.allow_delete pypi.allow_delete_groups pypi.realm
pypi.download_url pypi.stream_files pypi.package_max_age pypi.storage pypi.db pypi.auth pypi.s3
storage.dir storage.bucket storage.region_name storage.aws_access_key_id storage.aws_secret_access_key
storage.aws_session_token storage.prefix storage.prepend_hash storage.expire_after storage.redirect_urls
storage.server_side_encryption storage.object_acl storage.storage_class storage.public_url storage.sse
storage.endpoint_url storage.api_version storage.use_ssl storage.verify storage.signature_version
storage.user_agent storage.user_agent_extra storage.connect_timeout storage.read_timeout
storage.parameter_validation storage.max_pool_connections storage.proxies storage.use_accelerate_endpoint
storage.payload_signing_enabled storage.addressing_style
storage.cloud_front_domain storage.cloud_front_key_id storage.cloud_front_key_file storage.cloud_front_key_string
storage.gcp_service_account_json_filename storage.gcp_use_iam_signer storage.iam_signer_service_account_email
storage.gcp_project_id storage.gcp_api_endpoint
storage.storage_account_name storage.storage_account_key storage.storage_container_name storage.storage_account_url
db.url db.graceful_reload db.poolclass db.clustered db.region_name db.aws_access_key_id db.aws_secret_access_key
db.namespace db.tablenames db.host db.port db.secure
auth.scheme auth.rounds auth.admins auth.signing_key auth.token_expire auth.db.url auth.db.poolclass
auth.ldap.url auth.ldap.service_dn auth.ldap.service_password auth.ldap.service_username auth.ldap.user_dn_format
auth.ldap.base_dn auth.ldap.user_search_filter auth.ldap.admin_field auth.ldap.admin_value auth.ldap.admin_group_dn
auth.ldap.cache_time auth.ldap.ignore_cert auth.ldap.ignore_referrals auth.ldap.ignore_multiple_results
auth.ldap.fallback
auth.region_name auth.secret_id auth.aws_access_key_id auth.aws_secret_access_key auth.aws_session_token
auth.profile_name auth.kms_key_id
auth.backend_server auth.user auth.password auth.uri.verify auth.uri.groups auth.uri.group_members auth.uri.admin
auth.uri.group_permissions auth.uri.user_permissions auth.uri.user_package_permissions
auth.uri.group_package_permissions auth.uri.user_data
user.alice group.team package.spam.user.alice package.spam.group.team
session.encrypt_key session.validate_key session.secure session.type session.httponly session.invalidate_corrupt
session.crypto_type
pyramid.debug pyramid.reload_templates pyramid.cache_max_age pyramid.debug_authorization pyramid.debug_notfound
pyramid.debug_routematch pyramid.default_locale_name pyramid.includes pyramid.tweens
jinja2.filters jinja2.directories
"""
"""pypicloud 1.3.12: what its code reads and what its documentation and its own config.ini name."""

OLDER = """
storage.access_key storage.secret_key storage.region storage.host storage.is_secure storage.calling_format
storage.buffer_time
aws.access_key aws.secret_key aws.bucket aws.prefix aws.expire_after aws.buffer_time aws.prepend_hash aws.region
aws.host aws.is_secure aws.server_side_encryption
aws.cloud_front_domain aws.cloud_front_key_id aws.cloud_front_key_file aws.cloud_front_key_string
pypi.use_fallback pypi.access_backend pypi.prepend_hash pypi.db.url sqlalchemy.url redis.url
auth.zero_security_mode
auth.ldap.id_field auth.ldap.all_user_search auth.ldap.admin_dns auth.ldap.service_account
db.region db.access_key db.secret_key cache.type cache.container
"""
"""What its versions before 1.0 read besides."""


def read(app: str, *, rest: str = "") -> Config:
    """The configuration of an app with these lines."""
    return parse(f"[app:main]\nuse = egg:pypicloud\n{app}\n{rest}", filename="/srv/config.ini")


def problems(app: str, *, rest: str = "") -> str:
    """What it is refused for."""
    try:
        read(app, rest=rest)
    except BadConfig as error:
        return str(error)
    return ""


class Table(SynchronousTestCase):
    """The table knows all."""

    def test_all_keys(self) -> None:
        """Each key that some pypicloud had is in the table."""
        for name in (*ONE_3.split(), *OLDER.split()):
            self.assertIsNotNone(known(name), name)

    def test_no_other_keys(self) -> None:
        """No key is in the table that no pypicloud had."""
        listed = {*ONE_3.split(), *OLDER.split()}
        for one in KEYS:
            if one.name.endswith("."):
                others = (
                    "mako.",
                    "debugtoolbar.",
                    "tm.",
                    "retry.",
                    "exclog.",
                    "beaker.",
                )  # the framework's own
                self.assertTrue(
                    one.name in others or any(name.startswith(one.name) for name in listed),
                    one.name,
                )
            else:
                self.assertIn(one.name, listed)

    def test_hashes(self) -> None:
        """Those hashes are taken over that can be verified."""
        for start in HASHES:
            self.assertIsNotNone(kind_of(f"{start}x"), start)
        for other in ("$1$", "$apr1$", "$2$", "$pbkdf2$", "{SSHA}", "x"):
            self.assertFalse(other.startswith(HASHES))


class EachKey(SynchronousTestCase):
    """Every key, alone in a file that would start without it, is accounted for."""

    def test_accounted_for(self) -> None:
        """It changes what is said, or there is a note of it, or it is refused; nothing is passed
        over in silence.
        """
        values = {
            "pypi.fallback": "none",
            "pypi.storage": "file",
            "pypi.auth": "config",
            "pypi.access_backend": "config",
        }
        values |= {
            "pypi.always_show_upstream": "no",
            "pypi.use_fallback": "no",
            "user.alice": HASH,
            "pypi.s3": "x",
        }
        values |= {
            "pyramid.includes": "pyramid_tm",
            "pyramid.tweens": "pyramid_tm.tm_tween_factory",
        }
        for name in (*ONE_3.split(), *OLDER.split()):
            lines = f"storage.dir = /f\n{name} = {values.get(name, '1')}"
            said = problems(lines)
            if said:
                self.assertIn(name, said)
                continue
            config = read(lines)
            noted = any(name in note for note in config.notes)
            origins = {
                key: where for key, where in config.origins.items() if where == "/srv/config.ini:4"
            }
            self.assertTrue(noted or origins, name)


class Unknown(SynchronousTestCase):
    """What nobody knows."""

    def test_no_secret_is_shown(self) -> None:
        """Neither notes nor problems nor the repr show values that may be secret."""
        lines = "\n".join(
            f"{name} = {'https://u:hunter2@h' if name.endswith('url') else 'hunter2'}"
            for name in (*ONE_3.split(), *OLDER.split())
            if "key" in name or "password" in name or name.endswith("url") or name == "user.alice"
        )
        for start in (
            "storage.dir = /f",
            "pypi.storage = s3\nstorage.bucket = b",
            "pypi.auth = sql\nstorage.dir = /f",
        ):
            said = problems(f"{start}\n{lines}")
            self.assertNotIn("hunter2", said)
            if not said:
                config = read(f"{start}\n{lines}")
                self.assertNotIn("hunter2", "".join(config.notes) + repr(config))
