#!/usr/bin/env bash
# Greedy clients: sessions that want all groups, lists asked for in a loop, joins and leaves in a
# loop. The daemons stay together, a third one comes in by one change of view, and nobody who reads
# is thrown out.
bin=$1
. "$(dirname "$0")/net.sh" "$@"
need python3

# Patient: what is tested is work for the daemons, not the speed of this machine.
detection=wan
three_hosts
start_groupd 1
start_groupd 2
until_true 10 'two see each other' views_are 'host1 host2' 1 2

python3 "$plays/greedy.py" "$scratch/host1/socket" "$scratch/go" >"$scratch/greedy.out" 2>&1 &
greedy=$!
until_true 60 'the groups are taken' grep -q ready "$scratch/greedy.out"
held=$(ctl 1 status --json | grep -o '"memberships":[0-9]*' | cut -d: -f2)
refused=$(ctl 1 status --json | grep -o '"joins_refused":[0-9]*' | cut -d: -f2)
((held > 60000 && held < 131072)) || fail "$held memberships"
((refused > 10000)) || fail "$refused joins refused"
grep -q join-refused "$scratch/groupd1.err" || fail 'no word of refused joins'
listed=$(ctl 1 groups | wc -l)
((listed == held)) || fail "$listed groups listed of $held"

# Lists all the time, while a third one comes in.
for i in 1 2 3; do
    while :; do ctl 1 groups; done >"$scratch/list$i" 2>&1 &
done
views=$(grep -c view-installed "$scratch/groupd1.err")
start_groupd 3
until_true 20 'the third one comes in' views_are 'host1 host2 host3' 1 2 3
touch "$scratch/go"
wait "$greedy" || fail "$(tail -n 1 "$scratch/greedy.out")"
now=$(grep -c view-installed "$scratch/groupd1.err")
((now == views + 1)) || fail "$((now - views)) changes of view for one that came in"
slow=$(ctl 1 status --json | grep -o '"slow_disconnects":[0-9]*' | cut -d: -f2)
((slow == 0)) || fail "$slow sessions thrown out"
echo "ok: $held groups taken, $refused joins refused, one change of view, nobody thrown out"
