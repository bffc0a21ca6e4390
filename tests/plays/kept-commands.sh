#!/usr/bin/env bash
# With Loggers, a File has each line once whatever is killed; a command has none twice.
bin=$1
. "$(dirname "$0")/net.sh" "$@"

lone_host
start_bus

cat >"$scratch/a.conf" <<CONF
Name = a
Loggers = a b
StateDir = $scratch/state
Spread {
    Port = 4803
    Log { Group = web File = $scratch/log }
    Log { Group = web File = "|cat >>$scratch/piped" }
}
CONF
start() {
    "$bin/spreadlogd" -s "$GROUPD_SOCKET" -c "$scratch/a.conf" 2>>"$scratch/a.err" 7>&- &
    logger=$!
}
lines() { cat "$@" 2>/dev/null | wc -l; }
has_lines() { [ "$(lines "$2")" -ge "$1" ]; }
# publish WORD COUNT: so many lines, acknowledged when this returns.
publish() { seq -f "$1 %.0f" "$2" | tee -a "$scratch/in" | "$bin/logpub" --spool "$scratch/spool" web || fail "logpub: exit $?"; }
# Whole lines of the command; what a kill has torn is none.
piped() { grep -axE '(first|second|third) [0-9]+' "$scratch/piped"; }

start
publish first 5000
until_true 20 'the first lines in the file' has_lines 5000 "$scratch/log"
until_true 20 'the first lines in the command' has_lines 5000 "$scratch/piped"
publish second 200000 &
publisher=$!
for have in 20000 60000 100000; do
    until_true 30 "$have lines in the file" has_lines "$have" "$scratch/log"
    kill -KILL $logger
    wait $logger 2>/dev/null
    start
done
wait $publisher || fail 'the publisher'
until_true 30 'all lines in the file' has_lines 205000 "$scratch/log"
publish third 5000
until_true 20 'the last lines in the file' has_lines 210000 "$scratch/log"
# Their first one may have been joined to a torn one.
all_third() { [ "$(piped | grep -c third)" -ge 4999 ]; }
until_true 20 'the last lines in the command' all_third
cmp "$scratch/in" "$scratch/log" || fail 'the file has other lines'
twice=$(piped | sort | uniq -d | head -n 3)
[ -z "$twice" ] || fail "twice in the command: $twice"
kill -TERM $logger
wait $logger || fail 'spreadlogd did not stop with exit 0'
echo "ok: killed three times, 210000 lines are in the file once, $(piped | wc -l) in the command, none twice"
kill -TERM $bus
wait $bus || fail 'groupd did not stop with exit 0'
