"""Where a file runs, according to its name, in words: Python, ABI and platform.

Source: "Platform compatibility tags" (packaging.python.org). Unknown tags are shown as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache

from attrs import frozen

from pypid.core.packaging.names import ALL_SDIST_SUFFIXES, wheel_tags

MOST = 8
"""Maximum number of tags of each kind put into words; a universal wheel has six platforms."""
_INTERPRETERS = {
    "cp": "CPython",
    "pp": "PyPy",
    "ip": "IronPython",
    "jy": "Jython",
    "graalpy": "GraalPy",
}
_MACHINES = {
    "x86_64": "x86-64",
    "amd64": "x86-64",
    "i686": "x86 (32 bit)",
    "i386": "x86 (32 bit)",
    "aarch64": "ARM64",
    "arm64": "ARM64",
    "arm64_v8a": "ARM64",
    "armv7l": "ARMv7",
    "armeabi_v7a": "ARMv7",
    "ppc64le": "POWER (ppc64le)",
    "s390x": "IBM Z (s390x)",
    "riscv64": "RISC-V (64 bit)",
    "universal2": "ARM64 and x86-64",
    "intel": "x86",
}
_PYTHON = re.compile(r"(py|cp|pp|ip|jy|graalpy)(\d)(\d*)\Z")
_ABI = re.compile(r"cp(\d)(\d+)(t?)(d?)m?u?\Z")
_OLD_GLIBC = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}
_LINUX = re.compile(r"(manylinux|musllinux)_(\d{1,3})_(\d{1,3})_(\w+)\Z")
_OLD_LINUX = re.compile(r"(manylinux(?:1|2010|2014))_(\w+)\Z")
_MAC = re.compile(r"macosx_(\d{1,3})_(\d{1,3})_(\w+)\Z")
_PHONE = re.compile(r"(ios|android)_(\d{1,3})_(?:(\d{1,3})_)?(\w+?)(_iphoneos|_iphonesimulator)?\Z")
_WINDOWS = {"win32": "x86 (32 bit)", "win_amd64": "x86-64", "win_arm64": "ARM64"}


@frozen
class Fit:
    """What a file is, and where it runs, in words; `python` and `platform` are empty if the name
    does not restrict them.
    """

    kind: str
    """``wheel``, ``sdist`` or ``egg``."""
    python: str = ""
    abi: str = ""
    """Empty if it adds nothing to `python`."""
    platform: str = ""


@lru_cache(maxsize=4096)
def _of_tags(tags: str) -> Fit:
    pythons, abis, platforms = tags.split("-")
    stable = "abi3" in abis.split(".")
    python = _joined(pythons, lambda tag: python_words(tag, or_newer=stable))
    return Fit("wheel", python, _joined(abis, abi_words), _joined(platforms, platform_words))


def fit_of(filename: str) -> Fit:
    """Return the description of a distribution's file name; never raises."""
    if filename.endswith(".whl"):
        found = wheel_tags(filename)
        if found is None:
            return Fit("wheel")
        return _of_tags("-".join(found))
    if filename.endswith(ALL_SDIST_SUFFIXES):
        return Fit("sdist")
    match = re.search(r"-py(\d)\.?(\d*)(?:-|\.egg\Z)", filename)
    return Fit("egg", "" if match is None else f"Python {match[1]}.{match[2]}".rstrip("."))


def python_words(tag: str, *, or_newer: bool = False) -> str:
    """Return a Python tag in words: ``cp311`` is CPython 3.11, ``py3`` Python 3; with a stable ABI
    also later versions.
    """
    match = _PYTHON.match(tag)
    if match is None:
        return tag
    name, number = _INTERPRETERS.get(match[1], "Python"), f"{match[2]}.{match[3]}".rstrip(".")
    return f"{name} {number} or newer" if or_newer and match[3] else f"{name} {number}"


def abi_words(tag: str) -> str:
    """Return an ABI tag in words; empty for none, and for the default one of that CPython
    version.
    """
    if tag == "abi3":
        return "stable ABI"
    if tag == "abi3t":
        return "stable ABI, free-threaded"
    match = _ABI.match(tag)
    if match is not None:
        return ", ".join(
            word for word, is_so in (("free-threaded", match[3]), ("debug", match[4])) if is_so
        )
    return "" if tag == "none" else tag


def platform_words(tag: str) -> str:
    """Return a platform tag in words: ``manylinux_2_17_x86_64`` is Linux (glibc 2.17 or newer),
    x86-64; empty for any.
    """
    if tag == "any":
        return ""
    if tag in _WINDOWS:
        return f"Windows, {_WINDOWS[tag]}"
    return _of_linux(tag) or _of_apple(tag) or tag


def _of_linux(tag: str) -> str:
    new, old = _LINUX.match(tag), _OLD_LINUX.match(tag)
    if new is not None:
        libc = "glibc" if new[1] == "manylinux" else "musl"
        return f"Linux ({libc} {new[2]}.{new[3]} or newer), {_machine(new[4])}"
    if old is not None:
        major, minor = _OLD_GLIBC[old[1]]
        return f"Linux (glibc {major}.{minor} or newer), {_machine(old[2])}"
    return f"Linux, {_machine(tag[6:])}" if tag.startswith("linux_") else ""


def _of_apple(tag: str) -> str:
    mac, phone = _MAC.match(tag), _PHONE.match(tag)
    if mac is not None:
        return f"macOS {mac[1]}.{mac[2]} or newer, {_machine(mac[3])}"
    if phone is None:
        return ""
    name, number = (
        ("iOS", f"{phone[2]}.{phone[3] or 0}") if phone[1] == "ios" else ("Android, API", phone[2])
    )
    simulated = ", simulator" if phone[5] == "_iphonesimulator" else ""
    return f"{name} {number} or newer, {_machine(phone[4])}{simulated}"


def _machine(name: str) -> str:
    return _MACHINES.get(name, name)


def _joined(tags: str, words: Callable[[str], str]) -> str:
    """Return the distinct words of the tags; tags without restriction add none."""
    each: Iterable[str] = dict.fromkeys(words(tag) for tag in tags.split(".")[:MOST])
    return "; ".join(text for text in each if text)
