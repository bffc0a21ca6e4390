#!/usr/bin/env bash
# Loggers that keep one log: three spreadlogds on one machine, with logpub's spool before them.
bin=$1
. "$(dirname "$0")/net.sh" "$@"

cat >"$scratch/spread.conf" <<CONF
Spread_Segment 127.0.0.255:$port {
    localhost 127.0.0.1
}
SpreadSocket = false
StateDir = $scratch
CONF
export GROUPD_SOCKET=$scratch/socket
start_bus() {
    "$bin/groupd" -c "$scratch/spread.conf" --socket "$GROUPD_SOCKET" 2>>"$scratch/groupd.err" 7>&- &
    bus=$!
    until_true 10 'groupd answers' "$bin/groupctl" status
}
start_bus

declare -A loggers
# configure NAME LOGGERS QUORUM LOG...: the file of a logger; LOG is what stands in its Spread block.
configure() {
    local name=$1 list=$2 quorum=$3
    shift 3
    mkdir -p "$scratch/$name"
    {
        echo "Name = $name"
        echo "Loggers = $list"
        echo "Quorum = $quorum"
        echo "StateDir = $scratch/$name/state"
        echo "Spread { $* }"
    } >"$scratch/$name.conf"
}
start_logger() {
    "$bin/spreadlogd" -s "$GROUPD_SOCKET" -c "$scratch/$1.conf" 2>>"$scratch/$1.err" 7>&- &
    loggers[$1]=$!
}
kill_logger() {
    kill -KILL "${loggers[$1]}"
    wait "${loggers[$1]}" 2>/dev/null
}
stop_logger() {
    kill -TERM "${loggers[$1]}"
    wait "${loggers[$1]}" || fail "logger $1 did not stop with exit 0"
}
opened() { [ "$(grep -cs round-open "$scratch/$1.err")" -gt "${2:-0}" ]; }
lines() { cat "$@" 2>/dev/null | wc -l; }
has_lines() { [ "$(lines "${@:2}")" -eq "$1" ]; }
publish() { "$bin/logpub" --spool "$scratch/spool" "$1" || fail "logpub $1: exit $?"; }
# once FILE INPUT: every line of the input once, in any order.
once() { cmp <(sort "$1") <(sort "$2") || fail "$1: not the lines of $2"; }

# --- majority: three files, byte for byte the same, whoever is killed
for name in a b c; do
    configure $name 'a b c' majority "Log { Group = web File = $scratch/$name/log }"
    start_logger $name
done
for name in a b c; do until_true 15 "$name takes part" opened $name; done
seq 1 20000 | sed 's/^/first /' >"$scratch/in"
publish web <"$scratch/in"
until_true 10 'the first lines in a' has_lines 20000 "$scratch/a/log"
cmp "$scratch/in" "$scratch/a/log" || fail 'other lines'
for name in b c; do
    until_true 10 "the first lines in $name" has_lines 20000 "$scratch/$name/log"
    cmp "$scratch/a/log" "$scratch/$name/log" || fail "a and $name differ"
done
echo 'ok: three loggers write one file, byte for byte'

seq 1 60000 | sed 's/^/second /' >"$scratch/more"
publish web <"$scratch/more" &
publisher=$!
until_true 10 'some of the lines' test "$(lines "$scratch/a/log")" -ge 20000
kill_logger c
kill_logger a
start_logger a
kill_logger b
start_logger b
start_logger c
wait $publisher || fail 'logpub did not drain'
cat "$scratch/more" >>"$scratch/in"
for name in a b c; do
    until_true 20 "all lines in $name" has_lines 80000 "$scratch/$name/log"
    once "$scratch/$name/log" "$scratch/in"
    cmp "$scratch/a/log" "$scratch/$name/log" || fail "a and $name differ"
done
echo 'ok: kill -9 of each logger while lines come: every line once, equal files'
for name in a b c; do stop_logger $name; done
