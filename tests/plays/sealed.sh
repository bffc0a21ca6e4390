#!/usr/bin/env bash
# With a key nothing can be read on the wire, and a recording played back changes nothing.
bin=$1
. "$(dirname "$0")/net.sh" "$@"
need python3
secret='a secret that must not be read on the wire'

# record NAME: runs three groupd, sends the secret, and keeps what the bridge saw.
record() {
    python3 "$plays/capture.py" record br0 "$scratch/$1.pcap" 2>"$scratch/$1.capture" &
    capture=$!
    until_true 20 'the capture listens' grep -q listening "$scratch/$1.capture"
    for i in 1 2 3; do start_groupd $i; done
    until_true 10 'three hosts see each other' views_are 'host1 host2 host3' 1 2 3
    ctl 3 join room -n 1 >"$scratch/$1.received" &
    reader=$!
    until_true 5 'a reader in the group' reader_joined
    ctl 1 send room "$secret" || fail 'send'
    wait $reader
    grep -q "$secret" "$scratch/$1.received" || fail 'the message did not arrive'
    kill -TERM $capture && wait $capture
    packets=$(python3 "$plays/capture.py" count "$scratch/$1.pcap" $((port + 1)) 0) || fail 'no capture'
    [ "$packets" -ge 20 ] || fail "only $packets tokens and joins in the capture"
}
reader_joined() { ctl 1 members room | grep -q '#host3'; }

three_hosts
record open
grep -aq "$secret" "$scratch/open.pcap" || fail 'the capture does not see open traffic: it proves nothing'
for i in 1 2 3; do kill -TERM "${groupds[$i]}"; wait "${groupds[$i]}"; done
echo 'ok: without a key the capture shows the message'

make_key
echo "Key = $key" >>"$scratch/spread.conf"
record sealed
if grep -aq "$secret" "$scratch/sealed.pcap"; then fail 'the message can be read on the wire'; fi
echo 'ok: with a key it does not'

host 4 br0 10.77.0.4/24
ring() { ctl 1 status --json | grep -o '"ring":"[^"]*"' | head -n 1; }
before=$(ring)
[ -n "$before" ] || fail 'no ring in the status'
ctl 2 join room --membership --json >"$scratch/quiet" 2>/dev/null &
watcher=$!
watcher_joined() { ctl 1 members room | grep -q '#host2'; }
until_true 5 'a watcher in the group' watcher_joined
lines=$(wc -l <"$scratch/quiet")
on 4 python3 "$plays/capture.py" replay "$scratch/sealed.pcap" || fail 'replay'
# A message of our own behind the replayed ones shows that the watcher has seen all there was.
ctl 1 send room 'the end' || fail 'send'
until_true 5 'the end arrives' grep -q 'the end' "$scratch/quiet"
kill $watcher
[ "$(ring)" = "$before" ] || fail "the replay changed the view: $before, then $(ring)"
[ "$(wc -l <"$scratch/quiet")" -eq $((lines + 1)) ] || fail "the replay delivered something: $(cat "$scratch/quiet")"
echo 'ok: the recording played back changes nothing'
