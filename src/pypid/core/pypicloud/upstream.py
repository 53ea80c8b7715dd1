"""Translate the fallback into ``[upstream]``."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from pypid.core.configuration.choices import Mode
from pypid.core.configuration.ini import printable
from pypid.core.packaging.names import LONGEST_NAME
from pypid.core.pypicloud.ledger import Ledger
from pypid.core.pypicloud.settings import PypicloudSettings, asbool, origin_of, without_comment

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
    """Translate the treatment of names that are not local; returns the mode, or None if it is
    unknown.
    """
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
    key, entry = setting.key, setting.entry
    text = entry.text.strip()
    if text not in _MODES:
        allowed = ", ".join(word for word in _MODES if " " not in word)
        ledger.refuse(f"invalid value {printable(text)!r} (allowed: {allowed})", entry, key)
        return None
    if text == "mirror":
        reason = (
            "it is cache here: local projects never show the public index's versions, unless "
            "[upstream] allow_mixed lists them"
        )
        ledger.note(reason, entry, key)
    ledger.put("upstream", "mode", _MODES[text].value, entry, key)
    return _MODES[text]


def _url(settings: PypicloudSettings, ledger: Ledger) -> None:
    setting = settings.find("pypi.fallback_base_url", "pypi.fallback_url")
    if setting is None or not setting.text:
        return
    key, entry = setting.key, setting.entry
    url = entry.text.strip().rstrip("/")
    try:
        host = urlsplit(url).hostname
    except ValueError:
        host = None
    if host == _GONE:
        ledger.note(
            "that address is gone; its index is the public Python Package Index, which pypid uses",
            entry,
            key,
        )
        return
    ledger.put(
        "upstream", "url", url if key == "pypi.fallback_url" else f"{url}/simple", entry, key
    )


def _reserved(settings: PypicloudSettings, ledger: Ledger) -> None:
    setting = settings.find("pypi.disallow_fallback")
    if setting is None:
        return
    key, entry = setting.key, setting.entry
    words = [word.strip("()[]{},\"'") for word in entry.text.replace(",", " ").split()]
    names = [word for word in words if _NAME.match(word) and len(word) <= LONGEST_NAME]
    odd = [word for word in words if word and word not in names]
    if odd:
        reason = (
            f"no project can be called {', '.join(printable(repr(word)) for word in odd[:5])}, so "
            f"no client asks for it"
        )
        ledger.note(reason, entry, key)
    if names != entry.text.split() and names:
        reason = (
            "names have white space between them and nothing else; pypicloud did not understand "
            "this, and asked upstream"
        )
        ledger.note(reason, entry, key)
    if names:
        ledger.put("upstream", "reserved", " ".join(names), entry, key)


def _always_show(settings: PypicloudSettings, ledger: Ledger) -> None:
    setting = settings.find("pypi.always_show_upstream")
    if setting is not None and asbool(setting.entry.text):
        reason = (
            "not taken over: anyone who registers the name of a local project on the public "
            "index could add a newer version. List the names that may show both in [upstream] "
            "allow_mixed "
            "(PYPID_UPSTREAM_ALLOW_MIXED)"
        )
        ledger.note(reason, setting.entry, setting.key)
