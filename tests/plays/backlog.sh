#!/usr/bin/env bash
# Backlogs: in the spool, in the journals, at a logger that was away while lines go on. Memory stays
# bounded through all of it. BACKLOG_MB=140 or more is how much.
bin=$1
. "$(dirname "$0")/net.sh" "$@"
backlog_mb=${BACKLOG_MB:-140}

lone_host
start_bus

declare -A loggers rounds
# start_logger NAME [KEEP]: KEEP is how long segments are kept for others.
start_logger() {
    local name=$1
    mkdir -p "$scratch/$name"
    cat >"$scratch/$name.conf" <<CONF
Name = $name
Loggers = a b c
Quorum = majority
KeepForPeers = ${2:-7d}
StateDir = $scratch/$name/state
Spread { Log { Group = web File = $scratch/$name/log } }
CONF
    rounds[$name]=$(grep -cs round-open "$scratch/$name.err")
    "$bin/spreadlogd" -s "$GROUPD_SOCKET" -c "$scratch/$name.conf" 2>>"$scratch/$name.err" 7>&- &
    loggers[$name]=$!
}
takes_part() { [ "$(grep -cs round-open "$scratch/$1.err")" -gt "${rounds[$1]:-0}" ]; }
slay() {
    kill -KILL "$1"
    wait "$1" 2>/dev/null
}
size() { stat -c %s "$1" 2>/dev/null || echo 0; }
has_bytes() { [ "$(size "$1")" -ge "$2" ]; }
# small NAME PID LIMIT: its memory was never larger than so many kB.
small() {
    local peak
    peak=$(awk '/VmHWM/ { print $2 }' "/proc/$2/status")
    [ "${peak:-999999}" -lt "$3" ] || fail "$1 has used $peak kB, more than $3"
    printf '    %-28s VmHWM %6d kB of %d\n' "$1" "$peak" "$3"
}
logger_kb=$((64 * 1024)) logpub_kb=$((16 * 1024))
# make_lines NAME: numbered lines, about so many MB in all.
make_lines() { awk -v name="$1" -v bytes=$((backlog_mb * 1000000)) 'BEGIN {
    rest = sprintf("%0480d", 0); for (n = 0; n * 500 < bytes; n++) printf "%s %09d %s\n", name, n, rest }'; }

# --- no logger is there: all of it waits in the spool
make_lines first >"$scratch/in"
mkfifo "$scratch/pipe"
exec 7<>"$scratch/pipe"
"$bin/logpub" --spool "$scratch/spool" web <"$scratch/pipe" 2>"$scratch/logpub.err" 7>&- &
publisher=$!
cat "$scratch/in" >&7
spooled() { [ "$(cat "$scratch"/spool/*/spool.* 2>/dev/null | wc -c)" -eq "$(size "$scratch/in")" ]; }
until_true 60 'everything is spooled' spooled
small "logpub, $backlog_mb MB wait" $publisher $logpub_kb
start_logger a
start_logger b
all=$(size "$scratch/in")
for name in a b; do until_true 120 "the backlog in the file of $name" has_bytes "$scratch/$name/log" "$all"; done
small 'logpub, drained' $publisher $logpub_kb
for name in a b; do
    small "$name, wrote it" "${loggers[$name]}" $logger_kb
    cmp "$scratch/in" "$scratch/$name/log" || fail "$name has other lines"
done
echo "ok: $backlog_mb MB in a spool, then in two files"

# --- a journal of that length is read again
slay "${loggers[a]}"
start_logger a
until_true 60 'a takes part again' takes_part a
small 'a, read its journal again' "${loggers[a]}" $logger_kb

# --- c comes to a journal of that length while lines go on; what it hears meanwhile it keeps
echo end >"$scratch/live.until"
(
    number=0
    while [ -e "$scratch/live.until" ]; do
        for _ in {1..20}; do echo "live $((number++)) $EPOCHREALTIME"; done
        # The pace of a web server; nobody waits for it.
        sleep 0.005
    done
) | tee "$scratch/live" >&7 &
live=$!
start_logger c
until_true 30 'c has joined' grep -qs joined "$scratch/c.err"
kept_lines() {
    kill -USR1 "${loggers[c]}"
    grep -q 'kept-records=[1-9]' "$scratch/c.err"
}
until_true 60 'c keeps live lines while it catches up' kept_lines
until_true 120 'c takes part' takes_part c
rm "$scratch/live.until"
wait $live
cat "$scratch/in" "$scratch/live" >"$scratch/both"
all=$(size "$scratch/both")
for name in a b c; do
    until_true 60 "live lines in the file of $name" has_bytes "$scratch/$name/log" "$all"
    cmp "$scratch/both" "$scratch/$name/log" || fail "$name has other lines"
    small "$name, c has caught up" "${loggers[$name]}" $logger_kb
done
[ ! -e "$scratch/c/state/web/live" ] || fail 'what c has kept is still there'
small 'logpub, at last' $publisher $logpub_kb
echo "ok: c caught up with $backlog_mb MB, and kept the lines that came meanwhile"

# --- what nobody has fetched for longer than KeepForPeers goes; who comes later begins anew
slay "${loggers[c]}"
for name in a b; do
    kill -TERM "${loggers[$name]}"
    wait "${loggers[$name]}" || fail "$name did not stop with exit 0"
    start_logger $name 1s
done
for name in a b; do until_true 30 "$name takes part" takes_part $name; done
make_lines second >"$scratch/in"
cat "$scratch/in" >&7
all=$((all + $(size "$scratch/in")))
for name in a b; do until_true 120 "more in the file of $name" has_bytes "$scratch/$name/log" "$all"; done
# What c would need next is in a segment that is gone when the journal begins behind the end of c's.
end_of_c=$(cat "$scratch"/c/state/web/journal.* | wc -c)
begins_behind() {
    local first
    first=$(basename "$(ls "$scratch/$1"/state/web/journal.* | head -n 1)")
    [ $((10#${first#journal.})) -gt "$end_of_c" ]
}
for name in a b; do until_true 30 "old segments of $name go" begins_behind $name; done
start_logger c
until_true 30 'c is told that it is too late' grep -q journal-too-old "$scratch/c.err"
slay "${loggers[c]}"
mv "$scratch/c" "$scratch/c.old"
start_logger c
until_true 60 'c takes part with a new journal' takes_part c
echo 'and on' >&7
is_last() { [ "$(tail -n 1 "$scratch/$1/log" 2>/dev/null)" = 'and on' ]; }
for name in a b c; do until_true 60 "the last line in the file of $name" is_last $name; done
tail -c "$(size "$scratch/c/log")" "$scratch/a/log" | cmp - "$scratch/c/log" || fail 'c is not the end of a'
grep -q entries-missed "$scratch/c.err" || fail 'c does not say that it has missed entries'
exec 7>&-
wait $publisher || fail "logpub: exit $?"
for name in a b c; do
    kill -TERM "${loggers[$name]}"
    wait "${loggers[$name]}" || fail "$name did not stop with exit 0"
done
"$bin/spreadlogd" -c "$scratch/a.conf" --verify "$scratch/a/log" >"$scratch/verify" || fail "a: $(cat "$scratch/verify")"
"$bin/spreadlogd" -c "$scratch/c.conf" --verify "$scratch/c/log" >"$scratch/verify"
[ $? -eq 3 ] || fail "--verify is silent about what c has missed: $(cat "$scratch/verify")"
echo 'ok: a logger that comes too late says so, begins anew, and --verify tells'
kill -TERM $bus
wait $bus || fail 'groupd did not stop with exit 0'
