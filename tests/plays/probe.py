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


def ask(address, stop, staying=None):
    """Asks an address every 2 ms; prints the longest gap, who answered, and the client's own pause.

    That is the longest time between two questions: on a busy machine a gap cannot be told from it.
    An address that stays where it is, if one is given, is asked beside: its longest gap is what
    the machine alone has done to the client, the network and those who answer.
    """
    wanted = [address] + ([staying] if staying else [])
    last = dict.fromkeys(wanted)
    gaps = dict.fromkeys(wanted, 0.0)
    answers, pause, asked, is_ready = [], 0.0, None, False
    while not os.path.exists(stop):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            begin = time.monotonic()
            pause = max(pause, begin - (asked or begin))
            asked = begin
            for one in wanted:
                try:
                    client.sendto(b"?", (one, PORT))
                except OSError:
                    pass
            silent = set(wanted)
            while silent and (left := begin + 0.002 - time.monotonic()) > 0:
                client.settimeout(left)
                try:
                    data, (one, _) = client.recvfrom(64)
                except OSError:
                    break
                now = time.monotonic()
                gaps[one] = max(gaps[one], now - (last[one] or now))
                last[one] = now
                silent.discard(one)
                if one == address and (not answers or answers[-1] != data.decode()):
                    answers.append(data.decode())
            if not is_ready and None not in last.values():
                is_ready, pause = True, 0.0
                gaps = dict.fromkeys(wanted, 0.0)
                open(stop + ".ready", "w").close()
        time.sleep(max(0.0, begin + 0.002 - time.monotonic()))
    now = time.monotonic()
    gaps = {one: max(gap, now - (last[one] or now)) * 1000 for one, gap in gaps.items()}
    hosts = " then ".join("host" + name for name in answers)
    beside = f", gap of {staying} {gaps[staying]:.0f} ms" if staying else ""
    print(f"   client: {address} answered by {hosts}, longest gap {gaps[address]:.0f} ms, "
          f"its own longest pause {pause * 1000:.0f} ms{beside}", flush=True)
    sys.exit(0 if answers else 1)


def ask_all(count):
    """Asks many addresses until the holder of some of them has changed and all answer again.

    Prints the time from the last round that all answered to the first that all answer again: each
    address has answered from a host that held none of the lost ones before.
    """
    addresses = [f"10.77.{100 + n // 250}.{n % 250 + 1}" for n in range(count)]
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    client.setblocking(False)

    def round_of(pending, answers, seconds):
        end = time.monotonic() + seconds
        for at, address in enumerate(pending):
            try:
                client.sendto(b"?", (address, PORT))
            except OSError:
                pass
            if at % 50 == 49:
                collect(answers)
        while time.monotonic() < end and len(answers) < count:
            if select.select([client], [], [], 0.005)[0]:
                collect(answers)

    def collect(answers):
        while True:
            try:
                data, peer = client.recvfrom(64)
            except OSError:
                return
            answers[peer[0]] = data.decode()

    before = {}
    end = time.monotonic() + 15
    while len(before) < count and time.monotonic() < end:
        round_of([a for a in addresses if a not in before], before, 0.1)
    if len(before) < count:
        sys.exit(f"only {len(before)} of {count} answer")
    lost = [a for a, name in before.items() if name == "1"]
    print("ready", flush=True)
    begin = None
    last = time.monotonic()
    after = {a: name for a, name in before.items() if name != "1"}
    end = last + 30
    while len(after) < count and time.monotonic() < end:
        seen = {}
        round_of([a for a in lost if a not in after], seen, 0.02)
        now = time.monotonic()
        moved = {a: name for a, name in seen.items() if name != "1"}
        still = [a for a, name in seen.items() if name == "1"]
        if begin is None and len(still) == len(lost):
            last = now
        elif begin is None:
            begin = last
        after.update(moved)
    if len(after) < count:
        sys.exit(f"only {len(after)} of {count} answer again")
    print(f"all {count} answer after {(time.monotonic() - begin) * 1000:.0f} ms", flush=True)


def watch(path, anchors):
    """Follows the address lists of hosts; writes down each address that two have at once.

    The kernel queues a host's change before it returns from making it. So when an addition is read
    here, a removal that went before it is in its host's queue already, and is read before judging:
    all queues are read until one round of them has no addition, as what the last round adds may
    have been removed where that round had been before.
    """
    monitors = [monitor(anchor) for anchor in anchors]
    holders = {}
    open(path + ".ready", "w").close()
    while True:
        select.select(monitors, [], [])
        added = set()
        while more := set().union(*(follow(one, holders) for one in monitors)):
            added |= more
        for address in added:
            if len(holders[address]) > 1:
                with open(path, "a") as twice:
                    twice.write(f"{address} on {len(holders[address])} hosts\n")


def monitor(anchor):
    """A socket that hears of the addresses of a process's network namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/proc/{anchor}/ns/net") as namespace:
        if libc.setns(namespace.fileno(), 0x40000000) != 0:  # CLONE_NEWNET
            raise OSError(ctypes.get_errno(), "setns")
    one = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    # Of a thousand addresses each refresh is heard.
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    one.bind((0, 0x10 | 0x100))  # RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR
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
            if kind not in (20, 21):  # RTM_NEWADDR, RTM_DELADDR
                continue
            family = message[16]
            named = 2 if family == socket.AF_INET else 1  # IFA_LOCAL, IFA_ADDRESS
            at = 24  # behind nlmsghdr and ifaddrmsg
            while at + 4 <= len(message):
                size, attribute = struct.unpack_from("=HH", message, at)
                if attribute == named:
                    address = socket.inet_ntop(family, message[at + 4 : at + size])
                    of = holders.setdefault(address, set())
                    if kind == 20:
                        of.add(one)
                        added.add(address)
                    else:
                        of.discard(one)
                at += max(4, (size + 3) & ~3)


if __name__ == "__main__":
    if sys.argv[1] == "respond":
        respond(sys.argv[2])
    elif sys.argv[1] == "ask":
        ask(*sys.argv[2:])
    elif sys.argv[1] == "all":
        ask_all(int(sys.argv[2]))
    else:
        watch(sys.argv[2], sys.argv[3:])
