"""Translate the location of the files into ``[storage]``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from posixpath import join, normpath

from pypid.core.configuration.ini import IniEntry, printable
from pypid.core.pypicloud.ledger import Ledger
from pypid.core.pypicloud.settings import (
    PypicloudSettings,
    Setting,
    asbool,
    origin_of,
    without_comment,
)

_CLASSES = {
    "FileStorage": "file",
    "S3Storage": "s3",
    "CloudFrontS3Storage": "cloudfront",
    "GoogleCloudStorage": "gcs",
    "AzureBlobStorage": "azure-blob",
}
_DOTTED = re.compile(r"pypicloud\.storage(\.\w+)?\.(?P<name>\w+)\Z")
_ADVICE = {
    "gcs": "Google Cloud Storage",
    "azure-blob": "Azure Blob Storage",
}
_LONGEST = 7 * 86400
"""Maximum seconds that Signature Version 4 allows."""
_BUFFER = 300
_AMAZON = re.compile(r"s3(?:[.-](?P<region>[a-z0-9-]+))?\.amazonaws\.com\Z")
_FORMATS = {
    "SubdomainCallingFormat": "virtual",
    "OrdinaryCallingFormat": "path",
    "ProtocolIndependentOrdinaryCallingFormat": "path",
}
_OLD_REGIONS = {"EU": "eu-west-1", "US": "us-east-1", "": "us-east-1"}


def storage(
    settings: PypicloudSettings, ledger: Ledger, environ: Mapping[str, str], cwd: str
) -> None:
    """Translate the location of the files, which are adopted. Paths are relative to `cwd`, as in
    pypicloud.
    """
    kind = _kind(settings, ledger)
    match kind:
        case "file":
            _files(settings, ledger, cwd)
        case "s3" | "cloudfront":
            _bucket(settings, ledger, environ, cwd)
            if kind == "cloudfront":
                _cloudfront(settings, ledger, cwd)
        case _:
            return
    ledger.put("storage", "adopt", "yes")


def _kind(settings: PypicloudSettings, ledger: Ledger) -> str | None:
    setting = settings.find("pypi.storage")
    if setting is None:
        if "pypi.storage" in settings.found:
            return None
        # before this key existed, S3 was the only storage
        return (
            "s3"
            if "storage.dir" not in settings.found
            and {"storage.bucket", "aws.bucket"} & set(settings.found)
            else "file"
        )
    key, entry = setting.key, setting.entry
    text = entry.text.strip()
    dotted = _DOTTED.match(text)
    kind = _CLASSES.get(dotted["name"], text) if dotted else text
    if kind in _ADVICE:
        copy = (
            "copy the files to S3 or into a folder with ppc-migrate, and take people along with "
            "ppc-export"
        )
        ledger.refuse(f"{_ADVICE[kind]} is not had here: {copy}", entry, key)
        return None
    if kind not in _CLASSES.values():
        copy = "copy the files to s3 or file with ppc-migrate, and name that"
        ledger.refuse(f"pypid cannot run {printable(text)!r}: {copy}", entry, key)
        return None
    return kind


def _files(settings: PypicloudSettings, ledger: Ledger, cwd: str) -> None:
    setting = settings.find("storage.dir")
    if setting is None or not setting.text:
        if "storage.dir" not in settings.broken:
            where = setting.entry if setting else IniEntry("", ledger.filename)
            ledger.refuse(
                "it has to say in which folder the files are; pypicloud does not start either",
                where,
                "storage.dir",
            )
        return
    key, entry = setting.key, setting.entry
    text = entry.text.strip()
    if not text.startswith("/"):
        reason = (
            "it is seen from the folder that pypid is started in, as with pypicloud; better say "
            "it with %(here)s/"
        )
        ledger.note(reason, entry, key)
    ledger.put("storage", "backend", "files", *_of(settings, "pypi.storage"))
    ledger.put("storage", "path", normpath(join(cwd, text)), entry, key)


def _of(settings: PypicloudSettings, name: str) -> tuple[IniEntry, str] | tuple[()]:
    return (settings.found[name], name) if name in settings.found else ()


def _bucket(
    settings: PypicloudSettings, ledger: Ledger, environ: Mapping[str, str], cwd: str
) -> None:
    ledger.put("storage", "backend", "s3", *_of(settings, "pypi.storage"))
    for key, spellings in (
        ("bucket", ("storage.bucket", "aws.bucket")),
        ("prefix", ("storage.prefix", "aws.prefix")),
        ("access_key", ("storage.aws_access_key_id", "storage.access_key", "aws.access_key")),
        ("secret_key", ("storage.aws_secret_access_key", "storage.secret_key", "aws.secret_key")),
        ("session_token", ("storage.aws_session_token",)),
        ("storage_class", ("storage.storage_class",)),
    ):
        setting = settings.find(*spellings)
        if setting is not None and setting.text:
            ledger.put("storage", key, setting.text, setting.entry, setting.key)
    streamed = settings.find("pypi.stream_files")
    ledger.put(
        "storage",
        "redirect",
        _word(streamed is None or not asbool(streamed.entry.text)),
        *origin_of(streamed),
    )
    _location(settings, ledger, environ)
    _addressing(settings, ledger)
    _lifetimes(settings, ledger)
    _encryption(settings, ledger)
    verify = settings.find("storage.verify")
    if verify is not None:
        _authorities(verify, ledger, cwd)


def _word(value: bool) -> str:
    return "yes" if value else "no"


def _location(settings: PypicloudSettings, ledger: Ledger, environ: Mapping[str, str]) -> None:
    """Translate region and endpoint."""
    setting = settings.find("storage.region_name", "storage.region", "aws.region")
    host = settings.find("storage.host", "aws.host")
    secure = settings.find("storage.is_secure", "aws.is_secure")
    endpoint = settings.find("storage.endpoint_url")
    amazon = _AMAZON.match(host.text) if host else None
    if setting is not None and setting.text:
        region = setting.text
        ledger.put(
            "storage", "region", _OLD_REGIONS.get(region, region), setting.entry, setting.key
        )
    elif amazon is not None and amazon["region"] and host is not None:
        ledger.put("storage", "region", amazon["region"], host.entry, host.key)
    elif environ.get("AWS_DEFAULT_REGION"):
        ledger.put(
            "storage",
            "region",
            environ["AWS_DEFAULT_REGION"],
            IniEntry("", "AWS_DEFAULT_REGION"),
            "AWS_DEFAULT_REGION",
        )
    if endpoint is not None and endpoint.text:
        ledger.put("storage", "endpoint_url", endpoint.text, endpoint.entry, endpoint.key)
    elif host is not None and amazon is None and host.text:
        scheme = "http" if secure is not None and not asbool(secure.entry.text) else "https"
        keys = (host.key, *([secure.key] if secure else []))
        ledger.put("storage", "endpoint_url", f"{scheme}://{host.text}", host.entry, *keys)


def _addressing(settings: PypicloudSettings, ledger: Ledger) -> None:
    style = settings.find("storage.addressing_style")
    form = settings.find("storage.calling_format")
    if style is not None and style.text:
        ledger.put("storage", "addressing", style.text, style.entry, style.key)
    elif form is not None and (word := _FORMATS.get(form.text)):
        ledger.put("storage", "addressing", word, form.entry, form.key)
    elif form is not None:
        ledger.note(
            "URLs name the bucket as S3 has it; say storage.addressing_style = path or virtual",
            form.entry,
            form.key,
        )


def _lifetimes(settings: PypicloudSettings, ledger: Ledger) -> None:
    setting = settings.find("storage.expire_after", "aws.expire_after")
    seconds = 86400
    if setting is not None and setting.text:
        key, entry = setting.key, setting.entry
        text = without_comment(entry.text)
        ledger.put("storage", "expire_after", text, entry, key)
        if not text.isdecimal() or not text.isascii() or len(text) > 15:
            return  # the check of pypid's values refuses it
        seconds = int(text)
        if seconds > _LONGEST:
            ledger.note(
                "no signed URL can be valid for longer than 7 days, so it is 7d", entry, key
            )
            seconds = _LONGEST
            ledger.put("storage", "expire_after", "7d", entry, key)
    buffer = settings.find("storage.buffer_time", "aws.buffer_time")
    if buffer is not None and buffer.text:
        ledger.put(
            "storage", "buffer_time", without_comment(buffer.entry.text), buffer.entry, buffer.key
        )
    elif seconds <= _BUFFER:
        ledger.put("storage", "buffer_time", str(seconds // 4), *origin_of(setting))


def _encryption(settings: PypicloudSettings, ledger: Ledger) -> None:
    setting = settings.find("storage.server_side_encryption", "aws.server_side_encryption")
    if setting is None:
        return
    key, entry = setting.key, setting.entry
    text = entry.text.strip()
    if text.lower() in ("false", "no", "off", "0", "f", "n", ""):  # before 1.0 it was yes or no
        return
    ledger.put("storage", "server_side_encryption", "AES256" if asbool(text) else text, entry, key)


def _authorities(setting: Setting, ledger: Ledger, cwd: str) -> None:
    key, entry = setting.key, setting.entry
    text = entry.text.strip()
    if text.lower() in ("f", "false", "n", "no", "off", "0"):
        reason = (
            "not taken over: certificates are always checked; name the authority's PEM file here"
        )
        ledger.note(reason, entry, key)
    elif text and not asbool(text):
        ledger.put("storage", "ca_certificates", normpath(join(cwd, text)), entry, key)


def _cloudfront(settings: PypicloudSettings, ledger: Ledger, cwd: str) -> None:
    """Translate CloudFront with signed URLs; without a key for them, use S3's own signed URLs."""
    domain = settings.find("storage.cloud_front_domain", "aws.cloud_front_domain")
    key_id = settings.find("storage.cloud_front_key_id", "aws.cloud_front_key_id")
    file = settings.find("storage.cloud_front_key_file", "aws.cloud_front_key_file")
    inline = settings.find("storage.cloud_front_key_string", "aws.cloud_front_key_string")
    if domain is None or not domain.text:
        where = domain.entry if domain else settings.found["pypi.storage"]
        ledger.refuse(
            "cloudfront needs the domain of the distribution", where, "storage.cloud_front_domain"
        )
        return
    if inline is not None and inline.text:
        advice = (
            "the key is not taken from here: write it into a file and name that with "
            "storage.cloud_front_key_file"
        )
        ledger.refuse(advice, inline.entry, inline.key)
        return
    if file is None or not file.text:
        reason = (
            "URLs of CloudFront are always signed here, and there is no key for that: clients get "
            "signed URLs of S3's"
        )
        ledger.note(reason, domain.entry, domain.key)
        return
    if key_id is None or not key_id.text:
        ledger.refuse(
            "it belongs to the key: CloudFront's name of it",
            file.entry,
            "storage.cloud_front_key_id",
        )
        return
    ledger.put("storage", "cloudfront_domain", domain.text, domain.entry, domain.key)
    ledger.put("storage", "cloudfront_key_id", key_id.text, key_id.entry, key_id.key)
    ledger.put(
        "storage",
        "cloudfront_key_file",
        normpath(join(cwd, file.text)),
        file.entry,
        file.key,
    )
