#!/usr/bin/env bash
# Sets of IPv6 alone, and sets across interfaces and families: two hosts with two interfaces each. How
# addresses are put into the kernel, and that a host without groupd is asked by neighbour discovery
# before anybody takes what it has.
bin=$1
. "$(dirname "$0")/net.sh" "$@"
addresses=(101)
. "$plays/vip.sh"
make_key
bridge br1
three_hosts
sets='{ eth0:fd77::101/128 } { eth0:fd77::102/128 }
    { eth1:10.78.0.1/32 eth0:10.77.0.101/32 eth1:fd78::1/128 }'
cat >"$scratch/hook" <<'HOOK'
#!/bin/sh
echo "$VIPD_EVENT $VIPD_SET [$VIPD_ADDRESSES] $VIPD_REASON $VIPD_GENERATION" >>"${0%/*}/hooks.$VIPD_NODE"
HOOK
chmod +x "$scratch/hook"
extra="Grace = 3s
OnAcquire { $scratch/hook }
OnRelease { $scratch/hook }"
for i in 1 2; do
    ip link add "wide$i" type veth peer name eth1 netns "${anchors[$i]}" || fail 'no second interface'
    ip link set "wide$i" master br1 up
    on $i ip link set eth1 up
    start_groupd $i
done
until_true 20 'two hosts see each other' views_are 'host1 host2' 1 2
watch_twice 1 2
for i in 1 2; do start_vipd $i; done

six() { on "$1" ip -6 -o address show dev eth0 | grep -o 'fd77::10[0-9]'; }
six_once() {
    [ "$(for i in "$@"; do six "$i"; done | sort | tr '\n' ' ')" = 'fd77::101 fd77::102 ' ] && once "$@"
}
until_true 20 'all are covered' six_once 1 2
whole() {
    local at
    at=$(holder 10.77.0.101 1 2) && for text in 10.78.0.1/32 fd78::1/128; do
        on "$at" ip -o address show dev eth1 | grep -q " $text " || return 1
    done
}
until_true 20 'a set is on one host, with both families and both interfaces' whole
for i in 1 2; do
    on $i ip -o address show | grep -E ' (fd7[78]::|10\.7[78]\.0\.1(01)?/32)'
done >"$scratch/added"
[ "$(wc -l <"$scratch/added")" -eq 5 ] || fail "in the kernels: $(cat "$scratch/added")"
# Never the source of own connections, gone when nobody refreshes them, no second of detection.
grep -qvE 'valid_lft [0-5]sec preferred_lft 0sec' "$scratch/added" && fail "lifetimes: $(cat "$scratch/added")"
grep -E ' inet6 ' "$scratch/added" | grep -qv nodad && fail "detection: $(cat "$scratch/added")"
grep -q tentative "$scratch/added" && fail "detection: $(cat "$scratch/added")"
echo 'ok: sets of IPv6, of both families and of both interfaces are held whole, as they should be'

# The member that is heard on the wire keeps its addresses for Grace, and not longer.
six_at() { six "$1" | grep -qx "$2"; }
victim=1
six_at 1 fd77::101 || victim=2
rival=$((3 - victim))
kill -9 "${groupds[$victim]}"
wait "${groupds[$victim]}" 2>/dev/null
asked() { [[ $(vip "$rival" status | grep '^fd77::101 ') == *answers ]]; }
until_true 10 'the other asks, and is answered' asked
six_at "$victim" fd77::101 || fail 'it has let go before Grace has ended'
until_true 20 'the other has it in the end' six_at "$rival" fd77::101
six_at "$victim" fd77::101 && fail 'it has not let go'
until_true 20 'and all the others' six_once "$rival"
never_twice
echo 'ok: a host without groupd is asked by neighbour discovery, and keeps what it has until Grace ends'

start_groupd "$victim"
until_true 20 'both have a share' six_once 1 2
until_true 20 'and all is well' vip 1 status
kill -9 "${vipds[$rival]}"
until_true 20 'killed: the other has all' six_once "$victim"
never_twice
echo 'ok: a killed vipd with IPv6 sets is taken over'

# At a takeover too, and once for a set, whatever its addresses: coming and going alternate.
until_true 10 'a hook has run at the takeover' grep -q '^acquire .* holder-dead [0-9]' "$scratch/hooks.host$victim"
grep -q '^acquire 10.78.0.1 \[eth1:10.78.0.1/32 eth0:10.77.0.101/32 eth1:fd78::1/128\] ' "$scratch"/hooks.host? ||
    fail "hooks: $(cat "$scratch"/hooks.host?)"
for file in "$scratch"/hooks.host?; do
    awk '$1 == last[$2] { print "twice in " FILENAME ": " $0; wrong = 1 } { last[$2] = $1 }
        END { exit wrong }' "$file" || fail 'a hook ran twice'
done
echo 'ok: a hook runs once for a set, with its addresses and the reason'
