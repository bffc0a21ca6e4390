#!/usr/bin/env bash
# Three segments with three hosts each: what crosses the wires is the same for 1 and for 9
# subscribers, one multicast on each segment and one unicast copy to each other one.
bin=$1
. "$(dirname "$0")/net.sh" "$@"
need python3

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
# Three sites, as far as the timers go: nine daemons share the cores of one machine here.
printf 'FailureDetection = wan\nSpreadSocket = false\nKey = %s\nStateDir = %s\n' "$key" "$scratch" >>"$scratch/spread.conf"
hosts=(11 12 13 21 22 23 31 32 33)
for i in "${hosts[@]}"; do start_groupd "$i"; done
all="${hosts[*]/#/host}"
until_true 15 'nine hosts in three segments' views_are "$all" "${hosts[@]}"
echo 'ok: nine hosts in three segments are one ring'

# repeated: how many packets the nine have sent again because somebody asked.
repeated() {
    local i sum=0
    for i in "${hosts[@]}"; do
        sum=$((sum + $(ctl "$i" status --json | grep -o '"retransmitted":[0-9]*' | cut -d: -f2)))
    done
    echo "$sum"
}

# count_run NAME MEMBERS: data packets with 500 messages of 1000 bytes, one in flight, by segment,
# into the variable `counts`, and how many of the messages were sent again into `again`. A recorder
# that did not get the processor in time makes the run worthless: `incomplete` says so.
count_run() {
    local s
    incomplete=
    counts=
    again=$(repeated)
    captures=()
    for s in 1 2 3; do
        python3 "$plays/capture.py" record "br$s" "$scratch/$1.$s" 2>"$scratch/$1.capture$s" &
        captures[s]=$!
    done
    for s in 1 2 3; do until_true 20 'the capture listens' grep -q listening "$scratch/$1.capture$s"; done
    ctl 11 flood --group wire --messages 500 --bytes 1000 --window 1 --members "$2" --senders 1 >"$scratch/flood" ||
        fail "flood: $(cat "$scratch/flood")"
    # Agreed messages come back before the other segments need have them; a safe one does not.
    ctl 11 flood --group settled --messages 1 --bytes 10 --service safe >/dev/null || fail 'no safe message'
    for s in 1 2 3; do
        kill -TERM "${captures[s]}" && wait "${captures[s]}"
        counts+="$(python3 "$plays/capture.py" count "$scratch/$1.$s" "$port" 1000) "
        incomplete+=$(grep lost "$scratch/$1.capture$s" || true)
    done
    again=$(($(repeated) - again))
}

# as_expected: at home 500 multicasts, and two times 500 copies on their way out; elsewhere 500
# copies that arrive and 500 multicasts of the member that passes them on. Where the token overtook
# a relay on a busy machine a packet is sent again, by the same ways.
as_expected() {
    local seen=($counts) sent=$((500 + again))
    [ "$again" -le 250 ] || fail "$again of 500 messages were sent again"
    [ "${seen[0]}" -ge 1500 ] && [ "${seen[0]}" -le $((3 * sent)) ] &&
        [ "${seen[1]}" -ge 1000 ] && [ "${seen[1]}" -le $((2 * sent)) ] &&
        [ "${seen[2]}" -ge 1000 ] && [ "${seen[2]}" -le $((2 * sent)) ]
}

for attempt in 1 2 3; do
    count_run one 1
    [ -n "$incomplete" ] || break
    echo "counted again, as the recording $incomplete frames"
done
[ -z "$incomplete" ] || fail "the recording $incomplete frames in each of $attempt attempts"
echo "1 subscriber:  $counts data packets on the three segments, $again messages sent again"
as_expected || fail "not one multicast a segment and one copy to each other one: $counts, $again sent again"
subscribers=()
for i in "${hosts[@]:1}"; do
    ctl "$i" flood --group wire --receive-only --messages 500 --members 9 --senders 1 >/dev/null 2>>"$scratch/flood.err" &
    subscribers+=($!)
done
count_run nine 9
for pid in "${subscribers[@]}"; do wait "$pid" || fail 'a subscriber did not get all messages'; done
echo "9 subscribers: $counts data packets on the three segments, $again messages sent again"
[ -z "$incomplete" ] || fail "the recording $incomplete frames"
as_expected || fail "the wires carried more for more subscribers: $counts, $again sent again"
echo 'ok: one multicast a segment, one copy to each other one, whoever listens'
