#!/usr/bin/env bash
# The spool of logpub: what waits in it, who sends it, and what is said when something must be lost.
bin=$1
. "$(dirname "$0")/net.sh" "$@"

lone_host
{
    printf 'Name = a\nLoggers = a\nStateDir = %s/state\nSpread {\n' "$scratch"
    for group in wait cut left all end stop bound removed frozen file block drop again; do
        echo "    Log { Group = $group File = $scratch/log.$group }"
    done
    echo '}'
} >"$scratch/logger.conf"
spool=$scratch/spool

# scene GROUP: what follows is about this group and its file.
scene() {
    group=$1
    log=$scratch/log.$1
    : >"$scratch/sent"
}

start_logger() {
    "$bin/spreadlogd" -s "$GROUPD_SOCKET" -c "$scratch/logger.conf" 2>>"$scratch/logger.err" 7>&- 8>&- &
    logger=$!
}
stop() { kill -TERM "$1" && wait "$1" || fail "pid $1 did not stop with exit 0"; }
# slay PID...: as the kernel does when memory is short.
slay() {
    kill -KILL "$@"
    wait "$@" 2>/dev/null
}
# publisher PIPE OPTION...: a logpub on a pipe, in the background; $publisher is its pid.
publisher() {
    local pipe=$1
    shift
    "$bin/logpub" -v --spool "$spool" "$@" $group <"$scratch/$pipe" 2>>"$scratch/logpub.err" 7>&- 8>&- &
    publisher=$!
}
# exits CODE PID WHAT: a process ends with this code.
exits() {
    wait "$2"
    local code=$?
    [ $code -eq "$1" ] || fail "$3: exit $code, not $1"
}
lines() { cat "$@" 2>/dev/null | wc -l; }
has_lines() { [ "$(lines "$log")" -eq "$1" ]; }
lanes() { find "$spool" -mindepth 1 -maxdepth 1 -type d ! -name '.*' | wc -l; }
has_lanes() { [ "$(lanes)" -eq "$1" ]; }
spooled() { cat "$spool"/*/spool.* 2>/dev/null | wc -c; }
spooled_bytes() { [ "$(spooled)" -eq "$1" ]; }
waiting() { du -sm "$spool" | cut -f1; }
# The one gap that grows: its lines, and the offset where it ends at present.
gap_lines() { awk '$4 == "g" { print $3 + 0 }' "$spool"/*/gaps; }
gap_end() { awk '$4 == "g" { print $2 + 0 }' "$spool"/*/gaps; }
no_gap_grows() { [ -z "$(gap_lines)" ]; }
# once INPUT: the log has each line of the input once.
once() { cmp <(sort "$1") <(sort "$log") || fail 'lines lost, doubled or changed'; }

mkfifo "$scratch/one" "$scratch/two"

# --- without a bus: the input is read to its end at once, and waits
scene wait
seq 1 50000 | sed 's/^/no bus: /' >"$scratch/in"
"$bin/logpub" --spool "$spool" --drain-seconds 0 $group <"$scratch/in" 2>"$scratch/left.err" &
exits 3 $! 'without a bus'
grep -q "left-in-spool bytes=$(stat -c %s "$scratch/in")" "$scratch/left.err" ||
    fail "no word about what is left: $(cat "$scratch/left.err")"
cat "$scratch/in" >>"$scratch/sent"
echo 'ok: without a bus all input is in the spool, and the exit code and a line say so'

# --- 100 MB more: memory does not grow with what waits
exec 7<>"$scratch/one"
publisher one
yes 'a backlog that is larger than the memory that may be used for it, by far' |
    head -n 1500000 | tee -a "$scratch/sent" >&7
bytes=$(($(stat -c %s "$scratch/sent") - $(stat -c %s "$scratch/in")))
until_true 20 'everything is spooled' spooled_bytes $((bytes + $(stat -c %s "$scratch/in")))
slay $publisher
[ "$(waiting)" -ge 100 ] || fail "only $(waiting) MB wait"
publisher one
start_bus
start_logger
until_true 60 'the backlog is in the log' has_lines 1550000
peak=$(awk '/VmHWM/ { print $2 }' "/proc/$publisher/status")
[ "$peak" -lt 16384 ] || fail "logpub has used $peak kB"
until_true 10 'what is acknowledged is gone' [ "$(waiting)" -le 12 ]
once "$scratch/sent"
has_lanes 1 || fail 'the adopted lane is still there'
exec 7>&-
exits 0 $publisher 'the end'
has_lanes 0 || fail "a lane is left: $(ls -R "$spool")"
echo "ok: 110 MB waited, and went by way of $peak kB of memory; empty lanes are removed"

# --- kill -9 in the middle of lines, two pipes, one spool: each half finds its other half
scene cut
exec 7<>"$scratch/one" 8<>"$scratch/two"
publisher one && first=$publisher
publisher two && second=$publisher
for round in {1..12}; do
    printf 'pipe one, half of %d ' $round >&7
    printf 'pipe two, half of %d ' $round >&8
    case $((round % 3)) in
    0) slay $first $second ;;
    1) slay $first ;;
    2) slay $second ;;
    esac
    kill -0 $second 2>/dev/null || { publisher two && second=$publisher; }
    kill -0 $first 2>/dev/null || { publisher one && first=$publisher; }
    printf 'and its other half\n' >&7
    seq $round 2000 >&7
    printf 'and its other half\n' >&8
    seq $round 2000 >&8
    for pipe in one two; do
        echo "pipe $pipe, half of $round and its other half"
        seq $round 2000
    done >>"$scratch/sent"
done
exec 7>&- 8>&-
exits 0 $first 'pipe one'
exits 0 $second 'pipe two'
until_true 20 'all lines' has_lines "$(lines "$scratch/sent")"
once "$scratch/sent"
has_lanes 0 || fail "a lane is left: $(ls -R "$spool")"
echo 'ok: killed twelve times in mid-line on two pipes, every line is whole and there once'

# --- a lane that was left behind is sent by a logpub that has other things to do
scene left
kill -STOP $logger
exec 7<>"$scratch/one" 8<>"$scratch/two"
publisher one && first=$publisher
publisher two
seq 1 1000 | sed 's/^/orphan /' | tee -a "$scratch/sent" >&7
until_true 10 'the orphan is spooled' spooled_bytes "$(stat -c %s "$scratch/sent")"
slay $first
kill -CONT $logger
until_true 30 'the orphan is sent' has_lines 1000
once "$scratch/sent"
until_true 10 'its lane is gone' has_lanes 1
exec 7>&- 8>&-
exits 0 $publisher 'the end'
echo 'ok: a running logpub sends what a killed one has left'

# --- everything is killed at once, and comes back
scene all
exec 7<>"$scratch/one"
publisher one
for round in 1 2 3; do
    seq 1 20000 | sed "s/^/round $round: /" | tee -a "$scratch/sent" >&7
    slay $publisher $logger $bus
    start_bus
    start_logger
    publisher one
done
exec 7>&-
exits 0 $publisher 'the end'
until_true 20 'all lines' has_lines 60000
once "$scratch/sent"
echo 'ok: groupd, spreadlogd and logpub killed together three times: every line once'

# --- TERM does not end it before its input does; a last line without a newline gets one
scene end
exec 7<>"$scratch/one"
publisher one
printf 'before\n' >&7
until_true 10 'the first line' has_lines 1
kill -TERM $publisher
kill -TERM $publisher
printf 'behind TERM, and no newline' >&7
exec 7>&-
exits 0 $publisher 'TERM'
until_true 10 'the last line' has_lines 2
printf 'before\nbehind TERM, and no newline\n' | cmp - "$log" || fail 'other lines'
grep -q 'finished.*unterminated-lines=1' "$scratch/logpub.err" || fail 'the newline was not counted'
echo 'ok: TERM drains to the end of the input; a missing newline is added and counted'

# --- the end waits for the loggers, but not when it is told to stop
scene stop
kill -STOP $logger
exec 7<>"$scratch/one"
publisher one --drain-seconds 3600
echo 'not acknowledged yet' >&7
until_true 10 'the line is spooled' spooled_bytes 21
exec 7>&-
# The first signals may come before it has seen the end of its input.
told_to_stop() {
    kill -TERM $publisher 2>/dev/null
    ! [ -e "/proc/$publisher/fd/0" ]
}
until_true 10 'TERM ends the waiting' told_to_stop
exits 3 $publisher 'TERM at the end'
kill -CONT $logger
"$bin/logpub" --spool "$spool" $group </dev/null || fail "the next logpub: exit $?"
until_true 10 'the line of the one before' has_lines 1
has_lanes 0 || fail "a lane is left: $(ls -R "$spool")"
echo 'ok: TERM ends the wait at the end, and the next logpub sends what was left'

# --- more than --queue-bytes wait: drop counts whole lines, over a kill, too
scene bound
kill -STOP $logger
exec 7<>"$scratch/one"
publisher one --when-full drop --queue-bytes 262144
seq 100001 150000 | sed 's/^/numbered line /' >&7
dropped_to() { [ "$(gap_end)" = "$1" ]; }
until_true 10 'the rest is dropped' dropped_to $((50000 * 21))
printf 'a line that is cut by the kill' >&7
until_true 10 'the half line is dropped' dropped_to $((50000 * 21 + 30))
before=$(gap_lines)
slay $publisher
# There is room for the next one, but not in the middle of a line.
publisher one --when-full drop
printf ' and goes on\nafter the gap\n' >&7
until_true 20 'the gap ends' no_gap_grows
kill -CONT $logger
exec 7>&-
wait $publisher
until_true 20 'the line behind the gap' grep -q 'after the gap' "$log"
[ $(($(lines "$log") + before)) -eq 50001 ] || fail "$(lines "$log") lines there and $before dropped"
grep -vqE '^(numbered line 1[0-9]{5}|after the gap)$' "$log" && fail 'half a line is in the log'
echo "ok: --queue-bytes bounds what waits; $before lines dropped, counted over a kill"

# --- somebody removes the spool of a running logpub
scene removed
exec 7<>"$scratch/one"
publisher one
echo 'before' >&7
until_true 10 'the first line' has_lines 1
rm -r "$spool"
seq 1 700000 >&7
until_true 20 'it is noticed' grep -q lane-removed-by-others "$scratch/logpub.err"
echo 'after' >&7
exec 7>&-
# 1 if anything had not been sent.
wait $publisher
[ $? -le 1 ] || fail 'logpub does not end in order without its spool'
until_true 20 'the last line' grep -q after "$log"
has_lanes 0 || fail "a lane is left: $(ls -R "$spool")"
echo 'ok: where the spool was removed, the input goes on in a new one'

# --- a groupd that hangs while a logpub connects: the input is read, and the session that comes
# later is a publisher's, though the first one's name is still taken
scene frozen
kill -STOP $bus
exec 7<>"$scratch/one"
reported=$(grep -c bus-unreachable "$scratch/logpub.err")
publisher one
seq 1 100000 >&7
until_true 10 'the input is read' spooled_bytes 588895
is_reported() { [ "$(grep -c bus-unreachable "$scratch/logpub.err")" -gt "$reported" ]; }
until_true 20 'the attempt is given up' is_reported
kill -CONT $bus
exec 7>&-
exits 0 $publisher 'a frozen groupd'
until_true 20 'all lines' has_lines 100000
grep 'connected bus' "$scratch/logpub.err" | grep -v 'session=#~' && fail 'a session without its mark'
echo 'ok: a groupd that hangs holds up no input'

# --- other inputs than pipes
scene file
"$bin/logpub" --spool "$spool" $group <"$scratch/in" || fail "a file: exit $?"
until_true 20 'the lines of a file' has_lines "$(lines "$scratch/in")"
cmp "$scratch/in" "$log" || fail 'a file: other lines'
echo 'ok: a file as the input'

# --- a full disk: block waits, drop says what is lost
small=$scratch/small
mkdir "$small"
if mount -t tmpfs -o size=1m none "$small" 2>/dev/null; then
    spool=$small/spool
    seq 1 200000 | sed 's/^/full disk: /' >"$scratch/in"
    scene block
    kill -STOP $logger
    "$bin/logpub" --spool "$spool" $group <"$scratch/in" 2>"$scratch/full.err" &
    publisher=$!
    until_true 20 'the full disk is reported' grep -q 'spool-full.*when-full=block' "$scratch/full.err"
    kill -CONT $logger
    exits 0 $publisher 'block'
    until_true 20 'all lines after all' has_lines 200000
    cmp "$scratch/in" "$log" || fail 'a full disk has lost or doubled lines'
    echo 'ok: --when-full block loses nothing when the disk of the spool is full'

    scene drop
    kill -STOP $logger
    exec 7<>"$scratch/one"
    publisher one --when-full drop
    cat "$scratch/in" >&7
    until_true 20 'lines are dropped' grep -q 'spool-full.*when-full=drop' "$scratch/logpub.err"
    kill -CONT $logger
    until_true 20 'the gap ends' grep -q 'gap lines=' "$scratch/logpub.err"
    echo 'after the gap' >&7
    exec 7>&-
    exits 1 $publisher 'drop'
    until_true 20 'the line behind the gap' grep -q 'after the gap' "$log"
    dropped=$(grep -o 'finished.*dropped-lines=[0-9]*' "$scratch/logpub.err" | tail -n 1 | grep -o '[0-9]*$')
    [ "$dropped" -gt 0 ] || fail 'nothing was dropped'
    whole() { [ $(($(grep -c '^full disk: [0-9]*$' "$log") + dropped)) -eq 200000 ]; }
    until_true 20 "all lines but $dropped" whole
    [ "$(tail -n 1 "$log")" = 'after the gap' ] || fail 'the gap is not in its place'
    grep -q "gap .*lines=" "$scratch/logger.err" || fail 'the logger has no record of the gap'
    echo "ok: --when-full drop counts what is lost ($dropped lines) and goes on behind the gap"

    scene again
    spool=$small/other
    cat /dev/zero >"$small/filler" 2>/dev/null
    mkdir -p "$spool"
    "$bin/logpub" --spool "$spool" $group <<<'no room for a lane' 2>"$scratch/lane.err" &
    publisher=$!
    until_true 10 'no lane is reported' grep -q no-lane "$scratch/lane.err"
    rm "$small/filler"
    exits 0 $publisher 'no lane'
    until_true 10 'its line' has_lines 1
    umount "$small"
    echo 'ok: where there is no room for a lane, the input waits for it'
else
    echo 'not shown here: a full disk (no tmpfs in this namespace)'
fi
stop $logger
stop $bus
if [ -s "$scratch/log.drop" ]; then
    "$bin/spreadlogd" -c "$scratch/logger.conf" --verify "$scratch/log.drop" >"$scratch/verify"
    [ $? -eq 3 ] || fail "--verify says nothing of gaps: $(cat "$scratch/verify")"
    grep -q "group drop: [1-9][0-9]* gaps where publishers gave up lines" "$scratch/verify" ||
        fail "the gaps are not counted: $(cat "$scratch/verify")"
    grep -q "group drop: [1-9][0-9]* bytes given up, in $dropped lines" "$scratch/verify" ||
        fail "not the $dropped lines that logpub counted: $(cat "$scratch/verify")"
    echo 'ok: the gaps are on record, with as many lines as were dropped: --verify exits 3'
fi
