#!/usr/bin/env bash
# logtop in a real terminal (tmux): keys are pressed, and screens compared.
bin=$1
. "$(dirname "$0")/net.sh" "$@"
need tmux

{
    for i in 1 2 3; do
        echo '10.0.0.1 - - [10/Oct/2020:10:00:00 +0000] "GET /a HTTP/1.1" 200 1000 "-" "-"'
    done
    echo '10.0.0.2 - - [10/Oct/2020:10:00:00 +0000] "GET /a HTTP/1.1" 404 0 "-" "-"'
    printf '10.0.0.2 - - [10/Oct/2020:09:00:00 +0000] "GET /b\x1b[31m HTTP/1.1" 503 0 "-" "-"\n'
    echo 'no line of a log'
} >"$scratch/log"
tm() { tmux -S "$scratch/tmux" "$@"; }
LC_ALL=C.UTF-8 tm -f /dev/null new-session -d -x 90 -y 12 "$bin/logtop --all -d 0.2 $scratch/log 2>$scratch/logtop.err"
# The screen without blanks at the ends of lines, and without empty lines below.
screen() { tm capture-pane -p -t 0 | sed 's/ *$//'; }
shows() { screen | sed -n "$2"p | grep -qF -- "$1"; }
rows() { screen | sed -n '6,$p' | sed '/^$/d' | sed 's/ [0-9.]*\.[0-9] / - /g'; }
is() {
    local expected=$1
    is_it() { [ "$(rows | awk '{ print $1, $NF }')" = "$expected" ]; }
    until_true 10 "$2: $expected" is_it
}

until_true 20 'all lines are read' shows 'lines: 6  not parsed: 1  cut: 0  late: 1' 4
shows '2xx: 3  3xx: 0  4xx: 1  5xx: 1' 2 || fail "sums: $(screen)"
is 'REQS url
4 /a
1 /b\u{1b}[31m' 'rows by requests; a name cannot steer the terminal'
tm send-keys -t 0 n
is '2xx url
3 /a
0 /b\u{1b}[31m' 'classes'
tm send-keys -t 0 s 5
is '2xx url
0 /b\u{1b}[31m
3 /a' 'sorted by errors'
tm send-keys -t 0 s r n
is 'REQS url
4 /a
1 /b\u{1b}[31m' 'as in the beginning'
tm send-keys -t 0 Right
is 'REQS host
3 10.0.0.1
1 10.0.0.2' 'into a row'
tm send-keys -t 0 t r
is 'REQS referer
4 -' 'what the row shows inside is a choice'
tm send-keys -t 0 t h Left d
is 'REQS host
3 10.0.0.1
2 10.0.0.2' 'back, and by host'
tm send-keys -t 0 f a h '!10.0.0.2' Enter
until_true 10 'a negated filter' shows 'host !/10.0.0.2/' 5
tm send-keys -t 0 f c
unfiltered() { ! shows 'host !' 5; }
until_true 10 'no filter' unfiltered
tm send-keys -t 0 p
until_true 10 'paused' shows paused 5
tm send-keys -t 0 p h
until_true 10 'help' shows 'd  next item' 6
tm send-keys -t 0 x q
gone() { ! tm list-sessions; }
until_true 10 'q ends it' gone
echo 'ok: rows, classes, sorting, into a row and back, pause, help and quit, in a terminal'

# From the bus: what is lost is said.
cat >"$scratch/one.conf" <<CONF
Spread_Segment 127.0.0.255:$port {
    localhost 127.0.0.1
}
SpreadSocket = false
StateDir = $scratch
CONF
export GROUPD_SOCKET=$scratch/socket
start_bus() {
    "$bin/groupd" -c "$scratch/one.conf" --socket "$GROUPD_SOCKET" 2>>"$scratch/groupd.err" &
    bus=$!
    until_true 10 'groupd answers' "$bin/groupctl" --socket "$GROUPD_SOCKET" status
}
member() { "$bin/groupctl" --socket "$GROUPD_SOCKET" members web | grep -q '^#lt'; }
start_bus
LC_ALL=C.UTF-8 tm -f /dev/null new-session -d -x 90 -y 12 "$bin/logtop -g web -d 0.2 2>$scratch/logtop2.err"
until_true 10 'logtop in the group' member
"$bin/logtop" -g web --json --every 0.2s >"$scratch/json" 2>"$scratch/logtop3.err" &
until_true 10 'logtop --json says that it is a member' grep -q '"joined":true' "$scratch/json"
head -n 3 "$scratch/log" | "$bin/logpub" web 2>"$scratch/logpub.err"
until_true 10 'lines of the bus' shows '3 reqs' 2
kill -9 "$bus"
wait "$bus" 2>/dev/null
until_true 10 'the loss is on the screen' shows 'the bus is lost: lines are missing' 5
until_true 10 'and in the JSON' grep -q '"losses":1' "$scratch/json"
start_bus
until_true 20 'it stays on the screen when the bus is back' shows 'the bus was lost once: lines are missing' 5
until_true 10 'and in the JSON' grep -q '"joined":true,.*"losses":1' "$scratch/json"
echo 'ok: lost lines are shown, on the screen and in JSON'
