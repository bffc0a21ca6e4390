#!/usr/bin/env bash
# The disk of a logger's StateDir is full while it would note how far its files are, which may be
# renamed meanwhile, has room again, and the logger is killed: no line of them is lost or twice.
bin=$1
. "$(dirname "$0")/net.sh" "$@"

mkdir -p "$scratch/state"
mount -t tmpfs -o size=8m none "$scratch/state" || skip 'no tmpfs in a namespace of this kernel'
lone_host
start_bus

# So many files that what is noted of them does not fit into the rest of a page.
files=()
for n in {10..69}; do files+=("$scratch/log-$n"); done
{
    printf 'Name = a\nLoggers = a b\nStateDir = %s\nSpread {\n' "$scratch/state"
    printf '    Log { Group = web File = %s }\n' "${files[@]}"
    echo '}'
} >"$scratch/a.conf"
start() {
    "$bin/spreadlogd" -s "$GROUPD_SOCKET" -c "$scratch/a.conf" 2>>"$scratch/a.err" &
    logger=$!
}
# publish WORD: a hundred lines, which are in all files then.
publish() {
    seq -f "$1 %g" 100 | tee -a "$scratch/in" | "$bin/logpub" --spool "$scratch/spool" web || fail "logpub: exit $?"
    until_true 20 "the lines of $1 in the files" hold_all
}
hold_all() {
    [ "$(stat -c %s "${files[@]}" 2>/dev/null | sort | uniq -c | tr -s ' ')" = " ${#files[@]} $(stat -c %s "$scratch/in")" ]
}

start
publish one
dd if=/dev/zero of="$scratch/state/filler" bs=4k 2>/dev/null
until_true 30 'the manifest has no room' grep -q manifest-failed "$scratch/a.err"
rm "$scratch/state/filler"
noted() {
    kill -USR1 $logger
    awk '/^spreadlogd: status / { for (i = 1; i <= NF; i++) { split($i, f, "="); value[f[1]] = f[2] } }
        END { exit !(value["committed"] > 0 && value["checkpoint"] == value["committed"]) }' "$scratch/a.err"
}
until_true 30 'all is noted' noted
kill -KILL $logger
wait $logger 2>/dev/null
start
publish two
for file in "${files[@]}"; do cmp "$scratch/in" "$file" || fail 'a file has other lines'; done
echo 'ok: what could not be noted at once is noted later, and nothing is lost by a crash'

# --- the same when files get other names, and others are to begin, before the last lines are noted
publish three
for file in "${files[@]}"; do mv "$file" "$file.1"; done
mv "$scratch/in" "$scratch/in.1"
dd if=/dev/zero of="$scratch/state/filler" bs=4k 2>/dev/null
kill -HUP $logger
tried_again() { [ "$(grep -c manifest-failed "$scratch/a.err")" -gt 1 ]; }
until_true 30 'the manifest has no room' tried_again
rm "$scratch/state/filler"
begun() { [ "$(stat -c %n "${files[@]}" 2>/dev/null | wc -l)" -eq ${#files[@]} ]; }
until_true 30 'new files' begun
publish four
kill -KILL $logger
wait $logger 2>/dev/null
start
publish five
for file in "${files[@]}"; do
    cmp "$scratch/in.1" "$file.1" || fail 'a file has other lines than before it was renamed'
    cmp "$scratch/in" "$file" || fail 'a file that began has other lines'
done
files+=("${files[@]/%/.1}")
kill -TERM $logger
wait $logger || fail 'spreadlogd did not stop with exit 0'
"$bin/spreadlogd" -c "$scratch/a.conf" --verify "${files[@]}" >"$scratch/verify" || fail "--verify: $(cat "$scratch/verify")"
echo 'ok: files that begin meanwhile have no line that one of before has'
kill -TERM $bus
wait $bus || fail 'groupd did not stop with exit 0'
