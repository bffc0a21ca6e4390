"""Unit tests of the client on captured bytes, and of its handshake on a fake daemon."""

import socket
import struct
import tempfile
import threading
import unittest
from pathlib import Path

import spread_client as sc

ALICE = bytes.fromhex("23616c696365236c6f63616c686f7374")
ALICE_FIELD = ALICE + bytes(16)
GRP1_FIELD = bytes.fromhex("67727031") + bytes(28)

JOIN_SENT = (
    bytes.fromhex("80000180") + ALICE_FIELD + bytes.fromhex("01000000 80000080 00000000") + GRP1_FIELD
)
JOIN_DELIVERED = (
    bytes.fromhex("80110080")
    + GRP1_FIELD
    + bytes.fromhex("01000000 80000080 38000000")
    + ALICE_FIELD
    + bytes.fromhex("0100007f 6438026b 01000000 01000000 00000000 01000000")
    + ALICE_FIELD
)
SAFE_BYTES = (
    bytes.fromhex("a0000080")
    + ALICE_FIELD
    + bytes.fromhex("01000000 80010080 06000000")
    + GRP1_FIELD
    + bytes.fromhex("68656c6c6f0a")
)
LEAVE_SENT = (
    bytes.fromhex("80000280") + ALICE_FIELD + bytes.fromhex("01000000 80000080 00000000") + GRP1_FIELD
)
SELF_LEAVE = bytes.fromhex("80020080") + GRP1_FIELD + bytes.fromhex("00000000 80000080 00000000")
KILL_SENT = (
    bytes.fromhex("80000480") + ALICE_FIELD + bytes.fromhex("01000000 80000080 00000000") + ALICE_FIELD
)
JAY = b"#jay#localhost"
JAVA_JOIN = (
    bytes.fromhex("00010000") + JAY.ljust(32, b"\0") + bytes.fromhex("00000001 00000000 00000000")
    + b"jg".ljust(32, b"\0")
)
JAVA_SAFE = (
    bytes.fromhex("00000020") + JAY.ljust(32, b"\0") + bytes.fromhex("00000001 00000700 00000002")
    + b"jg".ljust(32, b"\0") + b"hi"
)
JAVA_DELIVERED = (
    bytes.fromhex("a0000080") + JAY.ljust(32, b"\0") + bytes.fromhex("01000000 00000700 02000000")
    + b"jg".ljust(32, b"\0") + b"hi"
)


def view_message(vs_sets, offset, order=sc.LITTLE, kind=sc.REG_MEMB | sc.CAUSED_BY_NETWORK):
    """A membership message with these vs sets, as a daemon would write it."""
    body = struct.pack(order + "iiiII", 1, 2, 3, len(vs_sets), offset)
    for names in vs_sets:
        body += struct.pack(order + "I", len(names)) + b"".join(map(sc.pad_name, names))
    members = sorted(name for names in vs_sets for name in names)
    return sc.parse_message(sc.encode_message(kind, "grp", members, body, order))


class Encoding(unittest.TestCase):
    """What the client sends equals the captured bytes."""

    def test_greeting(self):
        self.assertEqual(sc.encode_greeting("alice").hex(), "0404000105616c696365")
        self.assertEqual(sc.encode_greeting("abc", (3, 14, 0)).hex(), "030e0103616263")
        self.assertEqual(sc.encode_greeting("abc", (3, 15, 0)).hex(), "030f000103616263")

    def test_auth(self):
        self.assertEqual(sc.encode_auth("NULL"), b"NULL" + bytes(86))
        self.assertEqual(sc.encode_auth("NULL", "IP")[30:33], b"IP\0")
        self.assertEqual(len(sc.encode_auth("A" * 30, "B", "C")), 90)

    def test_little_endian_messages(self):
        me = ALICE.decode()
        self.assertEqual(sc.encode_message(sc.JOIN, me, ["grp1"]), JOIN_SENT)
        self.assertEqual(sc.encode_message(sc.LEAVE, me, ["grp1"]), LEAVE_SENT)
        self.assertEqual(sc.encode_message(sc.KILL, me, [me]), KILL_SENT)
        hint = sc.encode_hint(1, sc.LITTLE)
        self.assertEqual(sc.encode_message(sc.SAFE, me, ["grp1"], b"hello\n", hint=hint), SAFE_BYTES)

    def test_big_endian_messages(self):
        me = JAY.decode()
        self.assertEqual(sc.encode_message(sc.JOIN, me, ["jg"], order=sc.BIG), JAVA_JOIN)
        hint = sc.encode_hint(7, sc.BIG)
        self.assertEqual(sc.encode_message(sc.SAFE, me, ["jg"], b"hi", sc.BIG, hint), JAVA_SAFE)


class Parsing(unittest.TestCase):
    """Captured deliveries are read back."""

    def test_join_view(self):
        self.assertEqual(len(JOIN_DELIVERED), 48 + 88)
        message = sc.parse_message(JOIN_DELIVERED)
        self.assertTrue(message.is_view)
        self.assertFalse(message.is_data or message.is_self_leave or message.is_transition)
        self.assertEqual((message.name, message.order, message.mess_type), ("grp1", sc.LITTLE, 0))
        view = message.view()
        self.assertEqual(view.group, "grp1")
        self.assertEqual(view.cause, sc.CAUSED_BY_JOIN)
        self.assertEqual(view.members, ("#alice#localhost",))
        self.assertEqual(view.gid, (0x7F000001, 0x6B023864, 1))
        self.assertEqual(view.vs_sets, (("#alice#localhost",),))
        self.assertEqual(view.my_set, 0)

    def test_data(self):
        message = sc.parse_message(SAFE_BYTES)
        self.assertTrue(message.is_data)
        self.assertEqual(message.service, sc.SAFE)
        self.assertEqual(message.mess_type, 1)
        self.assertEqual(message.name, "#alice#localhost")
        self.assertEqual(message.groups, ("grp1",))
        self.assertEqual(message.data, b"hello\n")

    def test_data_of_java(self):
        message = sc.parse_message(JAVA_DELIVERED)
        self.assertEqual((message.order, message.hint_order), (sc.LITTLE, sc.BIG))
        self.assertEqual((message.mess_type, message.data), (7, b"hi"))

    def test_self_leave(self):
        self.assertEqual(len(SELF_LEAVE), 48)
        message = sc.parse_message(SELF_LEAVE)
        self.assertTrue(message.is_self_leave)
        self.assertFalse(message.is_view)
        self.assertEqual((message.name, message.groups, message.data), ("grp1", (), b""))

    def test_hint(self):
        self.assertEqual(sc.decode_hint(bytes.fromhex("00123400")), (0x1234, sc.BIG))
        self.assertEqual(sc.decode_hint(bytes.fromhex("80ffff80")), (0xFFFF, sc.LITTLE))
        for order in (sc.LITTLE, sc.BIG):
            for mess_type in (0, 1, 0x1234, 0x7FFF, 0x8000, 0xFFFF):
                raw = sc.encode_hint(mess_type, order)
                self.assertEqual(sc.decode_hint(raw), (mess_type, order))

    def test_merge_view_in_both_orders(self):
        sets = (("#alice#d1", "#bob#d1"), ("#carol#d2",))
        for order in (sc.LITTLE, sc.BIG):
            message = view_message(sets, 68, order)
            self.assertEqual(len(message.data), 124)
            view = message.view()
            self.assertEqual((view.vs_sets, view.my_set, view.gid), (sets, 1, (1, 2, 3)))
            self.assertEqual(view.cause, sc.CAUSED_BY_NETWORK)

    def test_bad_views_are_refused(self):
        sets = (("#a#d",), ("#b#d",))
        with self.assertRaises(sc.ProtocolError):
            view_message(sets, 4).view()
        good = view_message(sets, 0)
        for body in (good.data[:19], good.data[:-1], good.data + b"\0"):
            cut = sc.parse_message(sc.encode_message(sc.REG_MEMB, "g", ["#a#d"], body))
            with self.assertRaises(sc.ProtocolError):
                cut.view()

    def test_transition(self):
        body = struct.pack("<iii", 5, 6, 7)
        message = sc.parse_message(sc.encode_message(sc.TRANSITION, "g", (), body))
        self.assertTrue(message.is_transition)
        self.assertEqual(message.transition_gid(), (5, 6, 7))

    def test_reject_has_four_more_bytes(self):
        plain = sc.encode_message(sc.REJECT | sc.AGREED, "#a#d", ["g"], b"xy")
        message = sc.parse_message(plain[:48] + struct.pack("<I", sc.AGREED) + plain[48:])
        self.assertFalse(message.is_data)
        self.assertEqual((message.rejected_kind, message.groups, message.data), (sc.AGREED, ("g",), b"xy"))

    def test_broken_headers_are_refused(self):
        for at, field in ((36, -1), (44, -1)):
            raw = bytearray(SAFE_BYTES)
            struct.pack_into("<i", raw, at, field)
            with self.assertRaises(sc.ProtocolError):
                sc.message_size(raw)
        with self.assertRaises(sc.ProtocolError):
            sc.message_size(b"\x80" + bytes(47))

    def test_stream_cut_anywhere(self):
        stream = JOIN_DELIVERED + SAFE_BYTES + JAVA_DELIVERED + SELF_LEAVE
        for step in (1, 7, 48, len(stream)):
            buffer, raws = sc.MessageBuffer(), []
            for at in range(0, len(stream), step):
                buffer.feed(stream[at : at + step])
                while (message := buffer.pop()) is not None:
                    raws.append(message.raw)
            self.assertEqual(raws, [JOIN_DELIVERED, SAFE_BYTES, JAVA_DELIVERED, SELF_LEAVE])


class FakeDaemon:
    """Accepts one connection and follows a script of ("get", bytes) and ("put", bytes)."""

    def __init__(self, script):
        self.folder = tempfile.TemporaryDirectory()
        self.address = str(Path(self.folder.name, "socket"))
        self.script = script
        self.error = None
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.address)
        self.listener.listen()
        self.listener.settimeout(5)
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        """Play the script; remember the first surprise."""
        try:
            peer = self.listener.accept()[0]
            with peer:
                peer.settimeout(5)
                for action, data in self.script:
                    if action == "put":
                        peer.sendall(data)
                    elif (got := peer.recv(len(data), socket.MSG_WAITALL)) != data:
                        raise AssertionError(f"expected {data!r}, got {got!r}")
        except Exception as error:
            self.error = error

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.thread.join()
        self.listener.close()
        self.folder.cleanup()
        if self.error:
            raise self.error


class Handshake(unittest.TestCase):
    """The whole captured session, played by a fake daemon."""

    def test_captured_session(self):
        script = [
            ("get", bytes.fromhex("0404000105616c696365")),
            ("put", b"\x05NULL "),
            ("get", b"NULL" + bytes(86)),
            ("put", bytes.fromhex("0104040010") + ALICE),
            ("get", JOIN_SENT),
            ("put", JOIN_DELIVERED[:48]),
            ("put", JOIN_DELIVERED[48:]),
            ("get", SAFE_BYTES),
            ("put", SAFE_BYTES),
            ("get", LEAVE_SENT),
            ("put", SELF_LEAVE),
            ("get", KILL_SENT),
        ]
        with FakeDaemon(script) as daemon, sc.Client(daemon.address, "alice", timeout=5) as client:
            self.assertEqual(client.private_group, "#alice#localhost")
            self.assertEqual((client.name, client.daemon_name), ("alice", "localhost"))
            self.assertEqual((client.version, client.auth_list), ((4, 4, 0), "NULL "))
            client.join("grp1")
            self.assertTrue(client.receive().is_view)
            client.multicast("grp1", b"hello\n", sc.SAFE, 1)
            self.assertEqual(client.receive().raw, SAFE_BYTES)
            client.leave("grp1")
            self.assertTrue(client.receive().is_self_leave)
            self.assertEqual(client.disconnect(), ([], b""))

    def test_old_versions(self):
        tail = b"\x0e#abc#localhost"
        for version, sent, reply in (
            ((3, 1, 0), "03010103616263", b"\x01\x04\x04" + tail),
            ((3, 15, 0), "030f000103616263", b"\x01\x04\x04\x00" + tail),
        ):
            script = [("get", bytes.fromhex(sent)), ("put", reply)]
            with FakeDaemon(script) as daemon:
                client = sc.Client(daemon.address, "abc", version=version, timeout=5)
                self.assertEqual(client.private_group, "#abc#localhost")
                client.close()

    def test_reject_codes(self):
        greeting = ("get", bytes.fromhex("0404000100"))
        after_greeting = [greeting, ("put", b"\xfa")]
        after_auth = [greeting, ("put", b"\x05NULL "), ("get", b"NULL" + bytes(86)), ("put", b"\xf7")]
        for script, code in ((after_greeting, sc.REJECT_NOT_UNIQUE), (after_auth, sc.REJECT_AUTH)):
            with FakeDaemon(script) as daemon, self.assertRaises(sc.Rejected) as caught:
                sc.Client(daemon.address, "", timeout=5)
            self.assertEqual(caught.exception.code, code)

    def test_closed_without_a_word(self):
        with FakeDaemon([]) as daemon, self.assertRaises(sc.Closed):
            sc.Client(daemon.address, "alice", timeout=5)


if __name__ == "__main__":
    unittest.main()
