#!/usr/bin/env bash
# Wackamole's Notify list: a host tells neighbours by unicast that it never talked to, as fast as the
# file allows, forgets who is gone, and falls silent about what it has released. Two hosts, and a
# listener on their segment.
bin=$1
. "$(dirname "$0")/net.sh" "$@"
addresses=(101)
. "$plays/vip.sh"
make_key
three_hosts
host 4 br0 10.77.0.4/24
mac_of() { on "$1" ip -o link show eth0 | grep -o 'ether [^ ]*' | cut -d' ' -f2; }
client=$(mac_of 4)

extra='Arp-Cache = 1s
Notify {
    eth0:10.77.0.192/26 throttle 10
    arp-cache
}'
for i in 1 2; do start_groupd $i; done
until_true 20 'two hosts see each other' views_are 'host1 host2' 1 2
nsenter -t "${anchors[4]}" -n python3 "$plays/arp.py" record eth0 "$scratch/arp" 2>"$scratch/arp.err" &
until_true 20 'the listener listens' test -e "$scratch/arp.ready"
# Host 1 knows the client, and 30 hosts of the network that is told slowly; host 2 knows nobody.
on 1 ip neigh replace 10.77.0.4 lladdr "$client" dev eth0 nud permanent
for n in {1..30}; do
    on 1 ip neigh replace 10.77.0.$((192 + n)) lladdr "$(printf '02:aa:00:00:00:%02x' $n)" dev eth0 nud permanent
done
for i in 1 2; do start_vipd $i; done
until_true 20 'covered' once 1 2
until_true 20 'on host 1' vip 1 pin 10.77.0.101 host1
until_true 20 'on host 1' is_at 10.77.0.101 1 1 2

moves_to() {
    until_true 20 "a pin to host $1" vip "$1" pin 10.77.0.101 "host$1"
    until_true 20 "on host $1" is_at 10.77.0.101 "$1" 1 2
}
told() { python3 "$plays/arp.py" told "$scratch/arp" "$(mac_of 2)" 10.77.0.101 "$client"; }
deadline=$((SECONDS + 20))
# The neighbours are shared once a second: a move that comes before is made again.
moves_to 2
until told; do
    ((SECONDS < deadline)) || fail 'host 2 never tells the client by unicast'
    moves_to 1
    moves_to 2
    for n in {1..25}; do told && break; sleep 0.02; done
done
on 2 grep -q '^10.77.0.4 ' /proc/net/arp && fail 'host 2 knows the client itself'
echo 'ok: host 2 has told by unicast whom only host 1 knew'

all_told() {
    python3 "$plays/arp.py" paced "$scratch/arp" "$(mac_of 2)" 10.77.0.101 02:aa: 30 10 >"$scratch/paced"
}
until_true 10 "thirty are told, ten in a second" all_told
cat "$scratch/paced"
echo 'ok: throttle 10: thirty neighbours are told, ten in a second'

# Released in the middle of telling: not a word more.
moves_to 1
moves_to 2
moves_to 1
released=$(python3 -c 'import time; print(time.monotonic())')
until_true 10 'host 1 tells the slow network' python3 "$plays/arp.py" told "$scratch/arp" "$(mac_of 1)" 10.77.0.101 02:aa:00:00:00:1e
last=$(python3 "$plays/arp.py" last "$scratch/arp" "$(mac_of 2)" 10.77.0.101)
awk -v last="$last" -v released="$released" 'BEGIN { exit !(last < released + 0.2) }' ||
    fail "host 2 still told of it $last s, released before $released s"
echo 'ok: what is released is not told any more'

# Who is gone from all tables for three intervals is not told.
on 1 ip neigh del 10.77.0.4 dev eth0
forgotten() {
    python3 -c 'import time; print(time.monotonic())' >"$scratch/before"
    moves_to 1
    moves_to 2
    # The first of the slow network are told at once, behind the client's place.
    until_true 5 'others are told' told_since 02:aa:00:00:00:01
    ! told_since "$client"
}
told_since() {
    python3 - "$scratch/arp" "$(mac_of 2)" "$1" "$(cat "$scratch/before")" <<'PY'
import json, sys
path, mac, to, since = sys.argv[1:]
frames = [json.loads(line) for line in open(path)]
sys.exit(0 if any(f["from"] == mac and f["to"] == to and f["sender"] == "10.77.0.101"
                  and f["t"] > float(since) for f in frames) else 1)
PY
}
until_true 15 'a neighbour that is gone is forgotten' forgotten
echo 'ok: a neighbour that is gone from all tables is forgotten'
