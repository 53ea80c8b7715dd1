"""What `dist/pypid` (see `make binary`) runs first: the compiled parts inside fit only the Python that its first line names."""

import sys

with open(sys.argv[0], "rb") as archive:
    wanted = archive.readline().decode().split()[-1]
if wanted != "python%d.%d" % sys.version_info[:2]:
    sys.exit(f"{sys.argv[0]} was built for {wanted}: run `{wanted} {' '.join(sys.argv)}`, or build one with your Python (make binary).")
