"""Writes numbered lines to stdout, as a web server does to the pipe of its logger.

    source.py PUBLISHER LINES_PER_SECOND SEED COUNT_FILE

What it writes at a time ends anywhere in a line, so that whoever reads the pipe is most often killed
within one. COUNT_FILE always holds the lines and the bytes of whole lines written so far, as two
little-endian 64-bit numbers. SIGTERM makes it finish its line and exit.
"""

import collections
import mmap
import os
import random
import signal
import struct
import sys
import time

import lines

COUNT = struct.Struct("<QQ")


class Source:
    def __init__(self, publisher, lines_per_second, seed, count_path):
        self.publisher = publisher
        self.lines_per_second = lines_per_second
        self.chance = random.Random(seed)
        self.stopping = False
        with open(count_path, "w+b") as file:
            file.write(COUNT.pack(0, 0))
            file.flush()
            self.count = mmap.mmap(file.fileno(), COUNT.size)
        self.written = 0
        # Sequence of the last line made, and for each line not yet whole in the pipe where it ends.
        self.sequence = 0
        self.made = 0
        self.ends = collections.deque()
        self.rest = b""

    def make_burst(self):
        """Adds the lines of the next tenth of a second, sometimes many more at once."""
        wanted = max(1, int(self.lines_per_second / 10))
        if self.chance.random() < 0.05:
            wanted *= 5
        burst = [self.rest]
        for _ in range(wanted):
            self.sequence += 1
            line = lines.make(self.publisher, self.sequence, lines.padding_bytes(self.chance))
            self.made += len(line)
            self.ends.append((self.made, self.sequence))
            burst.append(line)
        self.rest = b"".join(burst)

    def write(self, size):
        """Writes about so many bytes; blocks while the pipe is full."""
        taken = os.write(1, self.rest[:size])
        self.rest = self.rest[taken:]
        self.written += taken
        whole = None
        while self.ends and self.ends[0][0] <= self.written:
            whole = self.ends.popleft()
        if whole:
            self.count[:] = COUNT.pack(whole[1], whole[0])

    def run(self):
        signal.signal(signal.SIGTERM, self.stop)
        due = time.monotonic()
        while not self.stopping:
            self.make_burst()
            while len(self.rest) > 1000 and not self.stopping:
                self.write(self.chance.randint(1, min(len(self.rest), 60_000)))
            due = max(due + 0.1, time.monotonic() - 1)
            time.sleep(max(0, due - time.monotonic()))
        self.finish_line()

    def finish_line(self):
        end = self.ends[0][0] if self.ends else self.made
        while self.written < end:
            self.write(end - self.written)

    def stop(self, *_):
        self.stopping = True


if __name__ == "__main__":
    publisher, rate, seed, count_path = sys.argv[1:]
    Source(publisher.encode(), float(rate), int(seed), count_path).run()
