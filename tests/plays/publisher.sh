#!/usr/bin/env bash
# logpub, promise by promise, seen from the bus: what a message holds, lines that are too long, a
# bus that is not there with each policy, a followed file that is truncated.
bin=$1
. "$(dirname "$0")/net.sh" "$@"

lone_host
stop_bus() { kill -TERM $bus && wait $bus || fail 'groupd did not stop with exit 0'; }
start_bus

# listen GROUP: what comes to the group goes to $scratch/heard, an object per message.
listen() {
    "$bin/groupctl" join --json "$1" >"$scratch/heard" 2>/dev/null &
    reader=$!
    until_true 5 'a reader' sh -c "'$bin/groupctl' members $1 | grep -q '#'"
}
# heard BYTES: so many bytes of log have come.
heard() { [ "$(data | wc -c)" -ge "$1" ]; }
# data: the bytes that came; messages: how many, and length: of the longest one.
data() { sed -n 's/.*"data":"\([^"]*\)".*/\1/p' "$scratch/heard" | tr -d '\n' | sed 's/\\n/\n/g'; }
messages() { wc -l <"$scratch/heard"; }
longest() { sed -n 's/.*"data":"\([^"]*\)\\n".*/\1/p' "$scratch/heard" | awk '{ if (length > n) n = length } END { print n + 1 }'; }
quiet() {
    kill $reader
    wait $reader 2>/dev/null
}

# --- many lines a message, none of them late
listen web
seq 1 20000 >"$scratch/in"
"$bin/logpub" web <"$scratch/in" || fail 'logpub'
until_true 10 'all lines' heard "$(stat -c %s "$scratch/in")"
data | cmp - "$scratch/in" || fail 'other lines'
[ "$(messages)" -le 50 ] || fail "$(messages) messages for 20,000 lines"
echo "ok: 20,000 lines in $(messages) messages"
: >"$scratch/heard"
mkfifo "$scratch/fifo"
"$bin/logpub" web <"$scratch/fifo" 2>"$scratch/logpub.err" &
publisher=$!
exec 7>"$scratch/fifo"
echo 'a lonely line' >&7
until_true 5 'a lonely line' heard 14
exec 7>&-
wait $publisher || fail 'logpub'
echo 'ok: a line is not kept until others come'

# --- too long
: >"$scratch/heard"
awk 'BEGIN { printf "%01500000d\nthe next\n", 7 }' >"$scratch/in"
"$bin/logpub" web <"$scratch/in" 2>"$scratch/logpub.err" || fail 'logpub with a line of 1.5 MB'
until_true 10 'the next line' grep -q 'the next' "$scratch/heard"
[ "$(data | head -n 1 | wc -c)" -le 1048576 ] || fail 'a line longer than 1 MiB'
cut=$(data | sed -n '1s/.*0 \[cut \([0-9]*\) bytes\]$/\1/p')
[ "$((cut + $(data | head -n 1 | sed 's/ \[cut.*//' | tr -d '\n' | wc -c)))" -eq 1500000 ] || fail "cut: $cut bytes"
grep -q "finished .*cut-lines=1 cut-bytes=$cut" "$scratch/logpub.err" || fail "$(cat "$scratch/logpub.err")"
echo 'ok: a line beyond 1 MiB is cut, marked and counted'
: >"$scratch/heard"
awk 'BEGIN { print "one"; printf "%098000d\n", 7; print "two" }' | "$bin/logpub" --one-line web 2>"$scratch/logpub.err" ||
    fail 'logpub --one-line'
until_true 10 'three lines' grep -q 'two' "$scratch/heard"
[ "$(messages)" -eq 3 ] || fail "$(messages) messages"
[ "$(longest)" -gt 8000 ] && [ "$(longest)" -le 8191 ] || fail "a message of $(longest) bytes"
grep -q 'finished .*cut-lines=1' "$scratch/logpub.err" || fail "$(cat "$scratch/logpub.err")"
echo 'ok: --one-line sends at most 8191 bytes, and counts what it cuts'
quiet

# --- no bus: drop goes on reading, block does not
stop_bus
seq 1 60000 | sed 's/^/line /' >"$scratch/in"
timeout 60 "$bin/logpub" --when-full drop --queue-bytes 262144 --drain-seconds 1 web <"$scratch/in" 2>"$scratch/logpub.err"
[ $? -eq 1 ] || fail 'logpub that lost lines must exit with 1'
counted=$(sed -n 's/.*finished .*lines=60000 .*pending-lines=\([0-9]*\) .*dropped-lines=\([0-9]*\) .*/\1 + \2/p' "$scratch/logpub.err")
[ "$((counted))" -eq 60000 ] || fail "lines counted: $counted: $(cat "$scratch/logpub.err")"
grep -q 'dropping dropped-lines=' "$scratch/logpub.err" || fail 'no word while lines are dropped'
echo 'ok: without a bus --when-full drop reads on, and counts what it drops'

"$bin/logpub" --when-full block --queue-bytes 262144 web <"$scratch/fifo" 2>"$scratch/logpub.err" &
publisher=$!
cat "$scratch/in" >"$scratch/fifo" &
writer=$!
until_true 10 'a full queue' grep -q 'queue-full input=waits' "$scratch/logpub.err"
kill -0 $writer || fail 'the writer was not held up'
kill -STOP $publisher
start_bus
listen web
kill -CONT $publisher
wait $publisher || fail "logpub: $(cat "$scratch/logpub.err")"
until_true 20 'all lines' heard "$(stat -c %s "$scratch/in")"
data | cmp - "$scratch/in" || fail 'other lines, or another order'
echo 'ok: block holds up the writer, and nothing is lost'
: >"$scratch/heard"

# --- a followed file is truncated, while logpub runs and while it does not
follow() {
    "$bin/logpub" --follow "$scratch/access" web 2>>"$scratch/follow.err" &
    publisher=$!
}
printf 'one\ntwo\n' >"$scratch/access"
follow
until_true 10 'what was there' heard 8
printf 'new\n' >"$scratch/access"
until_true 10 'the truncated file' heard 12
grep -q file-truncated "$scratch/follow.err" || fail 'no word of the truncation'
kill -TERM $publisher && wait $publisher || fail 'logpub --follow did not stop with exit 0'
printf 'later\n' >>"$scratch/access"
follow
until_true 10 'from the position on' heard 18
kill -TERM $publisher && wait $publisher || fail 'logpub --follow did not stop with exit 0'
printf 'x\n' >"$scratch/access"
follow
until_true 10 'truncated meanwhile' heard 20
kill -TERM $publisher && wait $publisher || fail 'logpub --follow did not stop with exit 0'
[ "$(data | tr '\n' ' ')" = 'one two new later x ' ] || fail "other lines: $(data)"
echo 'ok: --follow sees truncation, also over a restart, and keeps its position'
