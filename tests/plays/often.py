"""Asks for an object so often that its answer is prepared: often.py ADDRESS HOST DIRECTORY ORIGIN PID ROUNDS.

The object is DIRECTORY/size-100000-often.gif, of the cache with this pid, which keeps prepared answers
in files without names. They must be true for the second in which they are sent. In each round such an
answer is there when the origin gets a new version and the file is deleted, moved away, replaced, or
written by hand, in turn; no request that begins after that may get an older version or other bytes.
"""

import os
import socket
import sys
import time

address, host, directory, origin, pid, rounds = *sys.argv[1:6], int(sys.argv[6])
SIZE = 100_000
PATH = f"/size-{SIZE}-often.gif"
file = directory + PATH
# Seconds that a slow machine may take.
PATIENCE = 60
connection = socket.create_connection((address, 80), timeout=PATIENCE)
reader = connection.makefile("rb")


def ask(count):
    """Headers of so many answers to requests that were sent at once."""
    request = f"GET {PATH} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    connection.sendall(request * count)
    answers = []
    for _ in range(count):
        status = reader.readline()
        headers = {}
        while (line := reader.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode().partition(":")
            headers[name] = value.strip()
        body = reader.read(int(headers["Content-Length"]))
        if not status.startswith(b"HTTP/1.1 200 ") or body != b"x" * SIZE:
            sys.exit(f"a wrong answer: {status} {headers} {body[:20]}")
        answers.append(headers)
    return answers


def prepared():
    """The files without names of the cache that are longer than the body: which."""
    found = set()
    for number in os.listdir(f"/proc/{pid}/fd"):
        try:
            status = os.stat(f"/proc/{pid}/fd/{number}")
        except FileNotFoundError:
            continue
        if status.st_nlink == 0 and SIZE < status.st_size < 2 * SIZE:
            found.add((status.st_dev, status.st_ino))
    return found


def ask_until_prepared():
    """Asks until there is an answer that was not there before."""
    before, deadline = prepared(), time.monotonic() + PATIENCE
    while not prepared() - before:
        if time.monotonic() > deadline:
            sys.exit("no answer is prepared")
        ask(128)


def set_version(number):
    with open(f"{origin}/version.new", "w") as new:
        print(number, file=new)
    os.rename(f"{origin}/version.new", f"{origin}/version")


def forge():
    with open(f"{directory}/forged", "w") as forged:
        forged.write("y" * SIZE)
    os.rename(f"{directory}/forged", file)


def overwrite():
    with open(file, "r+") as same:
        same.write("y")


set_version(0)
begun = time.time()
ask(1)
filled = time.time()
ages = set()
deadline = time.monotonic() + PATIENCE
while not {0, 1, 2} <= ages:
    before = time.time()
    answers = ask(128)
    after = time.time()
    for headers in answers:
        age = int(headers["Age"])
        if not before - filled - 1 < age < after - begun + 1:
            sys.exit(f"Age: {age}, from {before - filled} to {after - begun} s after it was made")
        ages.add(age)
    if time.monotonic() > deadline:
        sys.exit(f"no more ages than {ages}")
WAYS = [lambda: os.unlink(file), lambda: os.rename(file, f"{directory}/moved"), forge, overwrite]
for number in range(1, rounds + 1):
    ask_until_prepared()
    set_version(number)
    WAYS[number % len(WAYS)]()
    for headers in ask(16):
        if headers["ETag"] != f'"{number}"':
            sys.exit(f"round {number}: {headers}")
# Files are given back: without hits none is left.
deadline = time.monotonic() + PATIENCE
while left := prepared():
    if time.monotonic() > deadline:
        sys.exit(f"prepared answers are left: {left}")
print(f"{rounds} rounds, ages {sorted(ages)}")
