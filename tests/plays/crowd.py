"""Opens many sessions, joins them all to one group, and sends one message that each must get."""

import selectors
import socket
import struct
import sys

JOIN, AGREED, LITTLE = 0x10000, 0x10, 0x80000080


def read_exactly(stream, count):
    data = b""
    while len(data) < count:
        part = stream.recv(count - len(data))
        if not part:
            raise SystemExit("the daemon closed a session")
        data += part
    return data


def connect(path, name):
    """A session without membership messages; returns the socket and its private group."""
    stream = socket.socket(socket.AF_UNIX)
    stream.settimeout(60)
    stream.connect(path)
    stream.sendall(bytes([4, 4, 0, 0, len(name)]) + name)
    methods = read_exactly(stream, 1)[0]
    read_exactly(stream, methods)
    stream.sendall(b"NULL".ljust(90, b"\0"))
    accept = read_exactly(stream, 5)
    assert accept[0] == 1, f"refused: {accept[0]}"
    return stream, read_exactly(stream, accept[4])


def frame(kind, sender, data=b""):
    head = struct.pack("<I", LITTLE | kind) + sender.ljust(32, b"\0")
    head += struct.pack("<iIi", 1, LITTLE, len(data))
    return head + b"crowd".ljust(32, b"\0") + data


def main():
    path, count = sys.argv[1], int(sys.argv[2])
    crowd = []
    for number in range(count):
        stream, private = connect(path, b"c%d" % number)
        stream.sendall(frame(JOIN, private))
        crowd.append((stream, private))
    stream, private = crowd[-1]
    # Sent last on the last session, so it is ordered behind every join but those still unread;
    # the daemon reads each session in turn, so a second message is sent for each that waits.
    waiting = {stream.fileno() for stream, _ in crowd}
    selector = selectors.DefaultSelector()
    for other, _ in crowd:
        selector.register(other, selectors.EVENT_READ)
    for attempt in range(60):
        stream.sendall(frame(AGREED, private, b"%d" % attempt))
        while waiting:
            ready = selector.select(timeout=1)
            if not ready:
                break
            for key, _ in ready:
                if not key.fileobj.recv(65536):
                    raise SystemExit("the daemon closed a session")
                waiting.discard(key.fd)
        if not waiting:
            print(f"{count} sessions, {attempt + 1} messages sent until each had one")
            return
    raise SystemExit(f"{len(waiting)} sessions got nothing")


main()
