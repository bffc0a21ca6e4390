#!/usr/bin/env bash
# Nine hundred addresses on two hosts. On one of them vipd dies while its guardian hangs, so nobody
# removes what its kernel has: the other one asks the wire for 450 addresses, all of which are answered,
# more than fit into a receive buffer at once, and claims none of them before their lifetimes are over.
# What it has last heard of them is a stranger's claim, who does not answer.
#
# Argument: the directory of the programs.
bin=$(cd "$1" && pwd)
. "$(dirname "$0")/net.sh" "$@"
addresses=()
. "$plays/vip.sh"

count=900
none_left() { [ -z "$(held 1)" ]; }

# strange_claims: of all addresses, by somebody on host 3.
strange_claims() {
    nsenter -t "${anchors[3]}" -n python3 - $count <<'PY'
import socket, sys, time

wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind(("eth0", 0x806))
stranger = bytes.fromhex("02bad0000001")
for n in range(int(sys.argv[1])):
    address = bytes((10, 77, 100 + n // 250, n % 250 + 1))
    head = b"\xff" * 6 + stranger + b"\x08\x06" + bytes((0, 1, 8, 0, 6, 4, 0, 2))
    wire.send(head + stranger + address + b"\xff" * 6 + address)
    time.sleep(0.0002)
PY
}

make_key
three_hosts
sets=$(many_sets $count)
watch_twice 1 2
for i in 1 2 3; do start_groupd $i; done
until_true 20 'three hosts see each other' views_are 'host1 host2 host3' 1 2 3
for i in 1 2; do start_vipd $i; done
until_true 60 'all covered' all_covered $count 1 2
had=$(held 1 | wc -l)
[ "$had" -ge 400 ] || fail "host 1 has $had addresses only"

strange_claims
foreign() { vip 2 metrics | awk '/^vipd_foreign_claims_total/ { exit $2 < 400 }'; }
until_true 20 'the claims are heard' foreign
guardian=$(guardian 1)
kill -STOP "$guardian"
kill -9 "${vipds[1]}"
wait "${vipds[1]}" 2>/dev/null
until_true 30 'the lifetimes are over' none_left
until_true 60 'all covered again' all_covered $count 1 2
kill -9 "$guardian"
never_twice
echo "ok: $had addresses of a host with nobody left to remove them: none was claimed while its kernel answered"
