#!/usr/bin/env bash
# What others do to vipd's addresses and interfaces: two hosts with two interfaces each, sets of both
# families, a client that remembers neighbours. Cases 5.9, 5.11, 5.13, 5.15, 5.20, 5.21, 5.31.
bin=$1
. "$(dirname "$0")/net.sh" "$@"
addresses=(101 102 103)
. "$plays/vip.sh"
bridge br0
bridge br1
for i in 1 2; do host $i br0 10.77.0.$i/24; done
{
    echo "Spread_Segment 239.77.0.1:$port {"
    for i in 1 2; do echo "    host$i 10.77.0.$i"; done
    printf '}\nSpreadSocket = false\nStateDir = %s\n' "$scratch"
} >"$scratch/spread.conf"
host 4 br0 10.77.0.4/24
on 4 ip address add fd77::4/64 dev eth0 nodad

# second I: a second interface of a host, where its public addresses are.
second() {
    ip link add "wide$1" type veth peer name eth1 netns "${anchors[$1]}" || fail 'no second interface'
    ip link set "wide$1" master br1 up
    on "$1" ip link set eth1 up
}
sets='{ eth0:10.77.0.101/32 eth0:fd77::101/128 } { eth0:10.77.0.102/32 } { eth0:10.77.0.103/32 }
    { eth1:10.78.0.1/32 }'
extra='Prefer { 10.77.0.101/32 10.78.0.1/32 }
Failback = never'
has() { on "$1" ip -o address show | grep -q " $2/"; }
has_not() { ! has "$@"; }

second 1
for i in 1 2; do start_groupd $i; done
until_true 20 'two hosts see each other' views_are 'host1 host2' 1 2
watch_twice 1 2
start_vipd 1
until_true 20 'host 1 has all' has 1 10.78.0.1
extra='Failback = never'
start_vipd 2
until_true 20 'covered by both' once 1 2
# 5.13: host 2 has no such interface, which harms nobody.
vip 2 explain 10.78.0.1 | grep -q 'host2 .*unfit' || fail 'host 2 does not say that it is unfit'
second 2
fit() { vip 1 explain 10.78.0.1 | grep -q "$1 *good"; }
until_true 20 'an interface that appears is of use' fit host2
on 1 ip link set eth1 name other
until_true 20 'its set is on the other host' has 2 10.78.0.1
on 1 ip link set other name eth1
until_true 20 'an interface that gets its name back is of use' fit host1
ip link del wide2
until_true 20 'an interface that vanishes gives up its set' has 1 10.78.0.1
second 2
until_true 20 'and one that is made anew is of use' fit host2
echo 'ok: interfaces appear, are renamed, vanish and are made anew'

# 5.9, 5.21: the link goes and comes: IPv6 addresses go with it, and come back.
until_true 20 'host 1 has the set of both families' has 1 fd77::101
ip link set wide1 down
until_true 20 'a set on a link that is down goes' has 2 10.78.0.1
ip link set wide1 up
on 1 ip link set eth0 down
on 1 ip link set eth0 up
both_families() { has "$(holder 10.77.0.101 1 2)" fd77::101; }
until_true 15 'both families are where the set is' both_families
reaches() { on 4 ping -6 -c 1 -W 1 fd77::101; }
if on 4 ping -V >/dev/null 2>&1; then until_true 20 'the client reaches IPv6' reaches; fi
on 1 ip -6 -o address show dev eth0 | grep -q 'fd77::101.*\(tentative\|dadfailed\)' && fail 'duplicate detection'
echo 'ok: links go down and come up; IPv6 addresses come back, without duplicate detection'

# 5.11: somebody removes an address, once and for ever.
until_true 20 'covered' once 1 2
owner=$(holder 10.77.0.102 1 2)
on "$owner" ip address del 10.77.0.102/32 dev eth0
until_true 15 'it comes back' is_at 10.77.0.102 "$owner" 1 2
rival=$((3 - owner))
while [ "$(holder 10.77.0.102 1 2)" != "$rival" ]; do
    on "$owner" ip address del 10.77.0.102/32 dev eth0 2>/dev/null
    ((SECONDS < 60)) || fail 'it is never given up'
    sleep 0.05
done
vip "$owner" history | grep -q 'yielded  10.77.0.102' || fail 'the history does not name it'
echo 'ok: a removed address comes back; one that is removed again and again goes to another host'
never_twice

# A stranger that has one of our addresses is heard and reported.
kill $watcher
owner=$(holder 10.77.0.103 1 2)
on 4 ip address add 10.77.0.103/32 dev eth0
nsenter -t "${anchors[4]}" -n python3 - <<'PY'
import socket, struct
sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
sock.bind(("eth0", 0x806))
own = sock.getsockname()[4]
ip = socket.inet_aton("10.77.0.103")
sock.send(b"\xff" * 6 + own + b"\x08\x06" + struct.pack("!HHBBH", 1, 0x800, 6, 4, 1) + own + ip + bytes(6) + ip)
PY
foreign() { ! vip "$owner" status >"$scratch/status" && grep -q 'claims 10.77.0.103' "$scratch/status"; }
until_true 15 'a foreign claim is in the status' foreign
vip "$owner" status >/dev/null
[ $? -eq 4 ] || fail 'a foreign claim is not exit 4'
on 4 ip address del 10.77.0.103/32 dev eth0
echo 'ok: a stranger that claims an address is reported'

# 5.31: what a client remembers, in each state of its entry, follows the address.
for state in permanent reachable stale delay probe; do
    owner=$(holder 10.77.0.103 1 2)
    rival=$((3 - owner))
    mac=$(on "$owner" ip -o link show eth0 | grep -o 'ether [^ ]*' | cut -d' ' -f2)
    new=$(on "$rival" ip -o link show eth0 | grep -o 'ether [^ ]*' | cut -d' ' -f2)
    on 4 ip neigh replace 10.77.0.103 lladdr "$mac" dev eth0 nud $state
    until_true 15 "a pin: $state" vip "$owner" pin 10.77.0.103 "host$rival"
    until_true 15 'moved' is_at 10.77.0.103 "$rival" 1 2
    knows() { on 4 ip neigh show 10.77.0.103 | grep -q "$1"; }
    if [ $state = permanent ]; then
        knows "$mac" || fail 'a permanent entry was changed'
    else
        until_true 15 "a client whose entry is $state" knows "$new"
    fi
done
echo 'ok: a client follows, whatever the state of its entry; only a permanent one stays'

# 5.15: a second vipd of a name, on another host.
sed 's/^Node = host2/Node = host1/; s/wack.it/wack2.it/' "$scratch/vipd2.conf" >"$scratch/vipd5.conf"
kill "${vipds[2]}"
wait "${vipds[2]}"
until_true 15 'host 1 has all' once 1
if nsenter -t "${anchors[2]}" -n timeout 10 "$bin/vipd" -c "$scratch/vipd5.conf" 2>"$scratch/name.log"; then
    fail 'a second vipd of the same name ends with 0'
fi
grep -q 'name-refused' "$scratch/name.log" || fail "it says: $(cat "$scratch/name.log")"
once 1 || fail 'it has disturbed the first'
echo 'ok: a second vipd of one name refuses loudly'
