"""A modest client: how long its messages to itself take, one behind the other.

latency.py SOCKET: goes on until it is ended; prints the longest time, in milliseconds, whenever that
has grown. Ends with an error if its session does.
"""

import sys
import time

from greedy import Client

client = Client(sys.argv[1], b"modest")
longest = 0
while True:
    before = time.monotonic()
    client.pass_through()
    took = int((time.monotonic() - before) * 1000)
    if took > longest:
        longest = took
        print(longest, flush=True)
    time.sleep(0.005)
