"""Translate the location of the files into ``[storage]``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from posixpath import join, normpath

from pypid.core.configuration.ini import IniEntry, printable
from pypid.core.pypicloud.ledger import Ledger
from pypid.core.pypicloud.settings import PypicloudSettings, asbool, without_comment

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
    """Translate the location of the files, and choose the layout in which pypicloud finds pypid's
    files. Paths are relative to `cwd`, as in pypicloud.
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
    ledger.say("storage", "layout", "pypicloud")


def _kind(settings: PypicloudSettings, ledger: Ledger) -> str | None:
    said = settings.entry("pypi.storage")
    if said is None:
        if "pypi.storage" in settings.found:
            return None
        # before this key existed, S3 was the only storage
        return (
            "s3"
            if "storage.dir" not in settings.found
            and {"storage.bucket", "aws.bucket"} & set(settings.found)
            else "file"
        )
    key, entry = said
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
    said = settings.entry("storage.dir")
    if said is None or not said[1].text.strip():
        if "storage.dir" not in settings.broken:
            where = said[1] if said else IniEntry("", ledger.filename)
            ledger.refuse(
                "it has to say in which folder the files are; pypicloud does not start either",
                where,
                "storage.dir",
            )
        return
    key, entry = said
    text = entry.text.strip()
    if not text.startswith("/"):
        reason = (
            "it is seen from the folder that pypid is started in, as with pypicloud; better say "
            "it with %(here)s/"
        )
        ledger.note(reason, entry, key)
    ledger.say("storage", "backend", "files", *_of(settings, "pypi.storage"))
    ledger.say("storage", "path", normpath(join(cwd, text)), entry, key)


def _of(settings: PypicloudSettings, name: str) -> tuple[IniEntry, str] | tuple[()]:
    return (settings.found[name], name) if name in settings.found else ()


def _bucket(
    settings: PypicloudSettings, ledger: Ledger, environ: Mapping[str, str], cwd: str
) -> None:
    ledger.say("storage", "backend", "s3", *_of(settings, "pypi.storage"))
    for ours, theirs in (
        ("bucket", ("storage.bucket", "aws.bucket")),
        ("prefix", ("storage.prefix", "aws.prefix")),
        ("access_key", ("storage.aws_access_key_id", "storage.access_key", "aws.access_key")),
        ("secret_key", ("storage.aws_secret_access_key", "storage.secret_key", "aws.secret_key")),
        ("session_token", ("storage.aws_session_token",)),
        ("storage_class", ("storage.storage_class",)),
    ):
        said = settings.entry(*theirs)
        if said is not None and said[1].text.strip():
            ledger.say("storage", ours, said[1].text.strip(), said[1], said[0])
    hashed = settings.entry("storage.prepend_hash", "aws.prepend_hash", "pypi.prepend_hash")
    ledger.say(
        "storage",
        "prepend_hash",
        _word(hashed is None or asbool(hashed[1].text)),
        *_swapped(hashed),
    )
    streamed = settings.entry("pypi.stream_files")
    ledger.say(
        "storage",
        "redirect",
        _word(streamed is None or not asbool(streamed[1].text)),
        *_swapped(streamed),
    )
    _place(settings, ledger, environ)
    _lifetimes(settings, ledger)
    _encryption(settings, ledger)
    verify = settings.entry("storage.verify")
    if verify is not None:
        _authorities(verify, ledger, cwd)


def _swapped(said: tuple[str, IniEntry] | None) -> tuple[IniEntry, str] | tuple[()]:
    return (said[1], said[0]) if said else ()


def _word(value: bool) -> str:
    return "yes" if value else "no"


def _place(settings: PypicloudSettings, ledger: Ledger, environ: Mapping[str, str]) -> None:
    """Translate region, endpoint and addressing."""
    said = settings.entry("storage.region_name", "storage.region", "aws.region")
    host = settings.entry("storage.host", "aws.host")
    secure = settings.entry("storage.is_secure", "aws.is_secure")
    endpoint = settings.entry("storage.endpoint_url")
    amazon = _AMAZON.match(host[1].text.strip()) if host else None
    if said is not None and said[1].text.strip():
        region = said[1].text.strip()
        ledger.say("storage", "region", _OLD_REGIONS.get(region, region), said[1], said[0])
    elif amazon is not None and amazon["region"] and host is not None:
        ledger.say("storage", "region", amazon["region"], host[1], host[0])
    elif environ.get("AWS_DEFAULT_REGION"):
        ledger.say(
            "storage",
            "region",
            environ["AWS_DEFAULT_REGION"],
            IniEntry("", "AWS_DEFAULT_REGION"),
            "AWS_DEFAULT_REGION",
        )
    if endpoint is not None and endpoint[1].text.strip():
        ledger.say("storage", "endpoint_url", endpoint[1].text.strip(), endpoint[1], endpoint[0])
    elif host is not None and amazon is None and host[1].text.strip():
        scheme = "http" if secure is not None and not asbool(secure[1].text) else "https"
        keys = (host[0], *([secure[0]] if secure else []))
        ledger.say("storage", "endpoint_url", f"{scheme}://{host[1].text.strip()}", host[1], *keys)
    style, form = (
        settings.entry("storage.addressing_style"),
        settings.entry("storage.calling_format"),
    )
    if style is not None and style[1].text.strip():
        ledger.say("storage", "addressing", style[1].text.strip(), style[1], style[0])
    elif form is not None and (word := _FORMATS.get(form[1].text.strip())):
        ledger.say("storage", "addressing", word, form[1], form[0])
    elif form is not None:
        ledger.note(
            "URLs name the bucket as S3 has it; say storage.addressing_style = path or virtual",
            form[1],
            form[0],
        )


def _lifetimes(settings: PypicloudSettings, ledger: Ledger) -> None:
    said = settings.entry("storage.expire_after", "aws.expire_after")
    seconds = 86400
    if said is not None and said[1].text.strip():
        key, entry = said
        text = without_comment(entry.text)
        ledger.say("storage", "expire_after", text, entry, key)
        if not text.isdecimal() or not text.isascii() or len(text) > 15:
            return  # the check of pypid's values refuses it
        seconds = int(text)
        if seconds > _LONGEST:
            ledger.note(
                "no signed URL can be valid for longer than 7 days, so it is 7d", entry, key
            )
            seconds = _LONGEST
            ledger.say("storage", "expire_after", "7d", entry, key)
    buffer = settings.entry("storage.buffer_time", "aws.buffer_time")
    if buffer is not None and buffer[1].text.strip():
        ledger.say("storage", "buffer_time", without_comment(buffer[1].text), buffer[1], buffer[0])
    elif seconds <= _BUFFER:
        ledger.say("storage", "buffer_time", str(seconds // 4), *_swapped(said))


def _encryption(settings: PypicloudSettings, ledger: Ledger) -> None:
    said = settings.entry("storage.server_side_encryption", "aws.server_side_encryption")
    if said is None:
        return
    key, entry = said
    text = entry.text.strip()
    if text.lower() in ("false", "no", "off", "0", "f", "n", ""):  # before 1.0 it was yes or no
        return
    ledger.say("storage", "server_side_encryption", "AES256" if asbool(text) else text, entry, key)


def _authorities(said: tuple[str, IniEntry], ledger: Ledger, cwd: str) -> None:
    key, entry = said
    text = entry.text.strip()
    if text.lower() in ("f", "false", "n", "no", "off", "0"):
        reason = (
            "not taken over: certificates are always checked; name the authority's PEM file here"
        )
        ledger.note(reason, entry, key)
    elif text and not asbool(text):
        ledger.say("storage", "ca_certificates", normpath(join(cwd, text)), entry, key)


def _cloudfront(settings: PypicloudSettings, ledger: Ledger, cwd: str) -> None:
    """Translate CloudFront with signed URLs; without a key for them, use S3's own signed URLs."""
    domain = settings.entry("storage.cloud_front_domain", "aws.cloud_front_domain")
    key_id = settings.entry("storage.cloud_front_key_id", "aws.cloud_front_key_id")
    file = settings.entry("storage.cloud_front_key_file", "aws.cloud_front_key_file")
    inline = settings.entry("storage.cloud_front_key_string", "aws.cloud_front_key_string")
    if domain is None or not domain[1].text.strip():
        where = domain[1] if domain else settings.found["pypi.storage"]
        ledger.refuse(
            "cloudfront needs the domain of the distribution", where, "storage.cloud_front_domain"
        )
        return
    if inline is not None and inline[1].text.strip():
        advice = (
            "the key is not taken from here: write it into a file and name that with "
            "storage.cloud_front_key_file"
        )
        ledger.refuse(advice, inline[1], inline[0])
        return
    if file is None or not file[1].text.strip():
        reason = (
            "URLs of CloudFront are always signed here, and there is no key for that: clients get "
            "signed URLs of S3's"
        )
        ledger.note(reason, domain[1], domain[0])
        return
    if key_id is None or not key_id[1].text.strip():
        ledger.refuse(
            "it belongs to the key: CloudFront's name of it", file[1], "storage.cloud_front_key_id"
        )
        return
    ledger.say("storage", "cloudfront_domain", domain[1].text.strip(), domain[1], domain[0])
    ledger.say("storage", "cloudfront_key_id", key_id[1].text.strip(), key_id[1], key_id[0])
    ledger.say(
        "storage",
        "cloudfront_key_file",
        normpath(join(cwd, file[1].text.strip())),
        file[1],
        file[0],
    )
