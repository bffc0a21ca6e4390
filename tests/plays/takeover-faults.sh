#!/usr/bin/env bash
# What vipd does when it is held up, when its guardian is gone too, when all of groupd is restarted,
# and what people and checks make it do: three hosts, six addresses, an observer of all kernels.
bin=$1
. "$(dirname "$0")/net.sh" "$@"
addresses=(101 102 103 104 105 106)
. "$plays/vip.sh"
make_key
three_hosts
host 4 br0 10.77.0.4/24

# Hooks write down what happened, and what they may do.
cat >"$scratch/hook" <<'HOOK'
#!/bin/sh
echo "$VIPD_EVENT $VIPD_SET $VIPD_REASON $(grep CapEff /proc/self/status)" >>"${0%/*}/hooks.$VIPD_NODE"
HOOK
chmod +x "$scratch/hook"
for i in 1 2 3; do start_groupd $i; respond $i; done
until_true 10 'three hosts see each other' views_are 'host1 host2 host3' 1 2 3
watch_twice 1 2 3
for i in 1 2 3; do
    extra="OnAcquire { $scratch/hook }
OnRelease { $scratch/hook }
Check off { File = $scratch/off.$i Interval = 50ms Rise = 1 Fall = 2 }
Preference { 10.77.0.106/32 { host3 host1 } }"
    start_vipd $i
done
until_true 10 'six addresses, two on each host' even 1 2 3
is_at 10.77.0.106 3 1 2 3 || until_true 10 'the preferred host' is_at 10.77.0.106 3 1 2 3
vip 1 status >/dev/null || fail "status: exit $?"
echo 'ok: six addresses, two on each of three hosts, the preferred one at its host'

# 5.4: held up for longer than the guardian waits.
victim=$(holder 10.77.0.101 1 2 3)
probe 10.77.0.101
kill -STOP "${vipds[$victim]}"
until_true 10 'the others have what the silent host had' once $(others_of "$victim" 1 2 3)
[ -z "$(held "$victim")" ] || fail 'the silent host still has addresses'
probed
cat "$scratch/probed"
kill -CONT "${vipds[$victim]}"
until_true 15 'even again' even 1 2 3
grep -q 'vipd-silent' "$scratch/vipd$victim.err" || fail 'the guardian has said nothing'
grep -q 'stalled' "$scratch/vipd$victim.err" || fail 'vipd has not noticed'
never_twice
echo 'ok: a vipd that is held up loses its addresses within a second, and comes back with none'

# 5.2: both are killed; the lifetime is what is left.
victim=$(holder 10.77.0.101 1 2 3)
watched=$(guardian "$victim")
[ -n "$watched" ] || fail 'there is no guardian'
begin=$(now_us)
kill -9 "$watched" "${vipds[$victim]}"
wait "${vipds[$victim]}" 2>/dev/null
until_true 15 'the others have them' once $(others_of "$victim" 1 2 3)
took=$((($(now_us) - begin) / 1000))
((took < 15000)) || fail "the addresses of a dead pair lasted $took ms"
[ -z "$(held "$victim")" ] || fail 'they have not expired'
never_twice
run_vipd "$victim"
until_true 15 'even again' even 1 2 3
echo "ok: vipd and guardian killed: the addresses expired, the others had them after $took ms"

# 5.3: all of groupd restarted within Grace.
before=$(for i in 1 2 3; do echo "$i: $(held $i | sort | tr '\n' ' ')"; done)
kill -9 "${groupds[@]}"
wait "${groupds[@]}" 2>/dev/null
for i in 1 2 3; do start_groupd $i; done
until_true 10 'groupd is back' views_are 'host1 host2 host3' 1 2 3
for i in 1 2 3; do until_true 10 'vipd is back' vip $i status; done
after=$(for i in 1 2 3; do echo "$i: $(held $i | sort | tr '\n' ' ')"; done)
[ "$before" = "$after" ] || fail "moved: $before, then $after"
never_twice
echo 'ok: all of groupd restarted within Grace: nothing moved'

# 5.8: a groupd that hangs. Its host still answers for what it holds, so that stays there.
victim=$(holder 10.77.0.101 1 2 3)
others=$(others_of "$victim" 1 2 3)
probe 10.77.0.101
kill -STOP "${groupds[$victim]}"
asked() { [[ $(for i in $others; do vip "$i" status; done) =~ 10.77.0.101[^$'\n']*\ answers ]]; }
until_true 10 'the others go on and are answered on the wire' asked
kill -CONT "${groupds[$victim]}"
until_true 15 'groupd is back' views_are 'host1 host2 host3' 1 2 3
for i in 1 2 3; do until_true 10 'vipd is back' vip $i status; done
probed
cat "$scratch/probed"
is_at 10.77.0.101 "$victim" 1 2 3 || fail 'a groupd that hung has moved an address'
never_twice
echo 'ok: a groupd that hangs moves nothing while its host answers'

# By hand.
from=$(holder 10.77.0.101 1 2 3)
to=$(others_of "$from" 1 2 3 | cut -d' ' -f1)
vip 1 pin 10.77.0.101 "host$to" >/dev/null || fail 'no pin'
until_true 15 'pinned' is_at 10.77.0.101 "$to" 1 2 3
vip 2 explain 10.77.0.101 | grep -q "from host$from  to host$to  pinned" || fail "explain says $(vip 2 explain 10.77.0.101)"
vip 3 unpin 10.77.0.101 >/dev/null || fail 'no unpin'
vip 1 move 10.77.0.101 nowhere 2>/dev/null
[ $? -eq 1 ] || fail 'a move to nowhere is not refused'
vip 1 metrics | grep -q '^vipd_sets 6$' || fail 'no metrics'
"$bin/vipctl" --control "$scratch/none" status 2>/dev/null
[ $? -eq 3 ] || fail 'nobody there is not exit 3'
echo 'ok: pin, unpin, explain, metrics, exit codes'

# 5.26: a sick host gives up its sets, and everybody can say why; all sick is least bad.
echo 'disk full' >"$scratch/off.2"
until_true 10 'its sets are elsewhere' once 1 3
vip 3 status >"$scratch/status"
[ $? -eq 4 ] || fail 'a sick host is not exit 4'
grep -q 'host2.*sick.*off: disk full; moved because of it: 10.77' "$scratch/status" ||
    fail "status says: $(cat "$scratch/status")"
echo x >"$scratch/off.1"
echo x >"$scratch/off.3"
all_sick() { [ "$(vip 1 status | grep -c 'sick since')" -eq 3 ]; }
until_true 10 'all three are known to be sick' all_sick
once 1 2 3 || fail 'all sick: not all covered'
rm -f "$scratch"/off.?
until_true 15 'even again' even 1 2 3
never_twice
echo 'ok: a sick host gives up its sets, status names the cause; all sick: all covered'

until_true 15 'hooks have run' grep -q '^acquire 10.77.0.101' "$scratch"/hooks.host1 "$scratch"/hooks.host2 "$scratch"/hooks.host3
grep -hv 'CapEff:.0000000000000000$' "$scratch"/hooks.host? && fail 'a hook has capabilities'
echo 'ok: hooks ran, without capabilities'
