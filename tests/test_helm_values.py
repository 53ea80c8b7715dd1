"""etc/helm/pypid: the values of the chart are the keys of the configuration."""

import json
from pathlib import Path
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

import pypid
from pypid.core.configuration.keys import SECTIONS, keys

CHART = Path(__file__).parent.parent / "etc/helm/pypid"


def documented() -> dict[str, list[str]]:
    """The keys of each section that are no secrets: those come from a Secret."""
    return {
        name: [key for key, each in keys(section).items() if not each.secret]
        for name, section in SECTIONS.items()
    }


class ValuesTests(SynchronousTestCase):
    def test_values_are_the_keys(self) -> None:
        """`config` has each section and key of pypid.ini in the order of the reference, but no secret."""
        config: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())["config"]
        self.assertEqual({section: list(keys) for section, keys in config.items()}, documented())

    def test_schema_has_the_keys(self) -> None:
        """Helm refuses any other section or key of `config`."""
        schema = json.loads((CHART / "values.schema.json").read_text())["properties"]["config"]
        self.assertIs(schema["additionalProperties"], False)
        found = {name: list(part["properties"]) for name, part in schema["properties"].items()}
        self.assertEqual(found, documented())
        for part in schema["properties"].values():
            self.assertIs(part["additionalProperties"], False)

    def test_version(self) -> None:
        """The chart installs the image of this version."""
        chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
        self.assertEqual(chart["appVersion"], pypid.__version__)
