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
tm send-keys -t 0 Left d
is 'REQS host
3 10.0.0.1
2 10.0.0.2' 'back, and by host'
tm send-keys -t 0 p
until_true 10 'paused' shows paused 5
tm send-keys -t 0 p h
until_true 10 'help' shows 'd  next item' 6
tm send-keys -t 0 x q
gone() { ! tm list-sessions; }
until_true 10 'q ends it' gone
echo 'ok: rows, classes, sorting, into a row and back, pause, help and quit, in a terminal'
