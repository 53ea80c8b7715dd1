"""The pictures of README.rst and the documentation, of a real site with example projects.

``make screenshots`` runs this and copies the pictures to ``docs/_static``.
"""

import functools
from typing import Final

from twisted.trial.unittest import SynchronousTestCase

from tests.live.browser import SCREENSHOTS, Look, SiteTestCase, expect
from tests.live.clients import ROOT
from tests.live.daemon import LiveIndex, Settings, for_each, shared
from tests.live.projects import call, publish
from tests.live.site_content import does, published

STATIC: Final = ROOT / "docs/_static"
LARGEST: Final = 150_000
"""Bytes of a picture."""
SIZE: Final = {"width": 1180, "height": 760}

README: Final = """
Create and send invoices.

## Install

```console
$ pip install acme-billing
```

## Use

```python
from acme_billing import Invoice

invoice = Invoice(customer="ACME-1042", currency="EUR")
invoice.add("Consulting, November", hours=12, rate=140)
invoice.send()
```

| Format | Since |
|--------|-------|
| PDF    | 1.0   |
| UBL    | 2.0   |
"""
FIELDS: Final = (
    ("Keywords", "invoice,billing,pdf"),
    ("Author-email", "Billing team <billing@acme.example>"),
    ("License", "Proprietary"),
    ("Classifier", "Development Status :: 5 - Production/Stable"),
    ("Classifier", "Programming Language :: Python :: 3.12"),
    ("Requires-Dist", "acme-customers (>=3.1)"),
    ("Requires-Dist", "requests (>=2.32)"),
    ("Requires-Dist", "reportlab; extra == 'pdf'"),
    ("Provides-Extra", "pdf"),
    ("Project-URL", "Documentation, https://docs.acme.example/billing/"),
    ("Project-URL", "Source, https://git.acme.example/billing"),
)
MODULES: Final = {"acme_billing/__init__.py": b'"""Invoices."""\n'}
PROJECTS: Final = {
    "acme-customers": ("3.1.4", "Customers and their addresses"),
    "acme-http": ("5.2.0", "HTTP client with retries and tracing"),
    "acme-reports": ("0.9.2", "Monthly reports as PDF"),
}


@functools.cache
def example() -> LiveIndex:
    """Return an index with the projects of a small company."""
    index = shared(
        Settings(server="public_url = https://packages.acme.example", access="backend = config sql")
    )
    publish(
        index,
        *(published(name, version, summary=text) for name, (version, text) in PROJECTS.items()),
        *(
            published(
                "acme-billing",
                version,
                summary="Create and send invoices",
                readme=README,
                content_type="text/markdown; charset=UTF-8",
                also=FIELDS,
                files=MODULES,
                requires_python=">=3.11",
                source=source,
            )
            for version in ("1.9.0", "2.3.0", "2.4.0")
            for source in (False, True)
        ),
    )
    does(
        index,
        "PUT",
        "/api/projects/acme-billing/releases/2.3.0/yank",
        {"reason": "Wrong rounding of taxes; use 2.4.0."},
    )
    call(index, "GET", "/packages/acme-billing/acme_billing-2.4.0-py3-none-any.whl", user="bob")
    return index


class DrawingTests(SiteTestCase):
    """A project page, in both themes."""

    def start(self) -> LiveIndex:
        return example()

    @for_each("light", "dark")
    def project(self, theme: str) -> None:
        """The page shows the README, the newest version and how to install it; its picture is small
        enough for the repository.
        """
        page = self.visit(Look(theme), "/project/acme-billing/")
        page.set_viewport_size(SIZE)
        expect(page.locator("h1")).to_contain_text("acme-billing")
        expect(page.locator(".readme")).to_contain_text("Create and send invoices.")
        path = SCREENSHOTS / f"project-{theme}.png"
        page.screenshot(path=path)
        self.assertLess(path.stat().st_size, LARGEST)


class CommittedTests(SynchronousTestCase):
    """The pictures in docs/_static."""

    def test_committed_pictures(self) -> None:
        """They are PNG files of the right size."""
        for theme in ("light", "dark"):
            data = (STATIC / f"project-{theme}.png").read_bytes()
            size = (int.from_bytes(data[16:20]), int.from_bytes(data[20:24]))
            self.assertEqual(data[:8], b"\x89PNG\r\n\x1a\n")
            self.assertEqual(size, (SIZE["width"], SIZE["height"]))
            self.assertLess(len(data), LARGEST)
