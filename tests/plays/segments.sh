#!/usr/bin/env bash
# Three segments with three hosts each: what crosses the wires is the same for 1 and for 9
# subscribers, one multicast on each segment and one unicast copy to each other one.
bin=$1
. "$(dirname "$0")/net.sh" "$@"
command -v tcpdump >/dev/null || skip 'tcpdump is not here (Debian: tcpdump)'

make_key
echo 1 >/proc/sys/net/ipv4/ip_forward || skip 'no routing in this namespace'
for s in 1 2 3; do
    bridge "br$s"
    ip address add "10.$s.0.254/24" dev "br$s"
    echo "Spread_Segment 239.77.0.$s:$port {" >>"$scratch/spread.conf"
    for h in 1 2 3; do
        host "$s$h" "br$s" "10.$s.0.$h/24"
        on "$s$h" ip route replace default via "10.$s.0.254"
        on "$s$h" ip route add 239.0.0.0/8 dev eth0
        echo "    host$s$h 10.$s.0.$h" >>"$scratch/spread.conf"
    done
    echo '}' >>"$scratch/spread.conf"
done
printf 'SpreadSocket = false\nKey = %s\nStateDir = %s\n' "$key" "$scratch" >>"$scratch/spread.conf"
hosts=(11 12 13 21 22 23 31 32 33)
for i in "${hosts[@]}"; do start_groupd "$i"; done
all="${hosts[*]/#/host}"
until_true 15 'nine hosts in three segments' views_are "$all" "${hosts[@]}"
echo 'ok: nine hosts in three segments are one ring'

# count_run NAME: data packets with 500 messages of 1000 bytes, one in flight, by segment.
count_run() {
    local s
    for s in 1 2 3; do
        tcpdump -Z root -n -U -i "br$s" -w "$scratch/$1.$s" "udp dst port $port and greater 1000" \
            2>"$scratch/tcpdump$s.err" &
        captures[s]=$!
    done
    for s in 1 2 3; do until_true 5 'tcpdump listens' grep -q listening "$scratch/tcpdump$s.err"; done
    ctl 11 flood --group wire --messages 500 --bytes 1000 --window 1 --members "$2" --senders 1 >"$scratch/flood" ||
        fail "flood: $(cat "$scratch/flood")"
    for s in 1 2 3; do
        kill -INT "${captures[s]}" && wait "${captures[s]}"
        tcpdump -n -r "$scratch/$1.$s" 2>/dev/null | wc -l
    done | tr '\n' ' '
}

one=$(count_run one 1)
echo "1 subscriber:  $one data packets on the three segments"
subscribers=()
for i in "${hosts[@]:1}"; do
    ctl "$i" flood --group wire --receive-only --messages 500 --members 9 --senders 1 >/dev/null 2>>"$scratch/flood.err" &
    subscribers+=($!)
done
nine=$(count_run nine 9)
for pid in "${subscribers[@]}"; do wait "$pid" || fail 'a subscriber did not get all messages'; done
echo "9 subscribers: $nine data packets on the three segments"
[ "$one" = "$nine" ] || fail 'the wires carried more for more subscribers'
# 500 multicasts at home; elsewhere 500 copies that arrive and 500 multicasts of the relay.
[ "$nine" = '500 1000 1000 ' ] || fail 'not one multicast a segment and one copy to each other one'
echo 'ok: one multicast a segment, one copy to each other one, whoever listens'
