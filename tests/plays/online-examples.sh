#!/usr/bin/env bash
# The examples of clients: each says what whosonline knows, over its socket or by the protocol of
# 2004; and the one for logtop reports a server gone silent and a surge of errors.
bin=$1
. "$(dirname "$0")/net.sh" "$@"
examples=$plays/../../examples/online

cat >"$scratch/one.conf" <<CONF
Spread_Segment 127.0.0.255:$port {
    localhost 127.0.0.1
}
SpreadSocket = false
StateDir = $scratch
CONF
export GROUPD_SOCKET=$scratch/socket PATH=$bin:$PATH
groupd -c "$scratch/one.conf" --socket "$GROUPD_SOCKET" 2>"$scratch/groupd.err" &
until_true 10 'groupd answers' groupctl --socket "$GROUPD_SOCKET" status
whosonline web --control "$scratch/online" --historic 127.0.0.1:8989 2>"$scratch/whosonline.err" &
sh "$examples/watch.sh" web 2 >"$scratch/watch" 2>"$scratch/watch.err" &
members() { [ "$(groupctl --socket "$GROUPD_SOCKET" members web 2>/dev/null | grep -c '^#')" -eq "$1" ]; }
until_true 20 'whosonline and logtop in the group' members 2

line() { printf '10.0.0.1 - %s [10/Oct/2020:10:00:%02d +0000] "GET %s HTTP/1.1" %s 10 "-" "-"\n' "$@"; }
{ line 41 1 /x 200; line 42 2 /x 200; line 43 4 /y 200; } | logpub web 2>"$scratch/logpub.err"
three() { [ "$(online --control "$scratch/online")" = 3 ]; }
until_true 10 'three users' three

users='     2s 42
     3s 41'
says() {
    local name=$1 expected=$2
    shift 2
    command -v "$1" >/dev/null || { echo "not tried: $1 is not here"; return; }
    [ "$("$@")" = "$expected" ] || fail "$name: $("$@" 2>&1)"
    echo "ok: $name"
}
says count.sh "3 online
$users" sh "$examples/count.sh" /x "$scratch/online"
for client in python3:py php:php; do
    says "online.${client#*:}" "3 online, 2 on /x
$users" "${client%:*}" "$examples/online.${client#*:}" /x "$scratch/online"
done
says online.pl "3 online, 2 on /x
$users" perl "$examples/online.pl" /x

reported() { grep -q "$1" "$scratch/watch"; }
until_true 20 'the server that said three lines is reported' reported '^silent: localhost'
for i in $(seq 30); do line 41 5 /x 503; done | logpub web 2>"$scratch/logpub2.err"
until_true 20 'a surge is reported' reported '^surge: 30 of 30 are 5xx'
until_true 20 'and its end' reported '^surge over'
echo 'ok: watch.sh reports a silent server, and a surge of 5xx and its end'
