#!/usr/bin/env python3
"""Byte vectors of the Spread client protocol, sent to a running daemon.

    vectors.py SOCKET [--tcp PORT@HOST] --daemon-name NAME [--only TEXT]

Every row is built from raw bytes here, never by a client library, and sent
once in one write and once byte by byte. Prints one line per row and exits
with 1 if any failed. The daemon must have no other sessions in the groups
grp1 and jg, and must offer exactly the method NULL.
"""

import argparse
import contextlib
import fcntl
import itertools
import os
import re
import select
import socket
import struct
import sys
import termios

from spread_client import Deadline, open_socket

TIMEOUT = 5.0
SETUP_TIMEOUT = 10.0

MARK = bytes.fromhex("80000080")  # a hint that holds the marker only
NULL_90 = b"NULL" + bytes(86)
LIST = b"\x05NULL "
LE, BE = "<", ">"


class Mismatch(Exception):
    """The daemon did not do what the row says."""

    def __init__(self, expected, got, index=None):
        where = "" if index is None else f"first difference at byte {index}: "
        super().__init__(f"{where}expected {show(expected)} got {show(got)}")


class Abandoned(Exception):
    """A row failed and has been reported; the rows after it cannot be sent."""


class AnyBytes:
    """A stretch of bytes that may hold anything (a group id)."""

    def __init__(self, size):
        self.size = size


def show(value):
    """Bytes as hex, cut when long; anything else as it is."""
    if isinstance(value, list):
        return " ".join(f"<any {part.size}>" if isinstance(part, AnyBytes) else show(part) for part in value)
    if not isinstance(value, bytes):
        return str(value)
    if not value:
        return "(no bytes)"
    text = value[:240].hex(" ")
    return text + (f" ... ({len(value)} bytes)" if len(value) > 240 else "")


def field(name):
    """A 32-byte name field."""
    return name.ljust(32, b"\0")


# --- the raw connection -----------------------------------------------------


class Wire:
    """A socket that sends and compares bytes, every wait with a deadline."""

    def __init__(self, address, bytewise):
        self.sock = open_socket(address, TIMEOUT)
        self.bytewise = bytewise

    def readable(self, seconds):
        """True if bytes, or the end, arrive within `seconds`."""
        return bool(select.select([self.sock], [], [], seconds)[0])

    def put(self, data):
        """Send in one write."""
        self.sock.settimeout(TIMEOUT)
        with contextlib.suppress(ConnectionError):
            self.sock.sendall(data)

    def send(self, data):
        """Send as the mode of the row says; stops early once the daemon answers."""
        if not self.bytewise:
            self.put(data)
            return
        self.sock.settimeout(TIMEOUT)
        for i in range(len(data)):
            try:
                self.sock.sendall(data[i : i + 1])
            except ConnectionError:
                return
            if i + 1 < len(data) and self._answered_before_taking():
                return

    def _answered_before_taking(self):
        """Let the daemon take the last byte before the next; True if it answers first.

        On a Unix socket the queue is empty once the daemon has read it; on TCP
        once the byte has been acknowledged, which is weaker.
        """
        for attempt in range(200):
            if self.readable(0.001 if attempt > 100 else 0):
                return True
            try:
                queued = fcntl.ioctl(self.sock, termios.TIOCOUTQ, bytes(4))
            except OSError:
                return False
            if queued == bytes(4):
                return False
            os.sched_yield()
        return False

    def read(self, size):
        """Up to `size` bytes: fewer only at the end of the stream or the deadline."""
        deadline, got = Deadline(TIMEOUT), b""
        with contextlib.suppress(TimeoutError, ConnectionError):
            while len(got) < size:
                self.sock.settimeout(deadline.left())
                data = self.sock.recv(size - len(got))
                if not data:
                    break
                got += data
        return got

    def read_once(self):
        """What one read gives, as libspread reads."""
        self.sock.settimeout(TIMEOUT)
        with contextlib.suppress(TimeoutError, ConnectionError):
            return self.sock.recv(4096)
        return b""

    def expect(self, *parts):
        """The next bytes equal `parts`; AnyBytes matches anything. Returns them."""
        size = sum(part.size if isinstance(part, AnyBytes) else len(part) for part in parts)
        got = self.read(size)
        at = 0
        for part in parts:
            end = at + (part.size if isinstance(part, AnyBytes) else len(part))
            if isinstance(part, bytes):
                for index, (wanted, byte) in enumerate(itertools.zip_longest(part, got[at:end]), at):
                    if wanted != byte:
                        raise Mismatch(list(parts), got, index)
            elif len(got) < end:
                raise Mismatch(list(parts), got, len(got))
            at = end
        return got

    def expect_match(self, pattern, size):
        """The next `size` bytes match the regular expression."""
        got = self.read(size)
        if not re.fullmatch(pattern, got, re.DOTALL):
            raise Mismatch(f"{pattern!r}", repr(got))

    def expect_closed(self, *allowed):
        """These bytes (default: none), then the end of the stream."""
        deadline, got, closed = Deadline(TIMEOUT), b"", False
        with contextlib.suppress(TimeoutError):
            while not closed:
                self.sock.settimeout(deadline.left())
                try:
                    data = self.sock.recv(4096)
                except ConnectionError:
                    data = b""
                closed = not data
                got += data
        allowed = allowed or (b"",)
        if not closed or got not in allowed:
            wanted = " or ".join(show(option) for option in allowed)
            raise Mismatch(f"{wanted}, then closed", f"{show(got)}, then {'closed' if closed else 'still open'}")

    def half_close(self):
        """Say that nothing more will be sent."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)

    def finish(self):
        """End the session and wait until the daemon has closed it, so that its name is free."""
        self.half_close()
        deadline = Deadline(TIMEOUT)
        with contextlib.suppress(OSError, TimeoutError):
            while True:
                self.sock.settimeout(deadline.left())
                if not self.sock.recv(65536):
                    break
        self.sock.close()


def message(order, kind, sender, groups=(), data=b"", hint=None, num_groups=None, data_len=None):
    """A client message; the counts can be made to lie."""
    mark = 0x80000080 if order == LE else 0
    num_groups = len(groups) if num_groups is None else num_groups
    data_len = len(data) if data_len is None else data_len
    return (
        struct.pack(order + "I", kind | mark)
        + field(sender)
        + struct.pack(order + "i", num_groups)
        + (struct.pack(order + "I", mark) if hint is None else hint)
        + struct.pack(order + "i", data_len)
        + b"".join(map(field, groups))
        + data
    )


class Session:
    """A wire after its handshake."""

    def __init__(self, wire, private, order):
        self.wire = wire
        self.private = private
        self.order = order

    def message(self, kind, groups=(), data=b"", **lies):
        """A message of this session in its byte order."""
        return message(self.order, kind, self.private, groups, data, **lies)

    def expect_nothing_else(self, text=b"only this"):
        """A private message to oneself is the very next thing delivered."""
        self.wire.put(self.message(0x10, [self.private], text))
        hint = MARK if self.order == LE else bytes(4)
        self.wire.expect(message(LE, 0x10, self.private, [self.private], text, hint=hint))


class Bench:
    """Runs rows over one transport and in one mode, and counts."""

    def __init__(self, daemon, only):
        self.daemon = daemon
        self.only = only
        self.passed = self.failed = 0
        self.address = self.prefix = ""
        self.bytewise = False
        self.open_wires = []

    @contextlib.contextmanager
    def row(self, name):
        """Report one row: what runs inside must raise nothing."""
        opened_before = len(self.open_wires)
        try:
            yield
        except (Mismatch, OSError) as problem:
            for wire in self.open_wires[opened_before:]:
                wire.finish()
            self.failed += 1
            print(f"FAIL {self.prefix}{name}: {problem}", flush=True)
            raise Abandoned from problem
        self.passed += 1
        print(f"ok {self.prefix}{name}", flush=True)

    def wire(self, bytewise=None):
        """A fresh connection, closed at the end of the vector."""
        wire = Wire(self.address, self.bytewise if bytewise is None else bytewise)
        self.open_wires.append(wire)
        return wire

    def private(self, name):
        """The private group that the daemon gives to `name`."""
        return b"#" + name + b"#" + self.daemon

    def accept(self, name, version=b"\x04\x04\x00"):
        """The bytes that accept `name`."""
        private = self.private(name)
        return b"\x01" + version + bytes([len(private)]) + private

    def session(self, name, order=LE, flags=1):
        """A session opened in single writes, as the ground for a row."""
        deadline = Deadline(SETUP_TIMEOUT)
        while True:
            wire = self.wire()
            wire.put(bytes([4, 4, 0, flags, len(name)]) + name)
            if (first := wire.read(1)) != b"\xfa":
                break
            wire.finish()
            deadline.left()
        if first != LIST[:1]:
            raise Mismatch(LIST, first)
        wire.expect(LIST[1:])
        wire.put(NULL_90)
        wire.expect(self.accept(name))
        return Session(wire, self.private(name), order)

    def run(self, vector):
        """Run one vector in the present mode and close its connections."""
        try:
            with contextlib.suppress(Abandoned):
                vector(self)
        finally:
            for wire in self.open_wires:
                wire.finish()
            self.open_wires.clear()


# --- section 2.2 --------------------------------------------------------------


def capture_little(bench):
    """The session of a C client."""
    me = bench.private(b"alice")
    with bench.row("2.2 C client: greeting"):
        wire = bench.wire()
        wire.send(bytes.fromhex("04 04 00 01 05 61 6c 69 63 65"))
        wire.expect(bytes.fromhex("05 4e 55 4c 4c 20"))
    with bench.row("2.2 C client: auth"):
        wire.send(bytes.fromhex("4e 55 4c 4c") + bytes(86))
        wire.expect(bytes.fromhex("01 04 04 00") + bytes([len(me)]) + me)
    with bench.row("2.2 C client: join"):
        wire.send(bytes.fromhex("80 00 01 80") + field(me)
                  + bytes.fromhex("01 00 00 00 80 00 00 80 00 00 00 00") + field(b"grp1"))
        wire.expect(bytes.fromhex("80 11 00 80") + field(b"grp1")
                    + bytes.fromhex("01 00 00 00 80 00 00 80 38 00 00 00") + field(me),
                    AnyBytes(12),
                    bytes.fromhex("01 00 00 00 00 00 00 00 01 00 00 00") + field(me))
    with bench.row("2.2 C client: SAFE multicast"):
        same = (bytes.fromhex("a0 00 00 80") + field(me)
                + bytes.fromhex("01 00 00 00 80 01 00 80 06 00 00 00") + field(b"grp1") + b"hello\n")
        wire.send(same)
        wire.expect(same)
    with bench.row("2.2 C client: leave"):
        wire.send(bytes.fromhex("80 00 02 80") + field(me)
                  + bytes.fromhex("01 00 00 00 80 00 00 80 00 00 00 00") + field(b"grp1"))
        wire.expect(bytes.fromhex("80 02 00 80") + field(b"grp1")
                    + bytes.fromhex("00 00 00 00 80 00 00 80 00 00 00 00"))
    with bench.row("2.2 C client: disconnect"):
        wire.send(bytes.fromhex("80 00 04 80") + field(me)
                  + bytes.fromhex("01 00 00 00 80 00 00 80 00 00 00 00") + field(me))
        wire.expect_closed()


def capture_big(bench):
    """The session of the Java client, always big-endian; answers are little-endian."""
    me = bench.private(b"jay")
    with bench.row("2.2 Java client: greeting"):
        wire = bench.wire()
        wire.send(bytes.fromhex("04 04 00 01 03 6a 61 79"))
        wire.expect(LIST)
    with bench.row("2.2 Java client: auth"):
        wire.send(NULL_90)
        wire.expect(bytes.fromhex("01 04 04 00") + bytes([len(me)]) + me)
    with bench.row("2.2 Java client: join"):
        wire.send(bytes.fromhex("00 01 00 00") + field(me)
                  + bytes.fromhex("00 00 00 01 00 00 00 00 00 00 00 00") + field(b"jg"))
        wire.expect(bytes.fromhex("80 11 00 80") + field(b"jg")
                    + bytes.fromhex("01 00 00 00 80 00 00 80 38 00 00 00") + field(me),
                    AnyBytes(12),
                    bytes.fromhex("01 00 00 00 00 00 00 00 01 00 00 00") + field(me))
    with bench.row("2.2 Java client: SAFE multicast"):
        wire.send(bytes.fromhex("00 00 00 20") + field(me)
                  + bytes.fromhex("00 00 00 01 00 00 07 00 00 00 00 02") + field(b"jg") + b"hi")
        wire.expect(bytes.fromhex("a0 00 00 80") + field(me)
                    + bytes.fromhex("01 00 00 00 00 00 07 00 02 00 00 00") + field(b"jg") + b"hi")
    with bench.row("3.2 Java client: FIFO to itself, mess_type 0x1234"):
        wire.send(bytes.fromhex("00 00 00 04") + field(me)
                  + bytes.fromhex("00 00 00 01 00 12 34 00 00 00 00 02") + field(me) + b"hi")
        wire.expect(bytes.fromhex("84 00 00 80") + field(me)
                    + bytes.fromhex("01 00 00 00 00 12 34 00 02 00 00 00") + field(me) + b"hi")
    with bench.row("2.2 Java client: leave"):
        wire.send(bytes.fromhex("00 02 00 00") + field(me)
                  + bytes.fromhex("00 00 00 01 00 00 00 00 00 00 00 00") + field(b"jg"))
        wire.expect(bytes.fromhex("80 02 00 80") + field(b"jg")
                    + bytes.fromhex("00 00 00 00 80 00 00 80 00 00 00 00"))
    with bench.row("2.2 Java client: disconnect"):
        wire.send(bytes.fromhex("00 04 00 00") + field(me)
                  + bytes.fromhex("00 00 00 01 00 00 00 00 00 00 00 00") + field(me))
        wire.expect_closed()


# --- section 10.1: handshake --------------------------------------------------


def refused_greetings(bench):
    """Greetings that get one reject byte and a close."""
    rows = [
        ("version 2.0", "02 00 00 01 00", "f9"),
        ("version 3.0", "03 00 00 01 00", "f9"),
        ("version 3.0 with a name", "03 00 01 03 61 62 63", "f9"),
        ("major 128", "80 04 00 01 00", "f9"),
        ("major 255", "ff 04 00 01 00", "f9"),
        ("name of 11 bytes", "04 04 00 01 0b" + "61" * 11, "fb"),
        ("name length ff", "04 04 00 01 ff", "fb"),
    ]
    for bad in ("23", "20", "22", "21", "7f", "80"):
        rows.append((f"name with byte {bad}", f"04 04 00 01 03 61 {bad} 62", "fb"))
    for name, greeting, code in rows:
        with contextlib.suppress(Abandoned), bench.row(f"10.1 {name}"):
            wire = bench.wire()
            wire.send(bytes.fromhex(greeting))
            wire.expect_closed(bytes.fromhex(code))


def surplus_greeting(bench):
    """One byte too many; a byte at a time it would be the first byte of the auth step."""
    if bench.bytewise:
        return
    with bench.row("10.1 greeting + 1 extra byte"):
        wire = bench.wire()
        wire.put(bytes.fromhex("04 04 00 01 03 61 62 63 78"))
        wire.expect_closed(b"\xfb")


def short_greeting(bench):
    """A name shorter than its length: the handshake is buffered, so only the end refuses it."""
    with contextlib.suppress(Abandoned), bench.row("10.1 name shorter than its length, then end"):
        wire = bench.wire()
        wire.send(bytes.fromhex("04 04 00 01 05 61 62 63"))
        wire.half_close()
        wire.expect_closed(b"\xfb", b"")
    with bench.row("10 name shorter than its length, then the rest"):
        wire = bench.wire()
        wire.send(bytes.fromhex("04 04 00 01 05 73 70 6c"))
        wire.send(b"it")
        wire.expect(LIST)
        wire.send(NULL_90)
        wire.expect(bench.accept(b"split"))


def both_orders(bench, wire, name):
    """Whatever version was announced, each message may be of either order."""
    for order in (BE, LE):
        session = Session(wire, bench.private(name), order)
        wire.send(session.message(0x10000, [b"ordergrp"]))
        wire.expect(bytes.fromhex("80 11 00 80") + field(b"ordergrp"), AnyBytes(12 + 32 + 56))
        wire.send(session.message(0x20000, [b"ordergrp"]))
        wire.expect(bytes.fromhex("80 02 00 80") + field(b"ordergrp")
                    + bytes.fromhex("00 00 00 00 80 00 00 80 00 00 00 00"))
        session.expect_nothing_else()


def old_versions(bench):
    """Versions below 3.16: no auth step; up to 3.14 no patch byte."""
    rows = [
        ("version 3.1", "03 01 01 03", b"\x04\x04"),
        ("version 3.14", "03 0e 01 03", b"\x04\x04"),
        ("version 3.15", "03 0f 00 01 03", b"\x04\x04\x00"),
    ]
    for name, start, version in rows:
        with contextlib.suppress(Abandoned), bench.row(f"10.1 {name}"):
            wire = bench.wire()
            wire.send(bytes.fromhex(start) + b"abc")
            wire.expect(bench.accept(b"abc", version))
            both_orders(bench, wire, b"abc")
            wire.finish()


def new_versions(bench):
    """Versions from 3.16 on: the auth step."""
    for name, version in (("3.16", "03 10 00"), ("4.1.0", "04 01 00"), ("5.0.1", "05 00 01"), ("9.9.9", "09 09 09")):
        with contextlib.suppress(Abandoned), bench.row(f"10.1 version {name}"):
            wire = bench.wire()
            wire.send(bytes.fromhex(version) + b"\x01\x03abc")
            wire.expect(LIST)
            wire.send(NULL_90)
            wire.expect(bench.accept(b"abc"))
            both_orders(bench, wire, b"abc")
            wire.finish()


def accepted_names(bench):
    """The ends of the alphabet, the longest name, and no name."""
    for name in (b"$~", b"abcdefghij"):
        with contextlib.suppress(Abandoned), bench.row(f"10.1 name {name.decode()}"):
            wire = bench.wire()
            wire.send(bytes([4, 4, 0, 1, len(name)]) + name)
            wire.expect(LIST)
            wire.send(NULL_90)
            wire.expect(bench.accept(name))
    with bench.row("10.1 no name: one is invented"):
        wire = bench.wire()
        wire.send(bytes.fromhex("04 04 00 01 00"))
        wire.expect(LIST)
        wire.send(NULL_90)
        size = wire.expect(b"\x01\x04\x04\x00", AnyBytes(1))[4]
        wire.expect_match(rb"#(?=[^#]{1,9}#)r\d{1,4}-\d*#" + re.escape(bench.daemon), size)


def same_name_twice(bench):
    """The second session of a name is refused and the first lives on."""
    with bench.row("10.1 same name twice"):
        first = bench.session(b"twice")
        wire = bench.wire()
        wire.send(bytes.fromhex("04 04 00 01 05") + b"twice")
        wire.expect_closed(b"\xfa")
        first.expect_nothing_else()


def flags(bench):
    """Odd flags mean membership messages; the high nibble does not matter."""
    for value, wanted in ((0x10, False), (0xFF, True), (0x00, False), (0x11, True)):
        word = "membership" if wanted else "no membership"
        with contextlib.suppress(Abandoned), bench.row(f"10.1 flags {value:02x}: {word}"):
            wire = bench.wire()
            wire.send(bytes([4, 4, 0, value, 5]) + b"flags")
            wire.expect(LIST)
            wire.send(NULL_90)
            wire.expect(bench.accept(b"flags"))
            session = Session(wire, bench.private(b"flags"), LE)
            wire.send(session.message(0x10000, [b"flaggrp"]))
            if wanted:
                wire.expect(bytes.fromhex("80 11 00 80") + field(b"flaggrp"), AnyBytes(12 + 32 + 56))
            session.expect_nothing_else()
            wire.finish()


def auth_replies(bench):
    """Choices of method, good and bad."""
    rows = [
        ("IP", b"IP".ljust(90, b"\0")),
        ("FOO", b"FOO".ljust(90, b"\0")),
        ("all zero", bytes(90)),
        ("NULL and IP", b"NULL".ljust(30, b"\0") + b"IP".ljust(60, b"\0")),
    ]
    for name, reply in rows:
        with contextlib.suppress(Abandoned), bench.row(f"10.1 auth {name}"):
            wire = bench.wire()
            wire.send(b"\x04\x04\x00\x01\x04auth")
            wire.expect(LIST)
            wire.send(reply)
            wire.expect_closed(b"\xf7")
    with contextlib.suppress(Abandoned), bench.row("10.1 auth reply shorter than 90, then end"):
        wire = bench.wire()
        wire.send(b"\x04\x04\x00\x01\x04auth")
        wire.expect(LIST)
        wire.send(NULL_90[:89])
        wire.half_close()
        wire.expect_closed(b"\xf7", b"")
    with bench.row("10.1 auth NULL in all three slots"):
        wire = bench.wire()
        wire.send(b"\x04\x04\x00\x01\x05three")
        wire.expect(LIST)
        wire.send(b"NULL".ljust(30, b"\0") * 3)
        wire.expect(bench.accept(b"three"))


def split_handshake(bench):
    """Two writes per step must work, and each answer must come whole in one read."""
    if bench.bytewise:
        return
    with bench.row("10 greeting and auth in two writes, answers in one read each"):
        wire = bench.wire(bytewise=False)
        for step, cut, answer in (
            (b"\x04\x04\x00\x01\x06halves", 3, LIST),
            (NULL_90, 45, bench.accept(b"halves")),
        ):
            wire.put(step[:cut])
            wire.put(step[cut:])
            if (got := wire.read_once()) != answer:
                raise Mismatch(answer, got)


# --- section 10.1: messages -----------------------------------------------------


def refused_messages(bench):
    """Messages that close the session without a byte."""
    witness = bench.session(b"witness")
    for order, word in ((LE, "little"), (BE, "big")):
        mark = MARK if order == LE else bytes(4)
        one = [b"somegroup"]

        def rows(session):
            own = session.message
            return [
                ("type 0", own(0, one)),
                ("two service bits", own(0x10 | 0x20, one)),
                ("JOIN+SAFE", own(0x10000 | 0x20, one)),
                ("JOIN+LEAVE", own(0x10000 | 0x20000, one)),
                ("sender of another session", message(order, 0x10, witness.private, one)),
                ("sender unknown", message(order, 0x10, bench.private(b"nobody"), one)),
                ("sender of another daemon", message(order, 0x10, b"#refused#elsewhere", one)),
                ("sender empty", message(order, 0x10, b"", one)),
                ("num_groups -1", own(0x10, [], num_groups=-1)),
                ("num_groups 101", own(0x10, one * 101)),
                ("data_len -1", own(0x10, one, data_len=-1)),
                ("hint 0x01000080", own(0x10, one, hint=struct.pack(order + "I", 0x01000080))),
                ("hint with a low bit", own(0x10, one, hint=bytes([mark[0] | 1]) + mark[1:])),
            ]

        session = bench.session(b"refused", order)
        count = len(rows(session))
        session.wire.finish()
        for index in range(count):
            session = bench.session(b"refused", order)
            name, data = rows(session)[index]
            with contextlib.suppress(Abandoned), bench.row(f"10.1 {name}, {word}-endian"):
                session.wire.send(data)
                session.wire.expect_closed()
            session.wire.finish()
    with bench.row("10.1 the other session is untouched"):
        witness.expect_nothing_else()


def silent_messages(bench):
    """Messages that are answered by nothing."""
    for order, word in ((LE, "little"), (BE, "big")):
        with contextlib.suppress(Abandoned), bench.row(f"10.1 JOIN twice, {word}-endian"):
            session = bench.session(b"silent", order)
            join = session.message(0x10000, [b"silentgrp"])
            session.wire.send(join)
            session.wire.expect(bytes.fromhex("80 11 00 80") + field(b"silentgrp"), AnyBytes(12 + 32 + 56))
            session.wire.send(join)
            session.expect_nothing_else()
            session.wire.finish()
        rows = [
            ("LEAVE by a non-member", 0x20000, b"silentgrp"),
            ("multicast to an unknown group", 0x20, b"nosuchgrp"),
            ("multicast to #nobody#daemon", 0x10, bench.private(b"nobody")),
            ("multicast to #nobody#elsewhere", 0x10, b"#nobody#elsewhere"),
            ("SELF_DISCARD to the own private group", 0x10 | 0x40, bench.private(b"silent")),
        ]
        for name, kind, group in rows:
            with contextlib.suppress(Abandoned), bench.row(f"10.1 {name}, {word}-endian"):
                session = bench.session(b"silent", order)
                session.wire.send(session.message(kind, [group], b"lost"))
                session.expect_nothing_else()
                session.wire.finish()
        with contextlib.suppress(Abandoned), bench.row(f"4.4 no destination at all, {word}-endian"):
            session = bench.session(b"silent", order)
            session.wire.send(session.message(0x10, [], b"lost"))
            session.expect_nothing_else()
            session.wire.finish()


def one_copy(bench):
    """Several matching destinations give one copy, with the names as sent."""
    for order, word in ((LE, "little"), (BE, "big")):
        with contextlib.suppress(Abandoned), bench.row(f"10.1 multicast to [g, g, nosuch], {word}-endian"):
            session = bench.session(b"copies", order)
            session.wire.put(session.message(0x10000, [b"copygrp"]))
            session.wire.expect(bytes.fromhex("80 11 00 80") + field(b"copygrp"), AnyBytes(12 + 32 + 56))
            names = [b"copygrp", b"copygrp", b"nosuch"]
            hint = bytes.fromhex("80 34 12 80") if order == LE else bytes.fromhex("00 12 34 00")
            session.wire.send(session.message(0x10, names, b"once", hint=hint))
            session.wire.expect(message(LE, 0x10, session.private, names, b"once", hint=hint))
            session.expect_nothing_else()
            session.wire.finish()


def hint_without_marker(bench):
    """Some clients write little-endian hints without a marker: kept as sent."""
    with bench.row("3.2 hint without marker"):
        session = bench.session(b"nomarker")
        hint = bytes.fromhex("00 05 00 00")
        session.wire.send(session.message(0x04, [session.private], b"x", hint=hint))
        session.wire.expect(message(LE, 0x04, session.private, [session.private], b"x", hint=hint))


def masked_type(bench):
    """Only the service bit and SELF_DISCARD of the type reach a receiver."""
    for order, word in ((LE, "little"), (BE, "big")):
        with contextlib.suppress(Abandoned), bench.row(f"3.4 unknown type bits are masked, {word}-endian"):
            session = bench.session(b"masked", order)
            hint = MARK if order == LE else bytes(4)
            for extra in (0x02000000, 0x01000000, 0x00400000, 0x1100, 0x2000, 0x8000):
                session.wire.send(session.message(0x20 | extra, [session.private], b"x"))
                session.wire.expect(message(LE, 0x20, session.private, [session.private], b"x", hint=hint))
            session.wire.finish()


def kill_without_groups(bench):
    """KILL with an empty list ends the session."""
    for order, word in ((LE, "little"), (BE, "big")):
        with contextlib.suppress(Abandoned), bench.row(f"10.1 KILL with 0 groups, {word}-endian"):
            session = bench.session(b"killed", order)
            session.wire.send(session.message(0x40000))
            session.wire.expect_closed()
            session.wire.finish()


VECTORS = [
    capture_little,
    capture_big,
    refused_greetings,
    surplus_greeting,
    short_greeting,
    old_versions,
    new_versions,
    accepted_names,
    same_name_twice,
    flags,
    auth_replies,
    split_handshake,
    refused_messages,
    silent_messages,
    one_copy,
    hint_without_marker,
    masked_type,
    kill_without_groups,
]


def run_all(bench, addresses):
    """Every vector, over every transport, in both modes."""
    for transport, address in addresses:
        for bytewise in (False, True):
            bench.address, bench.bytewise = address, bytewise
            bench.prefix = f"{transport}, {'byte by byte' if bytewise else 'one write'}: "
            for vector in VECTORS:
                if bench.only not in vector.__name__:
                    continue
                try:
                    bench.run(vector)
                except (Mismatch, OSError) as problem:
                    bench.failed += 1
                    print(f"FAIL {bench.prefix}{vector.__name__} (setting up): {problem}", flush=True)


def main():
    """Parse arguments, run, exit with 1 on any failure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("socket", metavar="SOCKET", help="path of the daemon's Unix socket")
    parser.add_argument("--tcp", metavar="PORT@HOST", help="run everything over TCP as well")
    parser.add_argument("--daemon-name", required=True, metavar="NAME")
    parser.add_argument("--only", default="", metavar="TEXT", help="only vector functions whose name holds TEXT")
    arguments = parser.parse_args()
    bench = Bench(arguments.daemon_name.encode(), arguments.only)
    addresses = [("unix", arguments.socket)]
    if arguments.tcp:
        addresses.append(("tcp", arguments.tcp))
    run_all(bench, addresses)
    print(f"{bench.passed} passed, {bench.failed} failed")
    sys.exit(1 if bench.failed or not bench.passed else 0)


if __name__ == "__main__":
    main()
