#!/usr/bin/env bash
# The invariants I1 to I6 over the merged trace of a real play: three hosts with groupd and vipd, a
# client that asks every 2 ms, and an observer whom the kernel tells of all address lists in one order.
#
# KEEP=DIRECTORY keeps the trace: tests/plays/invariants.py reads it again.
bin=$1
. "$(dirname "$0")/net.sh" "$@"
addresses=(101 102 103)
. "$plays/vip.sh"
(cd "$plays" && python3 -m unittest -q test_invariants) 2>"$scratch/check" ||
    fail "the checker itself: $(cat "$scratch/check")"

make_key
three_hosts
host 4 br0 10.77.0.4/24
for i in 1 2 3; do
    start_groupd $i
    respond $i
    : >"$scratch/vipd$i.err"
done
until_true 20 'three hosts see each other' views_are 'host1 host2 host3' 1 2 3

trace=$scratch/trace
mkdir "$trace"
python3 "$plays/observer.py" watch "$trace" \
    $(for i in 1 2 3; do echo "$i:${anchors[$i]}:$scratch/vipd$i.err"; done) 2>"$scratch/observer.err" &
until_true 20 'the observer watches' test -e "$trace/watch.ready"
nsenter -t "${anchors[4]}" -n python3 "$plays/observer.py" ask "$trace" \
    10.77.0.101 10.77.0.102 10.77.0.103 2>"$scratch/asker.err" &

mark() { python3 "$plays/observer.py" mark "$trace" "$1" || fail "no mark: $1"; }
mac_of() { on "$1" ip -o link show eth0 | grep -o 'ether [^ ]*' | cut -d' ' -f2; }
remembers() { on 4 ip neigh show "$1" | grep -o 'lladdr [^ ]*' | cut -d' ' -f2; }

# at_rest I...: these hosts have everything between them, and the client has heard of it.
at_rest() {
    until_true 15 "everything is on $*" once "$@"
    local last macs=() neighbours=()
    for i in 1 2 3; do macs+=("\"$i\":\"$(mac_of $i)\""); done
    for last in "${addresses[@]}"; do
        until_true 10 "the client has heard of $last" follows "$last" "$@"
        neighbours+=("\"10.77.0.$last\":\"$(remembers "10.77.0.$last")\"")
    done
    mark "{\"event\":\"quiet\",\"hosts\":[$(tr ' ' , <<<"$*")],
        \"macs\":{$(IFS=,; echo "${macs[*]}")},\"neighbours\":{$(IFS=,; echo "${neighbours[*]}")}}"
}
follows() {
    local at
    at=$(holder "10.77.0.$1" "${@:2}") && [ "$(remembers "10.77.0.$1")" = "$(mac_of "$at")" ]
}
# fault BUDGET WHAT: seconds that an address may be unanswered from here on.
fault() { mark "{\"event\":\"fault\",\"what\":\"$2\",\"budget\":$1}"; }
dead() { mark "{\"event\":\"dead\",\"host\":$1,\"lease\":$2}"; }
again() {
    wait "${vipds[$1]}" 2>/dev/null
    mark "{\"event\":\"started\",\"host\":$1}"
    run_vipd "$1"
    until_true 15 "host $1 has its share again" even 1 2 3
}

for i in 1 2 3; do start_vipd $i; done
until_true 20 'an address on each host' even 1 2 3
until_true 20 'each is answered' test -e "$trace/ask.ready"
at_rest 1 2 3

victim=$(holder 10.77.0.101 1 2 3)
fault 2 'kill -9 vipd'
dead "$victim" 2
kill -9 "${vipds[$victim]}"
at_rest $(others_of "$victim" 1 2 3)
again "$victim"

fault 2 drain
vip 1 drain >/dev/null || fail 'no drain'
until_true 15 'drained' once 2 3
at_rest 1 2 3
vip 1 undrain >/dev/null || fail 'no undrain'
until_true 15 'even again' even 1 2 3

fault 3 'vipd is held up'
kill -STOP "${vipds[2]}"
until_true 15 'the others have what it had' once 1 3
kill -CONT "${vipds[2]}"
until_true 15 'even again' even 1 2 3
at_rest 1 2 3

fault 2 'groupd restarted within Grace'
kill -9 "${groupds[3]}"
wait "${groupds[3]}" 2>/dev/null
start_groupd 3
until_true 15 'groupd is back' views_are 'host1 host2 host3' 1 2 3
until_true 15 'vipd is back' vip 3 status
at_rest 1 2 3

fault 3 'a cut'
mark '{"event":"cut","apart":[[1,2],[3]]}'
ip link set veth3 nomaster
until_true 15 'hosts 1 and 2 have all' once 1 2
until_true 15 'host 3 has all' once 3
mark '{"event":"healed","within":5}'
ip link set veth3 master br0
until_true 15 'one side lets go' once 1 2 3
until_true 15 'even again' even 1 2 3
at_rest 1 2 3

fault 2 'clean stop'
dead 3 4
kill -TERM "${vipds[3]}"
wait "${vipds[3]}" || fail 'an orderly stop is not exit 0'
at_rest 1 2

victim=$(holder 10.77.0.101 1 2)
fault 9 'kill -9 vipd and guardian'
dead "$victim" 6
kill -9 "$(guardian "$victim")" "${vipds[$victim]}"
at_rest $((3 - victim))

[ -z "${KEEP:-}" ] || cp -r "$trace" "$KEEP"
python3 "$plays/invariants.py" "$trace" || fail "the trace breaks an invariant"
echo 'ok: I1 to I6 hold in the merged trace'
