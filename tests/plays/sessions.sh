#!/usr/bin/env bash
# Ten thousand sessions on one groupd, all members of one group; one message reaches them all.
bin=$1
. "$(dirname "$0")/net.sh" "$@"
need python3
count=10100
ulimit -n "$(ulimit -Hn)"
[ "$(ulimit -n)" -ge $((count + 100)) ] || skip "only $(ulimit -n) open files are allowed here (ulimit -Hn)"

cat >"$scratch/spread.conf" <<CONF
Spread_Segment 127.0.0.255:$port {
    localhost 127.0.0.1
}
SpreadSocket = false
StateDir = $scratch
CONF
"$bin/groupd" -c "$scratch/spread.conf" --socket "$scratch/socket" 2>"$scratch/groupd.err" &
until_true 10 'groupd answers' "$bin/groupctl" --socket "$scratch/socket" status
python3 "$(dirname "$0")/crowd.py" "$scratch/socket" $count || fail 'the crowd'
echo "ok: $count sessions in one group, each got the message"
