"""What `dist/pypid` (see `make binary`) runs first: the compiled parts inside fit only the Python that it was built with."""

import sys
from pathlib import Path

here = sys.implementation.cache_tag  # cpython-311
(compiled,) = Path(__file__).parents[1].glob("_cffi_backend.cpython-*.so")
if f".{here}-" not in compiled.name:
    digits = compiled.name.split("-")[1]
    wanted = f"{digits[0]}.{digits[1:]}"
    sys.exit(
        f"This pypid was built for Python {wanted}, and {sys.executable} is another one. "
        f"Run it with python{wanted}, or build one with your Python (make binary)."
    )
