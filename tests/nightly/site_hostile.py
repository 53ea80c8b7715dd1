"""What an attacker stores to have a script run in other users' browsers: in every
field that a page may show.
"""

from typing import Final
from urllib.parse import quote

from tests import distributions as made
from tests.live.daemon import LiveIndex
from tests.live.projects import Artifact, call, publish
from tests.live.site_content import does

MARK: Final = "x5s"
"""In all of it; an element or attribute of this name was made of stored text."""
TAG: Final = (
    f'<{MARK} onclick=alert(1)>"\'><script {MARK}>alert("{MARK}")</script><img {MARK} src={MARK} '
    f"onerror=alert(1)>"
)
CLOSING: Final = f'</title></textarea></script></style>--><svg {MARK} onload=alert("{MARK}")>'
ATTRIBUTE: Final = f"' onfocus='alert(1)' autofocus {MARK}='\" onmouseover=\"alert(1)\" {MARK}=\""
TEMPLATE: Final = f"{MARK}{{{{ 7*1911911 }}}}{{% include 'layout.html' %}}${{7*1911911}}"
ALL: Final = (TAG, CLOSING, ATTRIBUTE, TEMPLATE)
SHORT: Final = f"<b {MARK}>\"'&amp;"
"""For what is at most some dozens of characters long."""
LINKS: Final = (
    f"javascript:alert('{MARK}')",
    f"JaVaScRiPt:alert('{MARK}')",
    f"java\tscript:alert('{MARK}')",
    f" javascript:alert('{MARK}')",
    f"data:text/html,<script>alert('{MARK}')</script>",
    f"vbscript:msgbox({MARK})",
    f'https://example.org/"onmouseover="alert(1)"{MARK}=',
    f"//example.org/{MARK}",
    f"file:///etc/{MARK}",
)
FORBIDDEN: Final = """
(mark) => [
    ...document.querySelectorAll(mark + ", [" + mark + "], [onerror], [onload], [onclick], [onfocus], [onmouseover], iframe, "
        + "object, embed, base, meta[http-equiv], style, script:not([src]), [style], link[rel~=import], math"),
    ...[...document.querySelectorAll("a[href], area[href]")].filter(
        each => !["http:", "https:", "mailto:"].includes(each.protocol)),
    ...[...document.querySelectorAll("img, script, link, source, video, audio")].filter(
        each => (each.src || each.href) && new URL(each.src || each.href).origin !== location.origin),
    ...[...document.forms].filter(each => new URL(each.getAttribute("action") || "", location).origin !== location.origin),
].map(each => each.outerHTML.slice(0, 300))
"""
"""Elements that no page of ours has, and that no text may make."""

MARKDOWN: Final = f"""
# Read {TAG}

[click]({LINKS[0]}) [click]({LINKS[1]}) [click](<{LINKS[2]}>) [click]({LINKS[4]} "{ATTRIBUTE}") <{LINKS[0]}>
[reference][1] ![image]({LINKS[0]}) ![image](https://example.org/{MARK}.png) ![{ATTRIBUTE}](x "{ATTRIBUTE}")

[1]: {LINKS[0]}

{TAG}

{CLOSING}

<style>body {{ background: url(https://example.org/{MARK}) }}</style><iframe {MARK} src="https://example.org/"></iframe>
<form action="https://example.org/{MARK}"><input name=password><button formaction="{LINKS[0]}">Log in</button></form>
<a href="{LINKS[0]}" style="position:fixed;inset:0" id="main" name="cookie">all of the page</a>
<details open ontoggle=alert(1)><summary>x</summary></details><math><mi {MARK} xlink:href="{LINKS[0]}">x</mi></math>
<meta http-equiv="refresh" content="0;url=https://example.org/{MARK}"><base href="https://example.org/"><link rel=stylesheet
href="https://example.org/{MARK}.css"><video {MARK} autoplay src=x onerror=alert(1)></video>

```{ATTRIBUTE}
{TAG}
```

```python
{TAG}
```

{TEMPLATE} `{TAG}` | a{TAG} |
"""
REST: Final = f"""
Read {TAG}
{"=" * 200}

`click <{LINKS[0]}>`_ `data <{LINKS[4]}>`__ {TEMPLATE}

.. raw:: html

    {TAG}

.. image:: {LINKS[0]}
.. image:: https://example.org/{MARK}.png
    :alt: {ATTRIBUTE}
    :target: {LINKS[0]}

.. include:: /etc/passwd

.. csv-table::
    :file: /etc/passwd

.. figure:: x
    :figclass: {ATTRIBUTE}

.. class:: {MARK}

.. code-block:: python

    {TAG}

.. _{TAG}: {LINKS[0]}
"""


def metadata(
    project: str, version: str, content_type: str, readme: str, *more: tuple[str, str]
) -> bytes:
    """Something in each field, and `more` fields."""
    one = " ".join(ALL)
    lines = [
        *(
            ("Keywords", one),
            ("Author", one),
            ("Author-email", f'"{TAG}" <x@{MARK}.example>'),
            ("Maintainer", one),
        ),
        *(
            ("Maintainer-email", ATTRIBUTE),
            ("License", one),
            ("Platform", one),
            ("Home-page", LINKS[0]),
            ("Download-URL", LINKS[4]),
        ),
        *(
            ("Project-URL", f"{label}, {link}")
            for label, link in zip((*ALL, *"abcdefgh"), LINKS, strict=False)
        ),
        *(("Classifier", f"Topic :: {text}") for text in ALL),
        *(("Classifier", f"License :: {text}") for text in ALL),
        ("Classifier", f"Programming Language :: Python :: 3.{MARK}{SHORT}"),
        ("Requires-Dist", f"eggs @ {LINKS[0]}"),
        ("Requires-Dist", f"eggs @ https://example.org/{SHORT.replace(' ', '/')}"),
        ("Requires-Dist", f"eggs; extra == '{TAG.replace(chr(39), '')}'"),
        ("Provides-Extra", SHORT),
        ("Requires-External", TAG),
        ("Description-Content-Type", content_type),
        *more,
    ]
    return made.metadata(project, version, summary=one, extra=lines, description=readme)


CONTENTS: Final = {
    f"<img {MARK} src=x onerror=alert(1)>.py": TAG.encode(),
    f'a"onmouseover="alert(1)" {MARK}=".html': f"<!DOCTYPE html><script>alert('{MARK}')</script>".encode(),
    f"</title><script {MARK}>alert(1)<": CLOSING.encode(),
    f"javascript:alert('{MARK}')": b"x",
    f"{TEMPLATE.replace('/', '')}.txt": TEMPLATE.encode(),
    f"{MARK}.svg": f"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'><{MARK}/></svg>".encode(),
    f"{MARK}#?%3Cb%3E&amp;.txt": b"x",
}


def artifacts() -> list[Artifact]:
    """Projects whose releases are hostile, each in its own way."""
    readmes = {
        "markdown": ("text/markdown", MARKDOWN),
        "gfm": ("text/markdown; variant=CommonMark", MARKDOWN),
        "rest": ("text/x-rst", REST),
        "plain": ("text/plain", TAG + CLOSING + TEMPLATE),
        "html": ("text/html", MARKDOWN),
        "odd": (f"text/html; charset={SHORT}", MARKDOWN),
    }
    found = []
    for name, (content_type, readme) in readmes.items():
        data = metadata(f"{MARK}-{name}", "1.0", content_type, readme)
        found.append(hostile_wheel(f"{MARK}-{name}", "1.0", data))
    project = f"{MARK}-markdown"
    data = metadata(project, "2.0", "text/markdown", MARKDOWN)
    # wheels that need what is no requirement are refused
    dynamic = metadata(project, "2.0", "text/markdown", MARKDOWN, ("Requires-Dist", TAG))
    return [
        *found,
        hostile_wheel(
            project, "2.0", data, {name: content + b"2" for name, content in CONTENTS.items()}
        ),
        Artifact(
            made.sdist_filename(project, "2.0"),
            made.sdist(project, "2.0", metadata_bytes=dynamic, files=CONTENTS),
        ),
    ]


def hostile_wheel(
    name: str, version: str, data: bytes, files: dict[str, bytes] | None = None
) -> Artifact:
    """A wheel with this METADATA, and file names as hostile."""
    return Artifact(
        made.wheel_filename(name, version),
        made.wheel(name, version, metadata_bytes=data, files=CONTENTS if files is None else files),
    )


NAMES: Final = (f"<{MARK}>\"'&lt{{{{7*1911911}}}}", f"{MARK}?#%3C{MARK}%3E&a")
"""Of users and groups: they have no blank, no ``:``, ``=`` and ``;``."""


def plant(index: LiveIndex, upstream: LiveIndex) -> None:
    """Store it wherever something can be stored."""
    publish(index, *artifacts())
    theirs = f"{MARK}-theirs"
    publish(
        upstream, hostile_wheel(theirs, "1.0", metadata(theirs, "1.0", "text/markdown", MARKDOWN))
    )
    does(upstream, "PUT", f"/api/projects/{theirs}/releases/1.0/yank", {"reason": " ".join(ALL)})
    call(index, "GET", f"/packages/{theirs}/{MARK}_theirs-1.0-py3-none-any.whl")
    does(
        index, "PUT", f"/api/projects/{MARK}-markdown/releases/1.0/yank", {"reason": " ".join(ALL)}
    )
    for which, status, reason in zip(
        ("gfm", "plain", "odd"), ("deprecated", "archived", "quarantined"), ALL, strict=False
    ):
        does(
            index,
            "PUT",
            f"/api/projects/{MARK}-{which}/status",
            {"status": status, "reason": reason},
        )
    for name in NAMES:
        add_user_and_group(index, name)
    for number, text in enumerate(ALL):
        does(
            index,
            "POST",
            "/api/tokens",
            {"name": text, "actions": ["read"], "projects": [f"{MARK}-*"]},
        )
        decision = {"spec": f"{MARK}-{number}", "verdict": "denied", "reason": text}
        does(index, "POST", "/api/approvals", decision)


def add_user_and_group(index: LiveIndex, name: str) -> None:
    """A user and a group of this name, who have all that such have."""
    quoted = quote(name, safe="")
    does(index, "POST", "/api/users", {"name": name, "password": "kiwi-secret-5"})
    does(index, "POST", "/api/groups", {"name": name})
    does(index, "PUT", f"/api/groups/{quoted}/members/{quoted}")
    for kind in ("user", "group"):
        does(index, "PUT", f"/api/projects/{MARK}-rest/rights/{kind}/{quoted}", {"right": "rw"})
    does(index, "POST", "/api/tokens", {"name": SHORT, "actions": ["read"], "user": name})


TEXTS: Final = (" ".join(ALL), LINKS[0], LINKS[7], "\\\\example.org", "%", "\x00\uffff", "A" * 3000)
PLACES: Final = (
    *(
        "/search?q=%s",
        "/search?q=a&license=%s&classifier=%s&python=%s&source=%s",
        "/search?page=%s",
        "/?done=%s",
        "/account/?done=%s",
    ),
    *(
        "/account/login?next=%s",
        "/account/register?next=%s",
        "/%s",
        "/project/%s/",
        f"/project/{MARK}-rest/%s/",
    ),
    *(f"/project/{MARK}-rest/-/%s", f"/project/{MARK}-markdown/-/compare?from=%s&to=%s"),
    f"/project/{MARK}-markdown/-/contents/%s",
    f"/project/{MARK}-markdown/-/contents/{MARK}_markdown-2.0-py3-none-any.whl?path=%s",
    *(
        "/manage/audit?who=%s&what=%s&subject=%s&before=%s",
        "/manage/users/%s",
        "/manage/groups/%s",
        "/manage/tokens?user=%s",
    ),
    *("/manage/rights?project=%s", "/manage/upstream?project=%s"),
)


def addresses() -> list[str]:
    """Pages that take a text out of the address, each with hostile ones."""
    return [place.replace("%s", quote(text, safe="")) for place in PLACES for text in TEXTS]


def hostile_pages() -> list[str]:
    """Pages that show what was planted, some of which are behind many others of their kind."""
    inside = f"/project/{MARK}-markdown/-/contents/{MARK}_markdown-2.0"
    return [
        *(
            f"/project/{MARK}-{which}/"
            for which in ("markdown", "gfm", "rest", "plain", "html", "odd", "theirs")
        ),
        *(f"/project/{MARK}-markdown/{version}/" for version in ("1.0", "2.0")),
        *(
            f"/project/{MARK}-markdown/-/{page}"
            for page in ("versions", "settings", "settings?version=1.0", "why", "rights")
        ),
        *(
            f"/project/{MARK}-rest/-/rights",
            f"/project/{MARK}-gfm/-/settings",
            f"/project/{MARK}-theirs/-/why",
        ),
        f"/project/{MARK}-markdown/-/compare?from=1.0&to=2.0",
        *(
            f"/project/{MARK}-markdown/-/compare?from=1.0&to=2.0&path={quote(name, safe='')}"
            for name in CONTENTS
        ),
        *(
            inside + suffix
            for suffix in ("-py3-none-any.whl", ".tar.gz", "-py3-none-any.whl?find=x")
        ),
        *(f"{inside}-py3-none-any.whl?path={quote(name, safe='')}" for name in CONTENTS),
        *(
            f"/manage/{kind}/{quote(name, safe='')}"
            for kind in ("users", "groups")
            for name in NAMES
        ),
        *(
            "/search?q=" + MARK,
            "/search?q=" + MARK + "&source=upstream",
            "/manage/audit",
            "/manage/audit?page=2",
        ),
    ]
