"""Greedy clients of one groupd, and a modest one beside them.

greedy.py SOCKET GO: sessions want all groups there are, get their share and a refusal; members of a
large group are told of joins and leaves by sessions that do nothing else, while they read at their
leisure. Prints `ready` when the groups are taken, and goes on when the file GO is there; ends with an
error if a member was disconnected or a modest client did not get its message.
"""

import os
import selectors
import socket
import struct
import sys
import time

JOIN, LEAVE, AGREED, REJECT = 0x10000, 0x20000, 0x10, 0x400000
LITTLE = 0x80000080


class Client:
    def __init__(self, path, name, membership=0):
        self.stream = socket.socket(socket.AF_UNIX)
        self.stream.settimeout(60)
        self.stream.connect(path)
        self.stream.sendall(bytes([4, 4, 0, membership, len(name)]) + name)
        self.read(self.read(1)[0])
        self.stream.sendall(b"NULL".ljust(90, b"\0"))
        accept = self.read(5)
        assert accept[0] == 1, f"refused: {accept[0]}"
        self.private = self.read(accept[4])

    def read(self, count):
        data = b""
        while len(data) < count:
            part = self.stream.recv(count - len(data))
            if not part:
                raise SystemExit("the daemon closed a session")
            data += part
        return data

    def request(self, kind, groups, data=b""):
        head = struct.pack("<I", LITTLE | kind) + self.private.ljust(32, b"\0")
        head += struct.pack("<iIi", len(groups), LITTLE, len(data))
        names = b"".join(group.ljust(32, b"\0") for group in groups)
        return head + names + data

    def send(self, kind, groups, data=b""):
        self.stream.sendall(self.request(kind, groups, data))

    def receive(self):
        """The type of the next message, and its data."""
        head = self.read(48)
        kind = struct.unpack("<I", head[:4])[0] & ~LITTLE
        groups, length = (struct.unpack("<i", head[at:at + 4])[0] for at in (36, 44))
        extra = 4 if kind & REJECT else 0
        body = self.read(extra + 32 * groups + length)
        return kind, body[extra + 32 * groups:]

    def pass_through(self):
        """Sends a message to itself and counts what comes before it."""
        self.send(AGREED, [self.private], b"mark")
        refused = 0
        while True:
            kind, data = self.receive()
            if data == b"mark":
                return refused
            refused += bool(kind & REJECT)


def take_groups(path):
    greedy = []
    refused = 0
    for number in range(12):
        client = Client(path, b"greedy%d" % number)
        for first in range(0, 10_000, 100):
            names = [b"g%d-%d" % (number, at) for at in range(first, first + 100)]
            client.send(JOIN, names)
        refused += client.pass_through()
        greedy.append(client)
    assert refused > 100, f"{refused} refusals"
    return greedy


def storm(path, seconds):
    """Joins and leaves as fast as the daemon reads them; members read at 10 MB a second or more."""
    members = [Client(path, b"m%d" % number, 1) for number in range(300)]
    selector = selectors.DefaultSelector()
    for client in members:
        client.send(JOIN, [b"crowd"])
        client.stream.setblocking(False)
        selector.register(client.stream, selectors.EVENT_READ)
    storms = [Client(path, b"storm%d" % number) for number in range(3)]
    for client in storms:
        client.stream.setblocking(False)
        client.out = b""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for client in storms:
            if not client.out:
                client.out = 100 * (
                    client.request(JOIN, [b"crowd"]) + client.request(LEAVE, [b"crowd"])
                )
            try:
                client.out = client.out[client.stream.send(client.out):]
            except BlockingIOError:
                pass
        for key, _ in selector.select(timeout=0.01):
            try:
                if not key.fileobj.recv(1 << 16):
                    raise SystemExit("a member was thrown out")
            except BlockingIOError:
                pass


def main():
    path, go = sys.argv[1:]
    greedy = take_groups(path)
    modest = Client(path, b"modest")
    modest.send(JOIN, [b"mine"])
    assert modest.pass_through() == 0, "a modest client is refused"
    print("ready", flush=True)
    deadline = time.monotonic() + 60
    while not os.path.exists(go):
        assert time.monotonic() < deadline, "nobody says go"
        time.sleep(0.05)
    modest.pass_through()
    for client in greedy:
        client.stream.close()
    storm(path, 5)
    modest.pass_through()
    print("ok")


if __name__ == "__main__":
    main()
