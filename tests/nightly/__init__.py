import os

# `trial -j` hands its workers a PYTHONPATH with this Python's own library in it: other Pythons that
# we start would import that.
os.environ.pop("PYTHONPATH", None)
# Without bytecode each of a thousand commands compiles all of pypid again, which takes half a second.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
