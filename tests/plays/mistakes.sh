#!/usr/bin/env bash
# What administrators do to loggers that keep one log: two of one name, files that differ, another
# quorum, a logger renamed or added, a state directory lost. Nothing is lost or doubled in silence.
bin=$1
. "$(dirname "$0")/net.sh" "$@"

lone_host
start_bus

declare -A loggers rounds
# start WHERE NAME LOGGERS...: a logger with its state and file in the directory WHERE.
start() {
    local where=$scratch/$1
    mkdir -p "$where"
    cat >"$where.conf" <<CONF
Name = $2
Loggers = ${*:3}
Quorum = ${quorum:-none}
StateDir = $where/state
Spread { Log { Group = web File = $where/log } }
CONF
    rounds[$1]=$(grep -cs round-open "$where.err")
    "$bin/spreadlogd" -s "$GROUPD_SOCKET" -c "$where.conf" 2>>"$where.err" 7>&- &
    loggers[$1]=$!
}
takes_part() { [ "$(grep -cs round-open "$scratch/$1.err")" -gt "${rounds[$1]:-0}" ]; }
stop() {
    local where
    for where in "$@"; do
        kill -TERM "${loggers[$where]}"
        wait "${loggers[$where]}" || fail "the logger in $where did not stop with exit 0"
    done
}
: >"$scratch/sent"
# publish WORD: a thousand lines.
publish() {
    seq 1 1000 | sed "s/^/$1 /" >"$scratch/in"
    cat "$scratch/in" >>"$scratch/sent"
    "$bin/logpub" --spool "$scratch/spool" web <"$scratch/in" || fail "logpub: exit $?"
}
# has_all WHERE: every line that was ever sent is there, once.
has_all() { cmp -s <(sort "$scratch/$1/log") <(sort "$scratch/sent"); }
says() { grep -qs "$2" "$scratch/$1.err"; }

# --- two loggers of one name, on two machines
start a a a b
start b b a b
for where in a b; do until_true 20 "$where takes part" takes_part $where; done
publish both
for where in a b; do until_true 20 "the lines in $where" has_all $where; done
start impostor b a b
for where in a b impostor; do until_true 20 "$where says that a name is taken" says $where 'name-taken .*name=b'; done
publish 'one name'
until_true 20 'the lines in a' has_all a
stop impostor
publish 'alone again'
for where in a b; do until_true 20 "all lines in $where" has_all $where; done
echo 'ok: of two loggers with one name one waits, all say so, and nothing is lost'

# --- one whose file has another list
start c c a b c
for where in a b c; do until_true 20 "$where sees another list" says $where loggers-differ; done
publish 'other lists'
for where in a b; do until_true 20 "all lines in $where" has_all $where; done
[ ! -s "$scratch/c/log" ] || fail 'a logger with another list has taken part'
# The list becomes longer, everywhere.
stop a b
for where in a b; do start $where $where a b c; done
for where in a b c; do until_true 20 "$where takes part" takes_part $where; done
for where in a b c; do until_true 20 "all lines in $where" has_all $where; done
echo 'ok: a logger with another list waits and says so; when all have it, it gets everything'

# --- a logger with another name, and its old journal
stop a b c
start a a a b d
start b b a b d
start c d a b d
for where in a b c; do until_true 20 "$where takes part" takes_part $where; done
publish renamed
for where in a b c; do until_true 20 "all lines in $where" has_all $where; done
echo 'ok: a logger is renamed, and every line is there once'

# --- a state directory and the file are lost; meanwhile the logger goes on alone
stop a b c
rm -r "$scratch/b"
start b b a b d
until_true 20 'b takes part' takes_part b
publish 'at the new b only'
until_true 20 'the new lines in b' grep -qs 'at the new b only 1000' "$scratch/b/log"
for where in a c; do start $where $(tr c d <<<$where) a b d; done
for where in a c b; do until_true 20 "all lines in $where" has_all $where; done
echo 'ok: a logger without its journal gets everything, and the others what it has accepted alone'

# --- what cannot be is refused, with a word
refused() { # CODE WORDS COMMAND...
    timeout 20 "${@:3}" >"$scratch/refused" 2>&1 </dev/null
    local code=$?
    [ $code -eq "$1" ] || fail "${*:3}: exit $code, not $1: $(cat "$scratch/refused")"
    grep -q "$2" "$scratch/refused" || fail "${*:3}: does not say '$2': $(cat "$scratch/refused")"
}
refused 1 "$scratch/a/state/web: another spreadlogd uses it" "$bin/spreadlogd" -c "$scratch/a.conf"
stop a b c
sed -i 's/Quorum = none/Quorum = majority/' "$scratch/a.conf"
refused 1 "$scratch/a/state/web: it was written with Quorum = none" "$bin/spreadlogd" -c "$scratch/a.conf"
: >"$scratch/plain"
sed "s|StateDir = .*|StateDir = $scratch/plain/state|" "$scratch/b.conf" >"$scratch/e.conf"
refused 1 "$scratch/plain/state" "$bin/spreadlogd" -c "$scratch/e.conf"
sed "s|File = .*|File = $scratch/plain/log } }|" "$scratch/b.conf" >"$scratch/e.conf"
refused 1 "$scratch/plain/log" "$bin/spreadlogd" -c "$scratch/e.conf"
refused 2 "$scratch/plain" "$bin/logpub" --spool "$scratch/plain" web
refused 2 'thirty\|30' "$bin/logpub" --spool "$scratch/spool" 0123456789012345678901234567890
echo 'ok: a journal in use, of another quorum, or where there can be none is refused by name'
kill -TERM $bus
wait $bus || fail 'groupd did not stop with exit 0'
