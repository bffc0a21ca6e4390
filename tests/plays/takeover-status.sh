#!/usr/bin/env bash
# What vipctl status says of each host, since when and what was moved because of it: a carrier that is
# lost, a host that is gone, a check that fails, also behind a reload. What vipd may do as a process,
# and that it is the only one in its network namespace.
bin=$1
. "$(dirname "$0")/net.sh" "$@"
addresses=(101 102 103 104)
. "$plays/vip.sh"
make_key
bridge br1
three_hosts
sets='{ eth0:10.77.0.101/32 } { eth0:10.77.0.102/32 } { eth0:10.77.0.103/32 } { eth0:10.77.0.104/32 }
    { eth1:10.78.0.1/32 }'
cat >"$scratch/look" <<'LOOK'
#!/bin/sh
grep 'Cap\(Prm\|Eff\|Bnd\|Amb\)' /proc/self/status >"${0%/*}/looked.$$" && mv "${0%/*}/looked.$$" "${0%/*}/looked"
LOOK
chmod +x "$scratch/look"
host 4 br1 10.78.0.254/24
for i in 1 2; do
    ip link add "wide$i" type veth peer name eth1 netns "${anchors[$i]}" || fail 'no second interface'
    ip link set "wide$i" master br1 up
    on $i ip link set eth1 up
    extra="Check off { File = $scratch/off.$i Interval = 50ms Rise = 1 Fall = 2 }
Check look { Exec { $scratch/look } Interval = 200ms Timeout = 20s }
Check router { Gateway = eth1:10.78.0.254 Interval = 200ms Timeout = 1s Rise = 1 Fall = 2 }"
    start_groupd $i
    start_vipd $i
done
shared() { once 1 2 && [ -n "$(held 1)" ] && [ -n "$(held 2)" ]; }
until_true 20 'covered by both' shared
until_true 20 'all is well' vip 1 status

# CAP_NET_ADMIN and CAP_NET_RAW are bits 12 and 13; the guardian keeps the first.
may() { grep -E "^Cap(Prm|Eff):" "/proc/$1/status" | awk '{ print $2 }' | sort -u; }
[ "$(may "${vipds[1]}")" = 0000000000003000 ] || fail "vipd may: $(may "${vipds[1]}")"
[ "$(may "$(guardian 1)")" = 0000000000001000 ] || fail "the guardian may: $(may "$(guardian 1)")"
for pid in "${vipds[1]}" "$(guardian 1)"; do
    grep -q '^CapBnd:.0000000000000000$' "/proc/$pid/status" || fail "bounding set: $(grep CapBnd "/proc/$pid/status")"
    grep -q '^NoNewPrivs:.1$' "/proc/$pid/status" || fail 'new privileges are possible'
done
until_true 20 'a check has run' test -e "$scratch/looked"
grep -v '0000000000000000$' "$scratch/looked" && fail 'a check has capabilities'
echo 'ok: vipd keeps two capabilities, its guardian one of them, what they start none'

# One in a network namespace, wherever it would be asked, and nobody removes its addresses.
sed "s,wack.it,other.it," "$scratch/vipd1.conf" >"$scratch/other.conf"
for second in "$bin/vipd -c $scratch/other.conf" "$bin/vipd --purge" "$bin/vipctl --control $scratch/none purge"; do
    on 1 timeout 20 $second >"$scratch/second" 2>&1
    [ $? -eq 1 ] && grep -q 'another vipd runs here' "$scratch/second" ||
        fail "$second says: $(cat "$scratch/second")"
done
grep -h '^vipd: restored' "$scratch"/vipd?.err && fail 'addresses were removed'
echo 'ok: a second vipd with another control socket refuses, and so does a purge beside vipd'

# told I PATTERN: the status of host I is 4, and says so.
told() {
    vip "$1" status >"$scratch/status"
    [ $? -eq 4 ] && grep -qE "$2" "$scratch/status"
}
wide() { on "$1" ip -o address show dev eth1 | grep -q 10.78.0.1/32; }
until_true 20 'the set of the second interface is somewhere' eval 'wide 1 || wide 2'
at=2
wide 1 && at=1
rival=$((3 - at))
ip link set "wide$at" down
until_true 20 'its set goes' wide $rival
until_true 20 'its own status says why' told $at "host$at .*sick since .*eth1 has no carrier; moved because of it: .*10\.78\.0\.1"
until_true 20 'the other one names the set' told $rival "host$at .*sick since .*cannot hold 10\.78\.0\.1; moved because of it: .*10\.78\.0\.1"
vip $rival history | grep -q "sick .*host$at .*cannot hold 10.78.0.1" || fail "history: $(vip $rival history)"
ip link set "wide$at" up
until_true 20 'all is well' vip 1 status
until_true 20 'also at the other one' vip 2 status
echo 'ok: a carrier that is lost is named, since when, and what was moved because of it'

# The way behind a carrier that stays: only asking shows that it is cut.
until_true 20 'covered by both' shared
ip link set wide2 nomaster
until_true 20 'host 2 has nothing' eval '[ -z "$(held 2)" ]'
until_true 20 'and the other one knows why' told 1 'host2 .*sick since .*: router: 10.78.0.254 does not answer on eth1; moved because of it: 10\.'
ip link set wide2 master br1
until_true 20 'all is well' vip 1 status
echo 'ok: a gateway that does not answer any more is named'

# A reload with other checks forgets nothing of those that are the same.
until_true 20 'covered by both' shared
echo 'disk full' >"$scratch/off.2"
until_true 20 'host 2 is sick and has nothing' eval '[ -z "$(held 2)" ]'
since=$(vip 1 status --json | python3 -c 'import json, sys; print([n["since"] for n in json.load(sys.stdin)["nodes"] if n["name"] == "host2"][0])')
wells() { vip 1 history | grep -c 'well .*host2'; }
before=$(wells)
sed -i 's/Interval = 50ms Rise = 1 Fall = 2/Interval = 60s Rise = 1 Fall = 3/' "$scratch/vipd2.conf"
echo "Check more { File = $scratch/more }" >>"$scratch/vipd2.conf"
for n in 1 2 3; do vip 2 reload >/dev/null || fail 'no reload'; done
[[ $(vip 2 status) == *'check more'*'check off'*'disk full'* ]] || fail "status: $(vip 2 status)"
[ "$(vip 1 status --json | python3 -c 'import json, sys; print([n["since"] for n in json.load(sys.stdin)["nodes"] if n["name"] == "host2"][0])')" = "$since" ] ||
    fail 'it has not been sick since then'
rm "$scratch/off.2"
sed -i 's/Interval = 60s/Interval = 50ms/' "$scratch/vipd2.conf"
vip 2 reload >/dev/null || fail 'no reload'
until_true 20 'covered by both' shared
[ "$(wells)" -eq $((before + 1)) ] || fail "it was well for a while: $(vip 1 history)"
echo 'ok: a reload with other checks keeps what is known of those that are the same'

# Gone, and back.
kill -9 "$(guardian 2)" "${vipds[2]}"
wait "${vipds[2]}" 2>/dev/null
until_true 20 'host 1 has all' once 1
until_true 10 'who is gone is missed' told 1 'host2 .*gone since .*: not in the view; moved because of it: 10\.7'
run_vipd 2
until_true 20 'all is well' vip 1 status
vip 1 history | grep -qE '(gone|well) .*host2' || fail "history: $(vip 1 history)"
kill "${vipds[2]}"
wait "${vipds[2]}"
until_true 20 'who has said that it goes is not missed' vip 1 status
echo 'ok: who is gone is missed, who has left is not'
