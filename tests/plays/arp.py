"""Listens to ARP on an interface and says what must hold of the notices of vipd's Notify list.

    arp.py record INTERFACE FILE                  a JSON line for each frame, until it is ended
    arp.py told FILE MAC ADDRESS TO               exit 0 if MAC has told TO, by unicast, of ADDRESS
    arp.py paced FILE MAC ADDRESS PREFIX COUNT RATE
                                                  exit 0 if MAC has told COUNT hosts whose MAC begins
                                                  with PREFIX of ADDRESS, at most RATE in a second
    arp.py last FILE MAC ADDRESS                  when MAC has last spoken of ADDRESS, by CLOCK_MONOTONIC
"""

import json
import socket
import struct
import sys
import time

SOL_PACKET, PACKET_ADD_MEMBERSHIP, ETH_P_ARP = 263, 1, 0x0806


def record(interface, path):
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ARP))
    tap.bind((interface, ETH_P_ARP))
    # PACKET_MR_PROMISC: what is sent to hosts that are not there passes here too.
    index = socket.if_nametoindex(interface)
    tap.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, struct.pack("iHH8s", index, 1, 0, b""))
    with open(path, "w", buffering=1) as file:
        open(path + ".ready", "w").close()
        while True:
            frame = tap.recv(2048)
            if len(frame) < 42:
                continue
            file.write(json.dumps({
                "t": time.monotonic(),
                "to": frame[:6].hex(":"),
                "from": frame[6:12].hex(":"),
                "operation": frame[21],
                "sender": socket.inet_ntoa(frame[28:32]),
                "target": socket.inet_ntoa(frame[38:42]),
            }) + "\n")


def notices(path, mac, address):
    """The frames by which a host tells single others that it has an address."""
    with open(path) as file:
        for frame in map(json.loads, file):
            if frame["from"] == mac and frame["sender"] == address and frame["to"] != "ff:ff:ff:ff:ff:ff":
                yield frame


def paced(path, mac, address, prefix, count, rate):
    first = {}
    for frame in notices(path, mac, address):
        if frame["to"].startswith(prefix):
            first.setdefault(frame["to"], frame["t"])
    times = sorted(first.values())
    # A busy machine may send late, so a second's frames may come close to the next one's; but
    # none comes before its second.
    early = [n for n, t in enumerate(times) if t - times[0] < n // rate - 0.1]
    print(f"{len(times)} told in {times[-1] - times[0] if times else 0:.2f} s, {len(early)} too early")
    return len(times) == count and not early


if __name__ == "__main__":
    command, path, *rest = sys.argv[1:]
    if command == "record":
        record(path, *rest)
    elif command == "told":
        mac, address, to = rest
        wanted = [f for f in notices(path, mac, address)
                  if f["to"] == to and f["operation"] == 1 and f["target"] == address]
        sys.exit(0 if wanted else 1)
    elif command == "paced":
        mac, address, prefix, count, rate = rest
        sys.exit(0 if paced(path, mac, address, prefix, int(count), int(rate)) else 1)
    else:
        print(max((f["t"] for f in notices(path, *rest)), default=0))
