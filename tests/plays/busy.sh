#!/usr/bin/env bash
# Both cores busy for SECONDS_BUSY (600): under FailureDetection = normal no view changes.
bin=$1
. "$(dirname "$0")/net.sh" "$@"
seconds=${SECONDS_BUSY:-600}

detection=normal
make_key
three_hosts
for i in 1 2 3; do start_groupd $i; done
until_true 10 'three hosts see each other' views_are 'host1 host2 host3' 1 2 3
ring() { ctl "$1" status --json | grep -o '"ring":"[^"]*"' | head -n 1; }
before=$(ring 1)
[ -n "$before" ] || fail 'no ring in the status'
for _ in $(seq "$(nproc)"); do
    (while :; do :; done) &
done
end=$((SECONDS + seconds))
sent=0
while ((SECONDS < end)); do
    ctl $((sent % 3 + 1)) send room "message $sent" || fail 'send'
    sent=$((sent + 1))
    for i in 1 2 3; do
        [ "$(ring $i)" = "$before" ] || fail "host $i has another view after $SECONDS s: $(ring $i), was $before"
    done
done
echo "ok: $seconds s with $(nproc) busy loops, $sent messages, no view change ($before)"
