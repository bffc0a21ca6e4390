"""Requests that two parsers could read in two ways: hostile.py ADDRESS HOST ORIGIN-ADDRESS.

An origin of its own records the bytes that reach it. Each payload is sent on a connection of its
own; then it is printed what was answered and which bytes reached the origin. Anything that
reaches the origin must be one of the requests that a strict reader sees in the payload, written
anew; what is refused must leave no byte there.
"""

import socket
import sys
import threading

address, host, origin_address = sys.argv[1], sys.argv[2], sys.argv[3]
seen = []
lock = threading.Lock()


def serve(connection):
    """Reads requests strictly as imgcache writes them: CRLF, Content-Length or chunked."""
    data = b""
    with connection:
        while True:
            while b"\r\n\r\n" not in data:
                more = connection.recv(65536)
                if not more:
                    if data:
                        with lock:
                            seen.append((data, b"?"))
                    return
                data += more
            head, data = data.split(b"\r\n\r\n", 1)
            body = b""
            lower = head.lower()
            if b"\r\ntransfer-encoding:" in lower:
                while b"0\r\n\r\n" not in data:
                    data += connection.recv(65536)
                body, data = data.split(b"0\r\n\r\n", 1)
            elif b"\r\ncontent-length:" in lower:
                length = int(lower.split(b"\r\ncontent-length:")[1].split(b"\r\n")[0])
                while len(data) < length:
                    data += connection.recv(65536)
                body, data = data[:length], data[length:]
            with lock:
                seen.append((head, body))
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nCache-Control: no-store\r\n\r\nok")


def accept(listener):
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()


def post(lines, body=b"", target="/x", version="1.1"):
    return f"POST {target} HTTP/{version}\r\nHost: {host}\r\n".encode() + lines + b"\r\n\r\n" + body


def get(line=None, lines=b""):
    line = line or b"GET /x HTTP/1.1"
    return line + b"\r\nHost: " + host.encode() + b"\r\n" + lines + b"\r\n"


SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: " + host.encode() + b"\r\n\r\n"
CHUNKED = b"0\r\n\r\n" + SMUGGLED
CL, TE = b"Content-Length: 5", b"Transfer-Encoding: chunked"
# Each with the status that it must get.
PAYLOADS = [
    (post(CL + b"\r\n" + TE, CHUNKED), 400),
    (post(TE + b"\r\n" + CL, CHUNKED), 400),
    (post(b"Content-Length: 0\r\n" + TE, CHUNKED), 400),
    (post(TE + b"\r\n" + TE, CHUNKED), 400),
    (post(TE, CHUNKED, version="1.0"), 400),
] + [
    (post(line, CHUNKED), 400)
    for line in [
        b"Transfer-Encoding: chunked, chunked",
        b"Transfer-Encoding: ,chunked",
        b"Transfer-Encoding: chunked,",
        b"Transfer-Encoding: identity, chunked",
        b"Transfer-Encoding: identity",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding: chunkedx",
        b"Transfer-Encoding: \"chunked\"",
        b"Transfer-Encoding: chunked;a=b",
        b"Transfer-Encoding:\x0bchunked",
        b"Transfer-Encoding: \x00chunked",
        b"Transfer-Encoding: chunked\x0c",
        b"Transfer-Encoding : chunked",
        b"Transfer-Encoding\t: chunked",
        b" Transfer-Encoding: chunked",
        b"X: y\r\n Transfer-Encoding: chunked",
        b"X: y\r\n\tTransfer-Encoding: chunked",
        b"X: y\nTransfer-Encoding: chunked",
        b"X: y\rTransfer-Encoding: chunked",
        b"X: y\r\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\n",
        b"Transfer_Encoding\x00: chunked",
        b"Transfer-Encoding:",
        b"\xefTransfer-Encoding: chunked",
        b"Content-Length: 5\r\nContent-Length: 5",
        b"Content-Length: 5\r\nContent-Length: 0",
        b"Content-Length: 5, 5",
        b"Content-Length: 5,",
        b"Content-Length: +5",
        b"Content-Length: -5",
        b"Content-Length: 0x5",
        b"Content-Length: 5.0",
        b"Content-Length: 5 5",
        b"Content-Length: 5e1",
        b"Content-Length:",
        b"Content-Length: 5\x00",
        b"Content-Length: \xb2",
        b"Content-Length: 99999999999999999999",
        b"Content Length: 5",
        b"Content-Length\x0b: 5",
        b": 5",
        b"Host: other.org",
        b"X: a\x00b",
        b"X: \x7f",
        b"X\x01: y",
        b"X(: y",
        b"no colon",
    ]
] + [
    (post(TE, body + SMUGGLED), 400)
    for body in [
        b"\r\n0\r\n\r\n",
        b"5\nhello\r\n0\r\n\r\n",
        b"5 \r\nhello\r\n0\r\n\r\n",
        b" 5\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhelloX0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5;\nhello\r\n0\r\n\r\n",
        b"5;a\r\r\nhello\r\n0\r\n\r\n",
        b"10000000000000005\r\nhello\r\n0\r\n\r\n",
        b"5\r\r\nhello\r\n0\r\n\r\n",
        b"0\r\nX: y\n\r\n",
        b"0\r\n\n",
        b";a\r\n\r\n",
    ]
] + [
    (get(line), status)
    for line, status in [
        (b"GET /x HTTP/1.1\x20", 400),
        (b"GET  /x HTTP/1.1", 400),
        (b"GET /x  HTTP/1.1", 505),
        (b"GET\t/x HTTP/1.1", 400),
        (b" GET /x HTTP/1.1", 400),
        (b"GET /x", 400),
        (b"GET /a b HTTP/1.1", 505),
        (b"GET /x#y HTTP/1.1", 400),
        (b"GET /a\\b HTTP/1.1", 400),
        (b"GET /../etc/passwd HTTP/1.1", 400),
        (b"GET /%2e%2e/etc/passwd HTTP/1.1", 400),
        (b"GET /a%00b HTTP/1.1", 400),
        (b"GET /a%0d%0aX:%20y HTTP/1.1", 400),
        (b"GET /%zz HTTP/1.1", 400),
        (b"GET /\xc3\xa9 HTTP/1.1", 400),
        (b"GET x HTTP/1.1", 400),
        (b"GET * HTTP/1.1", 400),
        (b"GET /x HTTP/1.2", 505),
        (b"GET /x HTTP/2.0", 505),
        (b"GET /x HTTP/01.1", 505),
        (b"PRI * HTTP/2.0", 505),
        # An open proxy would do these.
        (b"CONNECT 127.0.0.1:22 HTTP/1.1", 405),
        (b"TRACE /x HTTP/1.1", 405),
        (b"GET http://other.org/x HTTP/1.1", 421),
        (b"GET http://127.0.0.1:22/ HTTP/1.1", 421),
        (b"GET http://[::1]/ HTTP/1.1", 421),
        (b"GET http://a@" + host.encode() + b"/ HTTP/1.1", 400),
        (b"GET https://" + host.encode() + b"/ HTTP/1.1", 400),
        (b"GET ftp://" + host.encode() + b"/ HTTP/1.1", 400),
    ]
] + [
    (b"GET /x HTTP/1.1\r\n" + lines + b"\r\n", status)
    for lines, status in [
        (b"", 400),
        (b"Host:\r\n", 400),
        (b"Host: other.org\r\n", 421),
        (b"Host: 127.0.0.1\r\n", 421),
        (b"Host: " + host.encode() + b"\r\nHost: " + host.encode() + b"\r\n", 400),
        (b"Host: " + host.encode() + b", other.org\r\n", 400),
        (b"Host: " + host.encode() + b"@other.org\r\n", 400),
        (b"Host: " + host.encode() + b"/x\r\n", 400),
        (b"Host: " + host.encode() + b":x\r\n", 400),
        (b"Host: " + host.encode() + b":99999\r\n", 400),
    ]
]


def answer(payload):
    """The statuses of what comes back until the end of the connection."""
    with socket.create_connection((address, 80), timeout=20) as connection:
        connection.sendall(payload)
        data = b""
        while True:
            try:
                more = connection.recv(65536)
            except ConnectionResetError:
                break
            if not more:
                break
            data += more
    return [int(line[9:12]) for line in data.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]


listener = socket.create_server((origin_address, 8080), backlog=128)
threading.Thread(target=accept, args=(listener,), daemon=True).start()
# The way is open: a sound request arrives, written anew, and so does one with a body.
assert answer(post(b"Connection: close\r\nContent-Length: 5", b"hello"))[-1] == 200
assert [body for _, body in seen] == [b"hello"], seen
seen.clear()
faults = 0
for payload, status in PAYLOADS:
    statuses = answer(payload)
    with lock:
        reached, seen[:] = list(seen), []
    smuggled = [head for head, _ in reached if b"smuggled" in head or b"other.org" in head]
    # A body that turns out to be malformed was on its way: then the origin sees no end of it.
    whole = [head for head, body in reached if body != b"?" and b"chunked" not in head.lower()]
    bytes_there = b"".join(head + b"\r\n\r\n" + body for head, body in reached)
    print(f"{payload!r}: {statuses}, at the origin: {bytes_there!r}")
    if statuses[:1] != [status] and not (statuses == [] and b"\r\nTransfer-Encoding: chunked\r\n\r\n" in payload):
        print(f"{payload!r}: answered {statuses}, not {status}")
        faults += 1
    if smuggled or whole or len(statuses) > 1:
        print(f"{payload!r}: reached the origin: {reached!r}, answered {statuses}")
        faults += 1
print(f"{len(PAYLOADS)} payloads, {faults} faults")
sys.exit(faults != 0)
