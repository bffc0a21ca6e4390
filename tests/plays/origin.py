"""An origin for caches: origin.py ADDRESS PORT DIRECTORY.

Every path answers with the text of DIRECTORY/version, which is its ETag too, for an hour.
  /slow-body...   half of the body, then the rest once DIRECTORY/go exists
  /slow-head...   the head only once DIRECTORY/go exists
  /slow-check...  a 304 only once DIRECTORY/go exists
  /vary...        a variant for each Accept-Language
  /big...         a megabyte
Each request is a line in DIRECTORY/requests.
"""

import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

address, port, directory = sys.argv[1], int(sys.argv[2]), sys.argv[3]


class Origin(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def wait(self):
        with open(f"{directory}/waiting", "a") as file:
            print(self.path, file=file)
        while not os.path.exists(f"{directory}/go"):
            time.sleep(0.01)

    def do_GET(self):
        with open(f"{directory}/version") as file:
            version = file.read().strip()
        with open(f"{directory}/requests", "a") as file:
            print(self.command, self.path, self.headers.get("If-None-Match", "-"), file=file)
        tag = f'"{version}"'
        if self.path.startswith("/slow-head"):
            self.wait()
        if self.headers.get("If-None-Match") == tag:
            if self.path.startswith("/slow-check"):
                self.wait()
            self.send_response(304)
            self.send_header("ETag", tag)
            self.end_headers()
            return
        body = f"{self.path} {version}\n".encode()
        if self.path.startswith("/vary"):
            body += self.headers.get("Accept-Language", "-").encode()
        if self.path.startswith("/big"):
            body = body.ljust(1 << 20, b"x")
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "max-age=3600")
        self.send_header("ETag", tag)
        if self.path.startswith("/vary"):
            self.send_header("Vary", "Accept-Language")
        if "tagged" in self.path:
            self.send_header("Surrogate-Key", "news")
        self.end_headers()
        half = len(body) // 2
        self.wfile.write(body[:half])
        if self.path.startswith("/slow-body"):
            self.wait()
        self.wfile.write(body[half:])

    def log_message(self, *_):
        pass


ThreadingHTTPServer((address, port), Origin).serve_forever()
