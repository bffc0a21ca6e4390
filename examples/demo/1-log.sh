#!/usr/bin/env bash
# The bus carries a web log: three groupd, three logpub, two spreadlogd that write the same file.
#
# Arguments: the directory of the programs and an empty scratch directory. No root, no network:
# the three daemons are 127.0.0.1, .2 and .3. Exit 0 only if the two files are equal and hold each
# publisher's lines all, once, in their order.
set -euo pipefail
part=log
. "$(dirname "$0")/part.bash"

ctl() { "$bin/groupctl" --socket "$scratch/web$1/socket" "${@:2}"; }
ring_is_whole() { [ "$(ctl "$1" status --json 2>/dev/null | grep -o '"address"' | wc -l)" -eq 3 ]; }
loggers_joined() { [ "$(ctl 1 members example 2>/dev/null | grep -c '^#')" -eq 2 ]; }

cat >"$scratch/spread.conf" <<CONF
Spread_Segment 127.0.0.255:$port {
    web1 127.0.0.1
    web2 127.0.0.2
    web3 127.0.0.3
}
SpreadSocket = false
StateDir = $scratch
CONF

say 'the access logs of three web servers'
for i in 1 2 3; do
    if [ -n "${LOG:-}" ]; then
        awk -v n="$i" 'NR % 3 == n % 3 { print "web" n ".example.com " $0 }' "$LOG"
    else
        awk -v seed="$i" -v lines=150000 -f "$here/generate-log.awk" | sed "s/^/web$i.example.com /"
    fi >"$scratch/web$i.log"
done
total=$(cat "$scratch"/web?.log | wc -l)
bytes=$(cat "$scratch"/web?.log | wc -c)
say "$total lines, $((bytes / 1000)) kB$([ -z "${LOG:-}" ] || echo " of $LOG")"
[ "$total" -gt 0 ] || fail 'no lines in the log'

for i in 1 2 3; do
    mkdir -m 700 "$scratch/web$i"
    "$bin/groupd" -c "$scratch/spread.conf" -n "web$i" --socket "$scratch/web$i/socket" \
        2>"$scratch/groupd$i.err" &
    pids+=($!)
done
for i in 1 2 3; do until_true 10 "web$i in a ring of three" ring_is_whole "$i"; done
say 'three groupd are one ring'

for i in 1 2; do
    "$bin/spreadlogd" -s "$scratch/web$i/socket" -g example -o "$scratch/merged$i.log" \
        2>"$scratch/spreadlogd$i.err" &
    pids+=($!)
done
until_true 10 'two spreadlogd in the group' loggers_joined
say 'two spreadlogd have joined the group "example"'

publishers=()
begin=$(date +%s%N)
for i in 1 2 3; do
    "$bin/logpub" -s "$scratch/web$i/socket" example <"$scratch/web$i.log" 2>"$scratch/logpub$i.err" &
    publishers+=($!)
done
done_with() { [ "$(stat -c %s "$scratch/merged$1.log")" -ge "$bytes" ]; }
shown=0
until done_with 1 && done_with 2; do
    now=$(($(date +%s%N) - begin))
    ((now < 90000000000)) || fail 'the lines did not all arrive within 90 s'
    if ((now / 1000000000 > shown)); then
        shown=$((now / 1000000000))
        say "after ${shown}s: $(stat -c %s "$scratch/merged1.log") of $bytes bytes"
    fi
    sleep 0.01
done
took=$((($(date +%s%N) - begin) / 1000000))
for pid in "${publishers[@]}"; do wait "$pid" || fail 'a logpub did not exit 0'; done
stop

cmp "$scratch/merged1.log" "$scratch/merged2.log" || fail 'the two loggers wrote different files'
for i in 1 2 3; do
    grep -a "^web$i\.example\.com " "$scratch/merged1.log" | cmp - "$scratch/web$i.log" ||
        fail "the lines of web$i are not all there, once, in their order"
    say "web$i published $(wc -l <"$scratch/web$i.log") lines: all there, once, in their order"
done
say "both spreadlogd wrote the same $total lines in $took ms: $((total * 1000 / (took + 1))) lines/s"
