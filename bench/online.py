"""The parts of bench/online that talk to sockets: online.py SOCKET PART ..."""
import json, os, random, socket, subprocess, sys, time, urllib.request

path, part = sys.argv[1:3]


def connect():
    for _ in range(500):
        try:
            peer = socket.socket(socket.AF_UNIX)
            peer.connect(path)
            return peer
        except OSError:
            time.sleep(0.02)
    sys.exit('nobody listens at ' + path)


def ask(question):
    with connect() as peer:
        peer.sendall(question.encode() + b'\n')
        return json.loads(peer.makefile('rb').readline())


def pipelined(request, count, size, answers_in):
    """Sends a request so often, many at a time, and reads what comes; answers a second."""
    peer, batch, begin, got = connect(), 500, time.time(), 0
    for _ in range(count // batch):
        peer.sendall(request * batch)
        want, pending = batch, b''
        while want:
            data = peer.recv(size)
            pending += data
            complete = answers_in(pending)
            want -= complete
            pending = pending[pending.rfind(b'\n') + 1:]
    return count / (time.time() - begin)


def processor(pid):
    with open(f'/proc/{pid}/stat') as file:
        words = file.read().rsplit(')', 1)[1].split()
    return (int(words[11]) + int(words[12])) / os.sysconf('SC_CLK_TCK')


def lines(first, count, users):
    for number in range(first, first + count):
        second = number // 5000
        user = int(users ** random.random())
        yield ('83.149.9.%d - user%d [17/May/2015:%02d:%02d:%02d +0000] "GET /presentations/page-%d/index.html '
               'HTTP/1.1" 200 %d "http://semicomplete.com/presentations/" "Mozilla/5.0 (Macintosh; Intel Mac OS X '
               '10_9_1) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/32.0.1700.77 Safari/537.36"\n'
               % (number % 256, user, 10 + second // 3600, second // 60 % 60, second % 60,
                  int(5000 ** random.random()), number % 9999))


def pieces(rate, duration):
    """What is written each tenth of a second, for so many seconds."""
    made = []
    for tenth in range(duration * 10):
        made.append(''.join(lines(tenth * (rate // 10), rate // 10, 100000)).encode())
    return made


def publish(publisher, pieces, pid):
    """Writes a piece each tenth of a second; the processor time that it took, and the latest delay."""
    begin, spent, late = time.time(), processor(pid), 0
    for number, piece in enumerate(pieces):
        publisher.stdin.write(piece)
        publisher.stdin.flush()
        wait = begin + (number + 1) / 10 - time.time()
        late = max(late, -wait)
        time.sleep(max(0, wait))
    return processor(pid) - spent, late


def counted(what):
    """A counter of whosonline."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open('http://127.0.0.1:8080/metrics') as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith(f'whosonline_{what}_total '):
                return int(line.split()[1])


random.seed(7)
if part == 'wait':
    while not ask('count')['position']:
        time.sleep(0.02)
elif part == 'path':
    logpub, pid, duration, rate = sys.argv[3], int(sys.argv[4]), int(sys.argv[5]), int(sys.argv[6])
    # Its work must not be taken for the path's: everything is made before.
    slow = pieces(5000, duration)
    fast = pieces(rate, 1) * (duration // 2)
    publisher = subprocess.Popen(logpub.split(), stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    place, lines_before = ask('count')['position']['membership'], counted('lines')
    used, _ = publish(publisher, slow, pid)
    print(f'whole path, 5000 lines/s for {duration} s: {used / duration * 100:.2f} % of a core in whosonline')
    begin = time.time()
    used, late = publish(publisher, fast, pid)
    publisher.stdin.write(b'1.1.1.1 - the-last-one [17/May/2015:23:00:00 +0000] "GET /end HTTP/1.1" 200 1 "-" "-"\n')
    publisher.stdin.close()
    written = time.time()
    while ask('user the-last-one')['page'] is None:
        if time.time() > written + 30:
            sys.exit('not valid: the last line has not come within 30 s')
        time.sleep(0.005)
    seen, count = time.time(), 5000 * duration + rate * (duration // 2) + 1
    print(f'whole path, {rate} lines/s for {duration // 2} s: sent in {written - begin:.2f} s, at most {late * 1000:.0f} ms late; '
          f'the last line was in the table {(seen - written) * 1000:.0f} ms after it was sent; '
          f'{used / (duration // 2) * 100:.1f} % of a core in whosonline')
    got = counted('lines') - lines_before
    if (ask('count')['position'] or {}).get('membership') != place or got != count:
        sys.exit(f'not valid: the session was lost, {got} of {count} lines came')
    print(f'valid: one session from the first line to the last, {got} of {count} lines')
elif part == 'socket':
    rate = pipelined(b'count\n', 200000, 1 << 18, lambda data: data.count(b'\n'))
    print(f'whosonline: {rate:.0f} pipelined count questions/s over the socket')
elif part == 'redis':
    def command(*words):
        words = [str(word).encode() for word in words]
        return b'*%d\r\n' % len(words) + b''.join(b'$%d\r\n%s\r\n' % (len(word), word) for word in words)

    peer, hits, batch, last = connect(), 200000, 200, {}
    replies = peer.makefile('rb')
    requests = []
    for number in range(hits // batch):
        text, expected = b'', 0
        for _ in range(batch):
            user, page = 'user%d' % int(100000 ** random.random()), 'page:%d' % int(5000 ** random.random())
            if last.get(user, page) != page:
                text += command('ZREM', last[user], user)
                expected += 1
            last[user] = page
            text += command('ZADD', 'online', number, user) + command('ZADD', page, number, user)
            text += command('ZREMRANGEBYSCORE', 'online', '-inf', number - 1800)
            expected += 3
        requests.append((text, expected))
    begin = time.time()
    for text, expected in requests:
        peer.sendall(text)
        for _ in range(expected):
            replies.readline()
    rate = hits / (time.time() - begin)
    print(f'Redis, sorted sets: {rate:.0f} hits/s, pipelined, already parsed')
    rate = pipelined(command('ZCARD', 'online'), 200000, 1 << 18, lambda data: data.count(b'\n'))
    print(f'Redis: {rate:.0f} pipelined ZCARD/s')
