"""Asks a cache for more than it holds: churn.py ADDRESS HOST SECONDS SEED.

Four connections ask for /DIRECTORY/.../size-BYTES-N.gif, a few of them again and again, until the
time is over; on a slow machine up to a minute longer, until there are enough answers to fill a small
cache. A cache that is killed meanwhile is waited for; what it does send must be whole.
"""

import http.client
import random
import sys
import threading
import time

address, host, seconds, seed = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
end = time.monotonic() + seconds
answers, torn = [0] * 4, []
ENOUGH = 400


def goes_on():
    now = time.monotonic()
    return now < end or (sum(answers) < ENOUGH and now < end + 60)


def churn(number):
    numbers = random.Random(seed * 4 + number)
    connection = http.client.HTTPConnection(address, 80, timeout=20)
    while goes_on():
        size = int(2 ** numbers.uniform(6, 19))
        path = "".join(f"/d{numbers.randrange(8)}" for _ in range(numbers.randrange(4)))
        path += f"/size-{size}-{int(2 ** numbers.uniform(0, 14))}.gif"
        try:
            connection.request("GET", path, headers={"Host": host})
            answer = connection.getresponse()
            body = answer.read()
            if answer.status == 200:
                answers[number] += 1
                if len(body) != size:
                    torn.append(path)
        except (OSError, http.client.HTTPException):
            connection.close()
            time.sleep(0.02)


threads = [threading.Thread(target=churn, args=(number,)) for number in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(sum(answers))
sys.exit(f"torn: {torn}" if torn else 0)
