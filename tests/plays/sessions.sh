#!/usr/bin/env bash
# Ten thousand sessions on one groupd, all members of one group; one message reaches them all.
bin=$1
. "$(dirname "$0")/net.sh" "$@"
need python3
count=10100
ulimit -n "$(ulimit -Hn)"
[ "$(ulimit -n)" -ge $((count + 100)) ] || skip "only $(ulimit -n) open files are allowed here (ulimit -Hn)"

lone_host
start_bus
python3 "$(dirname "$0")/crowd.py" "$scratch/socket" $count || fail 'the crowd'
echo "ok: $count sessions in one group, each got the message"
