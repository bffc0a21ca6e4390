"""Numbered lines: what a source writes and what a checker reads back.

A line is `PUBLISHER SEQUENCE PADDING CHECKSUM`. The padding is any bytes but a newline, and may be
empty; the checksum is the CRC-32 of all before it, in hex. So a line that was torn, joined with
another, or changed in one byte is not a numbered line any more.
"""

import random
import zlib

CHECKSUM_BYTES = 8
LONG_LINE_BYTES = 98_000

# Any byte may stand in a line, but the one that ends it.
_BYTES = bytes(byte for byte in range(256) if byte != 0x0A)
_PADDING = bytes(random.Random(1).choices(_BYTES, k=2 * LONG_LINE_BYTES))


def make(publisher, sequence, padding_bytes):
    """A line with its newline."""
    start = sequence % LONG_LINE_BYTES
    head = b"%s %d %s " % (publisher, sequence, _PADDING[start : start + padding_bytes])
    return b"%s%08x\n" % (head, zlib.crc32(head))


def parse(line):
    """The (publisher, sequence) of a line without its newline; None if it is no whole line."""
    head, checksum = line[:-CHECKSUM_BYTES], line[-CHECKSUM_BYTES:]
    if checksum != b"%08x" % zlib.crc32(head):
        return None
    words = head.split(b" ", 2)
    if len(words) != 3 or not words[1].isdigit():
        return None
    return words[0], int(words[1])


def padding_bytes(chance):
    """How long the padding of a line is: mostly as in a web log, sometimes none, rarely very long."""
    kind = chance.random()
    if kind < 0.02:
        return 0
    if kind < 0.0203:
        return chance.randint(10_000, LONG_LINE_BYTES)
    return chance.randint(40, 400)
