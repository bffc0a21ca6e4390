#!/usr/bin/env python3
"""Semantic plays against one daemon, or against several that form one ring.

    plays.py SOCKET... [--only TEXT]

Each SOCKET is a path or PORT@HOST; give them in the order of the daemons in
the configuration, because member lists follow it. Every play runs with all
clients on the first daemon, then, given more sockets, with the clients spread
over all of them. Prints one line per play; exits with 1 if any failed.
"""

import argparse
import contextlib
import itertools
import os
import random
import select
import socket
import struct
import sys
import threading
import time
import traceback

import spread_client as sc
from spread_client import Client, Closed, Deadline, Rejected

TIMEOUT = 15.0
RING_TIMEOUT = 60.0
SLOW_READER_TIMEOUT = 180.0
SLOW_READER_MAX_BYTES = 2 << 30
LONGEST_STALL = 3.0
ALL_SERVICES = (sc.UNRELIABLE, sc.RELIABLE, sc.FIFO, sc.CAUSAL, sc.AGREED, sc.SAFE)
SENDER_ORDERED = sc.FIFO | sc.CAUSAL | sc.AGREED | sc.SAFE
TOTALLY_ORDERED = sc.CAUSAL | sc.AGREED | sc.SAFE
BOTH_ORDERS = (sc.LITTLE, sc.BIG)


class Wrong(Exception):
    """A play saw something else than it expected."""


def check(what, expected, got):
    """Fail the play unless `got` equals `expected`."""
    if expected != got:
        raise Wrong(f"{what}: expected {shorten(expected)} got {shorten(got)}")


def require(what, condition, got=""):
    """Fail the play unless `condition` holds."""
    if not condition:
        raise Wrong(f"expected {what} got {shorten(got)}")


def shorten(value):
    """A readable, bounded form of any value."""
    if isinstance(value, sc.Message):
        text = str(value)
    elif isinstance(value, (list, tuple)):
        text = "[" + ", ".join(map(shorten, value[:6])) + (f", ... {len(value)} in all]" if len(value) > 6 else "]")
    else:
        text = repr(value)
    return text if len(text) <= 400 else text[:400] + "..."


class Stage:
    """Gives a play its clients, spread over the daemons, and unused names."""

    serial = itertools.count()
    run_id = f"{os.getpid():x}"

    def __init__(self, addresses):
        self.addresses = addresses
        self.clients = []

    def address(self, position):
        """The address of the daemon that serves this position."""
        return self.addresses[position % len(self.addresses)]

    def client(self, position, name=None, **options):
        """A new session at a position; closed after the play."""
        if name is None:
            name = f"c{next(self.serial)}"
        client = Client(self.address(position), name, **{"timeout": TIMEOUT, **options})
        client.rank = position % len(self.addresses)
        self.clients.append(client)
        return client

    def group(self):
        """A group name that nobody else uses."""
        return f"g{self.run_id}.{next(self.serial)}"

    def close(self):
        """Close all clients of the play."""
        for client in self.clients:
            client.close()
        self.clients.clear()


def listed(clients):
    """Private groups in the order of member lists."""
    ordered = sorted(clients, key=lambda client: (client.rank, client.private_group.encode("latin-1")))
    return tuple(client.private_group for client in ordered)


def expect_view(client, group, cause, members, changed):
    """The next message is this single-change view; returns it."""
    message = client.receive()
    require(f"a view of {group}", message.is_view, message)
    view = message.view()
    check("type of the view", sc.REG_MEMB | cause, message.kind)
    check("group of the view", group, view.group)
    check("members", listed(members), view.members)
    check("vs sets", ((changed.private_group,),), view.vs_sets)
    check("body length", 56, len(message.data))
    check("hint", sc.encode_hint(0, message.order), message.hint)
    return view


def expect_self_leave(client, group):
    """The next message is the 48-byte answer to a leave."""
    message = client.receive()
    wanted = sc.encode_message(sc.CAUSED_BY_LEAVE, group, order=message.order)
    check("self-leave", wanted.hex(" "), message.raw.hex(" "))


def expect_data(client, sender, groups, data, service=sc.AGREED, mess_type=0):
    """The next message is this data message; returns it."""
    message = client.receive()
    require(f"data {data[:24]!r}", message.is_data, message)
    check("sender", sender.private_group, message.name)
    check("groups", tuple(groups), message.groups)
    check("type bits", service, message.kind)
    check("mess_type", mess_type, message.mess_type)
    check("bytes of data", len(data), len(message.data))
    require(f"data {data[:24]!r}", message.data == data, message)
    return message


def join_all(group, *clients):
    """The clients join one after another, checking every view; returns the last view."""
    view = None
    for count in range(1, len(clients) + 1):
        joined = clients[:count]
        joined[-1].join(group)
        views = [expect_view(member, group, sc.CAUSED_BY_JOIN, joined, joined[-1]) for member in joined]
        check("one gid at all members", 1, len({view.gid for view in views}))
        view = views[0]
    return view


def flush(sender, receiver):
    """What `receiver` has been sent before a private message from `sender` that is sent now."""
    token = b"flush %d" % next(Stage.serial)
    sender.multicast(receiver.private_group, token)
    before = []
    while (message := receiver.receive()).data != token or message.name != sender.private_group:
        before.append(message)
    return before


def expect_silence(sender, receiver=None):
    """Nothing was delivered to `receiver` (default: the sender itself)."""
    check("messages before the flush", [], flush(sender, receiver or sender))


def expect_closed(client):
    """The daemon closes the session without another byte."""
    check("messages before the close", ([], b""), client.rest())


def send_or_close(client, data):
    """Send bytes to a daemon that may close before it has taken them."""
    with contextlib.suppress(Closed):
        client.send_raw(data)


# --- membership -----------------------------------------------------------------


def lists_are_ordered(stage):
    """Member lists follow daemon and name, not the order of joining."""
    group = stage.group()
    names = ["mm", "zz", "aa", "~", "$", "ab", "a", "Zz", "10"]
    clients = [stage.client(position, name) for position, name in enumerate(names)]
    join_all(group, *clients)
    gone = clients.pop(3)
    gone.leave(group)
    expect_self_leave(gone, group)
    for client in clients:
        expect_view(client, group, sc.CAUSED_BY_LEAVE, clients, gone)


def group_ids_change(stage):
    """Each change gives a new gid, the same at all members; a re-created group gets a fresh one."""
    group = stage.group()
    a, b = stage.client(0), stage.client(1)
    gids = [join_all(group, a).gid]
    b.join(group)
    seen = {expect_view(client, group, sc.CAUSED_BY_JOIN, (a, b), b).gid for client in (a, b)}
    check("gids of one view", 1, len(seen))
    gids += seen
    b.leave(group)
    expect_self_leave(b, group)
    gids.append(expect_view(a, group, sc.CAUSED_BY_LEAVE, (a,), b).gid)
    a.leave(group)
    expect_self_leave(a, group)
    gids.append(join_all(group, a).gid)
    check("different gids", len(gids), len(set(gids)))


def self_leave(stage):
    """A leaver gets what was ordered before, 48 bytes, and then nothing of the group."""
    group = stage.group()
    stays, leaves = stage.client(0), stage.client(1)
    join_all(group, stays, leaves)
    leaves.multicast(group, b"before")
    leaves.leave(group)
    expect_data(leaves, leaves, [group], b"before")
    expect_self_leave(leaves, group)
    expect_data(stays, leaves, [group], b"before")
    expect_view(stays, group, sc.CAUSED_BY_LEAVE, (stays,), leaves)
    stays.multicast(group, b"after")
    expect_data(stays, stays, [group], b"after")
    expect_silence(stays, leaves)
    leaves.join(group)
    for client in (stays, leaves):
        expect_view(client, group, sc.CAUSED_BY_JOIN, (stays, leaves), leaves)
    stays.multicast(group, b"again")
    expect_data(leaves, stays, [group], b"again")


def disconnects_are_seen(stage):
    """KILL and a plain close are the same to the others, in every group of the session."""
    groups = [stage.group(), stage.group()]
    for end in ("kill", "close"):
        stays, goes = stage.client(0), stage.client(1)
        for group in groups:
            join_all(group, stays, goes)
        if end == "kill":
            goes.disconnect()
        else:
            goes.close()
        views = {}
        for _ in groups:
            message = stays.receive()
            require("a view", message.is_view, message)
            view = message.view()
            views[view.group] = (message.kind, view.members, view.vs_sets)
        wanted = (sc.REG_MEMB | sc.CAUSED_BY_DISCONNECT, (stays.private_group,), ((goes.private_group,),))
        check(f"views after {end}", dict.fromkeys(groups, wanted), views)
        expect_silence(stays)
        for group in groups:
            stays.leave(group)
            expect_self_leave(stays, group)


def without_membership(stage):
    """Flag 0: listed for others, gets data, but no view and no self-leave."""
    group = stage.group()
    seer, blind = stage.client(0), stage.client(1, membership=False)
    join_all(group, seer)
    blind.join(group)
    expect_view(seer, group, sc.CAUSED_BY_JOIN, (seer, blind), blind)
    expect_silence(blind)
    seer.multicast(group, b"data")
    expect_data(blind, seer, [group], b"data")
    expect_data(seer, seer, [group], b"data")
    other = stage.client(2)
    other.join(group)
    expect_view(seer, group, sc.CAUSED_BY_JOIN, (seer, blind, other), other)
    expect_silence(seer, blind)
    blind.leave(group)
    expect_view(seer, group, sc.CAUSED_BY_LEAVE, (seer, other), blind)
    expect_silence(blind)


def duplicates_are_ignored(stage):
    """A second join, and a leave by a non-member, cause nothing anywhere."""
    group = stage.group()
    a, b, outsider = stage.client(0), stage.client(1), stage.client(2)
    join_all(group, a, b)
    b.join(group)
    expect_silence(b)
    expect_silence(b, a)
    outsider.leave(group)
    expect_silence(outsider)
    expect_silence(outsider, a)
    outsider.leave(stage.group())
    expect_silence(outsider)


def join_of_many_groups(stage):
    """JOIN and LEAVE with several names count for all of them."""
    groups = [stage.group() for _ in range(3)]
    client, witness = stage.client(0), stage.client(1)
    for group in groups:
        join_all(group, witness)
    client.join(*groups)
    for receiver in (client, witness):
        seen = sorted(receiver.receive().view().group for _ in groups)
        check("groups joined", sorted(groups), seen)
    expect_silence(client)
    client.leave(*groups)
    left = []
    for _ in groups:
        message = client.receive()
        require("a self-leave", message.is_self_leave, message)
        left.append(message.name)
    check("groups left", sorted(groups), sorted(left))
    seen = sorted(witness.receive().view().group for _ in groups)
    check("groups left at the witness", sorted(groups), seen)


def name_reuse(stage):
    """A name is refused while in use, and free again after KILL and after close."""
    group = stage.group()
    witness = stage.client(1)
    join_all(group, witness)
    name = f"re{next(Stage.serial)}"
    for end in ("kill", "close"):
        first = stage.client(0, name)
        first.join(group)
        for client in (first, witness):
            expect_view(client, group, sc.CAUSED_BY_JOIN, (witness, first), first)
        try:
            stage.client(0, name)
        except Rejected as rejected:
            check("reject code", sc.REJECT_NOT_UNIQUE, rejected.code)
        else:
            raise Wrong("expected the name to be refused got a second session")
        expect_silence(first)
        if end == "kill":
            first.disconnect()
        else:
            first.close()
        expect_view(witness, group, sc.CAUSED_BY_DISCONNECT, (witness,), first)
        second = stage.client(0, name)
        witness.multicast(group, b"for members")
        expect_data(witness, witness, [group], b"for members")
        expect_silence(witness, second)
        witness.multicast(second.private_group, b"for the name")
        expect_data(second, witness, [second.private_group], b"for the name")
        second.disconnect()
        expect_silence(witness)


def one_name_on_two_daemons(stage):
    """Names are unique per daemon only."""
    group = stage.group()
    name = f"both{next(Stage.serial)}"
    join_all(group, stage.client(1, name), stage.client(0, name))


# --- delivery ---------------------------------------------------------------------


def self_discard(stage):
    """SELF_DISCARD leaves out the sender only, and stays in the type."""
    group = stage.group()
    a, b = stage.client(0), stage.client(1)
    join_all(group, a, b)
    for service in ALL_SERVICES:
        a.multicast([group, a.private_group], b"others", service | sc.SELF_DISCARD)
        expect_data(b, a, [group, a.private_group], b"others", service | sc.SELF_DISCARD)
    expect_silence(a)
    a.multicast(group, b"all")
    for client in (a, b):
        expect_data(client, a, [group], b"all")


def one_copy_each(stage):
    """Many matching destinations, one copy, names as sent."""
    g1, g2 = stage.group(), stage.group()
    a, b, sender = stage.client(0), stage.client(1), stage.client(2)
    for group in (g1, g2):
        join_all(group, a, b)
    names = [g2, g1, g1, "nosuch", a.private_group, b.private_group, a.private_group]
    for service in ALL_SERVICES:
        sender.multicast(names, b"once", service)
        for client in (a, b):
            expect_data(client, sender, names, b"once", service)
    for client in (a, b):
        expect_silence(sender, client)
    expect_silence(sender)


def private_messages(stage):
    """To another session, to oneself, to several, and between different services."""
    a, b, c = stage.client(0), stage.client(1), stage.client(2)
    for service in ALL_SERVICES:
        a.multicast(b.private_group, b"to b", service, 5)
        expect_data(b, a, [b.private_group], b"to b", service, 5)
        a.multicast(a.private_group, b"to me", service, 6)
        expect_data(a, a, [a.private_group], b"to me", service, 6)
        names = [c.private_group, b.private_group]
        a.multicast(names, b"to both", service)
        for client in (b, c):
            expect_data(client, a, names, b"to both", service)
    for client in (a, b, c):
        expect_silence(a, client)


def unknown_destinations(stage):
    """Unknown groups, sessions and daemons are ignored, alone and among known ones."""
    group = stage.group()
    a, b = stage.client(0), stage.client(1)
    join_all(group, a)
    strange = ["nosuch", "#nobody#" + b.daemon_name, "#nobody#nowhere", "#", "##", "###", "#x", "", " "]
    for name in strange:
        b.multicast(name, b"lost")
    b.multicast(strange, b"lost")
    b.multicast([], b"lost")
    expect_silence(b)
    b.multicast([*strange, group], b"found")
    expect_data(a, b, [*strange, group], b"found")


def hundred_groups(stage):
    """A message to 100 groups reaches each member of any once, with all the names."""
    groups = [stage.group() for _ in range(100)]
    everywhere, somewhere, sender = stage.client(0), stage.client(1), stage.client(2)
    everywhere.join(*groups)
    joined = sorted(everywhere.receive().view().group for _ in groups)
    check("groups joined in one message", sorted(groups), joined)
    somewhere.join(groups[99])
    for client in (everywhere, somewhere):
        expect_view(client, groups[99], sc.CAUSED_BY_JOIN, (everywhere, somewhere), somewhere)
    for order in BOTH_ORDERS:
        sender.multicast(groups, b"hundred", order=order)
        for client in (everywhere, somewhere):
            expect_data(client, sender, groups, b"hundred")
    for client in (everywhere, somewhere):
        expect_silence(sender, client)


def byte_orders_mix(stage):
    """Clients of both orders understand each other; hints travel untouched."""
    group = stage.group()
    clients = [stage.client(position, order=order) for position, order in enumerate(BOTH_ORDERS * 2)]
    join_all(group, *clients)
    for sender in clients:
        for service in ALL_SERVICES:
            sender.multicast(group, b"hi", service, 0x1234)
            for receiver in clients:
                message = expect_data(receiver, sender, [group], b"hi", service, 0x1234)
                check("order of the hint", sender.order, message.hint_order)
    clients[1].leave(group)
    expect_self_leave(clients[1], group)
    stays = [clients[0], *clients[2:]]
    for client in stays:
        expect_view(client, group, sc.CAUSED_BY_LEAVE, stays, clients[1])


def hints_are_kept(stage):
    """All 16 bits of mess_type survive, in both orders and without a marker."""
    group = stage.group()
    a, b = stage.client(0), stage.client(1)
    join_all(group, a)
    for order in BOTH_ORDERS:
        for mess_type in (0, 1, 0x7F, 0x80, 0xFF, 0x1234, 0x7FFF, 0x8000, 0xFFFF):
            hint = sc.encode_hint(mess_type, order)
            b.multicast(group, b"", sc.FIFO, order=order, hint=hint)
            message = expect_data(a, b, [group], b"", sc.FIFO, mess_type)
            check("hint bytes", hint.hex(" "), message.hint.hex(" "))
    bare = struct.pack("<I", 0x1234 << 8)
    b.multicast(group, b"", sc.FIFO, hint=bare)
    check("hint without marker", bare.hex(" "), a.receive().hint.hex(" "))


def forged_bits(stage):
    """A data message cannot pretend to be anything else."""
    group = stage.group()
    a, forger = stage.client(0), stage.client(1)
    join_all(group, a)
    view = sc.REG_MEMB | sc.CAUSED_BY_NETWORK
    extras = (0x100, 0x200, 0x400, 0x800, view, sc.TRANSITION, 0x4000, 0x8000, 0x80000, 0x100000,
              0x200000, sc.REJECT, 0x800000, 0x01000000, 0x02000000, 0x10000000, 0x40000000, 0x7FF8FF00)
    for extra in extras:
        for keep in (0, sc.SELF_DISCARD):
            forger.multicast(group, b"forged", sc.SAFE | keep | extra)
            expect_data(a, forger, [group], b"forged", sc.SAFE | keep)


def largest_message(stage):
    """143,952 bytes of names and payload pass, one more closes the session."""
    group = stage.group()
    a = stage.client(0)
    join_all(group, a)
    rng = random.Random(1)
    for names in ([group], [group] * sc.MAX_GROUPS):
        size = sc.MAX_BODY - sc.NAME_SIZE * len(names)
        for service, order in zip(ALL_SERVICES, BOTH_ORDERS * 3):
            data = rng.randbytes(size)
            sender = stage.client(1)
            sender.multicast(names, data, service, order=order)
            expect_data(a, sender, names, data, service)
            send_or_close(sender, sender.encode(service, names, data + b"x", order=order))
            expect_closed(sender)
    empty = stage.client(1)
    empty.multicast([], rng.randbytes(sc.MAX_BODY))
    expect_silence(empty)
    send_or_close(empty, empty.encode(sc.AGREED, [], bytes(sc.MAX_BODY + 1)))
    expect_closed(empty)
    expect_silence(a)


def empty_message(stage):
    """No payload is a message too."""
    group = stage.group()
    a, b = stage.client(0), stage.client(1)
    join_all(group, a)
    for service in ALL_SERVICES:
        b.multicast(group, b"", service)
        expect_data(a, b, [group], b"", service)


def data_before_the_end(stage):
    """What was sent before KILL, or before a plain close, is delivered before the DISCONNECT."""
    data_group, life_group = stage.group(), stage.group()
    witness = stage.client(0)
    join_all(data_group, witness)
    join_all(life_group, witness)

    def expect_all(sender, count):
        members = (witness, sender)
        expect_view(witness, life_group, sc.CAUSED_BY_JOIN, members, sender)
        got = [witness.receive() for _ in range(count)]
        check("data before the end", [b"%d" % i for i in range(count)], [message.data for message in got])
        expect_view(witness, life_group, sc.CAUSED_BY_DISCONNECT, (witness,), sender)

    sender = stage.client(1)
    kill = sender.encode(sc.KILL, (sender.private_group,))
    batch = b"".join(sender.encode(sc.AGREED, [data_group], b"%d" % i) for i in range(5))
    sender.send_raw(sender.encode(sc.JOIN, [life_group]) + batch + kill)
    sender.rest()
    expect_all(sender, 5)

    sender = stage.client(1)
    sender.join(life_group)
    sender.receive()
    for i in range(500):
        sender.multicast(data_group, b"%d" % i, sc.AGREED if i % 2 else sc.SAFE)
    sender.close()
    expect_all(sender, 500)
    expect_silence(witness)


def end_with_unread_output(stage):
    """A session that closes without reading its own messages loses none of those it sent."""
    group = stage.group()
    witness, sender = stage.client(0), stage.client(1)
    join_all(group, witness, sender)
    sender.send_raw(b"".join(sender.encode(sc.AGREED, [group], b"%d" % i) for i in range(100)))
    sender.close()
    got = [witness.receive() for _ in range(100)]
    check("data before the end", [b"%d" % i for i in range(100)], [message.data for message in got])
    expect_view(witness, group, sc.CAUSED_BY_DISCONNECT, (witness,), sender)


# --- order ---------------------------------------------------------------------


class Throttle:
    """Bounds the messages in flight, so that a slow test machine is no slow reader."""

    def __init__(self, limit):
        self.slots = threading.Semaphore(limit)

    def take(self):
        """Wait for a free slot."""
        if not self.slots.acquire(timeout=TIMEOUT):
            raise TimeoutError("messages in flight do not come back")

    def give(self):
        """A message came back."""
        self.slots.release()


def run_threads(functions):
    """Start a thread per function; returns (threads, list that collects their errors)."""
    errors = []

    def guarded(function):
        try:
            function()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(function,), daemon=True) for function in functions]
    for thread in threads:
        thread.start()
    return threads, errors


def gather(members, count, errors, on_message):
    """Read all members at once until each has `count` messages."""
    logs = [[] for _ in members]
    quiet = Deadline(TIMEOUT)
    while waiting := [i for i, log in enumerate(logs) if len(log) < count]:
        if errors:
            raise errors[0]
        progress = False
        for position in waiting:
            member = members[position]
            for message in member.available():
                logs[position].append(message)
                on_message(position)
                progress = True
            if member.eof:
                raise Closed(f"member {position} was disconnected after {len(logs[position])} messages")
        if progress:
            quiet = Deadline(TIMEOUT)
        else:
            select.select([members[position] for position in waiting], [], [], min(quiet.left(), 0.2))
    return logs


def same_order(stage, per_sender=700, senders=4, rejoins=15):
    """Mixed services and byte orders to two groups, with joins in between: one order at all members."""
    g1, g2 = stage.group(), stage.group()
    members = [stage.client(position) for position in range(max(2, len(stage.addresses)))]
    for group in (g1, g2):
        join_all(group, *members)
    sources = [stage.client(position) for position in range(senders)]
    throttle = Throttle(300)
    churner = stage.client(1)

    def send(source, number):
        rng = random.Random(number)
        for seq in range(per_sender):
            throttle.take()
            names = rng.choice(([g1], [g2], [g1, g2], [g2, g1, members[0].private_group]))
            data = struct.pack("<II", number, seq) + bytes([seq & 0xFF]) * rng.choice((0, 10, 100, 1400, 1500, 5000))
            source.multicast(names, data, rng.choice(ALL_SERVICES), seq, order=rng.choice(BOTH_ORDERS))

    def churn():
        for _ in range(rejoins):
            churner.join(g1)
            while not churner.receive().is_view:
                pass
            churner.leave(g1)
            while not churner.receive().is_self_leave:
                pass

    threads, errors = run_threads(
        [lambda source=source, number=number: send(source, number) for number, source in enumerate(sources)] + [churn]
    )
    total = per_sender * senders + 2 * rejoins

    def came_back(position):
        if position == 0:
            throttle.give()

    logs = gather(members, total, errors, came_back)
    for thread in threads:
        thread.join(TIMEOUT)
    if errors:
        raise errors[0]
    for member, log in zip(members, logs):
        check_stream(log, sources, per_sender)
        expect_silence(member)
    orders = [[order_key(message) for message in log if message.is_view or message.service & TOTALLY_ORDERED]
              for log in logs]
    for position, order in enumerate(orders[1:], 1):
        for index, (first, other) in enumerate(itertools.zip_longest(orders[0], order)):
            check(f"ordered message {index} at member {position}", first, other)
    contents = {tuple(sorted(message.raw for message in log)) for log in logs}
    check("different sets of messages", 1, len(contents))


def order_key(message):
    """What tells one delivery from another."""
    if message.is_view:
        view = message.view()
        return ("view", view.group, view.cause, view.members, view.gid)
    return ("data", message.name, *struct.unpack_from("<II", message.data))


def check_stream(log, sources, per_sender):
    """Every message once, whole, and in its sender's order."""
    seen = [set() for _ in sources]
    last = [-1] * len(sources)
    for message in log:
        if message.is_view:
            continue
        number, seq = struct.unpack_from("<II", message.data)
        check("sender", sources[number].private_group, message.name)
        check("mess_type", seq, message.mess_type)
        require("a whole payload", set(message.data[8:]) <= {seq & 0xFF}, message)
        require("each message once", seq not in seen[number], message)
        seen[number].add(seq)
        if message.service & SENDER_ORDERED:
            require(f"the order of the sender (after {last[number]})", seq > last[number], message)
            last[number] = seq
    check("messages of each sender", [per_sender] * len(sources), [len(numbers) for numbers in seen])


# --- misbehaviour -----------------------------------------------------------------


def garbage_messages(stage):
    """Garbage after the handshake closes that session, nothing else."""
    group = stage.group()
    witness = stage.client(0)
    join_all(group, witness)
    rng = random.Random(2)

    def good(client):
        return client.encode(sc.AGREED, [group], b"whole")

    def lie(client, at, value):
        raw = good(client)
        return raw[:at] + struct.pack("<i", value) + raw[at + 4 :]

    makers = [
        lambda client: bytes(48),
        lambda client: b"\xff" * 48,
        lambda client: bytes(4000),
        lambda client: rng.randbytes(4000),
        lambda client: rng.randbytes(200_000),
        lambda client: b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n",
        lambda client: good(client)[1:] + good(client),
        lambda client: b"\0" + good(client),
        lambda client: lie(client, 36, 0x7FFFFFFF),
        lambda client: lie(client, 36, -0x80000000),
        lambda client: lie(client, 44, 0x7FFFFFFF),
        lambda client: lie(client, 44, -0x80000000),
        lambda client: sc.encode_message(sc.AGREED, witness.private_group, [group], b"stolen"),
    ]
    for make in makers:
        guest = stage.client(1)
        guest.join(group)
        for client in (witness, guest):
            expect_view(client, group, sc.CAUSED_BY_JOIN, (witness, guest), guest)
        send_or_close(guest, make(guest))
        expect_closed(guest)
        guest.close()
        expect_view(witness, group, sc.CAUSED_BY_DISCONNECT, (witness,), guest)
    expect_silence(witness)


def cut_messages(stage):
    """A message cut short by a close is not delivered."""
    group = stage.group()
    witness = stage.client(0)
    join_all(group, witness)
    for keep in (1, 4, 47, 48, 60, 80, 80 + 999):
        guest = stage.client(1)
        guest.join(group)
        for client in (witness, guest):
            expect_view(client, group, sc.CAUSED_BY_JOIN, (witness, guest), guest)
        guest.send_raw(guest.encode(sc.AGREED, [group], bytes(1000))[:keep])
        guest.close()
        expect_view(witness, group, sc.CAUSED_BY_DISCONNECT, (witness,), guest)
    expect_silence(witness)


def garbage_greetings(stage):
    """Garbage instead of a greeting gets at most a reject byte and a close."""
    witness = stage.client(0)
    rng = random.Random(3)
    greetings = [b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 100, bytes(100), b"SSH-2.0-x\r\n", rng.randbytes(100_000)]
    for greeting in greetings:
        with sc.open_socket(stage.address(0), TIMEOUT) as sock:
            deadline, got = Deadline(TIMEOUT), b""
            with contextlib.suppress(ConnectionError):
                sock.sendall(greeting)
                sock.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionError):
                while data := sock.recv(100):
                    got += data
                    sock.settimeout(deadline.left())
            fitting = len(got) <= 1 and got >= b"\x80" * len(got)
            require(f"a reject byte or nothing after {greeting[:10]!r}", fitting, got)
        expect_silence(witness)


def odd_names(stage):
    """Names that no library would send harm nobody: ignored or taken, the session lives."""
    witness = stage.client(0)
    names = ["", " ", "a b", "\x01\x02", "\xff" * 31, "x" * 32, "#", "##", "#a#b#c", "#" * 32, "../../x", "a\0b"]
    for name in names:
        odd = stage.client(1)
        odd.join(name)
        odd.multicast(name, b"odd")
        odd.multicast([name, witness.private_group], b"known")
        require("the known destination to be served", any(m.data == b"known" for m in flush(odd, witness)))
        odd.leave(name)
        flush(odd, odd)
        odd.disconnect()
    expect_silence(witness)


def silent_connections(stage):
    """Connections that say nothing, or stop half-way, do not hold up others."""
    greeting = sc.encode_greeting("stuck")
    sockets = []
    try:
        for start in [b""] * 20 + [greeting[:1], greeting[:4], greeting[:7], sc.encode_greeting("stuck2")]:
            sockets.append(sc.open_socket(stage.address(0), TIMEOUT))
            sockets[-1].sendall(start)
        began = time.monotonic()
        for _ in range(3):
            expect_silence(stage.client(0))
        took = time.monotonic() - began
        require("three sessions within 3 seconds", took < 3, took)
    finally:
        for sock in sockets:
            sock.close()


def slow_reader(stage):
    """A member that stops reading stops nobody, and is disconnected in the end."""
    group = stage.group()
    fast, other, slow = stage.client(0), stage.client(1), stage.client(2)
    join_all(group, fast, other, slow)
    data = bytes(100_000)
    sent, received = 0, dict.fromkeys((fast, other), 0)
    longest = 0.0
    gone = dict.fromkeys((fast, other), False)
    deadline = Deadline(SLOW_READER_TIMEOUT)
    last = time.monotonic()
    while not all(gone.values()):
        require("a disconnect before the last byte", sent * len(data) < SLOW_READER_MAX_BYTES, sent * len(data))
        deadline.left()
        while sent - min(received.values()) < 8:
            fast.multicast(group, data, sc.AGREED)
            sent += 1
        progress = False
        for client in (fast, other):
            for message in client.available():
                progress = True
                if message.is_view:
                    view = message.view()
                    check("cause", sc.CAUSED_BY_DISCONNECT, view.cause)
                    check("members", listed((fast, other)), view.members)
                    check("who went", ((slow.private_group,),), view.vs_sets)
                    gone[client] = True
                else:
                    received[client] += 1
            require("the readers to stay connected", not client.eof, "a close")
        if progress:
            longest = max(longest, time.monotonic() - last)
            last = time.monotonic()
        else:
            readable = select.select([fast, other], [], [], TIMEOUT)[0]
            require("progress of the others", readable, f"nothing for {TIMEOUT} s after {sent} messages")
    require(f"no stall over {LONGEST_STALL} s", longest < LONGEST_STALL, longest)
    for client, count in received.items():
        for _ in range(sent - count):
            require("the rest of the data", client.receive().is_data)
    got, _ = slow.rest()
    require("only whole messages of the group at the slow reader",
            all(message.is_data and message.data == data for message in got), got)
    expect_silence(fast, other)
    expect_silence(other, fast)
    stage.client(2, slow.name)


PLAYS = [
    lists_are_ordered,
    group_ids_change,
    self_leave,
    disconnects_are_seen,
    without_membership,
    duplicates_are_ignored,
    join_of_many_groups,
    name_reuse,
    self_discard,
    one_copy_each,
    private_messages,
    unknown_destinations,
    hundred_groups,
    byte_orders_mix,
    hints_are_kept,
    forged_bits,
    largest_message,
    empty_message,
    data_before_the_end,
    end_with_unread_output,
    same_order,
    garbage_messages,
    cut_messages,
    garbage_greetings,
    odd_names,
    silent_connections,
    slow_reader,
]
PLAYS_BETWEEN_DAEMONS = [one_name_on_two_daemons]


def wait_for_ring(stage):
    """Wait until one group has a member on every daemon in every member's view."""
    group = stage.group()
    clients = [stage.client(position) for position in range(len(stage.addresses))]
    for client in clients:
        client.join(group)
    wanted = listed(clients)
    for client in clients:
        deadline = Deadline(RING_TIMEOUT)
        while True:
            message = client.receive(deadline.left())
            if message.is_view and message.view().members == wanted:
                break
    for client in clients:
        client.disconnect()


def run_play(play, label, addresses):
    """Run one play and print its line; True if it passed."""
    stage = Stage(addresses)
    try:
        play(stage)
    except Exception as problem:
        frames = traceback.extract_tb(problem.__traceback__)[1:]
        lines = ", ".join(str(frame.lineno) for frame in frames if frame.filename == __file__)
        kind = "" if isinstance(problem, Wrong) else type(problem).__name__ + ": "
        print(f"FAIL {label}{play.__name__}: {kind}{problem} (lines {lines})", flush=True)
        return False
    finally:
        stage.close()
    print(f"ok {label}{play.__name__}", flush=True)
    return True


def main():
    """Parse arguments, run, exit with 1 on any failure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sockets", nargs="+", metavar="SOCKET")
    parser.add_argument("--only", default="", metavar="TEXT", help="only plays whose name holds TEXT")
    arguments = parser.parse_args()

    def chosen(plays):
        return [play for play in plays if arguments.only in play.__name__]

    results = [run_play(play, "one daemon: ", arguments.sockets[:1]) for play in chosen(PLAYS)]
    if len(arguments.sockets) > 1:
        label = f"{len(arguments.sockets)} daemons: "
        ring = run_play(wait_for_ring, label, arguments.sockets)
        results.append(ring)
        if ring:
            together = chosen(PLAYS_BETWEEN_DAEMONS + PLAYS)
            results += [run_play(play, label, arguments.sockets) for play in together]
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    sys.exit(0 if results and all(results) else 1)


if __name__ == "__main__":
    main()
