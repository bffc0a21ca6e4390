#!/usr/bin/env bash
# Loggers that keep one log: three spreadlogds on one machine, with logpub's spool before them.
bin=$1
. "$(dirname "$0")/net.sh" "$@"

lone_host
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

# --- started while the daemon hangs, a logger is one all the same
stop_logger c
kill -STOP $bus
rounds=$(grep -c round-open "$scratch/c.err")
start_logger c
until_true 10 'c cannot connect' grep -q bus-unreachable "$scratch/c.err"
kill -CONT $bus
until_true 20 'c takes part' opened c "$rounds"
echo 'ok: a logger that was started while groupd hung takes part'

# --- HUP on a quiet bus opens the file anew; --verify follows the renamed one
mv "$scratch/a/log" "$scratch/a/log.old"
kill -HUP "${loggers[a]}"
until_true 5 'a new file' test -e "$scratch/a/log"
publish web <<<'after the move'
until_true 10 'a line in the new file' has_lines 1 "$scratch/a/log"
until_true 10 'the line in b' has_lines 80001 "$scratch/b/log"
for name in a b c; do stop_logger $name; done
cat "$scratch/a/log.old" "$scratch/a/log" | cmp - "$scratch/b/log" || fail 'mv and HUP lost or doubled a line'
verify() { "$bin/spreadlogd" -c "$scratch/$1.conf" --verify "${@:2}" >"$scratch/verify" 2>&1; }
verify a "$scratch/a/log.old" "$scratch/a/log" || fail "--verify: exit $?: $(cat "$scratch/verify")"
verify b "$scratch/b/log" "$scratch/c/log" || fail "--verify of two: exit $?: $(cat "$scratch/verify")"
echo 'ok: mv and HUP; --verify finds everything as written'

# --- --verify finds a planted loss, a double and a swap, in the own file and in another logger's
for change in '500d' '500p' '500{h;d};501G'; do
    sed "$change" "$scratch/b/log" >"$scratch/b/planted" && cat "$scratch/b/log" >"$scratch/b/saved"
    cat "$scratch/b/planted" >"$scratch/b/log"
    verify b "$scratch/b/log"
    [ $? -eq 1 ] || fail "--verify did not find '$change': $(cat "$scratch/verify")"
    cat "$scratch/b/saved" >"$scratch/b/log"
    mkdir -p "$scratch/other" && cp "$scratch/b/planted" "$scratch/other/log"
    verify b "$scratch/b/log" "$scratch/other/log"
    [ $? -eq 1 ] || fail "--verify did not find '$change' in another file: $(cat "$scratch/verify")"
done
echo 'ok: --verify finds a loss, a double and a swap'

# --- two loggers and a witness; rotation by size at the same line; one lost for good is forgotten
for name in d e; do
    configure $name 'd e f:witness' majority \
        "Log { Group = rotated File = $scratch/$name/log RotateBytes = 100000 }"
done
configure f 'd e f:witness' majority "Log { Group = rotated File = $scratch/f/log }"
for name in d e f; do start_logger $name; done
for name in d e f; do until_true 15 "$name takes part" opened $name; done
publish rotated <"$scratch/more"
bytes=$(stat -c %s "$scratch/more")
holds() { [ "$(cat "$scratch/$1"/log.* | wc -c)" -eq "$2" ]; }
for name in d e; do until_true 20 "all lines in $name" holds $name "$bytes"; done
[ "$(ls "$scratch"/d/log.* | wc -l)" -gt 5 ] || fail 'nothing was rotated'
for file in "$scratch"/d/log.*; do
    cmp "$file" "$scratch/e/$(basename "$file")" || fail 'rotated at other lines'
    [ "$(stat -c %s "$file")" -le 100000 ] || fail "$file is too long"
done
[ ! -e "$scratch/f/log" ] || fail 'a witness wrote a file'
echo "ok: $(ls "$scratch"/d/log.* | wc -l) files by size, the same in both; a witness votes and writes none"
kill_logger e
rm -r "$scratch/e"
"$bin/spreadlogd" -c "$scratch/d.conf" forget d 2>/dev/null
[ $? -eq 1 ] || fail 'a logger at work was forgotten'
forgotten() { "$bin/spreadlogd" -c "$scratch/d.conf" forget e 2>>"$scratch/forget.err"; }
until_true 15 'forget e' forgotten
until_true 10 'the record' grep -q 'logger-forgotten' "$scratch/d.err"
"$bin/spreadlogd" -c "$scratch/d.conf" forget e >"$scratch/again" || fail 'to forget e again is refused'
grep -qx 'e was forgotten already in: .*' "$scratch/again" || fail "it does not say so: $(cat "$scratch/again")"
until_true 10 'the word about it' grep -q 'logger-already-forgotten .*name=e' "$scratch/d.err"
[ "$(grep -c 'logger-forgotten name=e' "$scratch/d.err")" -eq 1 ] || fail 'e is on record twice'
publish rotated <"$scratch/more"
until_true 20 'two of three go on' holds d $((2 * bytes))
for name in d f; do stop_logger $name; done
verify d "$scratch"/d/log.*
[ $? -eq 3 ] || fail "--verify is silent about a forgotten logger: $(cat "$scratch/verify")"
echo 'ok: two of three go on; what is forgotten is on record'

# --- without a majority: one of two goes on alone, the other one fetches what it has missed
for name in g h; do
    configure $name 'g h' none "Log { Group = pair File = $scratch/$name/log }"
    start_logger $name
done
for name in g h; do until_true 15 "$name takes part" opened $name; done
publish pair <"$scratch/more"
until_true 10 'all lines in h' has_lines 60000 "$scratch/h/log"
kill_logger h
sed 's/^/more /' "$scratch/more" >"$scratch/alone"
publish pair <"$scratch/alone"
start_logger h
cat "$scratch/more" "$scratch/alone" >"$scratch/both"
for name in g h; do
    until_true 20 "both parts in $name" has_lines 120000 "$scratch/$name/log"
    once "$scratch/$name/log" "$scratch/both"
done
echo 'ok: one of two goes on alone, and the other one catches up'

# --- lines of any bytes and length, and the bus goes away in between
awk 'BEGIN { for (i = 0; i < 50; i++) printf "%0" (i * 2000 + 1) "d\n", i }' >"$scratch/odd"
printf 'nul \0 and high \377\200 and return \r\n\n\n' >>"$scratch/odd"
kill -TERM $bus
wait $bus
"$bin/logpub" --spool "$scratch/spool" --drain-seconds 60 pair <"$scratch/odd" &
publisher=$!
start_bus
wait $publisher || fail 'logpub did not drain'
cat "$scratch/odd" >>"$scratch/both"
count=$(lines "$scratch/both")
for name in g h; do
    until_true 20 "odd lines in $name" has_lines "$count" "$scratch/$name/log"
    once "$scratch/$name/log" "$scratch/both"
    stop_logger $name
done
verify g "$scratch/g/log" "$scratch/h/log" || fail "--verify: exit $?: $(cat "$scratch/verify")"
echo 'ok: 98 kB lines, NUL, 0xFF, CRLF and empty lines, and a bus that was away'
