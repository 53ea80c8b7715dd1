"""The worst inputs known for each parser of text that a client or an upstream index sends.

An input is a function of a size in characters (or bytes), so that growth can be measured. A new
parser gets an entry here, and a new kind of attack gets a line in each entry that it may concern.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from io import BytesIO
from typing import Any
from urllib.parse import parse_qsl

from attrs import field, frozen

from pypid.core import search, times
from pypid.core.accounts import provenance
from pypid.core.archives import inspection
from pypid.core.archives.inspection import Inside
from pypid.core.errors import PypidError
from pypid.core.packaging import core_metadata, names, requirements
from pypid.core.packaging.names import parse_filename
from pypid.core.packaging.requirements import JSON, parse_collection, parse_dependencies
from pypid.core.simple_api import parse, parse_html, via
from pypid.core.simple_api.listed_files import at_once
from pypid.core.simple_api.render import negotiate
from pypid.web.http import responses
from pypid.web.http.headers import credential_of, entity_tags, parse_http_date
from pypid.web.http.upload_form import MultipartParser, boundary_in, file_name_in

KIB, MIB = 1 << 10, 1 << 20

Make = Callable[[int], Any]


@frozen
class Parser:
    """A parser, and inputs for it. `largest` is the size at which it is measured: its limit, or
    less if that takes long.
    """

    name: str
    parse: Callable[[Any], Any]
    largest: int
    inputs: Mapping[str, Make] = field(repr=False)
    memory_largest: int = field()

    @memory_largest.default
    def _smaller(self) -> int:
        return max(self.largest // 16, 4 * KIB)  # tracing allocations is slow


def repeated(unit: str, before: str = "", after: str = "") -> Make:
    """Inputs of one line: `unit` again and again."""

    def make(size: int) -> str:
        return (
            before
            + (unit * (size // len(unit) + 1))[: max(0, size - len(before) - len(after))]
            + after
        )

    return make


def lines(unit: str, before: str = "", after: str = "", *, length: int = 1900) -> Make:
    """Inputs of lines of at most `length` characters: `unit` again and again in each of them."""

    def make(size: int) -> str:
        one = repeated(unit, before, after)(min(length, size) - 1) + "\n"
        return one * (size // len(one))

    return make


# --- what is collected ----------------------------------------------------------------------------

LINE = requirements.LONGEST_LINE - 1
REQUIREMENTS = {
    **{
        f"one line of {unit!r}": repeated(unit)
        for unit in (" ", "\t ", " #", "#", "\\", "\\\n", "'", '"', "a", "\n", "- ")
    },
    **{
        f"an option, then {unit!r}": lines(unit, "spam -C x", length=LINE)
        for unit in (" ", "'", '"', "'a\"", '\\"', "a", "-i ", "--hash=x ", "-C ", "=", " \\")
    },
    "spaces before a comment": lines(" ", "a", "x", length=LINE),
    "an open quotation": lines("a", 'spam -C "', length=LINE),
    **{
        f"a requirement, then {unit!r}": lines(unit, before)
        for before, unit in (
            ("a", "["),
            ("a[b", ",b"),
            ("a>=1", ",>=1"),
            ("a>=1", ".1"),
            ("a==1", "0"),
            ("a", ".-_"),
            ("a; ", "("),
            ("a; python_version>'3'", " or python_version>'3'"),
            ("a; '", "x"),
            ("a @ ", "h"),
            ("a ", " "),
        )
    },
}


def toml(unit: str, before: str = "", after: str = "") -> Make:
    """Inputs of TOML that begin as a lock file does."""
    return repeated(unit, 'version = 1\nlock-version = "1.0"\ncreated-by = "x"\n' + before, after)


def numbered(line: str, before: str = "") -> Make:
    """Inputs of lines that differ: `line` with ``{}`` for a number."""

    def make(size: int) -> str:
        count = size // (len(line) + 4)
        return before + "\n".join(line.replace("{}", str(number)) for number in range(count))

    return make


LOCKS = {
    "a dotted key": toml("a.", after="a = 1"),
    "a dotted key of quoted parts": toml('"a" . ', after="a = 1"),
    "a dotted header": toml("a.", "[", "a]"),
    "a dotted key in an inline table": toml("a.", "x = {", "a = 1}"),
    "many keys of eight parts": toml("a.b.c.d.e.f.g.h = 1\n"),
    "many tables of eight parts": numbered("[a.b.c.d.e.f.g.h{}]\na.b.c.d.e.f.g.h = 1"),
    **{
        f"{before!r} and then {unit!r}": toml(unit, before)
        for before in ("", "a = ", 'a = "', "a = '", 'a = """', "a = '''", "a.")
        for unit in ("a", " ", "[", '"', "'", '\\"', "#", "1", ". ")
    },
    "many packages": numbered(
        "[[package]]\nname = 'a{}'\nversion = '1'\nsource = {registry = 'x'}", "version = 1\n"
    ),
    "many releases of a package": numbered(
        "[[package]]\nname = 'a'\nversion = '{}'\nsource = {registry = 'x'}", "version = 1\n"
    ),
    "packages that all need each other": numbered(
        (
            "[[package]]\nname = 'a'\nversion = '{}'\nsource = {registry = 'x'}\ndependencies = "
            "[{name = 'a', extra = ['x{}']}]"
        ),
        "version = 1\n",
    ),
    "a long marker": toml(
        " or os_name == 'x'",
        "[[package]]\nname = 'a'\nresolution-markers = [\"os_name == 'x'",
        '"]\n',
    ),
    "many packages of pylock.toml": numbered(
        "[[packages]]\nmarker = 'os_name == \"x\"'\nname = 'a{}'\nversion = '1'",
        "lock-version = '1.0'\ncreated-by = 'x'\n",
    ),
}

# --- what is published ----------------------------------------------------------------------------


def wheel_with(record: Callable[[int], bytes], members: int = 0) -> Make:
    """Inputs of wheels, whose RECORD is what `record` makes of a size; with a member for so many
    bytes, if there are any.
    """

    def make(size: int) -> BytesIO:
        file, info = BytesIO(), "spam-1.0.dist-info"
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for number in range(size // members if members else 0):
                archive.writestr(f"{number}", "")
            for name, data in (
                ("METADATA", METADATA.encode()),
                ("WHEEL", b"Wheel-Version: 1.0\n"),
                ("RECORD", record(size)),
            ):
                archive.writestr(f"{info}/{name}", data)
        return file

    return make


def inspected(file: BytesIO) -> Inside:
    """Look into a wheel."""
    return inspection.inspect(file, parse_filename("spam-1.0-py3-none-any.whl"))


METADATA = "Metadata-Version: 2.1\nName: spam\nVersion: 1.0\n"
RECORDS = {
    f"{'many members' if members else 'no members'}, {unit!r}": wheel_with(
        lambda size, unit=unit: (unit * (size // len(unit) + 1))[:size], members
    )
    for members in (0, 512)
    for unit in (
        b"a\n",
        b",",
        b'"',
        b'""',
        b'"\n',
        b'"a","\n',
        b"\n",
        b"a",
        b"\xc3\xa9",
        b'"a\n",\n',
    )
}

# --- what stands in forms, metadata and names -----------------------------------------------------

LABELS = (
    "Requires-Dist",
    "Requires-Python",
    "Project-URL",
    "Classifier",
    "Keywords",
    "Provides-Extra",
    "Dynamic",
    "Version",
    "X",
)
UNITS = (" ", "a", ",", ";", "(", "<1", "\t x\n", "[", "'", "1.", "=?utf-8?q?a?= ", "-")


def of_bytes(make: Make) -> Make:
    """The same inputs in UTF-8."""
    return lambda size: make(size).encode()


METADATA_TEXTS = {
    **{
        f"{label}, and then {unit!r}": of_bytes(repeated(unit, f"{METADATA}{label}: x"))
        for label in LABELS
        for unit in UNITS[:: 1 if label == "Requires-Dist" else 4]
    },
    **{f"many lines of {label}": of_bytes(repeated(f"{label}: a\n", METADATA)) for label in LABELS},
    "many requirements": of_bytes(
        numbered("Requires-Dist: a{}>=1; python_version < '3'", METADATA)
    ),
    "many headers": of_bytes(numbered("X{}: a", METADATA)),
    "a body": of_bytes(repeated("a\n", METADATA + "\n")),
    "no colon": of_bytes(repeated("a\n", METADATA)),
    "bytes that are no UTF-8": lambda size: METADATA.encode() + b"Summary: " + b"\xff" * size,
}


def judged_metadata(data: bytes) -> None:
    """Read metadata, and judge the requirements in it."""
    core_metadata.requirement_problems(core_metadata.read_metadata(data))


NAMES = {
    unit: repeated(unit)
    for unit in (
        "a",
        "-",
        ".",
        "_",
        "a-",
        "a.",
        "1",
        "1.",
        "!",
        "+",
        ".tar",
        ".whl",
        "-1",
        "%",
        "\n",
        "٣",
    )
}
ATTESTATION = (
    '{"version":1,"verification_material":{"certificate":"AA==","transparency_entries":[{}]},'
    '"envelope":{"statement":"AA==",'
)
JSONS = {
    **{
        f"{before!r}, and then {unit!r}": repeated(unit, before)
        for before in ("", "[", '{"a":', '"')
        for unit in ("[", '{"a":', "1", "\\\\", "[],", '"a",', "\\\\u00e9")
    },
    "many attestations": repeated(ATTESTATION + '"signature":"AA=="}},', "[", "0]"),
    "one long signature": repeated("A", f'[{ATTESTATION}"signature":"', '"}}]'),
}
ABOUT = provenance.AttestationSubject("spam-1.0-py3-none-any.whl", "0" * 64)

# --- what stands in the heads of requests ---------------------------------------------------------

HEAD = 64 * KIB
"""The largest head of a request."""
HEADERS = {
    unit: repeated(unit)
    for unit in (
        "a",
        " ",
        ",",
        ";",
        '"',
        "\\",
        "=",
        "a/b,",
        "a/b;q=0.1,",
        '"a",',
        'W/"a", ',
        "*",
        "1",
        "-",
        "0-1,",
        "a ",
        "%20",
        "&",
        "a=b&",
        ":",
    )
}
AGAIN = {
    **HEADERS,
    **{
        f"{before}, and then {unit}": repeated(unit, before)
        for before in ("bytes=", "1.1 ", "Sun, 06 Nov 1994 ", "form-data; filename=")
        for unit in ("0", " ", ",", "a", ";", '"', "-", "a=b;", "*0=a;")
    },
}

# --- what upstream says ---------------------------------------------------------------------------

SPAM = names.project_name("spam")
PAGE = "https://upstream.example/simple/spam/"
PAGES = {
    **{
        f"{before!r}, and then {unit!r}": of_bytes(repeated(unit, before))
        for before in (
            "",
            "<!--",
            "<a ",
            '<a href="',
            "<a href='x#sha256=",
            "<h1>",
            "<script>",
            "<!DOCTYPE ",
            "<![CDATA[",
            "<?",
            "&",
        )
        for unit in ("<", "a", " ", "<a>", "<a ", "</a", "<!--", "--", "&", "a=", '"', "<p>")
    },
    "many links": of_bytes(
        numbered(
            '<a href="spam-{}.tar.gz#sha256=00" data-yanked '
            'data-requires-python="&gt;=3">spam-{}.tar.gz</a>'
        )
    ),
    "the same link": of_bytes(repeated('<a href="spam-1.tar.gz">spam-1.tar.gz</a>')),
}
ENTRY = '{"filename":"spam-{}.tar.gz","url":"spam-{}.tar.gz","hashes":{},"requires-python":">=3","size":1},'
JSON_PAGES = {
    **{name: of_bytes(make) for name, make in JSONS.items()},
    "many files": lambda size: (
        numbered(ENTRY, '{"meta":{"api-version":"1.1"},"name":"spam","files":[')(size) + "{}]}"
    ).encode(),
    "long versions": of_bytes(
        repeated(
            '"1.0",', '{"meta":{"api-version":"1.1"},"name":"spam","files":[],"versions":[', '"1"]}'
        )
    ),
    "many names": of_bytes(
        repeated('{"name":"a"},', '{"meta":{"api-version":"1.1"},"projects":[', "{}]}")
    ),
}


def parts_of(boundary: bytes) -> Callable[[bytes], None]:
    """Take a multipart body apart."""

    def parse(data: bytes) -> None:
        parser = MultipartParser(boundary, at_most=5000)
        for begin in range(0, len(data), 16 * KIB):
            list(parser.parse(data[begin : begin + 16 * KIB]))

    return parse


PART = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n'
BODIES: dict[str, Make] = {
    f"{before!r}, and then {unit!r}": lambda size, before=before, unit=unit: (
        before + unit * (size // len(unit))
    )
    for before in (b"", PART, PART[:-2], b"--x\r\nA: ")
    for unit in (
        b"a",
        b"\r",
        b"\n",
        b"\r\n",
        b"\r\n--",
        b"\r\n--x",
        b"\r\n--x\r\n",
        b"--x\r\n",
        b"A: b\r\n",
        b" ",
        b";",
    )
}

# --- all of them ----------------------------------------------------------------------------------


def each_of(*calls: Callable[[str], Any]) -> Callable[[str], None]:
    """Call all of them, whatever the others refuse."""

    def parse(text: str) -> None:
        for call in calls:
            with suppress(PypidError, ValueError):
                call(text)

    return parse


PARSERS = (
    Parser(
        "requirements", requirements.parse_requirements, requirements.LARGEST // 16, REQUIREMENTS
    ),
    Parser("pylock.toml", requirements.parse_pylock, 32 * KIB, LOCKS),
    Parser(
        "collection request",
        lambda text: parse_collection([(JSON, text.encode())], "3.12"),
        128 * KIB,
        JSONS,
    ),
    Parser(
        "dependencies to check",
        lambda text: parse_dependencies([(JSON, text.encode())]),
        128 * KIB,
        JSONS,
    ),
    Parser("RECORD", inspected, 96 * KIB, RECORDS),
    Parser("core metadata", judged_metadata, 128 * KIB, METADATA_TEXTS),
    Parser(
        "names of projects, files and versions",
        each_of(
            *(
                names.project_name,
                names.parse_filename,
                names.version_of,
                names.version_key,
                names.is_safe_filename,
            ),
            *(
                times.parse_moment,
                lambda text: core_metadata.python_specifier(text, []),
                core_metadata.need_of,
            ),
            lambda text: core_metadata.needs_of([text], [text]),
        ),
        64 * KIB,
        NAMES,
    ),
    Parser(
        "attestations", lambda text: provenance.read_attestations([text], ABOUT), 128 * KIB, JSONS
    ),
    Parser(
        "search words", each_of(search.words_of, search.classifier_of), HEAD, {**NAMES, **HEADERS}
    ),
    Parser(
        "headers of requests",
        each_of(
            *(
                negotiate,
                entity_tags,
                parse_http_date,
                lambda text: responses.wanted(text, 100),
                lambda text: via.read_via([text]),
            ),
            *(lambda text: credential_of(text.encode()), boundary_in, parse_qsl),
        ),
        HEAD,
        AGAIN,
    ),
    Parser("headers of form parts", file_name_in, 4 * KIB, AGAIN),
    Parser("multipart forms", parts_of(b"x"), 256 * KIB, BODIES),
    Parser(
        "project pages in HTML",
        lambda data: at_once(parse_html.slices_of_html(data, SPAM, PAGE)),
        32 * KIB,
        PAGES,
    ),
    Parser(
        "project pages in JSON",
        lambda data: at_once(parse.slices_of_json(data, SPAM, PAGE)),
        128 * KIB,
        JSON_PAGES,
    ),
    Parser(
        "project lists",
        lambda data: at_once(parse_html.slices_of_names(data)),
        128 * KIB,
        {**JSON_PAGES, **PAGES},
    ),
)
