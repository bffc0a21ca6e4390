#!/usr/bin/env bash
# Several whosonline on one log: who joins under load has what the others have, without a wait of
# 30 minutes, while others are killed. Equal positions have equal answers.
bin=$1
. "$(dirname "$0")/net.sh" "$@"
need python3

lone_host
start_bus

start() {
    "$bin/whosonline" web --control "$scratch/online$1" 2>"$scratch/whosonline$1.err" &
    pids[$1]=$!
}
# Whether it has the table that others have, and all there is.
holds() { "$bin/online" --control "$scratch/online$1" --json | grep -q '"position":{'; }
has_users() { [ "$("$bin/online" --control "$scratch/online$1")" -ge "$2" ]; }

# Twenty minutes of log with 3,000 users at once, then 2,500 lines a second without an end.
python3 - <<'PY' | "$bin/logpub" web 2>"$scratch/logpub.err" &
import sys, time
def line(number):
    second = number // 5
    stamp = '%02d:%02d:%02d' % (10 + second // 3600, second // 60 % 60, second % 60)
    user, page = number * 7919 % 3000, number * number % 97
    return ('10.0.0.1 - user%d [10/Oct/2020:%s +0000] "GET /page/%d HTTP/1.1" 200 512 "-" "-"\n'
            % (user, stamp, page))
number = 6000
sys.stdout.write(''.join(map(line, range(number))))
while number < 200000:
    sys.stdout.write(''.join(map(line, range(number, number + 50))))
    sys.stdout.flush()
    number += 50
    time.sleep(0.02)
PY

start 1
until_true 20 'the first has users' has_users 1 2000
grep -q table-begun "$scratch/whosonline1.err" || fail 'the first begins the table'

# Each round one joins, and the oldest is killed as soon as the new one is a member.
for i in 2 3 4; do
    start $i
    until_true 10 "whosonline $i is a member" grep -q joined "$scratch/whosonline$i.err"
    if ((i > 2)); then
        kill -9 "${pids[i - 2]}"
        wait "${pids[i - 2]}" 2>/dev/null
    fi
    until_true 20 "whosonline $i holds the table" holds $i
    grep -q table-taken "$scratch/whosonline$i.err" || fail "whosonline $i took no table"
    has_users $i 2000 || fail "whosonline $i begins with few users"
done
echo 'ok: three joined under load, one after the other, and had the table at once; two were killed meanwhile'

# compare I J WHEN: two are asked again and again; where both were at the same position they said
# the same.
compare() {
    python3 "$scratch/compare.py" "$scratch/online$1" "$scratch/online$2" "$3" || fail "answers at equal positions, $3"
}
cat >"$scratch/compare.py" <<'PY'
import json, socket, sys, threading, time
QUESTIONS = ['count', 'top 50', 'page /page/4 100', 'user user42']
answers = [{}, {}]
def ask(index):
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(10)
    peer.connect(sys.argv[1 + index])
    lines = peer.makefile('rb')
    end = time.time() + 3
    while time.time() < end:
        for question in QUESTIONS:
            peer.sendall(question.encode() + b'\n')
            answer = json.loads(lines.readline())
            answers[index][question, json.dumps(answer['position'])] = answer
threads = [threading.Thread(target=ask, args=(index,)) for index in (0, 1)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
both = answers[0].keys() & answers[1].keys()
positions = {position for _, position in both}
different = [key for key in both if answers[0][key] != answers[1][key]]
assert not different, (len(different), different[0], answers[0][different[0]], answers[1][different[0]])
assert len(positions) > 10, (len(positions), len(answers[0]), len(answers[1]))
assert 'null' not in positions
print(f'ok: {len(both)} answers at {len(positions)} equal positions, all the same, {sys.argv[3]}')
PY
compare 3 4 'by the stamps of lines'

# A logger tells its clock, and time is what it says: to those who were there and to who comes.
time_of() { "$bin/online" --control "$scratch/online$1" --json | grep -o '"time":[0-9]*' | cut -d: -f2; }
is_today() { (($(time_of "$1") > $(date +%s) - 60)); }
is_of_the_log() { (($(time_of "$1") < 1700000000)); }
is_of_the_log 3 || fail 'without a logger time is that of the log'
cat >"$scratch/logger.conf" <<CONF
Name = a
Loggers = a
Quorum = none
StateDir = $scratch/logger
Spread { Log { Group = web File = $scratch/web.log } }
CONF
"$bin/spreadlogd" -s "$GROUPD_SOCKET" -c "$scratch/logger.conf" 2>"$scratch/logger.err" &
logger=$!
for i in 3 4; do until_true 20 "whosonline $i goes by the logger's clock" is_today $i; done
start 5
until_true 20 'whosonline 5 holds the table' holds 5
is_today 5 || fail 'a newcomer has the clock of the logger'
compare 4 5 "by a logger's clock"
kill -9 "$logger"
wait "$logger" 2>/dev/null
for i in 3 4 5; do until_true 20 "whosonline $i goes by stamps again" is_of_the_log $i; done
compare 3 5 'by stamps again'
kill -9 "${pids[5]}"
wait "${pids[5]}" 2>/dev/null

# The bus goes away and comes back: who holds is settled again.
begun() { cat "$scratch"/whosonline[34].err | grep -c table-begun; }
before=$(begun)
lost() { [ "$(cat "$scratch"/whosonline[34].err | grep -c bus-lost)" -eq 2 ]; }
kill -TERM $bus
until_true 10 'both notice' lost
start_bus
for i in 3 4; do until_true 20 "whosonline $i holds again" holds $i; done
[ "$(begun)" -eq $((before + 1)) ] || fail 'one of two begins after the loss of the bus'
echo 'ok: after the loss of the bus one begins and the other follows'
