#!/usr/bin/env bash
# Three hosts share six addresses, a fourth one is their client: every address is answered by one
# host, whoever is killed, stopped, drained or cut off.
#
# Argument behind the programs: how often a host is killed (3). Gaps are as the client sees them: it
# asks one address every 2 ms.
bin=$1 rounds=${2:-3}
. "$(dirname "$0")/net.sh" "$@"
command -v python3 >/dev/null || skip 'python3 is not here'

make_key
three_hosts
host 4 br0 10.77.0.4/24
addresses=(10.77.0.10{1..5} 10.77.0.106)
declare -A vipds responders

conf() {
    cat <<CONF
Spread = $scratch/host$1/socket
Group = wack1
Control = $scratch/host$1/wack.it
Node = host$1
Prefer None
VirtualInterfaces {
    { eth0:10.77.0.101/32 }
    { eth0:10.77.0.102/32 }
    { eth0:10.77.0.103/32 }
    { eth0:10.77.0.104/32 }
    { eth0:10.77.0.105/32 }
    { eth0:10.77.0.106/32 eth0:fd77::6/128 }
}
Arp-Cache = 90s
Notify {
    eth0:10.77.0.4/32
    arp-cache
}
balance {
    AcquisitionsPerRound = all
    interval = 300ms
}
mature = 500ms
CONF
}

start_vipd() {
    conf "$1" >"$scratch/vipd$1.conf"
    nsenter -t "${anchors[$1]}" -n "$bin/vipd" -c "$scratch/vipd$1.conf" 2>>"$scratch/vipd$1.err" &
    vipds[$1]=$!
}

vip() { "$bin/vipctl" --control "$scratch/host$1/wack.it" "${@:2}"; }

# held_on I: how many of the addresses are in the kernel of a host.
held_on() { on "$1" ip -4 -o address show dev eth0 | grep -c '10\.77\.0\.10[1-6]/32'; }

# once I...: each address is on one of these hosts, and on one only.
once() {
    local all
    all=$(for i in "$@"; do on "$i" ip -4 -o address show dev eth0; done | grep -o '10\.77\.0\.10[1-6]/32')
    [ "$(sort -u <<<"$all" | wc -l)" -eq 6 ] && [ "$(wc -l <<<"$all")" -eq 6 ]
}
even() { once 1 2 3 && for i in 1 2 3; do [ "$(held_on $i)" -eq 2 ] || return 1; done; }

# holder ADDRESS: the host that has it.
holder() {
    local i
    for i in 1 2 3; do
        [[ $(on $i ip -o address show dev eth0) == *" $1/"* ]] && echo $i && return
    done
}

# respond I: answers every datagram with the host's number.
respond() {
    nsenter -t "${anchors[$1]}" -n python3 "$plays/probe.py" respond "$1" 2>>"$scratch/respond$1.err" &
    responders[$1]=$!
}

# probe ADDRESS: asks it from the client until it is told to stop; prints who answered and the gap.
probe() {
    nsenter -t "${anchors[4]}" -n python3 "$plays/probe.py" ask "$1" "$scratch/stop" &
    asker=$!
    until_true 5 "an answer of $1" test -e "$scratch/stop.ready"
}
probed() {
    sleep 0.3
    touch "$scratch/stop"
    wait $asker || fail 'the client got no answers'
    rm -f "$scratch/stop" "$scratch/stop.ready"
}

# The observer: whenever two hosts have an address at the same time, it says so.
: >"$scratch/twice"
watch_twice() {
    python3 "$plays/probe.py" watch "$scratch/twice" "${anchors[1]}" "${anchors[2]}" "${anchors[3]}" \
        2>>"$scratch/watch.err" &
    watcher=$!
    until_true 5 'the observer watches' test -e "$scratch/twice.ready"
}

for i in 1 2 3; do start_groupd $i; respond $i; done
until_true 10 'three hosts see each other' views_are 'host1 host2 host3' 1 2 3
watch_twice
for i in 1 2 3; do start_vipd $i; done
until_true 10 'six addresses, two on each host' even
vip 1 status >"$scratch/status" || fail "vipctl status: $? $(cat "$scratch/status")"
echo 'ok: six addresses, two on each of three hosts'

for ((round = 0; round < rounds; round++)); do
    victim=$(holder 10.77.0.101)
    others=$(printf '%s\n' 1 2 3 | grep -v "$victim" | tr '\n' ' ')
    probe 10.77.0.101
    begin=$(now_us)
    kill -9 "${groupds[$victim]}" "${vipds[$victim]}"
    until_true 5 "the addresses of host $victim on the others" once $others
    took=$((($(now_us) - begin) / 1000))
    ((took < 1000)) || fail "takeover took $took ms"
    probed
    echo "ok: kill -9 of groupd and vipd on host $victim: the others had its addresses within $took ms"
    wait "${groupds[$victim]}" "${vipds[$victim]}" 2>/dev/null
    start_groupd "$victim"
    start_vipd "$victim"
    until_true 15 "host $victim has its share again" even
done
echo 'ok: restarted, each has two again'

victim=$(holder 10.77.0.101)
probe 10.77.0.101
kill -9 "${vipds[$victim]}"
until_true 5 'kill -9 of vipd alone' once $(printf '%s\n' 1 2 3 | grep -v "$victim" | tr '\n' ' ')
probed
wait "${vipds[$victim]}" 2>/dev/null
start_vipd "$victim"
until_true 15 'even again' even
echo 'ok: kill -9 of vipd alone'

victim=$(holder 10.77.0.101)
probe 10.77.0.101
kill -TERM "${vipds[$victim]}"
wait "${vipds[$victim]}" || fail "vipd on host $victim did not stop with exit 0"
[ "$(held_on "$victim")" -eq 0 ] || fail 'it stopped with addresses'
until_true 5 'planned stop' once $(printf '%s\n' 1 2 3 | grep -v "$victim" | tr '\n' ' ')
probed
start_vipd "$victim"
until_true 15 'even again' even
echo 'ok: a planned stop, exit 0, nothing left behind'

victim=$(holder 10.77.0.101)
probe 10.77.0.101
vip "$victim" drain >/dev/null || fail 'no drain'
until_true 5 'drained' test "$(held_on "$victim")" -eq 0
probed
vip "$victim" undrain >/dev/null || fail 'no undrain'
until_true 15 'even again' even
echo 'ok: drain and undrain'

victim=$(holder 10.77.0.101)
probe 10.77.0.101
kill -9 "${groupds[$victim]}"
wait "${groupds[$victim]}" 2>/dev/null
start_groupd "$victim"
until_true 10 'groupd is back' views_are 'host1 host2 host3' 1 2 3
until_true 10 'vipd is back' vip "$victim" status
probed
[ "$(holder 10.77.0.101)" = "$victim" ] || fail 'a restart of groupd within Grace moved an address'
echo 'ok: groupd restarted within Grace: nothing moved'

victim=$(holder 10.77.0.101)
others=$(printf '%s\n' 1 2 3 | grep -v "$victim" | tr '\n' ' ')
probe 10.77.0.101
kill -9 "${groupds[$victim]}"
wait "${groupds[$victim]}" 2>/dev/null
until_true 5 'groupd is gone for good' once $others
probed
start_groupd "$victim"
until_true 15 'even again' even
echo 'ok: groupd gone for longer than Grace (2 s): its vipd let go, and only then the others claimed'

"$bin/vipd" -c "$scratch/vipd1.conf" 2>"$scratch/second" && fail 'a second vipd runs'
grep -q 'another vipd runs here' "$scratch/second" || fail "the second says: $(cat "$scratch/second")"
once 1 2 3 || fail 'a second vipd has disturbed the first'
echo 'ok: a second vipd on a host refuses'

[ -s "$scratch/twice" ] && fail "held twice: $(cat "$scratch/twice")"
echo 'ok: no address was ever on two hosts'
kill $watcher

# A cut: each side covers all, and after the merge one of the two lets go.
ip link set veth3 down
until_true 10 'two sides' once 1 2
ip link set veth3 up
until_true 15 'one again' even
echo 'ok: cut and healed'

on "$(holder 10.77.0.102)" ip address del 10.77.0.102/32 dev eth0
until_true 3 'what an admin removes comes back' even
echo 'ok: what an admin removes comes back'
