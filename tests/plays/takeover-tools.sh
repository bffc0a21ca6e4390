#!/usr/bin/env bash
# What people and programs ask of vipd: watch, drain and pin for a time, metrics, purge, the group
# covey.status; a cold start (5.16), and addresses that the kernel refuses (5.19). Three hosts.
bin=$1
. "$(dirname "$0")/net.sh" "$@"
addresses=(101 102 103 104 105 106)
. "$plays/vip.sh"
make_key
three_hosts
for i in 1 2 3; do start_groupd $i; done
until_true 20 'three hosts see each other' views_are 'host1 host2 host3' 1 2 3
watch_twice 1 2 3
acquired() { cat "$scratch"/vipd?.err | grep -c "^vipd: $1"; }

# 5.16: all within a moment, then one by one, with mature longer than that: dealt once.
extra='mature = 2s'
for i in 1 2 3; do start_vipd $i; done
until_true 20 'six addresses, two on each host' even 1 2 3
[ "$(acquired acquired)" -eq 6 ] && [ "$(acquired released)" -eq 0 ] ||
    fail "a cold start has acquired $(acquired acquired), released $(acquired released)"
for i in 1 2 3; do
    kill "${vipds[$i]}"
    wait "${vipds[$i]}"
    : >"$scratch/vipd$i.err"
done
for i in 1 2 3; do
    start_vipd $i
    until_true 10 "vipd on host $i is in the group" grep -q 'view members='$i "$scratch/vipd$i.err"
done
until_true 20 'six addresses, two on each host' even 1 2 3
[ "$(acquired acquired)" -eq 6 ] && [ "$(acquired released)" -eq 0 ] ||
    fail "a staggered start has acquired $(acquired acquired), released $(acquired released)"
echo 'ok: a cold start deals each address once, started together or one by one'

# What happens is told as it happens; each line says why.
vip 2 watch --json >"$scratch/watched" &
watching=$!
vip 2 watch >"$scratch/watched.text" &
from=$(holder 10.77.0.101 1 2 3)
to=$(others_of "$from" 1 2 3 | cut -d' ' -f1)
told() { grep -q '"event":"moved".*"set":"10.77.0.101".*"cause":"operator' "$scratch/watched"; }
deadline=$((SECONDS + 20))
# The tool may begin to watch behind the first move.
until told; do
    ((SECONDS < deadline)) || fail "watch says: $(cat "$scratch/watched")"
    vip 1 move 10.77.0.101 "host$to" >/dev/null
    until_true 10 'moved' is_at 10.77.0.101 "$to" 1 2 3
    for n in {1..25}; do told && break; sleep 0.02; done
    vip 1 move 10.77.0.101 "host$from" >/dev/null
    until_true 10 'moved back' is_at 10.77.0.101 "$from" 1 2 3
done
python3 -c 'import json, sys
for line in open(sys.argv[1]): json.loads(line)' "$scratch/watched" || fail 'watch --json prints no JSON'
until_true 10 'watch for people' grep -q 'moved  10.77.0.101  from host.*operator' "$scratch/watched.text"
kill $watching
echo 'ok: watch tells what happens, with its cause'

# For a time: the order ends by itself.
until_true 20 'even' even 1 2 3
vip 1 drain --for 2s >/dev/null || fail 'no drain'
until_true 10 'drained' once 2 3
[[ $(vip 1 status) == *host1*drained* ]] || fail "status does not say drained: $(vip 1 status)"
until_true 20 'the drain ends by itself' even 1 2 3
[[ $(vip 1 history) == *'the drain is over'* ]] || fail 'the history does not say that the drain is over'
to=$(others_of "$(holder 10.77.0.102 1 2 3)" 1 2 3 | cut -d' ' -f1)
vip 1 pin --for 1s 10.77.0.102 "host$to" >/dev/null || fail 'no pin'
until_true 10 'pinned' is_at 10.77.0.102 "$to" 1 2 3
pin_is_over() { vip 1 history | grep -q 'the pin is over'; }
until_true 10 'the pin ends by itself' pin_is_over
vip 1 drain --for 0s 2>/dev/null
[ $? -eq 2 ] || fail 'drain for no time is not exit 2'
echo 'ok: drain --for and pin --for end by themselves'

# Metrics as Prometheus reads them.
until_true 20 'even' even 1 2 3
vip 1 metrics >"$scratch/metrics" || fail 'no metrics'
python3 - "$scratch/metrics" <<'PY' || fail "metrics are: $(cat "$scratch/metrics")"
import re, sys
kinds, helped, values = {}, set(), {}
for line in open(sys.argv[1]).read().splitlines():
    if line.startswith("# HELP "):
        name, text = line[7:].split(" ", 1)
        assert text and name not in helped, line
        helped.add(name)
    elif line.startswith("# TYPE "):
        name, kind = line[7:].split(" ")
        assert name in helped and kind in ("gauge", "counter") and name not in kinds, line
        kinds[name] = kind
    else:
        name, value = re.fullmatch(r"([a-z_:][a-z0-9_:]*) ([0-9]+)", line).groups()
        assert name in kinds and name not in values, line
        assert name.endswith("_total") == (kinds[name] == "counter"), line
        values[name] = int(value)
assert values.keys() == kinds.keys()
assert (values["vipd_sets"], values["vipd_sets_held"], values["vipd_nodes"]) == (6, 2, 3), values
assert values["vipd_acquired_total"] >= 2 and values["vipd_in_view"] == 1, values
PY
echo 'ok: metrics'

# The group that logmon reads: every vipd, on change and every 5 s.
ctl 2 join covey.status >"$scratch/published" &
said() { grep -q "\"program\":\"vipd\".*" <(grep "\"host\":\"$1\"" "$scratch/published" | grep "$2"); }
for i in 1 2 3; do until_true 15 "host $i says how it is" said host$i '"held":2'; done
vip 3 drain >/dev/null || fail 'no drain'
until_true 4 'a change is said at once' said host3 '"held":0'
vip 3 undrain >/dev/null
echo 'ok: covey.status'

# Purge: not while vipd runs; then what it has left behind, and nothing else.
until_true 20 'even' even 1 2 3
on 3 ip address add 10.77.0.50/32 dev eth0
nsenter -t "${anchors[3]}" -n "$bin/vipctl" --control "$scratch/host3/wack.it" purge 2>"$scratch/refused"
[ $? -eq 1 ] || fail 'purge beside a vipd is not refused'
kill -9 "$(guardian 3)" "${vipds[3]}"
wait "${vipds[3]}" 2>/dev/null
purged=$(nsenter -t "${anchors[3]}" -n "$bin/vipctl" --control "$scratch/host3/wack.it" purge)
[ "$purged" = '2 addresses removed' ] || fail "purge says: $purged"
[ "$(held 3)" = 10.77.0.50 ] || fail "behind purge there is: $(held 3)"
until_true 15 'the others have them' once 1 2
echo 'ok: purge removes what a vipd has left behind, and nothing else'

# 5.19: an address of somebody else in the way (EEXIST) is no success: the set goes to another host.
on 3 ip address del 10.77.0.50/32 dev eth0
on 3 ip address add 10.77.0.106/32 dev eth0
run_vipd 3
until_true 20 'host 3 has a share' grep -q '^vipd: acquired' "$scratch/vipd3.err"
# Balancing may have tried it already; then the move is refused.
refused() {
    vip 1 move 10.77.0.106 host3
    grep -q 'acquire-failed set=10.77.0.106' "$scratch/vipd3.err"
}
until_true 10 'it is refused by the kernel' refused
elsewhere() { held 1 | grep -qx 10.77.0.106 || held 2 | grep -qx 10.77.0.106; }
until_true 10 'and goes to another host' elsewhere
[[ $(on 3 ip address show dev eth0) == *10.77.0.106/32* ]] || fail 'the address of somebody else was removed'
on 3 ip address del 10.77.0.106/32 dev eth0
echo 'ok: an address that somebody else has added stays, and its set goes to another host'

# 5.19: without its capabilities it says which ones it needs (EPERM).
kill "${vipds[3]}"
wait "${vipds[3]}"
if command -v setpriv >/dev/null; then
    for missing in net_admin net_raw; do
        nsenter -t "${anchors[3]}" -n setpriv --bounding-set "-$missing" --inh-caps "-$missing" \
            "$bin/vipd" -c "$scratch/vipd3.conf" 2>"$scratch/capabilities"
        [ $? -eq 1 ] || fail "without $missing it does not end with 1"
        grep -qi "cap_$missing" "$scratch/capabilities" || fail "it says: $(cat "$scratch/capabilities")"
    done
    echo 'ok: without a capability it says which one it needs'
fi
