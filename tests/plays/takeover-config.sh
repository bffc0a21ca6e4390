#!/usr/bin/env bash
# Files that differ and files that are read again: two hosts, cases 5.12 and 5.24.
bin=$1
. "$(dirname "$0")/net.sh" "$@"
addresses=(101 102 103 104)
. "$plays/vip.sh"
make_key
three_hosts
for i in 1 2; do start_groupd $i; done
watch_twice 1 2
for i in 1 2; do start_vipd $i; done
until_true 20 'four addresses, two on each host' even 1 2
vip 1 status >/dev/null || fail "status: exit $?"
acquired() { cat "$scratch"/vipd?.err | grep -c '^vipd: acquired'; }
before=$(acquired)
places=$(held 1 | sort)

# One host's file gets a fifth set, and other bits for the first.
addresses=(100 101 102 103 104)
vip_conf 1 | sed 's,10.77.0.101/32,10.77.0.101/24,' >"$scratch/vipd1.conf"
owner=$(holder 10.77.0.101 1 2)
vip 1 reload >/dev/null || fail 'no reload'
differs() { ! vip "$1" status >"$scratch/status" && grep -q "$2" "$scratch/status"; }
until_true 20 'host 2 names the set that only host 1 has' differs 2 '10.77.0.100: not in this file, but in that of host1'
until_true 20 'host 1 names the bits' differs 1 '10.77.0.101: addresses are 10.77.0.101/24 here, 10.77.0.101/32 in the file of host2'
kept() { [ "$(held "$1" | grep -v '\.10[01]$' | sort)" = "$(grep -v '\.10[01]$' <<<"$2")" ]; }
kept 1 "$places" || fail 'a set that is the same in both files has moved'
to=$((3 - $(holder 10.77.0.103 1 2)))
vip 1 move 10.77.0.103 "host$to" >/dev/null || fail 'what is the same cannot be moved'
until_true 20 'what is the same moves' is_at 10.77.0.103 $to 1 2
echo 'ok: files differ: what differs is named on both hosts, stays, and the rest is dealt as ever'

# The other host's file follows; all are dealt.
cp "$scratch/vipd1.conf" "$scratch/vipd2.conf"
sed -i "s,host1/,host2/,; s/^Node = host1/Node = host2/" "$scratch/vipd2.conf"
sed -i "s,^Control.*,Control = $scratch/host2/wack.it,; s,^Spread.*,Spread = $scratch/host2/socket," "$scratch/vipd2.conf"
before=$(acquired)
vip 2 reload >/dev/null || fail 'no reload'
all_five() { [ "$(for i in 1 2; do on $i ip -4 -o address show dev eth0; done | grep -o '10\.77\.0\.10[0-4]/' | sort -u | wc -l)" -eq 5 ]; }
until_true 20 'all five are covered' all_five
until_true 20 'and all is well' vip 1 status
never_twice
(($(acquired) - before <= 3)) || fail "a reload has moved $(($(acquired) - before)) sets"
echo 'ok: the other file follows: the new set and the changed one are dealt, the others stay'

# A file that is wrong changes nothing.
echo 'Weight = many' >>"$scratch/vipd2.conf"
vip 2 reload 2>"$scratch/refused" && fail 'a wrong file is taken'
grep -q 'Weight' "$scratch/refused" || fail "it says: $(cat "$scratch/refused")"
until_true 20 'all is well still' vip 2 status
sed -i '$d' "$scratch/vipd2.conf"
echo 'ok: a wrong file is refused, and what is wrong is said'

# An upgrade with OnExit = keep: the next vipd adopts what the one before has left.
for i in 1 2; do
    echo 'OnExit = keep' >>"$scratch/vipd$i.conf"
    vip $i reload >/dev/null || fail 'no reload'
done
places=$(held 2 | sort)
kill "${vipds[2]}"
wait "${vipds[2]}" || fail 'an orderly stop is not exit 0'
[ "$(held 2 | sort)" = "$places" ] || fail 'the addresses are not kept'
run_vipd 2
until_true 20 'all is well behind the upgrade' vip 2 status
[ "$(held 2 | sort)" = "$places" ] || fail 'an upgrade has moved addresses'
never_twice
echo 'ok: OnExit = keep: the next vipd goes on where the one before has stopped'
