from twisted.application.service import Application
from pypid.service import Options, makeService
makeService(Options()).setServiceParent(application := Application("pypid"))
