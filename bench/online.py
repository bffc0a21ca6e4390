"""The parts of bench/online that talk to sockets: online.py SOCKET PART ..."""
import json, os, random, socket, subprocess, sys, time

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


random.seed(7)
if part == 'wait':
    while not ask('count')['position']:
        time.sleep(0.02)
elif part == 'path':
    logpub, pid, duration = sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
    publisher = subprocess.Popen([logpub, 'web'], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    ready = [''.join(lines(5000 * second, 5000, 100000)).encode() for second in range(duration)]
    place = ask('count')['position']['membership']
    begin, spent = time.time(), processor(pid)
    for second, text in enumerate(ready):
        pieces = text.splitlines(keepends=True)
        for tenth in range(10):
            publisher.stdin.write(b''.join(pieces[tenth * 500:(tenth + 1) * 500]))
            publisher.stdin.flush()
            time.sleep(max(0, begin + second + (tenth + 1) / 10 - time.time()))
    used = (processor(pid) - spent) / (time.time() - begin)
    print(f'whole path, 5000 lines/s for {duration} s: {used * 100:.1f} % of a core in whosonline')
    count = 1000000
    text = ''.join(lines(5000 * duration, count, 100000)).encode()
    text += b'1.1.1.1 - the-last-one [17/May/2015:23:00:00 +0000] "GET /end HTTP/1.1" 200 1 "-" "-"\n'
    begin, spent = time.time(), processor(pid)
    publisher.stdin.write(text)
    publisher.stdin.close()
    while ask('user the-last-one')['page'] is None:
        time.sleep(0.01)
    wall, used = time.time() - begin, processor(pid) - spent
    if (ask('count')['position'] or {}).get('membership') != place:
        print('whosonline was too slow for the bus, and lost its session: what follows is too good')
    print(f'whole path, as fast as it goes: {count / wall:.0f} lines/s from stdin of logpub into the table, '
          f'{used / count * 1e6:.2f} us of processor time a line in whosonline')
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
