#!/usr/bin/env bash
# What is announced and when, as a listener on the segment hears it: all addresses of a set in both
# forms, again when somebody has removed one, when the link comes up, after a merge and by hand. Hooks
# that hang meanwhile delay nothing. What vipctl answers beforehand, and its exit codes. Two hosts.
bin=$1
. "$(dirname "$0")/net.sh" "$@"
addresses=(101 102)
. "$plays/vip.sh"
make_key
three_hosts
host 4 br0 10.77.0.4/24
sets='{ eth0:10.77.0.101/32 eth0:10.77.0.201/32 } { eth0:10.77.0.102/32 }'
extra='OnAcquire { /bin/sleep 1000 }
OnRelease { /bin/sleep 1000 }
HookTimeout = 1s
Failback = never'
for i in 1 2; do start_groupd $i; done
until_true 20 'two hosts see each other' views_are 'host1 host2' 1 2
nsenter -t "${anchors[4]}" -n python3 "$plays/arp.py" record eth0 "$scratch/arp" 2>"$scratch/arp.err" &
until_true 20 'the listener listens' test -e "$scratch/arp.ready"
held() { on "$1" ip -4 -o address show dev eth0 | grep -o '10\.77\.0\.10[12]/32' | cut -d/ -f1; }
start_vipd 1
# Of two that meet, host 2 keeps this one.
extra+='
Prefer { 10.77.0.101/32 }'
start_vipd 2
until_true 20 'covered' once 1 2

mac_of() { on "$1" ip -o link show eth0 | grep -o 'ether [^ ]*' | cut -d' ' -f2; }
now() { python3 -c 'import time; print(time.monotonic())'; }
# announces I SINCE ADDRESS...: each of them by a broadcast request and by a reply, since then.
announces() {
    python3 - "$scratch/arp" "$(mac_of "$1")" "${@:2}" <<'PY'
import json, sys
path, mac, since, *addresses = sys.argv[1:]
frames = [json.loads(line) for line in open(path) if line.endswith("\n")]
heard = {(f["sender"], f["operation"]) for f in frames
         if f["from"] == mac and f["to"] == "ff:ff:ff:ff:ff:ff" and f["sender"] == f["target"]
         and f["t"] > float(since)}
sys.exit(0 if all((a, o) in heard for a in addresses for o in (1, 2)) else 1)
PY
}
# settled SINCE: host 2 has announced the set five times since then, so it is silent for a minute.
settled() {
    python3 - "$scratch/arp" "$(mac_of 2)" "$1" <<'PY'
import json, sys
path, mac, since = sys.argv[1:]
frames = [json.loads(line) for line in open(path) if line.endswith("\n")]
heard = [f for f in frames if f["from"] == mac and f["to"] == "ff:ff:ff:ff:ff:ff" and f["operation"] == 1
         and f["sender"] == f["target"] == "10.77.0.101" and f["t"] > float(since)]
sys.exit(0 if len(heard) >= 5 else 1)
PY
}

since=$(now)
until_true 20 'a pin' vip 1 pin 10.77.0.101 host1
until_true 20 'on host 1' is_at 10.77.0.101 1 1 2
until_true 10 'both addresses of the set are announced' announces 1 "$since" 10.77.0.101 10.77.0.201
since=$(now)
until_true 20 'a pin' vip 1 pin 10.77.0.101 host2
until_true 20 'on host 2' is_at 10.77.0.101 2 1 2
until_true 10 'both addresses of the set are announced' announces 2 "$since" 10.77.0.101 10.77.0.201
echo 'ok: all addresses of a set are announced, as request and as reply'

until_true 15 'five times' settled "$since"
since=$(now)
on 2 ip address del 10.77.0.101/32 dev eth0
until_true 10 'restored: announced' announces 2 "$since" 10.77.0.101 10.77.0.201
until_true 15 'five times' settled "$since"
since=$(now)
vip 2 announce 10.77.0.201 >/dev/null || fail 'no announce'
until_true 10 'by hand: announced' announces 2 "$since" 10.77.0.101 10.77.0.201
vip 2 announce 10.77.0.9 2>/dev/null && fail 'a set that there is not is announced'
until_true 15 'five times' settled "$since"
echo 'ok: announced again when it was restored, and by hand'

# A cut: both have all. Behind the merge the winner announces, though it had it all the time.
ip link set veth1 nomaster
until_true 20 'host 1 has all' once 1
until_true 20 'host 2 has all' once 2
since=$(now)
ip link set veth1 master br0
until_true 20 'one has let go' once 1 2
is_at 10.77.0.101 2 1 2 || fail 'who prefers it has not kept it'
until_true 10 'the winner announces' announces 2 "$since" 10.77.0.101 10.77.0.201
released=$(grep -c 'released set=10.77.0.101 reason=merged' "$scratch/vipd1.err")
[ "$released" -eq 1 ] || fail "the other has released it $released times"
echo 'ok: behind a merge the winner announces'

# The link of the holder goes and comes.
until_true 15 'five times' settled "$since"
ip link set veth2 down
until_true 20 'host 1 has all' once 1
since=$(now)
ip link set veth2 up
until_true 20 'on host 2 alone' eval 'is_at 10.77.0.101 2 1 2 && once 1 2'
until_true 10 'announced behind it' announces 2 "$since" 10.77.0.101 10.77.0.201
echo 'ok: when the link comes up, who has a set announces it'

# An address of the same number with other bits is somebody else's.
on 2 ip address add 10.77.0.101/24 dev eth0
since=$(now)
until_true 20 'a pin' vip 1 pin 10.77.0.101 host1
until_true 20 'on host 1' is_at 10.77.0.101 1 1 2
[[ $(on 2 ip -4 -o address show dev eth0) == *10.77.0.101/24* ]] || fail 'the other address of this number was removed'
on 2 ip address del 10.77.0.101/24 dev eth0
until_true 10 'the new holder announces' announces 1 "$since" 10.77.0.101 10.77.0.201
killed() { vip 2 history | grep -q 'hook  10.77.0.101 .*killed after 1s'; }
until_true 10 'a hook that hangs is killed' killed
vip 1 pin 10.77.0.101 host2 >/dev/null || fail 'no pin'
until_true 20 'on host 2' is_at 10.77.0.101 2 1 2
echo 'ok: it moves while hooks hang, which are killed; the same number with other bits is left alone'

until_true 20 'well' vip 1 status
code() {
    "${@:2}" >"$scratch/said" 2>&1
    local status=$?
    [ $status -eq "$1" ] || fail "exit $status, not $1: ${*:2}: $(cat "$scratch/said")"
}
code 0 vip 1 what-if --down host2
grep -qE '10\.77\.0\.101 +host2 -> host1' "$scratch/said" || fail "what-if says: $(cat "$scratch/said")"
code 1 vip 1 what-if --down host1 --down host2
grep -q -- '-> nobody' "$scratch/said" || fail "what-if says: $(cat "$scratch/said")"
code 1 vip 1 what-if --down host9
code 2 vip 1 what-if
code 0 vip 1 explain 10.77.0.201
code 1 vip 1 explain 10.77.0.9
code 1 vip 1 move 10.77.0.101 host2
code 1 vip 1 pin 10.77.0.101 nowhere
code 2 vip 1 pin --for never 10.77.0.101 host2
code 2 vip 1 nonsense
code 0 vip 1 history -n 3 --json
code 0 vip 1 balance
code 3 "$bin/vipctl" --control "$scratch/none" metrics
echo 'global_defs { }' >"$scratch/keepalived.conf"
code 1 "$bin/vipctl" import "$scratch/keepalived.conf"
code 2 "$bin/vipctl" import "$scratch/none"
cat >"$scratch/keepalived.conf" <<'CONF'
vrrp_instance VI_1 {
    state MASTER
    interface eth0
    virtual_router_id 51
    priority 150
    virtual_ipaddress { 10.77.0.101/24 dev eth0 label eth0:1 }
}
CONF
code 0 "$bin/vipctl" import "$scratch/keepalived.conf"
cp "$scratch/said" "$scratch/imported.conf"
code 0 "$bin/vipd" -t -c "$scratch/imported.conf"
kill "${vipds[1]}"
wait "${vipds[1]}"
code 3 vip 1 status
echo 'ok: what-if, and the exit codes 0 to 3'
