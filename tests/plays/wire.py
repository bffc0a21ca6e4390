"""An origin and clients that count bytes: wire.py ADDRESS HOST ORIGIN-ADDRESS ROOT.

The origin answers each path with the bytes that stand here, and then closes where that is said. What
clients are sent by the cache at ADDRESS is looked at byte by byte, and so are the files below ROOT.
"""

import os
import socket
import sys
import threading
import time

address, host, origin_address, root = sys.argv[1:]
FRESH = b"Cache-Control: max-age=60\r\n"


def ok(lines, body=b""):
    return b"HTTP/1.1 200 OK\r\n" + lines + b"\r\n" + body


LENGTH = b"Content-Length: 2\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
HINTS = b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </hint.css>\r\n\r\n"
# Path: the bytes, and whether the connection ends behind them.
ANSWERS = {
    "/interim.gif": (HINTS + ok(FRESH + LENGTH, b"ok"), False),
    "/interim-old.gif": (HINTS + ok(FRESH + LENGTH, b"ok"), False),
    "/short.gif": (ok(FRESH + b"Content-Length: 10\r\n", b"12345"), True),
    "/cut-chunks.gif": (ok(FRESH + CHUNKED, b"5\r\n12345\r\n"), True),
    "/bad-chunks.gif": (ok(FRESH + CHUNKED, b"5\r\n12345\r\n5x\r\n12345\r\n0\r\n\r\n"), False),
    "/until-close.gif": (ok(FRESH, b"all of it"), True),
    "/both.gif": (ok(FRESH + CHUNKED + b"Content-Length: 3\r\n", b"5\r\n12345\r\n0\r\n\r\n"), False),
    "/trailer.gif": (ok(FRESH + CHUNKED, b"2\r\nok\r\n0\r\nX-Trailer: 1\r\n\r\n"), False),
    "/two-lengths.gif": (ok(FRESH + LENGTH + b"Content-Length: 3\r\n", b"ok"), False),
    "/gzip-chunks.gif": (ok(FRESH + b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n"), False),
    "/line-feeds.gif": (b"HTTP/1.1 200 OK\nCache-Control: max-age=60\nContent-Length: 2\n\nok", False),
    "/folded.gif": (ok(FRESH + LENGTH + b"X-A: b\r\n c\r\n", b"ok"), False),
    "/huge-head.gif": (ok(FRESH + LENGTH + b"X-A: " + b"x" * 70_000 + b"\r\n", b"ok"), False),
    "/upgrade.gif": (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", False),
    "/no-http.gif": (b"SSH-2.0-x\r\n\r\n", True),
    "/nothing.gif": (b"", True),
    "/cookie.gif": (ok(FRESH + LENGTH + b"Set-Cookie: a=b\r\n", b"ok"), False),
    "/private.gif": (ok(b"Cache-Control: max-age=60, private\r\n" + LENGTH, b"ok"), False),
    "/authorized.gif": (ok(FRESH + LENGTH, b"ok"), False),
    "/public.gif": (ok(b"Cache-Control: max-age=60, public\r\n" + LENGTH, b"ok"), False),
    "/fat.gif": (ok(FRESH + LENGTH, b"ok"), False),
    "/surrogate.gif": (ok(FRESH + LENGTH + b"Surrogate-Key: a\r\nSurrogate-Control: max-age=60\r\n", b"ok"), False),
    "/negative.gif": (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", False),
    "/late.gif": (ok(b"Cache-Control: max-age=0, stale-while-revalidate=600\r\nETag: \"a\"\r\n" + LENGTH, b"ok"), False),
    "/moved.gif": (
        b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n"
        + b"".join(
            name + b": http://" + origin_address.encode() + b":8080/there.gif\r\n"
            for name in (b"Location", b"Content-Location", b"URI")
        )
        + b"\r\n",
        False,
    ),
}
for number in range(1, 41):
    body = b"number %d" % number
    ANSWERS[f"/p{number}.gif"] = (ok(FRESH + b"Content-Length: %d\r\n" % len(body), body), False)

asked = {}
lock = threading.Lock()
release = threading.Event()


def serve(connection):
    data = b""
    with connection:
        while True:
            while b"\r\n\r\n" not in data:
                try:
                    more = connection.recv(65536)
                except ConnectionResetError:
                    return
                if not more:
                    return
                data += more
            head, data = data.split(b"\r\n\r\n", 1)
            path = head.split(b" ")[1].decode()
            with lock:
                asked[path] = asked.get(path, 0) + 1
            if path == "/p1.gif":
                release.wait(20)
            answer, ends = ANSWERS[path]
            connection.sendall(answer)
            if ends:
                return


def accept(listener):
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()


def request(path, lines=b"", version="1.1", method="GET"):
    return f"{method} {path} HTTP/{version}\r\nHost: {host}\r\n".encode() + lines + b"\r\n"


def exchange(data):
    """What comes back until the cache closes."""
    with socket.create_connection((address, 80), timeout=20) as connection:
        connection.sendall(data)
        came = b""
        while more := connection.recv(65536):
            came += more
        return came


def ask(path, lines=b"", **how):
    """Head and body of the last answer on a connection of its own."""
    came = exchange(request(path, b"Connection: close\r\n" + lines, **how))
    head, _, body = came[came.rindex(b"HTTP/1.1 ") :].partition(b"\r\n\r\n")
    return head, body


def count(path):
    with lock:
        return asked.get(path, 0)


def check(fact, what):
    if not fact:
        sys.exit(f"{what}: {fact!r}")


def status(path, lines=b"", **how):
    return int(ask(path, lines, **how)[0].split(b" ")[1])


def is_hit(path, lines=b""):
    return b"\r\nCache-Status: imgcache; hit" in ask(path, lines)[0]


def is_never_stored(path, lines=b""):
    before = count(path)
    ask(path, lines)
    ask(path, lines)
    check(count(path) == before + 2, f"{path} is asked for each time, was {count(path) - before} times")
    check(not os.path.exists(f"{root}/{host}{path}"), f"{path} has no file")


def interim():
    came = exchange(request("/interim.gif", b"Connection: close\r\n"))
    check(came.startswith(b"HTTP/1.1 102 "), "102 is passed on")
    check(b"HTTP/1.1 103 " in came and b"Link: </hint.css>" in came, "103 is passed on")
    check(came.endswith(b"\r\n\r\nok") and came.count(b"HTTP/1.1 200 ") == 1, "then the response")
    came = exchange(request("/interim.gif", b"Connection: close\r\n"))
    check(b"; hit" in came and b" 103 " not in came and b"hint" not in came, "they are not stored")
    came = exchange(request("/interim-old.gif", version="1.0"))
    check(came.startswith(b"HTTP/1.1 200 ") and b" 103 " not in came, "an HTTP/1.0 client gets none")
    return "interim responses are passed on to HTTP/1.1 clients and never stored"


def incomplete():
    head, body = ask("/short.gif")
    check(b"Content-Length: 10" in head and b"12345".startswith(body), "a short body ends early")
    head, body = ask("/cut-chunks.gif")
    check(b"chunked" in head and b"\r\n0\r\n" not in body, "without the last chunk it is not whole")
    head, body = ask("/bad-chunks.gif")
    check(b"\r\n0\r\n" not in body, "nor with a bad one")
    check(ask("/until-close.gif")[1].endswith(b"0\r\n\r\n"), "what ends with its connection is passed on")
    for path in ("/short.gif", "/cut-chunks.gif", "/bad-chunks.gif", "/until-close.gif"):
        is_never_stored(path)
    return "bodies that are cut short, or may be, are never stored"


def framing():
    head, body = ask("/both.gif")
    check(b"5\r\n12345\r\n0\r\n\r\n" == body and b"Content-Length: 3" not in head, "chunks win")
    head, body = ask("/trailer.gif")
    check(b"X-Trailer" not in head + body and body == b"2\r\nok\r\n0\r\n\r\n", "trailers are dropped")
    check(b"X-Trailer" not in ask("/trailer.gif")[0] and is_hit("/trailer.gif"), "and not stored")
    for path in ("/two-lengths.gif", "/gzip-chunks.gif", "/line-feeds.gif", "/folded.gif", "/huge-head.gif",
                 "/upgrade.gif", "/no-http.gif", "/nothing.gif"):
        check(status(path) == 502, f"{path} is no response")
        check(not os.path.exists(f"{root}/{host}{path}"), f"{path} has no file")
    return "origins are read as strictly as clients"


def storing():
    for path in ("/cookie.gif", "/private.gif"):
        is_never_stored(path)
    is_never_stored("/authorized.gif", b"Authorization: x\r\n")
    ask("/public.gif", b"Authorization: x\r\n")
    check(is_hit("/public.gif"), "public answers to who is authorized are stored")
    ask("/fat.gif")
    before = count("/fat.gif")
    exchange(request("/fat.gif", b"Connection: close\r\nContent-Length: 4\r\n") + b"body")
    check(count("/fat.gif") == before + 1, "a GET with a body is passed on")
    head, _ = ask("/surrogate.gif")
    check(b"Surrogate" not in head and b"Surrogate" not in ask("/surrogate.gif")[0], "Surrogate-* stays here")
    check(status("/negative.gif") == 404 and is_hit("/negative.gif"), "a 404 is believed for a while")
    check(count("/negative.gif") == 1, "a 404 is asked for once")
    head, _ = ask("/moved.gif")
    for name in (b"Location", b"Content-Location", b"URI"):
        check(b"\r\n" + name + b": /there.gif\r\n" in head + b"\r\n", f"{name.decode()} leads here: {head}")
    return "cookies, private, authorized and fat requests are passed on; 404 is believed briefly"


def later():
    ask("/late.gif")
    check(b"hit; detail=stale-while-revalidate" in ask("/late.gif")[0], "it is used meanwhile")
    deadline = time.monotonic() + 20
    while count("/late.gif") < 2:
        check(time.monotonic() < deadline, "the origin is asked in the background")
        time.sleep(0.01)
    return "stale-while-revalidate asks in the background"


def pipeline():
    first = b"".join(request(f"/p{number}.gif") for number in (1, 2, 3))
    with socket.create_connection((address, 80), timeout=20) as connection:
        connection.sendall(first)
        check(status("/p3.gif") == 200, "others are answered meanwhile")
        release.set()
        came = b""
        while b"number 3" not in came:
            came += connection.recv(65536)
    check(came.index(b"number 1") < came.index(b"number 2"), "the first one first")
    every = b"".join(request(f"/p{number}.gif") for number in range(1, 41))
    came = exchange(every + request("/p1.gif", b"Connection: close\r\n"))
    order = [line for line in came.split(b"number ")[1:]]
    numbers = [int(text.split(b"H")[0]) for text in order]
    check(numbers == [*range(1, 41), 1], f"forty in their order: {numbers}")
    return "pipelined requests are answered in their order"


listener = socket.create_server((origin_address, 8080), backlog=128)
threading.Thread(target=accept, args=(listener,), daemon=True).start()
for part in (interim, incomplete, framing, storing, later, pipeline):
    print(f"ok: {part()}", flush=True)
