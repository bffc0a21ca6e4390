#!/usr/bin/env bash
# Segments of a journal go when every logger of the list has passed them, and only then, unless
# KeepForPeers is over; a logger of Quorum = none that comes later than that says what it may lack.
bin=$1
. "$(dirname "$0")/net.sh" "$@"

lone_host
start_bus

declare -A loggers rounds
# start NAME [KEEP]: KEEP is how long segments are kept for others.
start() {
    mkdir -p "$scratch/$1"
    cat >"$scratch/$1.conf" <<CONF
Name = $1
Loggers = a b
KeepForPeers = ${2:-7d}
StateDir = $scratch/$1/state
Spread { Log { Group = web File = $scratch/$1/log } }
CONF
    rounds[$1]=$(grep -cs round-open "$scratch/$1.err")
    "$bin/spreadlogd" -s "$GROUPD_SOCKET" -c "$scratch/$1.conf" 2>>"$scratch/$1.err" &
    loggers[$1]=$!
}
takes_part() { [ "$(grep -cs round-open "$scratch/$1.err")" -gt "${rounds[$1]:-0}" ]; }
stop() {
    kill -TERM "${loggers[$1]}"
    wait "${loggers[$1]}" || fail "logger $1 did not stop with exit 0"
}
# publish WORD: 70 MB, a little more than a segment.
sent=0
publish() {
    awk -v word="$1" 'BEGIN { rest = sprintf("%0480d", 0)
        for (n = 0; n < 140000; n++) printf "%s %09d %s\n", word, n, rest }' >"$scratch/in.$1"
    "$bin/logpub" --spool "$scratch/spool" web <"$scratch/in.$1" || fail "logpub: exit $?"
    sent=$((sent + $(stat -c %s "$scratch/in.$1")))
}
has_bytes() { [ "$(stat -c %s "$scratch/$1/log" 2>/dev/null)" -eq "$2" ]; }
begins_at_0() { [ -e "$scratch/$1/state/web/journal.00000000000000000000" ]; }

# --- both have all of it
start a
start b
for name in a b; do until_true 20 "$name takes part" takes_part $name; done
publish one
for name in a b; do until_true 60 "all lines in $name" has_bytes $name $sent; done
removed() { ! begins_at_0 "$1"; }
for name in a b; do until_true 60 "the first segment of $name goes" removed $name; done
echo 'ok: a segment goes when both loggers have passed it'

# --- one is away: what it lacks is kept
stop b
first=$(ls "$scratch/a/state/web"/journal.* | head -n 1)
publish two
until_true 60 'all lines in a' has_bytes a $sent
start b
until_true 60 'all lines in b' has_bytes b $sent
cmp <(sort "$scratch/a/log") <(sort "$scratch/b/log") || fail 'a and b have other lines'
until_true 60 'the segment goes' sh -c "! [ -e '$first' ]"
verify() { "$bin/spreadlogd" -c "$scratch/$1.conf" --verify "$scratch/$1/log" >"$scratch/verify" 2>&1; }
echo 'ok: it is kept for one that is away, and goes when that one has it'

# --- and one that is away for longer than KeepForPeers
stop b
stop a
start a 1s
until_true 20 'a takes part' takes_part a
first=$(ls "$scratch/a/state/web"/journal.* | head -n 1)
publish three
until_true 60 'all lines in a' has_bytes a $sent
until_true 60 'the segment goes' sh -c "! [ -e '$first' ]"
start b
until_true 30 'b takes part' takes_part b
until_true 30 'b says that it may lack entries' grep -q entries-missed "$scratch/b.err"
"$bin/logpub" --spool "$scratch/spool" web <<<'the last line' || fail "logpub: exit $?"
goes_on() { grep -q '^the last line$' "$scratch/$1/log"; }
for name in a b; do until_true 30 "the next line in $name" goes_on $name; done
stop b
stop a
[ "$(stat -c %s "$scratch/b/log")" -lt "$(stat -c %s "$scratch/a/log")" ] || fail 'nothing was missed'
verify a
[ $? -eq 0 ] || fail "--verify of a: $(cat "$scratch/verify")"
verify b
[ $? -eq 3 ] || fail "--verify is silent about what b has missed: $(cat "$scratch/verify")"
grep -q 'entries that this logger never had' "$scratch/verify" || fail "$(cat "$scratch/verify")"
echo 'ok: what nobody has fetched within KeepForPeers is missed with a word, and --verify exits 3'
kill -TERM $bus
wait $bus || fail 'groupd did not stop with exit 0'
