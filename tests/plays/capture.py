"""Records what crosses a network interface, and reads it back.

    capture.py record INTERFACE FILE          until it is interrupted; says "listening" on stderr,
                                              and "lost N" at the end if it was too slow for N frames
    capture.py count FILE PORT BYTES          UDP datagrams to PORT with more than BYTES of payload
    capture.py replay FILE                    sends every UDP datagram to its first destination again

Files are pcap, so other tools read them too.
"""

import signal
import socket
import struct
import sys

SOL_PACKET, PACKET_ADD_MEMBERSHIP, PACKET_STATISTICS = 263, 1, 6
MAGIC, SNAP, ETHERNET, ALL_PROTOCOLS = 0xA1B2C3D4, 262144, 1, 3


def record(interface, path):
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(ALL_PROTOCOLS))
    tap.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 23)
    tap.bind((interface, 0))
    # Also what passes between other machines: PACKET_ADD_MEMBERSHIP with PACKET_MR_PROMISC.
    index = socket.if_nametoindex(interface)
    tap.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, struct.pack("iHH8s", index, 1, 0, b""))
    stop = []
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stop.append(1))
    tap.settimeout(0.2)
    with open(path, "wb") as file:
        file.write(struct.pack("<IHHiIII", MAGIC, 2, 4, 0, 0, SNAP, ETHERNET))
        print("listening", file=sys.stderr, flush=True)
        while True:
            # What is in the socket when the signal comes still belongs to the recording.
            if stop:
                tap.setblocking(False)
            try:
                frame = tap.recv(SNAP)
            except TimeoutError:
                continue
            except BlockingIOError:
                break
            file.write(struct.pack("<IIII", 0, 0, len(frame), len(frame)) + frame)
    lost = struct.unpack("II", tap.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]
    if lost:
        print(f"lost {lost}", file=sys.stderr)


def datagrams(path):
    """The (address, port, payload) of each UDP datagram of a recording."""
    data = open(path, "rb").read()
    assert struct.unpack_from("<I", data)[0] == MAGIC, "not a little-endian pcap"
    at = 24
    while at + 16 <= len(data):
        length = struct.unpack_from("<I", data, at + 8)[0]
        frame = data[at + 16 : at + 16 + length]
        at += 16 + length
        if frame[12:14] != b"\x08\x00" or frame[23] != socket.IPPROTO_UDP:
            continue
        header = 14 + (frame[14] & 15) * 4
        address = socket.inet_ntoa(frame[30:34])
        port = struct.unpack_from(">H", frame, header + 2)[0]
        yield address, port, frame[header + 8 :]


def count(path, port, size):
    return sum(to == port and len(payload) > size for _, to, payload in datagrams(path))


def replay(path):
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sent = 0
    for address, port, payload in datagrams(path):
        # A burst shows as one large frame before the interface cuts it.
        for start in range(0, len(payload), 1472):
            sender.sendto(payload[start : start + 1472], (address, port))
            sent += 1
    return sent


def main():
    match sys.argv[1:]:
        case ["record", interface, path]:
            record(interface, path)
        case ["count", path, port, size]:
            print(count(path, int(port), int(size)))
        case ["replay", path]:
            print(f"replayed {replay(path)} datagrams")
        case _:
            sys.exit(__doc__)


main()
