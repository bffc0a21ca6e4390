"""An origin for caches: origin.py ADDRESS PORT DIRECTORY.

Every path answers with the text of DIRECTORY/version, which is its ETag too, for an hour.
  /slow-body...   half of the body, then the rest once DIRECTORY/go exists
  /slow-head...   the head only once DIRECTORY/go exists
  /slow-check...  a 304 only once DIRECTORY/go exists
  /vary...        a variant for each Accept-Language
  /big...         a megabyte
  .../size-N-...  N bytes
  /medium...      40,000 bytes
  /rude...        once DIRECTORY/go exists, one response more than was asked for
  /alive          200, or 503 while DIRECTORY/sick exists
  ...gone         404 while DIRECTORY/gone exists
  /moved...       a 302 to this origin; /moved-away to another one
  /chunked...     in chunks
  /padded...      with 12,000 bytes of header
  /sie...         may be used for an hour while the origin fails: 503 while DIRECTORY/sick exists
While DIRECTORY/lifetime exists, what it answers is stale at once. Each request is a line in
DIRECTORY/requests, and its head is one in DIRECTORY/headers.
"""

import json
import os
import re
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
        if self.path == "/alive":
            self.send_response(503 if os.path.exists(f"{directory}/sick") else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        with open(f"{directory}/requests", "a") as file:
            print(self.command, self.path, self.headers.get("If-None-Match", "-"), file=file)
        with open(f"{directory}/headers", "a") as file:
            print(self.path, json.dumps(dict(self.headers)), file=file)
        if "gone" in self.path and os.path.exists(f"{directory}/gone"):
            return self.send_error(404)
        if self.path.startswith("/moved"):
            self.send_response(302)
            wrong = "1" if self.path.startswith("/moved-away") else ""
            self.send_header("Location", f"http://{address}:{port}{wrong}/elsewhere.gif?x")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        if self.path.startswith("/sie") and os.path.exists(f"{directory}/sick"):
            return self.send_error(503)
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
        if match := re.search("/size-([0-9]+)-", self.path):
            body = b"x" * int(match[1])
        if self.path.startswith("/medium"):
            body = body.ljust(40_000, b"x")
        if self.path.startswith("/big"):
            body = body.ljust(1 << 20, b"x")
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        if self.path.startswith("/chunked"):
            self.send_header("Transfer-Encoding", "chunked")
            body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        else:
            self.send_header("Content-Length", str(len(body)))
        lifetime = 0 if os.path.exists(f"{directory}/lifetime") else 3600
        grace = ", stale-if-error=3600" if self.path.startswith("/sie") else ""
        self.send_header("Cache-Control", f"max-age={lifetime}{grace}")
        if self.path.startswith("/padded"):
            self.send_header("X-Padding", "x" * 12_000)
        self.send_header("ETag", tag)
        if self.path.startswith("/vary"):
            self.send_header("Vary", "Accept-Language")
        if "tagged" in self.path:
            self.send_header("Surrogate-Key", "news")
        if "grouped" in self.path:
            self.send_header("Cache-Groups", '"sport", "weather"')
        self.end_headers()
        if self.command == "HEAD":
            return
        half = len(body) // 2
        self.wfile.write(body[:half])
        if self.path.startswith("/slow-body"):
            self.wait()
        self.wfile.write(body[half:])
        if self.path.startswith("/rude"):
            self.wfile.flush()
            self.wait()
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong")
            self.wfile.flush()
            open(f"{directory}/sent", "w").close()

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()

    do_HEAD = do_OPTIONS = do_GET

    def log_message(self, *_):
        pass


ThreadingHTTPServer((address, port), Origin).serve_forever()
