"""One client of one groupd that changes its groups as fast as it can, until it is refused more.

flood.py SOCKET SECONDS: joins groups until the first refusal, then leaves and joins them again for so
many seconds. Prints what it has, and waits to be killed with all its groups.
"""

import select
import sys
import time

from greedy import AGREED, JOIN, LEAVE, REJECT, Client


def drain(client):
    """Reads what is there; the number of refusals."""
    refused = 0
    while select.select([client.stream], [], [], 0)[0]:
        kind, _ = client.receive()
        refused += bool(kind & REJECT)
    return refused


def main():
    path, seconds = sys.argv[1], float(sys.argv[2])
    client = Client(path, b"flood", 1)
    joined = 0
    while not drain(client):
        client.send(JOIN, [b"flood-%d" % joined])
        joined += 1
    deadline = time.monotonic() + seconds
    changes = 0
    while time.monotonic() < deadline:
        for kind in (LEAVE, JOIN):
            client.send(kind, [b"flood-%d" % (changes % 8000)])
            drain(client)
        changes += 1
    # All of that is ordered when this comes back.
    client.send(AGREED, [client.private], b"mark")
    while client.receive()[1] != b"mark":
        pass
    print(f"ready: {joined} joins, {changes} times left and joined again", flush=True)
    time.sleep(60)


main()
