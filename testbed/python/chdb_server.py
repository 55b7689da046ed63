"""chDB, which is ClickHouse's engine as a library, behind as much of ClickHouse's HTTP interface as Sluice uses.

chdb_server.py HOST PORT FOLDER PASSWORD: the data lie in FOLDER/data. One statement runs at a time. What a real server does beside its engine
(streaming answers, sessions, limits by account) is not here.
"""

import base64
import itertools
import os
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

from chdb import session

host, port, folder, password = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
engine = session.Session(os.path.join(folder, "data"))
lock = threading.Lock()
numbers = itertools.count()
# What is a parameter of a request and no setting of the engine.
PARAMETERS = {"query", "database", "wait_end_of_query"}


def run(statement, settings):
    with lock:
        for name, value in settings.items():
            engine.query("SET %s = '%s'" % (name, value.replace("'", "''")))
        return engine.query(statement, "TabSeparated").bytes()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits 40 ms

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        parameters = dict(parse_qsl(urlsplit(self.path).query))
        settings = {k: v for k, v in parameters.items() if k not in PARAMETERS}
        if self.headers.get("Authorization") != "Basic " + base64.b64encode(("default:" + password).encode()).decode():
            return self.answer(403, b"Code: 516. DB::Exception: default: Authentication failed. (AUTHENTICATION_FAILED)\n")
        data = None
        try:
            statement = parameters.get("query")
            if statement is None:
                statement = body.decode()
            else:  # the rows come from a file instead of the body
                data = os.path.join(folder, "rows-%d" % next(numbers))
                with open(data, "wb") as f:
                    f.write(body)
                statement = re.sub(r" FORMAT (\w+)$", lambda m: " FROM INFILE '%s' FORMAT %s" % (data, m[1]), statement)
            said = run(statement, settings)
        except Exception as e:
            text = str(e).encode()
            missing = re.search(rb"Code: (60|81)\.", text)
            return self.answer(404 if missing else 500, text + b"\n")
        finally:
            if data is not None and os.path.exists(data):
                os.remove(data)
        self.answer(200, said)

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer((host, port), Handler)
with open(os.path.join(folder, "ready"), "w") as f:
    f.write(str(os.getpid()))
server.serve_forever()
