"""`twistd -y pypid.tac` in a checkout: the same daemon as `twistd pypid`, where a .tac file is wanted."""

from twisted.application.service import Application

from pypid.service import Options, makeService

(options := Options()).parseOptions(["--config", "etc/pypid.ini"])
makeService(options).setServiceParent(application := Application("pypid"))
