"""The real micropip, in Pyodide, installs from this index as it does in a browser."""

from __future__ import annotations

import subprocess
from typing import Final

from tests.live.clients import pyodide
from tests.live.daemon import IndexTestCase, Settings
from tests.live.projects import publish, wheel

ORIGIN: Final = "https://notebooks.example"
PROGRAM: Final = """
import fs from "node:fs";
import { pathToFileURL } from "node:url";

const [folder, index, origin, name] = process.argv.slice(2);
const { loadPyodide } = await import(pathToFileURL(`${folder}/node_modules/pyodide/pyodide.mjs`));
const plain = globalThis.fetch;
globalThis.fetch = (url, options = {}) => {  // browsers say for which page they ask
    const headers = new Headers(options.headers);
    if (origin) headers.set("Origin", origin);
    return plain(url, { ...options, headers });
};
try {
    const python = await loadPyodide();
    for (const file of fs.readdirSync(folder).filter((file) => file.endsWith(".whl"))) {
        python.unpackArchive(new Uint8Array(fs.readFileSync(`${folder}/${file}`)), "wheel", { extractDir: "/wheels" });
    }
    python.globals.set("index", index);
    python.globals.set("name", name);
    console.log(await python.runPythonAsync(`
import sys
sys.path.insert(0, "/wheels")
import micropip
await micropip.install(name, index_urls=[index + "{package_name}/"])
from importlib.metadata import version
"installed " + version(name)
`));
} catch (error) {
    console.log(String(error.message).slice(-2000));
    process.exit(1);
}
"""


class MicropipTests(IndexTestCase):
    """An index whose `[server] cors` lets the page of notebooks read."""

    settings = Settings(server=f"cors = {ORIGIN}")

    def test_micropip_installs(self) -> None:
        """micropip takes URLs of JSON pages as they are, so that they have to be
        absolute for it.
        """
        node, folder = pyodide()
        publish(self.index, wheel("micro-fish"))
        program = self.folder / "install.mjs"
        program.write_text(PROGRAM)
        command = [node, program, folder, self.index.url("/simple/"), ORIGIN, "micro-fish"]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        self.assertEqual(ended.stdout.strip(), "installed 1.0", ended.stdout + ended.stderr[-2000:])
