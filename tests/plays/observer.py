"""Writes down what happens to addresses on several hosts, with the time of one clock.

    observer.py watch DIRECTORY HOST:PID:LOG...   address lists of network namespaces, and vipd's logs
    observer.py ask DIRECTORY ADDRESS...          a client that asks each address every 2 ms
    observer.py mark DIRECTORY JSON               what the play itself does or knows

Each line of the files is one JSON object with `t`, seconds of CLOCK_MONOTONIC; `invariants.py` reads
them. The kernel tells one socket of all namespaces, in the order in which the changes were made, so
an overlap of any length is seen.
"""

import json
import os
import select
import socket
import struct
import sys
import time

SOL_NETLINK, NETLINK_LISTEN_ALL_NSID = 270, 8
RTM_NEWADDR, RTM_DELADDR, RTM_NEWNSID, RTM_GETNSID = 20, 21, 88, 90
NETNSA_NSID, NETNSA_PID = 1, 2
RTMGRP_IPV4_IFADDR = 0x10
IFA_LOCAL, IFA_PROTO = 2, 11
TAG = 0x57  # vipd's IFA_PROTO

PORT = 7777


class Trace:
    def __init__(self, directory, name):
        self.file = open(os.path.join(directory, name), "a", buffering=1)

    def write(self, **event):
        self.file.write(json.dumps({"t": time.monotonic(), **event}) + "\n")


def attributes(message, at):
    while at + 4 <= len(message):
        size, kind = struct.unpack_from("=HH", message, at)
        yield kind, message[at + 4 : at + size]
        at += max(4, (size + 3) & ~3)


def messages(datagram):
    while len(datagram) >= 16:
        length, kind = struct.unpack_from("=IH", datagram)
        yield kind, datagram[:length]
        datagram = datagram[(length + 3) & ~3 :]


def namespace_id(route, pid):
    """The number by which this namespace knows a process's one; it gets one if it has none."""

    def ask(kind, number):
        body = struct.pack("=B3x", 0) + struct.pack("=HHI", 8, NETNSA_PID, pid)
        if number is not None:
            body += struct.pack("=HHi", 8, NETNSA_NSID, number)
        route.send(struct.pack("=IHHII", 16 + len(body), kind, 1 | 4, 1, 0) + body)
        found = None
        while True:
            for kind_of, message in messages(route.recv(65536)):
                if kind_of == 2:  # NLMSG_ERROR, of which 0 is the acknowledgement
                    return found
                for attribute, value in attributes(message, 20):
                    if attribute == NETNSA_NSID:
                        found = struct.unpack("=i", value)[0]

    number = ask(RTM_GETNSID, None)
    if number is None or number < 0:
        ask(RTM_NEWNSID, -1)
        number = ask(RTM_GETNSID, None)
    return number


def watch(directory, hosts):
    kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    hosts = [host.split(":", 2) for host in hosts]
    numbers = {}
    for host, pid, _ in hosts:
        numbers[namespace_id(kernel, int(pid))] = int(host)
    events = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    events.setsockopt(SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, 1)
    events.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    events.bind((0, RTMGRP_IPV4_IFADDR))
    logs = [(int(host), open(path, "r")) for host, _, path in hosts]
    trace = Trace(directory, "hosts.jsonl")
    held = set()
    Trace(directory, "watch.ready")
    while True:
        select.select([events], [], [], 0.002)
        changes(events, numbers, held, trace)
        for host, log in logs:
            for line in log.read().splitlines():
                write_line(trace, host, line)


def changes(events, numbers, held, trace):
    """Takes what the kernel has told; an address that only lasts longer is no change."""
    while True:
        try:
            datagram, control, _, _ = events.recvmsg(65536, 64)
        except BlockingIOError:
            return
        number = None
        for level, kind, data in control:
            if (level, kind) == (SOL_NETLINK, NETLINK_LISTEN_ALL_NSID):
                number = struct.unpack("=i", data)[0]
        for kind, message in messages(datagram):
            found = dict(attributes(message, 24))
            if number not in numbers or found.get(IFA_PROTO) != bytes([TAG]):
                continue
            address = socket.inet_ntoa(found[IFA_LOCAL])
            key = (numbers[number], address)
            if kind == RTM_NEWADDR and key not in held:
                held.add(key)
                trace.write(event="add", host=key[0], address=address)
            elif kind == RTM_DELADDR and key in held:
                held.remove(key)
                trace.write(event="gone", host=key[0], address=address)


def write_line(trace, host, line):
    words = line.split()
    if len(words) < 2 or words[0] != "vipd:":
        return
    fields = dict(word.split("=", 1) for word in words[2:] if "=" in word)
    trace.write(event="log", host=host, word=words[1], **{k: v.strip('"') for k, v in fields.items()})


def ask(directory, addresses):
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.setblocking(False)
    trace = Trace(directory, "client.jsonl")
    answered = set()
    while True:
        begin = time.monotonic()
        for address in addresses:
            try:
                client.sendto(b"?", (address, PORT))
            except OSError:
                pass
        while select.select([client], [], [], max(0, begin + 0.002 - time.monotonic()))[0]:
            try:
                name, (address, _) = client.recvfrom(64)
            except OSError:
                continue
            trace.write(event="answer", address=address, host=int(name))
            if address not in answered:
                answered.add(address)
                if len(answered) == len(addresses):
                    Trace(directory, "ask.ready")


if __name__ == "__main__":
    role, directory = sys.argv[1:3]
    if role == "watch":
        watch(directory, sys.argv[3:])
    elif role == "ask":
        ask(directory, sys.argv[3:])
    else:
        Trace(directory, "play.jsonl").write(**json.loads(sys.argv[3]))
