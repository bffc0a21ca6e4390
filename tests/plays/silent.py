"""A member of the caches' group that never confirms: silent.py SOCKET NAME [LAST].

It prints `heard TYPE` for each message of the group. A line on its stdin ends it: with LAST `leave` it
leaves the group in order, with `vanish` it just ends its connection, and with the text of an answer
it gives that to the last message first, and then leaves.
"""

import os
import select
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "python"))
import spread_client

address, name, last = sys.argv[1], sys.argv[2], sys.argv[3]
client = spread_client.Client(address, name)
client.join("imgcache")
asked = None
while True:
    readable, _, _ = select.select([client, sys.stdin], [], [])
    if client in readable:
        for message in client.available():
            if message.is_data:
                asked = message
                print(f"heard {message.mess_type}", flush=True)
    else:
        break
if last == "vanish":
    client.close()
    sys.exit()
if last != "leave":
    client.multicast([asked.name], last.encode(), mess_type=asked.mess_type)
client.leave("imgcache")
client.disconnect()
