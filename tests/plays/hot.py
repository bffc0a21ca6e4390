"""Deletes an object under the hands of a crowd: hot.py ADDRESS HOST DIRECTORY ORIGIN ROUNDS.

Eight connections ask for /hot.gif, which is DIRECTORY/hot.gif, all the time. In each round the origin
gets a new version, and the file is deleted, moved away, replaced, written by hand, or the URL is
purged by PURGE, in turn; no request that begins after that may get an older version, and none at all
may get what was written by hand.
"""

import http.client
import os
import sys
import threading

address, host, directory, origin, rounds = *sys.argv[1:5], int(sys.argv[5])
file = f"{directory}/hot.gif"
stop = threading.Event()
# The least version that a request may get that begins now.
least = 0
faults = []
answers = [0] * 8


def version_of(body):
    words = body.split()
    return int(words[1]) if len(words) == 2 and words[0] == b"/hot.gif" else -1


def get(connection):
    connection.request("GET", "/hot.gif", headers={"Host": host})
    answer = connection.getresponse()
    return answer.getheader("Cache-Status") or "", answer.read()


def crowd(number):
    connection = http.client.HTTPConnection(address, 80, timeout=20)
    while not stop.is_set():
        before = least
        _, body = get(connection)
        answers[number] += 1
        if version_of(body) < before:
            faults.append((before, body))


def set_version(number):
    with open(f"{origin}/version.new", "w") as new:
        print(number, file=new)
    os.rename(f"{origin}/version.new", f"{origin}/version")


def forge():
    """A file written by hand, moved over the one that is served."""
    with open(f"{directory}/forged", "w") as forged:
        forged.write("forged")
    os.rename(f"{directory}/forged", file)


def overwrite():
    """The very bytes of the file that is served."""
    with open(file, "r+") as same:
        same.write("forged")


set_version(0)
threads = [threading.Thread(target=crowd, args=(number,), daemon=True) for number in range(8)]
for thread in threads:
    thread.start()
own = http.client.HTTPConnection(address, 80, timeout=20)


def purge():
    """Confirmed, and so in force in every loop."""
    own.request("PURGE", "/hot.gif", headers={"Host": host})
    answer = own.getresponse()
    answer.read()
    if answer.status != 200:
        faults.append(answer.status)


WAYS = [lambda: os.unlink(file), lambda: os.rename(file, f"{directory}/moved"), forge, overwrite, purge]
for number in range(1, rounds + 1):
    # In the cache, and nobody fills it: a fill that is under way may bring what is older.
    while not (hit := get(own)[0]).startswith("imgcache; hit"):
        if faults:
            break
    set_version(number)
    WAYS[number % len(WAYS)]()
    least = number
    how, body = get(own)
    if version_of(body) < number:
        faults.append((number, how, body))
    if faults:
        sys.exit(f"older than it may be: {faults[:3]}")
stop.set()
for thread in threads:
    thread.join()
print(f"{rounds} rounds, {sum(answers)} requests of the crowd")
sys.exit(f"older than it may be: {faults[:3]}" if faults else 0)
