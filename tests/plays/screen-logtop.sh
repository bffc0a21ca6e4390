#!/usr/bin/env bash
# logtop in a real terminal (tmux): every key is pressed, and screens are compared.
bin=$1
. "$(dirname "$0")/net.sh" "$@"
need tmux

{
    for i in 1 2 3; do
        echo '10.0.0.1 - - [10/Oct/2020:10:00:00 +0000] "GET /a HTTP/1.1" 200 1000 "-" "-"'
    done
    echo '10.0.0.2 - - [10/Oct/2020:10:00:00 +0000] "GET /a HTTP/1.1" 404 0 "-" "-"'
    printf '10.0.0.2 - ann [10/Oct/2020:09:00:00 +0000] "GET /b\x1b[31m HTTP/1.1" 503 9000 "http://r/" "Mozilla"\n'
    echo 'no line of a log'
} >"$scratch/log"
tm() { tmux -S "$scratch/tmux" "$@"; }
# terminal COMMAND: a terminal in which the command runs.
terminal() { LC_ALL=C.UTF-8 TZ=UTC tm -f /dev/null new-session -d -x 80 -y 20 "$1"; }
# The screen without blanks at the ends of lines, and without empty lines below.
screen() { echo "$(tm capture-pane -p -t 0 | sed 's/ *$//')"; }
shows() { screen | sed -n "$2"p | grep -qF -- "$1"; }
# The rows and their heads: the first number, whether the marker is there, and the name.
rows() { screen | sed -n '8,$p' | sed '/^$/d' | awk '{ print $1, $NF }'; }
press() { tm send-keys -t 0 "$@"; }
is() {
    local expected=$1
    is_it() { [ "$(rows)" = "$expected" ]; }
    until_true 10 "$2: $expected" is_it
}
gone() { ! tm list-sessions; }

terminal "$bin/logtop --all -T 86400 -d 0.2 $scratch/log 2>$scratch/logtop.err"
until_true 20 'all lines are read' shows 'lines: 6  not parsed: 1  cut: 0  late: 1  filtered: 0  left early: 0' 6
# All of it, but for what the clock decides.
masked() { screen | sed -E 's/[0-9]{2}:[0-9]{2}:[0-9]{2}/hh:mm:ss/g; s/[ 0-9]{3}s\)/NNNs)/; s/[0-9.]+ ?k?B?\/s/N\/s/g'; }
masked | sed -E '9,$s/^( +[0-9]+) +[0-9.]+ +([0-9]+) +[0-9.]+ /\1 N \2 N /; s/\( +N/(N/g' >"$scratch/screen"
diff "$scratch/screen" - <<'SCREEN' || fail 'the first screen'
last hit: hh:mm:ss   logtop runtime:  0 days, hh:mm:ss                hh:mm:ss
All:              5 reqs (N/s)    12.0 kB (N/s)     2.4 kB/req
2xx:       3 (60.0%) 3xx:       0 ( 0.0%) 4xx:     1 (20.0%) 5xx:     1 (20.0%)
R (NNNs):         5 reqs (N/s)    12.0 kB (N/s)     2.4 kB/req
2xx:       3 (60.0%) 3xx:       0 ( 0.0%) 4xx:     1 (20.0%) 5xx:     1 (20.0%)
lines: 6  not parsed: 1  cut: 0  late: 1  filtered: 0  left early: 0
end of input
    REQS    REQ/S       KB     KB/S  URL
       4 N 3 N */a
       1 N 9 N  /b\u{1b}[31m
SCREEN
echo 'ok: the screen is that of ApacheTop; a name cannot steer the terminal'

b='/b\u{1b}[31m'
press n
is "2xx URL
3 */a
0 $b" 'classes of status, by 2xx'
press s 5
is "2xx URL
0 *$b
3 /a" 'by 5xx'
press s 4
is "2xx URL
3 */a
0 $b" 'by 4xx'
for key in b B; do
    press s "$key"
    is "REQS URL
1 *$b
4 /a" "by bytes ($key)"
done
for key in r R; do
    press s "$key"
    is "REQS URL
4 */a
1 $b" "by requests ($key)"
done
press s
until_true 10 'the menu of orders' shows 'sort by: r requests  R requests/s  b bytes  B bytes/s  2 3 4 5 a class' 7
press x
echo 'ok: numbers, and every order'

press Down
is "REQS URL
4 /a
1 *$b" 'the marker'
press Up Right
is 'REQS URL
4 /a
REQS HOST
3 10.0.0.1
1 10.0.0.2
REQS REFERER
4 -' 'into a row'
press t r
is 'REQS URL
4 /a
REQS HOST
3 10.0.0.1
1 10.0.0.2' 'a part is taken away'
press t s t h
is 'REQS URL
4 /a
REQS STATUS
3 200
1 404' 'another one is added'
press t s t h t r Left
is "REQS URL
4 */a
1 $b" 'and back'
for item in 'HOST 10.0.0.1 10.0.0.2 3 2' 'REFERER - http://r/ 4 1' 'AGENT - Mozilla 4 1' \
    'STATUS 200 404 3 1' 'VHOST - = 5' 'USER - ann 4 1' "SERVER $scratch/log = 5" "URL /a $b 4 1"; do
    read -r title first second count rest <<<"$item"
    press d
    expected="REQS $title
$count *$first"
    [ "$second" = = ] || expected+="
$rest $second"
    [ "$title" != STATUS ] || expected+="
1 503"
    is "$expected" "by $title"
done
echo 'ok: a row and what is inside it, and every item'

press f a h '!10.0.0.2' Enter
until_true 10 'a negated filter' shows 'host !/10.0.0.2/' 7
press f a u '^/a' Enter f s
until_true 10 'all filters on a page' shows 'url /^/a/' 9
press x f c
unfiltered() { ! shows 'host !' 7; }
until_true 10 'no filter' unfiltered
press p
until_true 10 'paused' shows '  paused  ' 1
before=$(screen)
later() { press ' ' && [ "$(screen)" != "$before" ]; }
until_true 10 'a refresh while it is paused' later
press p
for key in h '?'; do
    press "$key"
    until_true 10 'help' shows 'd  next item: url host referer agent status vhost user server' 8
    press x
done
press C-l q
until_true 10 'q ends it' gone
echo 'ok: filters, pause, refresh, help and quit'

# Lines come on stdin, keys from the terminal.
mkfifo "$scratch/fifo"
terminal "{ cat $scratch/log; cat $scratch/fifo; } |
    { $bin/logtop -H 3 -d 0.2 2>$scratch/logtop1.err; echo \$? >$scratch/code; }"
until_true 20 'the last three hits' shows '       3 reqs (' 4
press C-c
until_true 10 'Ctrl-C ends it' grep -qx 0 "$scratch/code"
tm kill-server
"$bin/logtop" --json -H 3 <"$scratch/log" | tail -n 1 | grep -q '"window":{.*"requests":3' || fail 'stdin, the last 3 hits'
echo 'ok: stdin, and a window of hits'

# A new file of the name is gone on with.
cp "$scratch/log" "$scratch/growing"
"$bin/logtop" --json -d 0.2 "$scratch/growing" >"$scratch/grown" 2>"$scratch/logtop4.err" &
lines() { tail -n 1 "$scratch/grown" | grep -q "\"lines\":$1,"; }
until_true 10 'from its end' lines 0
cat "$scratch/log" >>"$scratch/growing"
until_true 10 'what is appended' lines 6
mv "$scratch/growing" "$scratch/growing.1"
cp "$scratch/log" "$scratch/growing"
until_true 10 'what is in the new one' lines 12
echo 'ok: a file that grows and is rotated'

# From the bus: what is lost is said.
lone_host
member() { "$bin/groupctl" --socket "$GROUPD_SOCKET" members web | grep -q '^#lt'; }
start_bus
terminal "$bin/logtop -g web -i server -T 86400 -d 0.2 2>$scratch/logtop2.err"
until_true 10 'logtop in the group' member
"$bin/logtop" -g web --json --every 0.2s >"$scratch/json" 2>"$scratch/logtop3.err" &
until_true 10 'logtop --json says that it is a member' grep -q '"joined":true' "$scratch/json"
head -n 3 "$scratch/log" | "$bin/logpub" web 2>"$scratch/logpub.err"
is 'REQS SERVER
3 *localhost' 'lines of the bus, by server'
kill -9 "$bus"
wait "$bus" 2>/dev/null
until_true 10 'the loss is on the screen' shows 'the bus is lost: lines are missing' 7
until_true 10 'and in the JSON' grep -q '"losses":1' "$scratch/json"
start_bus
until_true 20 'it stays on the screen when the bus is back' shows 'the bus was lost once: lines are missing' 7
until_true 10 'and in the JSON' grep -q '"joined":true,.*"losses":1' "$scratch/json"
echo 'ok: lost lines are shown, on the screen and in JSON'
