"""etc/helm/pypid, rendered by Helm, validated against the schemas of Kubernetes, and its pypid.ini by pypid."""

from pathlib import Path
from typing import Any, Final

import yaml
from twisted.trial.unittest import SynchronousTestCase

from tests.live.clients import ROOT, client
from tests.live.isolation import environ
from tests.live.processes import BIN, clean_environ, done, scratch

CHART: Final = ROOT / "etc/helm/pypid"
OLDEST: Final = "1.30"
"""The version of Kubernetes whose schemas are used."""
EVERYTHING: Final = """
existingSecret: pypid-secrets
extraConfig: |
  [groups]
  data = dana
ingress: {enabled: true, className: nginx, host: packages.example.org, tlsSecret: packages-tls}
persistence: {storageClass: fast}
networkPolicy:
  enabled: true
  from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: ingress-nginx}}}]
serviceMonitor: {enabled: true, tokenSecret: {name: pypid-metrics, key: token}}
imagePullSecrets: [{name: registry}]
nodeSelector: {disk: ssd}
tolerations: [{key: dedicated, operator: Exists}]
env: [{name: PYPID_LOG_LEVEL, value: warn}]
config:
  server:
    public_url: https://packages.example.org
    trusted_proxies: [10.0.0.0/8, 192.168.0.0/16]
    allowed_hosts: ["*.lan"]
    max_upload: 4294967296
    fast_path: true
  access: {read: authenticated}
"""


class ChartTests(SynchronousTestCase):
    def setUp(self) -> None:
        made = scratch()
        self.folder = made.__enter__()
        self.addCleanup(made.__exit__, None, None, None)

    def helm(self, *words: str | Path, status: int = 0) -> str:
        """What Helm prints."""
        return done([client("helm"), *words], environ=environ(self.folder), status=status)

    def rendered(self, *words: str | Path) -> dict[str, Any]:
        """The resources by kind, after they were validated."""
        text = self.helm("template", "acme", CHART, *words)
        resources = {each["kind"]: each for each in yaml.safe_load_all(text) if each}
        for kind, resource in resources.items():
            if kind == "ServiceMonitor":  # of the Prometheus operator, not of Kubernetes
                continue
            path = self.folder / f"{kind}.yaml"
            path.write_text(yaml.safe_dump(resource))
            validate = [client("kubernetes-validate"), "--strict", "--kubernetes-version", OLDEST]
            done([*validate, path], environ=environ(self.folder))
        return resources

    def check_configuration(self, resources: dict[str, Any]) -> str:
        """The rendered pypid.ini, which pypid accepts."""
        text: str = resources["ConfigMap"]["data"]["pypid.ini"]
        (self.folder / "pypid.ini").write_text(text.replace("/var/lib/pypid", str(self.folder)))
        done([BIN / "pypid", "check-config", self.folder / "pypid.ini"], environ=clean_environ())
        return text

    def test_lint(self) -> None:
        """Helm finds no fault."""
        self.assertIn("0 chart(s) failed", self.helm("lint", "--strict", CHART))

    def test_defaults(self) -> None:
        """Without values: one pod with a volume, and a service; not root, nothing to write but the volume."""
        resources = self.rendered()
        self.assertEqual(set(resources), {"ConfigMap", "Service", "StatefulSet"})
        text = self.check_configuration(resources)
        service = "acme acme.default acme.default.svc acme.default.svc.cluster.local"
        self.assertEqual(
            text.split("\n")[1:-1],
            [
                "[advisories]",
                "source = osv",
                "",
                "[server]",
                f"allowed_hosts = {service}",
                "listen = tcp:6543",
                "state = /var/lib/pypid",
                "",
                "[upstream]",
                "cooldown = 3d",
            ],
        )
        pod = resources["StatefulSet"]["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        self.assertIs(pod["securityContext"]["runAsNonRoot"], True)
        self.assertIs(container["securityContext"]["readOnlyRootFilesystem"], True)
        self.assertEqual(container["readinessProbe"]["httpGet"]["path"], "/ready")
        self.assertEqual(container["livenessProbe"]["httpGet"]["path"], "/health")

    def test_everything(self) -> None:
        """With all parts; lists, numbers and booleans become what pypid.ini has."""
        (self.folder / "values.yaml").write_text(EVERYTHING)
        resources = self.rendered("--values", self.folder / "values.yaml")
        self.assertEqual(len(resources), 6)
        text = self.check_configuration(resources)
        for line in (
            "acme.default.svc.cluster.local packages.example.org *.lan\n",
            "trusted_proxies = 10.0.0.0/8 192.168.0.0/16",
            "max_upload = 4294967296",
            "fast_path = yes",
            "[groups]\ndata = dana",
        ):
            self.assertIn(line, text)

    def test_unknown_key(self) -> None:
        """A misspelt key is refused before anything is installed."""
        said = self.helm("template", "acme", CHART, "--set", "config.server.lissten=80", status=1)
        self.assertIn("lissten", said)
