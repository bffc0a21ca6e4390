"""Asks a server for many objects: fill.py ADDRESS HOST FORMAT COUNT.

FORMAT has a %d for the numbers from 1 to COUNT. Requests are pipelined on eight connections; each
answer must be a 200.
"""

import socket
import sys
import threading

address, host, path, count = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
CONNECTIONS = 8
failures = []


def fill(numbers):
    with socket.create_connection((address, 80)) as connection:
        requests = [f"GET {path % number} HTTP/1.1\r\nHost: {host}\r\n\r\n" for number in numbers]
        sender = threading.Thread(target=lambda: connection.sendall("".join(requests).encode()))
        sender.start()
        answers = connection.makefile("rb")
        for _ in numbers:
            status, length = answers.readline(), 0
            while (line := answers.readline()) not in (b"\r\n", b""):
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            if not status.startswith(b"HTTP/1.1 200 ") or len(answers.read(length)) != length:
                failures.append(status)
                break
        sender.join()


threads = [
    threading.Thread(target=fill, args=(range(1 + first, 1 + count, CONNECTIONS),))
    for first in range(CONNECTIONS)
]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
sys.exit(f"not a 200: {failures}" if failures else 0)
