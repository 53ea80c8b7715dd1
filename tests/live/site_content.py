"""What lies in the pypid whose site is looked at: projects as people publish them, a group,
a user who waits for approval.
"""

import functools
import json
from typing import Any, Final

from tests import distributions as made
from tests.live.asking import ask
from tests.live.daemon import LiveIndex, Settings, shared
from tests.live.projects import Artifact, call, publish

MARKDOWN: Final = """
# Spam

Lovely **spam**, wonderful spam. See [the menu](https://example.org/menu) and `spam.cook()`.

![build](https://example.org/badge.svg)

## Usage

```python
from spam import cook

def breakfast(eggs: int = 2) -> str:
    return f"{eggs} eggs and {cook()}"
```

| dish  | spam   |
|-------|--------|
| eggs  | little |
| spam  | lots   |

1. egg
2. bacon
   - sausage
   - and spam

> Nobody expects it.
"""
REST: Final = """
Eggs
====

They come *fried* or **scrambled**; see `the menu <https://example.org/menu>`_.

Usage
-----

.. code-block:: python

    import eggs
    eggs.fry(minutes=3)

.. note:: Not for horses.

:Author: Terry
:State: runny

=====  ======
dish   price
=====  ======
fried  2
=====  ======
"""
PLAIN: Final = "Bacon.\n\n    indented, and a very long line: " + "crispy " * 60 + "\n"
MANY: Final = 120
"""Releases of the project ``flying-circus``."""
LONG: Final = "a-project-with-quite-a-long-name-as-they-do-happen-to-be-in-larger-companies"


def published(
    name: str,
    version: str = "1.0",
    *,
    summary: str = "Lovely",
    readme: str = "",
    content_type: str = "",
    also: tuple[tuple[str, str], ...] = (),
    files: dict[str, bytes] | None = None,
    requires_python: str | None = ">=3.8",
    metadata_version: str = "2.1",
    source: bool = False,
) -> Artifact:
    """A wheel, or where it is `source` an sdist, with metadata as people write them."""
    typed = [("Description-Content-Type", content_type)] if content_type else []
    metadata = made.metadata(
        name,
        version,
        summary=summary,
        requires_python=requires_python,
        metadata_version=metadata_version,
        extra=[*also, *typed],
        description=readme,
    )
    if source:
        return Artifact(
            made.sdist_filename(name, version),
            made.sdist(name, version, metadata_bytes=metadata, files=files),
        )
    return Artifact(
        made.wheel_filename(name, version),
        made.wheel(name, version, metadata_bytes=metadata, files=files),
    )


SPAM: Final = (
    ("Keywords", "breakfast,canned meat"),
    ("Author-email", "Terry <terry@example.org>"),
    ("License", "MIT"),
    ("Classifier", "Development Status :: 5 - Production/Stable"),
    ("Classifier", "License :: OSI Approved :: MIT License"),
    ("Classifier", "Programming Language :: Python :: 3"),
    ("Classifier", "Programming Language :: Python :: 3.11"),
    ("Requires-Dist", "eggs (>=1.0)"),
    ("Requires-Dist", "theirs>=1; extra == 'more'"),
    ("Requires-Dist", "nowhere-to-be-found"),
    ("Provides-Extra", "more"),
    ("Project-URL", "Documentation, https://docs.example.org/spam/"),
    ("Project-URL", "Source, https://example.org/spam.git"),
)
MODULES: Final = {
    "spam/__init__.py": b'"""Spam."""\n\n\ndef cook() -> str:\n    return "spam"\n',
    "spam/data.bin": bytes(range(256)),
    "spam/menu/list.txt": b"spam\neggs\n" * 40,
    "spam/long.py": b"x = '" + b"spam " * 200 + b"'\n",
}


def artifacts() -> list[Artifact]:
    """What alice publishes."""
    markdown, rest = "text/markdown; charset=UTF-8", "text/x-rst"
    old = {**MODULES, "spam/old.py": b"gone = True\n"}
    newer = {
        **MODULES,
        "spam/__init__.py": b'"""Spam."""\n\n\ndef cook(much: bool) -> str:\n    return "spam"\n',
    }
    flying = [
        published("flying-circus", f"{n // 10}.{n % 10}", summary=f"Number {n}")
        for n in range(10, 10 + MANY)
    ]
    spam = {"summary": "Lovely spam, wonderful spam", "readme": MARKDOWN, "content_type": markdown}
    return [
        published("spam", "1.0", summary="Spam", also=SPAM[:6], files=old),
        published("spam", "1.1", also=SPAM[:8], files=old, **spam),
        published("spam", "2.0", also=SPAM, files=newer, requires_python=">=3.9", **spam),
        published(
            "spam", "2.0", also=SPAM, files=newer, requires_python=">=3.9", source=True, **spam
        ),
        published("spam", "3.0a1", also=SPAM, files=newer, requires_python=">=3.11", **spam),
        published(
            "eggs",
            summary="Fried or scrambled",
            readme=REST,
            content_type=rest,
            also=(("Keywords", "breakfast"),),
        ),
        published(
            "bacon",
            summary="Crispy",
            readme=PLAIN,
            content_type="text/plain",
            also=(("License", "Apache-2.0"),),
        ),
        published("sausage", requires_python=None),
        published("acme-secret", summary="Not for everybody"),
        published(
            LONG,
            "2026.11.22.post1.dev7",
            summary="word " * 60 + "W" * 200,
            readme="`" + "x" * 500 + "`",
        ),
        *flying,
    ]


def stock(index: LiveIndex) -> None:
    """Publish all that, and what hangs on it."""
    publish(index, *artifacts())
    does(
        index,
        "PUT",
        "/api/projects/spam/releases/1.0/yank",
        {"reason": "It was broken on Tuesdays."},
    )
    does(
        index,
        "PUT",
        "/api/projects/sausage/status",
        {"status": "deprecated", "reason": "Take spam instead."},
    )
    does(index, "POST", "/api/groups", {"name": "kitchen"})
    does(index, "PUT", "/api/groups/kitchen/members/bob")
    does(index, "PUT", "/api/projects/acme-secret/rights/user/alice", {"right": "rw"})
    does(
        index,
        "POST",
        "/api/tokens",
        {"name": "laptop", "actions": ["read"], "projects": ["spam"], "expires": "30d"},
    )
    does(index, "POST", "/api/approvals", {"spec": "left-pad>=1", "reason": "reviewed"})
    ask(
        index.port,
        "/api/register",
        method="POST",
        document={"user": "eve", "password": "kiwi-secret-5"},
    )
    for path in (
        "/packages/spam/spam-2.0-py3-none-any.whl",
        "/packages/theirs/theirs-1.0-py3-none-any.whl",
    ):
        call(index, "GET", path, user="bob")


def does(
    index: LiveIndex, method: str, path: str, document: Any = None, user: str = "admin"
) -> Any:
    """A call of the JSON API that works."""
    return json.loads(
        call(index, method, path, json.dumps(document).encode() if document else None, user=user)
    )


@functools.cache
def upstream() -> LiveIndex:
    """Another index, which the one under test is in front of."""
    index = shared(Settings())
    publish(
        index,
        published(
            "theirs", summary="From elsewhere", readme=MARKDOWN, content_type="text/markdown"
        ),
    )
    return index


def settings(**more: Any) -> Settings:
    """Those of a team: people in the configuration and in the database, an upstream, who comes has
    to be let in.
    """
    access = "backend = config sql\nregistration = approval\n" + more.pop("access", "")
    return Settings(
        upstream=f"url = {upstream().url('/simple/')}\nmode = cache", access=access, **more
    )


@functools.cache
def stocked(sections: str = "") -> LiveIndex:
    """The pypid of this process, with all that in it, and further sections of the configuration."""
    index = shared(settings(sections=sections))
    stock(index)
    return index
