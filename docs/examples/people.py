"""Says who people are: python people.py PORT FILE, with the user and password of [remote] in $LOGIN (pypid:its-password)."""

import base64
import hashlib
import hmac
import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TYPE = "application/vnd.pypid.people.v1+json"
LOGIN = "Basic " + base64.b64encode(os.environ["LOGIN"].encode()).decode()
PEOPLE = json.load(open(sys.argv[2]))  # {"alice": {"salt": "...", "hash": "...", "groups": ["team"], "admin": false}}


def fits(person, password):
    made = hashlib.scrypt(password.encode(), salt=bytes.fromhex(person["salt"]), n=16384, r=8, p=1)
    return hmac.compare_digest(made, bytes.fromhex(person["hash"]))


class Service(BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not hmac.compare_digest(self.headers.get("Authorization", "").encode(), LOGIN.encode()):
            return self.send_error(401)
        if self.path not in ("/check", "/find"):
            return self.send_error(404)
        person = PEOPLE.get(asked["user"])
        if person is None:
            answer = {"answer": "unknown"}
        elif self.path == "/check" and not fits(person, asked["password"]):
            answer = {"answer": "wrong"}
        else:
            word = "right" if self.path == "/check" else "known"
            answer = {"answer": word, "user": asked["user"], "groups": person["groups"], "admin": person["admin"]}
        document = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", TYPE)
        self.send_header("Content-Length", str(len(document)))
        self.end_headers()
        self.wfile.write(document)


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Service).serve_forever()
