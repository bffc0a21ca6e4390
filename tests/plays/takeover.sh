#!/usr/bin/env bash
# Three hosts share six addresses, a fourth one is their client: every address is answered by one
# host, whoever is killed, stopped, drained or cut off.
#
# Argument behind the programs: how often a host is killed (3). Gaps are as the client sees them: it
# asks one address every 2 ms.
bin=$1 rounds=${2:-3}
. "$(dirname "$0")/net.sh" "$@"
addresses=(101 102 103 104 105 106)
. "$plays/vip.sh"

make_key
three_hosts
host 4 br0 10.77.0.4/24
sets='{ eth0:10.77.0.101/32 } { eth0:10.77.0.102/32 } { eth0:10.77.0.103/32 }
    { eth0:10.77.0.104/32 } { eth0:10.77.0.105/32 } { eth0:10.77.0.106/32 eth0:fd77::6/128 }'
# As the talk has it.
extra='Prefer None
Arp-Cache = 90s
Notify {
    eth0:10.77.0.4/32
    arp-cache
}'

for i in 1 2 3; do start_groupd $i; respond $i; done
until_true 10 'three hosts see each other' views_are 'host1 host2 host3' 1 2 3
watch_twice 1 2 3
for i in 1 2 3; do start_vipd $i; done
until_true 10 'six addresses, two on each host' even 1 2 3
vip 1 status >"$scratch/status" || fail "vipctl status: $? $(cat "$scratch/status")"
echo 'ok: six addresses, two on each of three hosts'

for ((round = 0; round < rounds; round++)); do
    victim=$(holder 10.77.0.101 1 2 3)
    others=$(others_of "$victim" 1 2 3)
    probe 10.77.0.101
    begin=$(now_us)
    kill -9 "${groupds[$victim]}" "${vipds[$victim]}"
    until_true 15 "the addresses of host $victim on the others" once $others
    took=$((($(now_us) - begin) / 1000))
    ((took < 10000)) || fail "takeover took $took ms"
    probed
    cat "$scratch/probed"
    echo "ok: kill -9 of groupd and vipd on host $victim: the others had its addresses within $took ms"
    wait "${groupds[$victim]}" "${vipds[$victim]}" 2>/dev/null
    start_groupd "$victim"
    start_vipd "$victim"
    until_true 15 "host $victim has its share again" even 1 2 3
done
echo 'ok: restarted, each has two again'

victim=$(holder 10.77.0.101 1 2 3)
probe 10.77.0.101
kill -9 "${vipds[$victim]}"
until_true 15 'kill -9 of vipd alone' once $(others_of "$victim" 1 2 3)
probed
cat "$scratch/probed"
wait "${vipds[$victim]}" 2>/dev/null
start_vipd "$victim"
until_true 15 'even again' even 1 2 3
echo 'ok: kill -9 of vipd alone'

# 5.23.
victim=$(holder 10.77.0.101 1 2 3)
probe 10.77.0.101
kill -TERM "${vipds[$victim]}"
wait "${vipds[$victim]}" || fail "vipd on host $victim did not stop with exit 0"
[ -z "$(held "$victim")" ] || fail 'it stopped with addresses'
until_true 15 'planned stop' once $(others_of "$victim" 1 2 3)
probed
cat "$scratch/probed"
start_vipd "$victim"
until_true 15 'even again' even 1 2 3
echo 'ok: a planned stop, exit 0, nothing left behind'

victim=$(holder 10.77.0.101 1 2 3)
probe 10.77.0.101
vip "$victim" drain >/dev/null || fail 'no drain'
until_true 15 'drained' once $(others_of "$victim" 1 2 3)
probed
cat "$scratch/probed"
vip "$victim" undrain >/dev/null || fail 'no undrain'
until_true 15 'even again' even 1 2 3
echo 'ok: drain and undrain'

victim=$(holder 10.77.0.101 1 2 3)
probe 10.77.0.101
# One after the other, as soon as the last one is over: the pauses between vipd's attempts do not grow
# beyond Grace.
for _ in 1 2 3 4 5 6 7 8 9; do
    kill -9 "${groupds[$victim]}"
    wait "${groupds[$victim]}" 2>/dev/null
    start_groupd "$victim"
    until_true 10 'groupd is back' views_are 'host1 host2 host3' 1 2 3
    until_true 10 'vipd is back' vip "$victim" status
done
probed
cat "$scratch/probed"
[ "$(holder 10.77.0.101 1 2 3)" = "$victim" ] || fail 'a restart of groupd within Grace moved an address'
! grep 'reason=bus-lost' "$scratch"/vipd?.err || fail 'a restart of groupd within Grace let an address go'
echo 'ok: groupd restarted within Grace nine times: nothing moved'

victim=$(holder 10.77.0.101 1 2 3)
others=$(others_of "$victim" 1 2 3)
probe 10.77.0.101
kill -9 "${groupds[$victim]}"
wait "${groupds[$victim]}" 2>/dev/null
until_true 15 'groupd is gone for good' once $others
probed
cat "$scratch/probed"
start_groupd "$victim"
until_true 15 'even again' even 1 2 3
echo 'ok: groupd gone for longer than Grace (2 s): its vipd let go, and only then the others claimed'

"$bin/vipd" -c "$scratch/vipd1.conf" 2>"$scratch/second" && fail 'a second vipd runs'
grep -q 'another vipd runs here' "$scratch/second" || fail "the second says: $(cat "$scratch/second")"
once 1 2 3 || fail 'a second vipd has disturbed the first'
echo 'ok: a second vipd on a host refuses'

never_twice
echo 'ok: no address was ever on two hosts'
kill $watcher

# A cut: each side covers all, and after the merge one of the two lets go.
ip link set veth3 down
until_true 10 'two sides' once 1 2
ip link set veth3 up
until_true 15 'one again' even 1 2 3
echo 'ok: cut and healed'
