"""`twistd -y pypid.tac` in a checkout: the same daemon as `twistd pypid`, where a .tac file is wanted."""

from pathlib import Path

from pypid.wiring.recipe import tac_application

application = tac_application(Path("etc/pypid.ini"))
