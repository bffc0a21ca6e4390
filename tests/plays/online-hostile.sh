#!/usr/bin/env bash
# Clients that mean harm to whosonline: they stall in the middle of a question, never read, send
# garbage or a line without an end, and come in crowds. Others are answered all the time, the lines
# of the log are kept up with, and memory stays bounded.
bin=$1
. "$(dirname "$0")/net.sh" "$@"
need python3

lone_host
start_bus
"$bin/whosonline" web --control "$scratch/online" --http 8081 --historic 8989 2>"$scratch/whosonline.err" &
pid=$!
holds() { [[ $("$bin/online" --control "$scratch/online" --json) == *'"position":{'* ]]; }
until_true 20 'whosonline holds a table' holds

cat >"$scratch/hostile.py" <<'PY'
import json, random, socket, subprocess, sys, threading, time, urllib.request
logpub, path, pid = sys.argv[1], sys.argv[2], sys.argv[3]
random.seed(3)
END = time.time() + 8
PLACES = [path, ('127.0.0.1', 8081), ('127.0.0.1', 8989)]


def connect(place):
    peer = socket.socket(socket.AF_UNIX if place == path else socket.AF_INET)
    peer.settimeout(0.5)
    peer.connect(place)
    return peer


def harm(place, act):
    """Does it again and again; being cut off is what is to be expected."""
    def again():
        while time.time() < END:
            try:
                with connect(place) as peer:
                    act(peer)
            except OSError:
                time.sleep(0.01)
    return again


def push(data):
    """Sends it for ever, and reads nothing."""
    def act(peer):
        while time.time() < END:
            peer.sendall(data)
    return act


def stall(data):
    def act(peer):
        peer.sendall(data)
        time.sleep(random.random())
    return act


acts = [harm(path, push(b'page /p0 1000\n' * 100)), harm(path, push(b'x' * 65536)), harm(path, stall(b'pag')),
        harm(PLACES[1], push(b'GET /page?url=/p0&n=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n' * 50)),
        harm(PLACES[1], push(b'GET / HTTP/1.1\r\nX: ' + b'y' * 65536)), harm(PLACES[1], stall(b'GET /count HT')),
        harm(PLACES[1], stall(b'GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n')),
        harm(PLACES[2], push(b'\0\3/p0' * 100)), harm(PLACES[2], push(b'\xff\xff' + b'z' * 60000)),
        harm(PLACES[2], stall(b'\0'))]
acts += [harm(place, push(random.randbytes(5000))) for place in PLACES]
crowd = []
for place, count in zip(PLACES, (40, 150, 150)):
    for _ in range(count):
        try:
            crowd.append(connect(place))
        except OSError:
            time.sleep(0.01)
threads = [threading.Thread(target=act, daemon=True) for act in acts]
[thread.start() for thread in threads]

def ask(question):
    """An honest client may have to come again: crowds are let in by turns."""
    until = time.time() + 20
    while time.time() < until:
        try:
            with connect(path) as peer:
                peer.settimeout(20)
                peer.sendall(question + b'\n')
                line = peer.makefile('rb').readline()
                if line:
                    return json.loads(line)
        except (ConnectionError, BlockingIOError, socket.timeout):
            time.sleep(0.01)
    sys.exit('an honest client was not answered within 20 s')


publisher = subprocess.Popen([logpub, 'web'], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
number, answers, place = 0, 0, ask(b'count')['position']['membership']
while time.time() < END:
    for _ in range(200):
        publisher.stdin.write(b'1.1.1.1 - user%d [10/Oct/2020:10:00:00 +0000] "GET /p%d HTTP/1.1" 200 1 "-" "-"\n'
                              % (number % 5000, number % 7))
        number += 1
    publisher.stdin.flush()
    ask(b'count')
    answers += 1
publisher.stdin.close()
[thread.join(20) for thread in threads]
crowd.clear()
until = time.time() + 20
while ask(b'user user%d' % ((number - 1) % 5000))['page'] != '/p%d' % ((number - 1) % 7) and time.time() < until:
    time.sleep(0.05)
last = ask(b'count')
assert last['users'] == min(number, 5000), (last, number)
assert last['position']['membership'] == place, 'whosonline has lost the bus'
with open(f'/proc/{pid}/status') as status:
    peak = next(int(line.split()[1]) for line in status if line.startswith('VmHWM'))
assert peak < 200_000, f'{peak} kB'
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
metrics = direct.open('http://127.0.0.1:8081/metrics', timeout=20).read().decode()
assert f'whosonline_lines_total {number}\n' in metrics, (number, metrics)
print(f'ok: {answers} honest questions answered, all {number} lines taken, at most {peak // 1000} MB')
PY
timeout 80 python3 "$scratch/hostile.py" "$bin/logpub" "$scratch/online" "$pid" || fail 'clients that mean harm'
kill -TERM "$pid"
wait "$pid" || fail 'whosonline did not stop with exit 0'
