"""Translate pypicloud's config.ini into a document of pypid's configuration, which is then checked
as usual. Pure, like the whole package.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from posixpath import basename, dirname, join, normpath
from urllib.parse import urlsplit

from attrs import evolve, field, frozen

from pypid.core.configuration import ini
from pypid.core.configuration.choices import Mode
from pypid.core.configuration.ini import IniDocument, IniEntry, printable
from pypid.core.configuration.keys import FREE, SECTIONS, keys
from pypid.core.configuration.values import NETWORK
from pypid.core.errors import BadConfig, ConfigProblem
from pypid.core.packaging.names import LONGEST_NAME
from pypid.core.pypicloud.keys import Ledger, Note, TranslatedValue, are_first_generation
from pypid.core.pypicloud.paste import (
    Paste,
    PypicloudSettings,
    Setting,
    asbool,
    of_environment,
    origin_of,
    without_comment,
)
from pypid.core.pypicloud.people import (
    PypicloudGroups,
    admins,
    defaults,
    directory,
    groups,
    projects,
    users,
)

# Translate the old server's endpoint into ``[server]``: ``[server:main]`` of waitress.

_WAITRESS_PORT = "8080"
_HOST_AND_PORT = re.compile(r"(?P<host>\[[^\]]*\]|[^:\s]*):(?P<port>[0-9]{1,5})\Z")
_PORT = re.compile(r"[0-9]{1,5}\Z")
_EVERYWHERE = frozenset({"", "*", "0.0.0.0"})
_LOOPBACK = "127.0.0.0/8 ::1"
_HANDLED = frozenset(
    {
        *("use", "host", "port", "listen", "unix_socket", "unix_socket_perms"),
        *("trusted_proxy", "url_scheme", "url_prefix", "max_request_body_size"),
    }
)
_SAY_IT = "say [server] listen (PYPID_SERVER_LISTEN)"


@frozen
class _Server:
    """The keys of the section, by name, and why some values are not available."""

    name: str
    found: Mapping[str, IniEntry]
    broken: Mapping[str, str]

    def text(self, key: str) -> str:
        return self.found[key].text.strip() if key in self.found and key not in self.broken else ""


def serve(paste: Paste, ledger: Ledger, cwd: str) -> frozenset[str]:
    """Translate where to listen; returns the sections that were read."""
    sections = paste.document.sections
    servers = [
        name
        for name, section in sections.items()
        if name.partition(":")[0] == "server" and not _is_of_gunicorn(section.entries)
    ]
    named = [name for name in servers if name.partition(":")[2].strip() in ("main", "")]
    chosen = next(iter(named or (servers if len(servers) == 1 else [])), None)
    for name in servers:
        if name != chosen:
            where = IniEntry("", ledger.filename, sections[name].line)
            ledger.note(
                "pserve listens where [server:main] says, if it is not told otherwise",
                where,
                f"[{name}]",
            )
    if chosen is not None:
        _server(_Server(chosen, *paste.values(chosen)), ledger, cwd)
    else:
        ledger.note(
            f"the file does not say where to listen, so it is tcp port 6543 of this machine; "
            f"{_SAY_IT} for another",
            None,
        )
    return frozenset(servers)


def _is_of_gunicorn(entries: Mapping[str, IniEntry]) -> bool:
    """Return whether these keys are of gunicorn, whose defaults are not those of waitress."""
    return "bind" in entries or ("use" in entries and "gunicorn" in entries["use"].text)


def _server(server: _Server, ledger: Ledger, cwd: str) -> None:
    endpoints = [*_listed(server, ledger), *_unix(server, cwd)]
    source = next(
        (key for key in ("listen", "unix_socket", "port", "host") if key in server.found),
        "",
    )
    if not endpoints:
        endpoints = [_tcp(_known_host(server, ledger), _known_port(server, ledger))]
    ledger.put(
        "server",
        "listen",
        " ".join(endpoints),
        server.found.get(source),
        f"[{server.name}] {source}",
    )
    _proxies(server, ledger, local=all(_is_local(text) for text in endpoints))
    if size := server.text("max_request_body_size"):
        entry = server.found["max_request_body_size"]
        ledger.put("server", "max_upload", size, entry, "max_request_body_size")
    tuning = [key for key in server.found if key not in _HANDLED]
    if tuning:
        ledger.note("it is of the old server", server.found[tuning[0]], *tuning)


def _listed(server: _Server, ledger: Ledger) -> list[str]:
    """Parse ``listen``: several, separated by white space or commas."""
    endpoints = []
    if "listen" in server.broken:
        ledger.note(f"{server.broken['listen']}; {_SAY_IT}", server.found["listen"], "listen")
    for text in re.split(r"[\s,]+", server.text("listen")):
        if text.startswith("unix:"):
            endpoints.append(_socket(text.removeprefix("unix:"), "600"))
        elif match := _HOST_AND_PORT.match(text):
            endpoints.append(_tcp(match["host"], match["port"]))
        elif text:
            ledger.refuse(
                f"{printable(text)!r} is no host:port; {_SAY_IT}",
                server.found["listen"],
                "listen",
                server.name,
            )
    return endpoints


def _unix(server: _Server, cwd: str) -> list[str]:
    path = server.text("unix_socket")
    return (
        [_socket(normpath(join(cwd, path)), server.text("unix_socket_perms") or "600")]
        if path
        else []
    )


def _known_host(server: _Server, ledger: Ledger) -> str:
    if "host" in server.broken:
        ledger.note(
            f"{server.broken['host']}; it is 127.0.0.1 until then", server.found["host"], "host"
        )
        return "127.0.0.1"
    return server.text("host")


def _known_port(server: _Server, ledger: Ledger) -> str:
    port = server.text("port")
    if "port" in server.broken:
        ledger.note(
            f"{server.broken['port']}, or {_SAY_IT}; it is {_WAITRESS_PORT} until then, as with "
            f"waitress",
            server.found["port"],
            "port",
        )
    elif port and not _PORT.match(port):
        ledger.refuse(
            f"{printable(port)!r} is no port; {_SAY_IT}", server.found["port"], "port", server.name
        )
    return port if _PORT.match(port) else _WAITRESS_PORT


def _proxies(server: _Server, ledger: Ledger, *, local: bool) -> None:
    """Translate which proxies' X-Forwarded-* headers are trusted."""
    trusted = server.text("trusted_proxy")
    if trusted == "*" and local:
        ledger.put(
            "server", "trusted_proxies", _LOOPBACK, server.found["trusted_proxy"], "trusted_proxy"
        )
    elif trusted:
        try:
            ledger.put(
                "server",
                "trusted_proxies",
                str(NETWORK.parse(trusted)),
                server.found["trusted_proxy"],
                "trusted_proxy",
            )
        except ValueError:
            reason = (
                "not everybody who can connect is believed: name your proxies in [server] "
                "trusted_proxies"
            )
            ledger.note(
                f"{reason} (PYPID_SERVER_TRUSTED_PROXIES)",
                server.found["trusted_proxy"],
                "trusted_proxy",
            )
    if server.text("url_scheme") == "https":
        ledger.note(
            "for URLs with https say [server] public_url (PYPID_SERVER_PUBLIC_URL), or name your "
            "proxies in trusted_proxies",
            server.found["url_scheme"],
            "url_scheme",
        )
    if server.text("url_prefix").strip("/"):
        ledger.note(
            "pypid answers at / alone: let the proxy in front of it take this path away, and say "
            "[server] public_url",
            server.found["url_prefix"],
            "url_prefix",
        )


def _tcp(host: str, port: str) -> str:
    host = host.strip("[]")
    if host in _EVERYWHERE:
        return f"tcp:{port}"
    if ":" in host:
        return f"tcp6:{port}" + ("" if host == "::" else f":interface={_quoted(host)}")
    return f"tcp:{port}:interface={'127.0.0.1' if host == 'localhost' else _quoted(host)}"


def _socket(path: str, mode: str) -> str:
    return f"unix:{_quoted(path)}:mode={mode if mode.isdigit() else '600'}"


def _quoted(text: str) -> str:
    """Return the text escaped for a Twisted endpoint string."""
    return re.sub(r"([\\:=])", r"\\\1", text)


def _is_local(endpoint: str) -> bool:
    if endpoint.startswith("unix:"):
        return True
    host = endpoint.partition("interface=")[2].replace("\\", "")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


# Translate the fallback into ``[upstream]``.

_MODES = {
    "redirect": Mode.REDIRECT,
    "cache": Mode.CACHE,
    "none": Mode.OFFLINE,
    "mirror": Mode.CACHE,  # 0.2.11 to 0.5.6
    "cache redirect": Mode.CACHE,
}
_GONE = "pypi.python.org"
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\Z")


def upstream(settings: PypicloudSettings, ledger: Ledger) -> Mode | None:
    """Translate the treatment of names that are not local; return the mode, None if unknown."""
    mode = _mode(settings, ledger)
    _url(settings, ledger)
    _reserved(settings, ledger)
    _always_show(settings, ledger)
    return mode


def _mode(settings: PypicloudSettings, ledger: Ledger) -> Mode | None:
    setting = settings.find("pypi.fallback")
    old = settings.find("pypi.use_fallback")
    if setting is None and "pypi.fallback" in settings.found:
        return None  # already refused
    if setting is None:
        mode = (
            Mode.REDIRECT
            if old is None or asbool(without_comment(old.entry.text))
            else Mode.OFFLINE
        )
        ledger.put("upstream", "mode", mode.value, *origin_of(old))
        return mode
    if setting.text not in _MODES:
        allowed = ", ".join(word for word in _MODES if " " not in word)
        ledger.refuse(
            f"invalid value {printable(setting.text)!r} (allowed: {allowed})",
            setting.entry,
            setting.key,
        )
        return None
    if setting.text == "mirror":
        ledger.note(
            "it is cache here: local projects never show the public index's versions, unless "
            "[upstream] allow_mixed lists them",
            setting.entry,
            setting.key,
        )
    ledger.put("upstream", "mode", _MODES[setting.text].value, setting.entry, setting.key)
    return _MODES[setting.text]


def _url(settings: PypicloudSettings, ledger: Ledger) -> None:
    setting = settings.find("pypi.fallback_base_url", "pypi.fallback_url")
    if setting is None or not setting.text:
        return
    url = setting.text.rstrip("/")
    try:
        host = urlsplit(url).hostname
    except ValueError:
        host = None
    if host == _GONE:
        ledger.note(
            "that address is gone; its index is the public Python Package Index, which pypid uses",
            setting.entry,
            setting.key,
        )
        return
    ledger.put(
        "upstream",
        "url",
        url if setting.key == "pypi.fallback_url" else f"{url}/simple",
        setting.entry,
        setting.key,
    )


def _reserved(settings: PypicloudSettings, ledger: Ledger) -> None:
    setting = settings.find("pypi.disallow_fallback")
    if setting is None:
        return
    words = [word.strip("()[]{},\"'") for word in setting.entry.text.replace(",", " ").split()]
    names = [word for word in words if _NAME.match(word) and len(word) <= LONGEST_NAME]
    odd = [word for word in words if word and word not in names]
    if odd:
        ledger.note(
            f"no project can be called {', '.join(printable(repr(word)) for word in odd[:5])}, so "
            f"no client asks for it",
            setting.entry,
            setting.key,
        )
    if names != setting.entry.text.split() and names:
        ledger.note(
            "names have white space between them and nothing else; pypicloud did not understand "
            "this, and asked upstream",
            setting.entry,
            setting.key,
        )
    if names:
        ledger.put("upstream", "reserved", " ".join(names), setting.entry, setting.key)


def _always_show(settings: PypicloudSettings, ledger: Ledger) -> None:
    setting = settings.find("pypi.always_show_upstream")
    if setting is not None and asbool(setting.entry.text):
        ledger.note(
            "not taken over: anyone who registers the name of a local project on the public "
            "index could add a newer version. List the names that may show both in [upstream] "
            "allow_mixed "
            "(PYPID_UPSTREAM_ALLOW_MIXED)",
            setting.entry,
            setting.key,
        )


# Translate the location of the files into ``[storage]``.

_CLASSES = {
    "FileStorage": "file",
    "S3Storage": "s3",
    "CloudFrontS3Storage": "cloudfront",
    "GoogleCloudStorage": "gcs",
    "AzureBlobStorage": "azure-blob",
}
_DOTTED_STORAGE = re.compile(r"pypicloud\.storage(\.\w+)?\.(?P<name>\w+)\Z")
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
    """Translate where the files are, which are adopted; paths are relative to `cwd`."""
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
    dotted = _DOTTED_STORAGE.match(setting.text)
    kind = _CLASSES.get(dotted["name"], setting.text) if dotted else setting.text
    if kind in _ADVICE:
        copy = (
            "copy the files to S3 or into a folder with ppc-migrate, and take people along with "
            "ppc-export"
        )
        ledger.refuse(f"{_ADVICE[kind]} is not had here: {copy}", setting.entry, setting.key)
        return None
    if kind not in _CLASSES.values():
        copy = "copy the files to s3 or file with ppc-migrate, and name that"
        ledger.refuse(
            f"pypid cannot run {printable(setting.text)!r}: {copy}", setting.entry, setting.key
        )
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
    if not setting.text.startswith("/"):
        ledger.note(
            "it is seen from the folder that pypid is started in, as with pypicloud; better say "
            "it with %(here)s/",
            setting.entry,
            setting.key,
        )
    ledger.put("storage", "backend", "files", *origin_of(settings.find("pypi.storage")))
    ledger.put("storage", "path", normpath(join(cwd, setting.text)), setting.entry, setting.key)


def _bucket(
    settings: PypicloudSettings, ledger: Ledger, environ: Mapping[str, str], cwd: str
) -> None:
    ledger.put("storage", "backend", "s3", *origin_of(settings.find("pypi.storage")))
    for key, spellings in (
        ("bucket", ("storage.bucket", "aws.bucket")),
        ("prefix", ("storage.prefix", "aws.prefix")),
        ("access_key", ("storage.aws_access_key_id", "storage.access_key", "aws.access_key")),
        ("secret_key", ("storage.aws_secret_access_key", "storage.secret_key", "aws.secret_key")),
        ("session_token", ("storage.aws_session_token",)),
        ("storage_class", ("storage.storage_class",)),
    ):
        settings.copy("storage", key, *spellings)
    streamed = settings.find("pypi.stream_files")
    ledger.put(
        "storage",
        "redirect",
        "no" if streamed and asbool(streamed.entry.text) else "yes",
        *origin_of(streamed),
    )
    _location(settings, ledger, environ)
    _addressing(settings, ledger)
    _lifetimes(settings, ledger)
    _encryption(settings, ledger)
    verify = settings.find("storage.verify")
    if verify is not None:
        _authorities(verify, ledger, cwd)


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
        text = without_comment(setting.entry.text)
        ledger.put("storage", "expire_after", text, setting.entry, setting.key)
        if not text.isdecimal() or not text.isascii() or len(text) > 15:
            return  # the check of pypid's values refuses it
        seconds = int(text)
        if seconds > _LONGEST:
            ledger.note(
                "no signed URL can be valid for longer than 7 days, so it is 7d",
                setting.entry,
                setting.key,
            )
            seconds = _LONGEST
            ledger.put("storage", "expire_after", "7d", setting.entry, setting.key)
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
    if setting.text.lower() in (
        "false",
        "no",
        "off",
        "0",
        "f",
        "n",
        "",
    ):  # before 1.0 it was yes or no
        return
    ledger.put(
        "storage",
        "server_side_encryption",
        "AES256" if asbool(setting.text) else setting.text,
        setting.entry,
        setting.key,
    )


def _authorities(setting: Setting, ledger: Ledger, cwd: str) -> None:
    if setting.text.lower() in ("f", "false", "n", "no", "off", "0"):
        ledger.note(
            "not taken over: certificates are always checked; name the authority's PEM file here",
            setting.entry,
            setting.key,
        )
    elif setting.text and not asbool(setting.text):
        ledger.put(
            "storage",
            "ca_certificates",
            normpath(join(cwd, setting.text)),
            setting.entry,
            setting.key,
        )


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
        ledger.refuse(
            "the key is not taken from here: write it into a file and name that with "
            "storage.cloud_front_key_file",
            inline.entry,
            inline.key,
        )
        return
    if file is None or not file.text:
        ledger.note(
            "URLs of CloudFront are always signed here, and there is no key for that: clients get "
            "signed URLs of S3's",
            domain.entry,
            domain.key,
        )
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
    path = normpath(join(cwd, file.text))
    ledger.put("storage", "cloudfront_key_file", path, file.entry, file.key)


_BACKENDS = {
    "ConfigAccessBackend": "config",
    "SQLAccessBackend": "sql",
    "LDAPAccessBackend": "ldap",
    "RemoteAccessBackend": "remote",
    "AWSSecretsManagerAccessBackend": "aws_secrets_manager",
}
_DOTTED = re.compile(r"pypicloud\.access(\.\w+)?\.(?P<name>\w+)\Z")
_TAKE_ALONG = (
    "take people along with `ppc-export` of pypicloud and `pypid user import`, and say pypi.auth = "
    "sql or config"
)
_REFUSED_BACKENDS = {
    "remote": f"users of a service of your own are not asked for: {_TAKE_ALONG}",
    "aws_secrets_manager": f"users in AWS Secrets Manager are not read: {_TAKE_ALONG}",
}
_HARMLESS = re.compile(
    r"(pyramid_(jinja2|mako|debugtoolbar|tm|beaker|duh|rpc|exclog|retry|mailer)|pyramid\.tweens"
    r"|ppc_logger)(\.\w+)*\Z"
)
"""Parts of the framework that do not restrict access."""
_POSTGRESQL = re.compile(r"postgres(ql)?(\+\w+)?:(?P<rest>.*)\Z")
_LOGGING = re.compile(r"(loggers|handlers|formatters|(logger|handler|formatter)_.*)\Z")


@frozen
class Translation:
    """A config.ini in pypid's terms. `accounts`: the URL of pypicloud's accounts, if used."""

    document: IniDocument
    values: Mapping[str, Mapping[str, TranslatedValue]] = field(repr=False)
    notes: tuple[Note, ...]
    accounts: str | None = field(default=None, repr=False)

    def in_its_words(self, problem: ConfigProblem) -> ConfigProblem:
        """Return a problem of one of pypid's keys, with the pypicloud keys that it comes from."""
        value = self.values.get(problem.section, {}).get(problem.key or "")
        if value is None or not value.keys or value.entry.line != problem.line:
            return problem
        return evolve(
            problem, message=f"from {', '.join(map(printable, value.keys))}: {problem.message}"
        )


def translate(
    text: bytes | str, *, filename: str, environ: Mapping[str, str], cwd: str = "/"
) -> Translation:
    """Translate the file's text and the ``PPC_*`` variables of `environ`, which win, as in
    pypicloud.

    `filename` is for messages, and gives the folder of the file, relative to `cwd`: relative paths
    are relative to that folder. Problems that stop the start are in the document. Never raises.
    """
    file = normpath(join(cwd, filename))
    document = ini.read(text, filename, ini.PASTE)
    ledger = Ledger(filename, problems=list(document.problems))
    for twice in document.repeated:
        ledger.note(
            f"{twice.message.partition(';')[0]}; this one holds, as with the pypiclouds that "
            f"started with it",
            IniEntry("", filename, twice.line),
            twice.key or f"[{twice.section}]",
        )
    paste = Paste(document, ledger, dirname(file), file)
    accounts = None
    if paste.find_app():
        accounts = _translated(paste, ledger, environ, cwd)
        _other_sections(paste, ledger, cwd)
    return Translation(
        IniDocument(ledger.sections(), tuple(ledger.problems)),
        ledger.values,
        ledger.notes,
        accounts,
    )


def _translated(paste: Paste, ledger: Ledger, environ: Mapping[str, str], cwd: str) -> str | None:
    of_variables = of_environment(environ, ledger)
    broken = {key: reason for key, reason in paste.broken.items() if key not in of_variables}
    found = {**paste.found, **of_variables}
    settings = PypicloudSettings(ledger, found, broken, are_first_generation(found))
    storage(settings, ledger, environ, cwd)
    mode = upstream(settings, ledger)
    _database(settings, ledger)
    accounts, there = _people(settings, ledger)
    defaults(settings, ledger, there, mode)
    _plugins(settings, ledger)
    settings.leave_the_rest()
    return accounts


def _database(settings: PypicloudSettings, ledger: Ledger) -> None:
    """Translate the PostgreSQL of pypicloud's cache. Other caches are ignored."""
    for key in ("db.url", "sqlalchemy.url"):
        entry = settings.found.get(key, IniEntry("", ledger.filename))
        server = _POSTGRESQL.match(entry.text.strip())
        if server is not None and key not in settings.broken:
            settings.find(key)
            ledger.put("database", "url", f"postgresql:{server['rest']}", entry, key)
            ledger.note(
                "pypid has its catalog, accounts and audit log there, in tables of its own "
                "(pypid_*); an empty PYPID_DATABASE_URL puts them into the state folder",
                entry,
                key,
            )
            return


def _people(settings: PypicloudSettings, ledger: Ledger) -> tuple[str | None, PypicloudGroups]:
    """Translate users, groups and rights; return the accounts database and the groups."""
    nobody = PypicloudGroups({}, {})
    auth = settings.find("pypi.auth", "pypi.access_backend")
    if auth is None and {"pypi.auth", "pypi.access_backend"} & set(settings.found):
        return None, nobody  # already refused
    word = auth.text if auth else "config"
    dotted = _DOTTED.match(word)
    word = _BACKENDS.get(dotted["name"], word) if dotted else word
    came = origin_of(auth)
    match word:
        case "config":
            ledger.put("access", "backend", "config", *came)
            there = groups(settings, ledger)
            admins(settings, ledger, users(settings, ledger))
            projects(settings, ledger, there)
            return None, there
        case "sql":
            ledger.put("access", "backend", "config sql", *came)
            settings.ignore(
                "pypicloud does not look at it with pypi.auth = sql",
                "user.",
                "group.",
                "package.",
                "auth.admins",
            )
            return _accounts(settings, ledger, auth), PypicloudGroups({}, {}, others=True)
        case "ldap":
            return None, _ldap(settings, ledger, came)
        case _:
            assert auth is not None  # the default is config
            ledger.refuse(
                _REFUSED_BACKENDS.get(word, f"pypid cannot run {printable(word)!r}: {_TAKE_ALONG}"),
                auth.entry,
                auth.key,
            )
            return None, nobody


def _accounts(settings: PypicloudSettings, ledger: Ledger, auth: Setting | None) -> str | None:
    setting = settings.find("auth.db.url")
    if setting is None or not setting.text:
        if "auth.db.url" not in settings.broken:
            origin = setting or auth
            ledger.refuse(
                "pypi.auth = sql needs the URL of pypicloud's accounts database",
                origin.entry if origin else IniEntry("", ledger.filename),
                "auth.db.url",
            )
        return None
    ledger.note(
        "pypicloud's accounts are read from there once, at the first start, and never written; "
        "pypid has its own database",
        setting.entry,
        setting.key,
    )
    return setting.text


def _ldap(
    settings: PypicloudSettings, ledger: Ledger, came: tuple[IniEntry, str] | tuple[()]
) -> PypicloudGroups:
    in_file = settings.text("auth.ldap.fallback") == "config"
    keys = ["auth.ldap.fallback"] if in_file else []
    ledger.put("access", "backend", "ldap", came[0] if came else None, *came[1:], *keys)
    directory(settings, ledger, in_file=in_file)
    settings.ignore(
        "people are in the directory: pypicloud does not look at it with pypi.auth = ldap",
        "user.",
        "auth.admins",
    )
    if in_file:
        there = groups(settings, ledger)
        projects(settings, ledger, there)
        return there
    settings.ignore(
        "pypicloud looks at it with auth.ldap.fallback = config only", "group.", "package."
    )
    return PypicloudGroups({}, {})


def _plugins(settings: PypicloudSettings, ledger: Ledger) -> None:
    """Refuse code that ran in pypicloud and may have restricted access."""
    for key in ("pyramid.includes", "pyramid.tweens"):
        setting = settings.find(key)
        if setting is None:
            continue
        odd = [word for word in setting.entry.text.split() if not _HARMLESS.match(word)]
        if odd:
            advice = "pypid cannot run it; if it does not restrict access, take it out of the file"
            ledger.refuse(
                f"{printable(' '.join(odd))} ran in pypicloud: {advice}", setting.entry, key
            )
        else:
            ledger.note(
                "not taken over: it configures the framework of pypicloud",
                setting.entry,
                key,
            )


def _other_sections(paste: Paste, ledger: Ledger, cwd: str) -> None:
    for name, section in paste.rest(serve(paste, ledger, cwd)):
        where = IniEntry("", ledger.filename, section.line)
        if _LOGGING.match(name):
            reason = (
                "pypid writes its log to standard output; PYPID_LOG_LEVEL and PYPID_LOG_FORMAT "
                "say how"
            )
        elif name in (*SECTIONS, *FREE):
            reason = (
                "not looked at, since this file is pypicloud's: `pypid convert-config` makes a "
                "configuration of pypid of it, and PYPID_* variables hold for both"
            )
        else:
            reason = "not looked at: it is not pypicloud's"
        ledger.note(reason, where, f"[{name}]")


# Write a translation as the text of a pypid INI file, with comments on the origin of each value:
# `pypid convert-config`.

_WIDTH = 124


def written(translation: Translation, filename: str) -> str:
    """Return the text, including all secrets of the file. Raises `BadConfig` if a value cannot be
    written in a pypid INI file.

    `filename` is pypicloud's file, for the comments.
    """
    name = printable(basename(filename))
    blocks = [
        f"; Made of {name} by `pypid convert-config`. The end lists what is not taken over.\n"
    ]
    for section in _order():
        if section in translation.values:
            lines = [
                line
                for key, value in translation.values[section].items()
                for line in _lines(key, value)
            ]
            blocks.append("\n".join([f"[{section}]", *lines]) + "\n")
    blocks.append("\n".join(_left_out(translation)))
    text = "\n".join(blocks)
    _check(translation, text, filename)
    return text


def _order() -> Iterator[str]:
    for section in SECTIONS:
        yield section
        if section == "access":
            yield from FREE


def _lines(key: str, value: TranslatedValue) -> Iterator[str]:
    where = printable(basename(value.entry.origin))
    named = ", ".join(printable(name) for name in value.keys if name not in where)
    yield f"; {where}{': ' if named else ''}{named}"
    yield f"{key} = {value.entry.text}"


def _left_out(translation: Translation) -> Iterator[str]:
    if translation.accounts is not None:
        yield from _wrapped(
            "People are in pypicloud's accounts database, which pypid reads at its first start "
            "with the old file. If it has not started with that yet, take them along: ppc-export "
            "of pypicloud, then `pypid user import`. They are kept below [server] state: where "
            "this file is in another folder than the old file, name the state folder of the old "
            "file there."
        )
        yield ""
    if translation.notes:
        yield "; Not taken over, or not as it was:"
        for note in translation.notes:
            yield ";"
            yield from _wrapped(str(note))


def _wrapped(text: str) -> Iterator[str]:
    line = ";"
    for word in text.split():
        if len(line) + len(word) >= _WIDTH and line != ";":
            yield line
            line = ";"
        line += f" {word}"
    yield line


def _check(translation: Translation, text: str, filename: str) -> None:
    """Raise `BadConfig` unless the text has the same values when it is read again."""
    read = ini.read(text, filename)
    problems = [*read.problems]
    for section, values in translation.values.items():
        entries = read.sections[section].entries if section in read.sections else {}
        for key, value in values.items():
            if key not in entries or entries[key].text != value.entry.text.strip():
                message = (
                    "it cannot be written into an INI of pypid's, where ; behind white space "
                    "begins a comment: change it first"
                )
                shown = printable(", ".join(value.keys) or key)
                problems.append(
                    ConfigProblem(value.entry.where, value.entry.line, "", shown, message)
                )
    if problems:
        raise BadConfig(problems)


def secrets_in(translation: Translation) -> tuple[str, ...]:
    """Return the names of the secrets in the text: ``[storage] secret_key``."""
    found = [
        f"[{section}] {key}"
        for section, declared in SECTIONS.items()
        for key, one in keys(declared).items()
        if one.secret and key in translation.values.get(section, {})
    ]
    return (*found, *(["[users]"] if translation.values.get("users") else []))
