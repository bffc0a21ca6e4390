"""A client of the Spread client protocol, standard library only.

Written from the protocol description alone, so that it can judge a daemon
independently of the daemon's own client library. Names of groups and sessions
are `str` (Latin-1, so any byte survives); payloads are `bytes`.
"""

import re
import select
import socket
import struct
import time
from dataclasses import dataclass

LITTLE = "<"
BIG = ">"

UNRELIABLE = 0x01
RELIABLE = 0x02
FIFO = 0x04
CAUSAL = 0x08
AGREED = 0x10
SAFE = 0x20
REGULAR = 0x3F
SELF_DISCARD = 0x40
CAUSED_BY_JOIN = 0x100
CAUSED_BY_LEAVE = 0x200
CAUSED_BY_DISCONNECT = 0x400
CAUSED_BY_NETWORK = 0x800
REG_MEMB = 0x1000
TRANSITION = 0x2000
MEMBERSHIP = 0x3F00
JOIN = 0x10000
LEAVE = 0x20000
KILL = 0x40000
REJECT = 0x400000

MARKER = 0x80000080
HEADER_SIZE = 48
NAME_SIZE = 32
MAX_GROUPS = 100
MAX_BODY = 143_952  # payload + 32 bytes per group name

ACCEPT = 1
REJECT_ILLEGAL_NAME = -5
REJECT_NOT_UNIQUE = -6
REJECT_VERSION = -7
REJECT_AUTH = -9


class ProtocolError(Exception):
    """The daemon sent bytes that the protocol does not allow."""


class Closed(Exception):
    """The daemon closed the connection."""


class Rejected(Exception):
    """The daemon refused the session; `code` is the signed reject byte."""

    def __init__(self, code):
        super().__init__(f"rejected with code {code}")
        self.code = code


class Deadline:
    """A point in time; `left()` raises TimeoutError once it has passed."""

    def __init__(self, seconds):
        self.end = time.monotonic() + seconds

    def left(self):
        """Seconds left, always positive."""
        left = self.end - time.monotonic()
        if left <= 0:
            raise TimeoutError("nothing came before the deadline")
        return left


# --- bytes in and out -------------------------------------------------------


def pad_name(name):
    """A 32-byte name field: zero-filled."""
    raw = name.encode("latin-1")
    if len(raw) > NAME_SIZE:
        raise ValueError(f"name longer than {NAME_SIZE} bytes: {name!r}")
    return raw.ljust(NAME_SIZE, b"\0")


def unpad_name(field):
    """The name in a 32-byte field: up to the first NUL."""
    return bytes(field).split(b"\0", 1)[0].decode("latin-1")


def order_of(first_byte):
    """Byte order announced by the first byte of a marked integer."""
    return LITTLE if first_byte & 0x80 else BIG


def marker(order):
    """The endian marker that a writer of this order sets."""
    return MARKER if order == LITTLE else 0


def encode_hint(mess_type, order):
    """The four hint bytes for a 16-bit message type."""
    return struct.pack(order + "I", (mess_type & 0xFFFF) << 8 | marker(order))


def decode_hint(raw):
    """(mess_type, order of the writer) from four hint bytes."""
    order = order_of(raw[0])
    (value,) = struct.unpack(order + "I", raw)
    return (value & ~MARKER) >> 8 & 0xFFFF, order


def encode_message(kind, sender, groups=(), data=b"", order=LITTLE, hint=None):
    """One whole client message; `hint` replaces the default hint bytes."""
    names = b"".join(pad_name(group) for group in groups)
    return (
        struct.pack(order + "I", kind | marker(order))
        + pad_name(sender)
        + struct.pack(order + "i", len(groups))
        + (encode_hint(0, order) if hint is None else hint)
        + struct.pack(order + "i", len(data))
        + names
        + data
    )


def encode_greeting(name, version=(4, 4, 0), flags=1):
    """The first bytes of a session; versions up to 3.14 carry no patch byte."""
    major, minor = version[:2]
    numbers = version[:2] if major * 100 + minor <= 314 else version
    raw = name.encode("latin-1")
    return bytes([*numbers, flags, len(raw)]) + raw


def encode_auth(*methods):
    """The 90-byte choice of up to three authentication methods."""
    slots = [method.encode("ascii").ljust(30, b"\0") for method in methods]
    return b"".join(slots).ljust(90, b"\0")


@dataclass(frozen=True)
class Message:
    """One message as delivered; `kind` is the type without the marker."""

    raw: bytes
    order: str
    kind: int
    name: str
    groups: tuple
    hint: bytes
    data: bytes
    rejected_kind: int | None = None

    @property
    def service(self):
        """The service bit of a data message."""
        return self.kind & REGULAR

    @property
    def mess_type(self):
        """The 16-bit message type chosen by the sender."""
        return decode_hint(self.hint)[0]

    @property
    def hint_order(self):
        """Byte order of the original sender, as the hint tells it."""
        return decode_hint(self.hint)[1]

    @property
    def is_data(self):
        """True for a message that a client multicast."""
        return bool(self.kind & REGULAR) and not self.kind & REJECT

    @property
    def is_view(self):
        """True for a regular membership message."""
        return bool(self.kind & REG_MEMB) and not self.kind & REJECT

    @property
    def is_transition(self):
        """True for a transitional signal."""
        return bool(self.kind & TRANSITION) and not self.kind & REJECT

    @property
    def is_self_leave(self):
        """True for the answer to one's own leave."""
        return bool(self.kind & CAUSED_BY_LEAVE) and not self.kind & (REG_MEMB | TRANSITION | REJECT)

    def view(self):
        """The membership that this message announces."""
        return parse_view(self)

    def transition_gid(self):
        """The old group id in a transitional signal."""
        if len(self.data) != 12:
            raise ProtocolError(f"transition body of {len(self.data)} bytes")
        return struct.unpack(self.order + "iii", self.data)

    def __str__(self):
        return (
            f"[{self.kind:#x} {self.name!r} to {list(self.groups)[:5]} "
            f"type {self.mess_type} {len(self.data)} bytes {self.data[:24]!r}]"
        )


@dataclass(frozen=True)
class View:
    """A group membership; `my_set` is the index of the receiver's vs set."""

    group: str
    cause: int
    members: tuple
    gid: tuple
    vs_sets: tuple
    my_set: int


def message_size(buffer):
    """Bytes that the message at the start of `buffer` takes, None if unknown yet."""
    if len(buffer) < HEADER_SIZE:
        return None
    order = order_of(buffer[0])
    if (buffer[0] & 0x80) != (buffer[3] & 0x80):
        raise ProtocolError(f"half an endian marker: {bytes(buffer[:4]).hex(' ')}")
    (kind,) = struct.unpack_from(order + "I", buffer, 0)
    (num_groups,) = struct.unpack_from(order + "i", buffer, 36)
    (data_len,) = struct.unpack_from(order + "i", buffer, 44)
    if num_groups < 0 or data_len < 0:
        raise ProtocolError(f"num_groups {num_groups}, data_len {data_len}")
    extra = 4 if kind & REJECT else 0
    return HEADER_SIZE + extra + NAME_SIZE * num_groups + data_len


def parse_message(raw):
    """The message in `raw`, which must be exactly one message long."""
    raw = bytes(raw)
    if message_size(raw) != len(raw):
        raise ProtocolError(f"{len(raw)} bytes are not one message")
    order = order_of(raw[0])
    (kind,) = struct.unpack_from(order + "I", raw, 0)
    (num_groups,) = struct.unpack_from(order + "i", raw, 36)
    at = HEADER_SIZE
    rejected_kind = None
    if kind & REJECT:
        (rejected_kind,) = struct.unpack_from(order + "I", raw, at)
        at += 4
    end = at + NAME_SIZE * num_groups
    groups = tuple(unpad_name(raw[i : i + NAME_SIZE]) for i in range(at, end, NAME_SIZE))
    return Message(
        raw=raw,
        order=order,
        kind=kind & ~MARKER,
        name=unpad_name(raw[4:36]),
        groups=groups,
        hint=raw[40:44],
        data=raw[end:],
        rejected_kind=rejected_kind,
    )


def parse_view(message):
    """Parse the body of a regular membership message, strictly."""
    body, order = message.data, message.order
    try:
        *gid, count, offset = struct.unpack_from(order + "iiiII", body, 0)
        at, starts, vs_sets = 20, [], []
        for _ in range(count):
            starts.append(at - 20)
            (size,) = struct.unpack_from(order + "I", body, at)
            at += 4
            if at + NAME_SIZE * size > len(body):
                raise ProtocolError(f"vs set of {size} names leaves the body")
            names = [body[at + NAME_SIZE * i : at + NAME_SIZE * (i + 1)] for i in range(size)]
            vs_sets.append(tuple(unpad_name(name) for name in names))
            at += NAME_SIZE * size
    except struct.error as error:
        raise ProtocolError(f"membership body of {len(body)} bytes: {error}") from None
    if at != len(body):
        raise ProtocolError(f"{len(body) - at} bytes after the vs sets")
    if offset not in starts:
        raise ProtocolError(f"offset {offset} is the start of no vs set ({starts})")
    return View(
        group=message.name,
        cause=message.kind & (MEMBERSHIP & ~(REG_MEMB | TRANSITION)),
        members=message.groups,
        gid=tuple(gid),
        vs_sets=tuple(vs_sets),
        my_set=starts.index(offset),
    )


class MessageBuffer:
    """Cuts a stream of bytes into messages."""

    def __init__(self):
        self.bytes = bytearray()

    def feed(self, data):
        """Append bytes as they arrived."""
        self.bytes += data

    def pop(self):
        """The next whole message, or None."""
        size = message_size(self.bytes)
        if size is None or len(self.bytes) < size:
            return None
        raw = bytes(self.bytes[:size])
        del self.bytes[:size]
        return parse_message(raw)


# --- the connection ---------------------------------------------------------


def open_socket(address, timeout=10.0):
    """Connect to PORT@HOST (TCP), PORT (the Unix socket in /tmp) or a socket path."""
    tcp = re.fullmatch(r"(\d+)@(.+)", address)
    if tcp:
        sock = socket.create_connection((tcp[2], int(tcp[1])), timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock
    path = f"/tmp/{address}" if address.isdigit() else address
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.settimeout(timeout)
    try:
        sock.connect(path)
    except OSError:
        sock.close()
        raise
    return sock


class Client:
    """One session. `order` is the byte order of everything it sends.

    The sockets are non-blocking underneath; every call takes its deadline from
    `timeout`. While sending, arriving bytes are taken in, so that a client
    that is busy writing is never a slow reader.
    """

    def __init__(self, address, name="", *, membership=True, priority=0, version=(4, 4, 0),
                 order=LITTLE, methods=("NULL",), timeout=10.0):
        self.order = order
        self.timeout = timeout
        self.buffer = MessageBuffer()
        self.eof = False
        self.sock = open_socket(address, timeout)
        self.sock.setblocking(False)
        try:
            flags = (priority & 0x0F) << 4 | (1 if membership else 0)
            self._handshake(name, version, flags, methods)
        except BaseException:
            self.sock.close()
            raise

    def _handshake(self, name, version, flags, methods):
        """Open the session; sets private_group, name, daemon_name and version."""
        number = version[0] * 100 + version[1]
        deadline = Deadline(self.timeout)
        self.send_raw(encode_greeting(name, version, flags))
        if number >= 316:
            length = self._accept_byte(deadline)
            self.auth_list = self._exactly(length, deadline).decode("ascii")
            self.send_raw(encode_auth(*methods))
        if self._accept_byte(deadline) != ACCEPT:
            raise ProtocolError("neither ACCEPT nor a reject code")
        self.version = tuple(self._exactly(2 if number <= 314 else 3, deadline))
        (length,) = self._exactly(1, deadline)
        self.private_group = self._exactly(length, deadline).decode("latin-1")
        parts = self.private_group.split("#")
        if len(parts) != 3 or parts[0]:
            raise ProtocolError(f"private group {self.private_group!r}")
        self.name, self.daemon_name = parts[1:]

    def _accept_byte(self, deadline):
        """One signed byte that is not a reject code."""
        (code,) = struct.unpack("b", self._exactly(1, deadline))
        if code < 0:
            raise Rejected(code)
        return code

    def _exactly(self, size, deadline):
        """Exactly `size` bytes of the handshake."""
        while len(self.buffer.bytes) < size:
            self._wait_and_read(deadline)
        data = bytes(self.buffer.bytes[:size])
        del self.buffer.bytes[:size]
        return data

    def _read_available(self):
        """Take in what has arrived; True if there was something."""
        try:
            data = self.sock.recv(1 << 18)
        except (BlockingIOError, InterruptedError):
            return False
        except ConnectionError:
            data = b""
        if not data:
            self.eof = True
            return False
        self.buffer.feed(data)
        return True

    def _wait_and_read(self, deadline):
        """Wait for bytes and take them in; Closed at the end of the stream."""
        if self.eof:
            raise Closed("the daemon closed the connection")
        if select.select([self.sock], [], [], deadline.left())[0]:
            self._read_available()

    def fileno(self):
        """For select()."""
        return self.sock.fileno()

    # sending

    def send_raw(self, data, timeout=None):
        """Send any bytes; Closed if the daemon closed before taking them all."""
        deadline = Deadline(timeout or self.timeout)
        left = memoryview(data)
        while left:
            readers = [] if self.eof else [self.sock]
            readable, writable, _ = select.select(readers, [self.sock], [], deadline.left())
            if readable:
                self._read_available()
            if writable:
                try:
                    left = left[self.sock.send(left) :]
                except (BlockingIOError, InterruptedError):
                    pass
                except ConnectionError:
                    raise Closed("the daemon closed the connection") from None

    def encode(self, kind, groups=(), data=b"", *, order=None, hint=None):
        """A message of this session, not sent."""
        return encode_message(kind, self.private_group, groups, data, order or self.order, hint)

    def join(self, *groups):
        """Join groups, all in one message."""
        self.send_raw(self.encode(JOIN, groups))

    def leave(self, *groups):
        """Leave groups, all in one message."""
        self.send_raw(self.encode(LEAVE, groups))

    def multicast(self, groups, data=b"", service=AGREED, mess_type=0, *, order=None, hint=None):
        """Send `data` to groups; `service` may carry more bits (SELF_DISCARD)."""
        if isinstance(groups, str):
            groups = (groups,)
        order = order or self.order
        hint = encode_hint(mess_type, order) if hint is None else hint
        self.send_raw(self.encode(service, groups, data, order=order, hint=hint))

    def kill(self):
        """Ask the daemon to end the session."""
        self.send_raw(self.encode(KILL, (self.private_group,)))

    # receiving

    def receive(self, timeout=None):
        """The next message; Closed or TimeoutError if none comes."""
        deadline = Deadline(timeout or self.timeout)
        while (message := self.buffer.pop()) is None:
            self._wait_and_read(deadline)
        return message

    def available(self):
        """Messages that have arrived, without waiting; see `eof` for the end."""
        if not self.eof:
            self._read_available()
        messages = []
        while (message := self.buffer.pop()) is not None:
            messages.append(message)
        return messages

    def rest(self, timeout=None):
        """Wait until the daemon closes; (messages until then, bytes of a cut one)."""
        deadline = Deadline(timeout or self.timeout)
        messages = self.available()
        while not self.eof:
            self._wait_and_read(deadline)
            messages += self.available()
        return messages, bytes(self.buffer.bytes)

    def disconnect(self, timeout=None):
        """KILL, then wait until the daemon has closed."""
        self.kill()
        rest = self.rest(timeout)
        self.close()
        return rest

    def close(self):
        """Close the socket, without a KILL."""
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
