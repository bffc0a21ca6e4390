#!/usr/bin/env bash
# Three hosts on a switch: kill, silence, restart, cut and heal; the members always agree.
bin=$1
. "$(dirname "$0")/net.sh" "$@"

make_key
three_hosts
for i in 1 2 3; do start_groupd $i; done
until_true 10 'three hosts see each other' views_are 'host1 host2 host3' 1 2 3
echo 'ok: three hosts are one ring'

kill -9 "${groupds[2]}"
until_true 5 'a killed groupd is left out' views_are 'host1 host3' 1 3
echo 'ok: a killed groupd is left out'

start_groupd 2
until_true 5 'it comes back' views_are 'host1 host2 host3' 1 2 3
echo 'ok: restarted, it is a member again'

kill -TERM "${groupds[3]}"
wait "${groupds[3]}" || fail "groupd did not stop with exit 0"
until_true 5 'a clean leave' views_are 'host1 host2' 1 2
start_groupd 3
until_true 5 'back after a leave' views_are 'host1 host2 host3' 1 2 3
echo 'ok: a clean leave, exit 0, and back'

# A cut through the switch: host 3 alone on one side.
ip link set veth3 down
until_true 5 'the two sides go on separately' views_are 'host1 host2' 1 2
until_true 5 'the lone host goes on alone' views_are 'host3' 3
ctl 1 join room -n 1 >"$scratch/left" &
reader=$!
until_true 5 'a reader in the group' sh -c "'$bin/groupctl' --socket '$scratch/host1/socket' members room | grep -q '#host1'"
ctl 2 send room 'still here' || fail 'no message on the larger side'
wait $reader || fail 'the message did not arrive'
ip link set veth3 up
until_true 10 'healed' views_are 'host1 host2 host3' 1 2 3
echo 'ok: cut, two sides go on, healed'

kill -9 "${groupds[1]}" "${groupds[2]}" "${groupds[3]}"
wait "${groupds[1]}" "${groupds[2]}" "${groupds[3]}" 2>/dev/null
for i in 1 2 3; do start_groupd $i; done
until_true 10 'all restarted' views_are 'host1 host2 host3' 1 2 3
echo 'ok: all killed and restarted at once'
