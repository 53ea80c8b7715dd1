"""The tests. `trial tests` in a checkout needs pypid's requirements, but not pypid itself
installed.
"""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

if find_spec("pypid") is None:
    _source = str(Path(__file__).resolve().parents[1] / "src")
    sys.path.insert(0, _source)
    # for the programs that tests start
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, [_source, os.environ.get("PYTHONPATH")])
    )

if os.environ.get("PYPID_SERVER_FAST_PATH") == "no":
    # as with untested versions of all packages: no private name is used to save time
    from pypid.flow.coroutines import TESTED

    TESTED.update(dict.fromkeys(TESTED, ("0", "0")))
