"""Helpers of takeover.sh: a responder, a client that measures, an observer of address lists."""

import ctypes
import os
import select
import socket
import struct
import sys
import time

PORT = 7777


def respond(name):
    """Answers every datagram with this host's name."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    # The answer must come from the address that was asked.
    server.setsockopt(socket.IPPROTO_IP, 8, 1)  # IP_PKTINFO
    server.bind(("", PORT))
    while True:
        _, control, _, peer = server.recvmsg(64, 64)
        try:
            server.sendmsg([name.encode()], control, 0, peer)
        except OSError:
            pass  # the address has just gone


def ask(address, stop):
    """Asks an address every 2 ms; prints the longest gap and who answered."""
    answers = []
    last, gap = time.monotonic(), 0.0
    while not os.path.exists(stop):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(0.002)
            begin = time.monotonic()
            try:
                client.sendto(b"?", (address, PORT))
                name = client.recv(64).decode()
                now = time.monotonic()
                gap = max(gap, now - last)
                last = now
                if not answers or answers[-1] != name:
                    if not answers:
                        gap = 0.0
                        open(stop + ".ready", "w").close()
                    answers.append(name)
            except OSError:
                pass
            time.sleep(max(0.0, begin + 0.002 - time.monotonic()))
    gap = max(gap, time.monotonic() - last)
    hosts = " then ".join("host" + name for name in answers)
    print(f"   client: {address} answered by {hosts}, longest gap {gap * 1000:.0f} ms", flush=True)
    sys.exit(0 if answers else 1)


def watch(path, anchors):
    """Follows the address lists of hosts; writes down each address that two have at once.

    The kernel queues a host's change before it returns from making it. So when an addition is read
    here, a removal that went before it is in its host's queue already, and is read before judging.
    """
    monitors = [monitor(anchor) for anchor in anchors]
    holders = {}
    open(path + ".ready", "w").close()
    while True:
        ready, _, _ = select.select(monitors, [], [])
        added = set()
        for one in ready:
            added |= follow(one, holders)
        for one in monitors:
            added |= follow(one, holders)
        for address in added:
            if len(holders[address]) > 1:
                with open(path, "a") as twice:
                    twice.write(f"{address} on {len(holders[address])} hosts\n")


def monitor(anchor):
    """A socket that hears of the IPv4 addresses of a process's network namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/proc/{anchor}/ns/net") as namespace:
        if libc.setns(namespace.fileno(), 0x40000000) != 0:  # CLONE_NEWNET
            raise OSError(ctypes.get_errno(), "setns")
    one = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    one.bind((0, 0x10))  # RTMGRP_IPV4_IFADDR
    return one


def follow(one, holders):
    """Takes all that a socket has heard; gives the addresses that were added."""
    added = set()
    while True:
        try:
            datagram = one.recv(65536)
        except BlockingIOError:
            return added
        while len(datagram) >= 16:
            length, kind = struct.unpack_from("=IH", datagram)
            message, datagram = datagram[:length], datagram[(length + 3) & ~3 :]
            at = 24  # behind nlmsghdr and ifaddrmsg
            while at + 4 <= len(message):
                size, attribute = struct.unpack_from("=HH", message, at)
                if attribute == 2:  # IFA_LOCAL
                    address = socket.inet_ntoa(message[at + 4 : at + 8])
                    of = holders.setdefault(address, set())
                    if kind == 20:  # RTM_NEWADDR
                        of.add(one)
                        added.add(address)
                    else:
                        of.discard(one)
                at += max(4, (size + 3) & ~3)


if __name__ == "__main__":
    if sys.argv[1] == "respond":
        respond(sys.argv[2])
    elif sys.argv[1] == "ask":
        ask(sys.argv[2], sys.argv[3])
    else:
        watch(sys.argv[2], sys.argv[3:])
