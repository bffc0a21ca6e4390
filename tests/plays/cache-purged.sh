#!/usr/bin/env bash
# purged deletes pre-rendered pages, and PURGE requests do what purge does: both confirmed by all.
bin=$1
. "$(dirname "$0")/net.sh" "$@"
. "$(dirname "$0")/caches.sh"

www=$scratch/www
mkdir -p "$www/news/items"
# pages: as the generator would write them.
pages() {
    for n in 1 2 3; do echo "item $n" >"$www/news/items/$n.html"; done
    echo index >"$www/index.html"
    echo outside >"$scratch/outside.html"
    ln -sf "$scratch/outside.html" "$www/news/items/link.html"
}
pages
two_hosts
on 3 python3 -m http.server --bind 10.77.0.3 --directory "$www" 8080 2>"$scratch/origin.err" >/dev/null &
until_true 30 'the origin answers' on 3 curl -sf --max-time 2 http://10.77.0.3:8080/
launch_cache 2 'PurgeFrom = 10.77.0.0/24'
start_purged() {
    nsenter -t "${anchors[1]}" -n "$bin/purged" -v --root="$www" --allow='/news/items/*.html' \
        -s "$scratch/host1/socket" imgcache 2>>"$scratch/purged.err" &
    purged=$!
}
until_true 10 'the cache is whole' whole 2
# Its memory of purges must be longer than what will be asked for.
start_purged
members() { ctl 1 members imgcache | grep -cE '^#(ic|pd)'; }
both_joined() { [ "$(members)" = 2 ]; }
until_true 10 'both are in the group' both_joined
# send_purge HOST PATH: the status of a PURGE request, its body is in $scratch/body.
send_purge() {
    on "$1" curl -s --max-time 10 -o "$scratch/body" -w '%{http_code}' -X PURGE \
        -H "Host: $site" "http://${3:-10.77.0.2}$2"
}
fetch() { on 3 curl -sf --max-time 10 -H "Host: $site" "http://10.77.0.2$1"; }

is "$(fetch /news/items/1.html)" 'item 1' 'a page through the cache'
out=$(purge --expect 2 "http://$site/news/items/1.html?x") || fail "purge: $out"
[ ! -e "$www/news/items/1.html" ] || fail 'the page is still there'
[ -e "$www/news/items/2.html" ] || fail 'another page has gone'
purge /index.html /news/items/link.html >/dev/null || fail 'a purge of what is not allowed'
[ -e "$www/index.html" ] && [ -e "$scratch/outside.html" ] && [ -L "$www/news/items/link.html" ] ||
    fail 'something that is not allowed has gone'
echo "ok: a page is deleted, and confirmed: $(echo "$out" | tr '\n' ' ')"

pages
purge --all >/dev/null || fail 'a full purge'
is "$(ls "$www/news/items")" link.html 'what a full purge leaves'
[ -e "$www/index.html" ] && [ -e "$scratch/outside.html" ] || fail 'a full purge went too far'
echo 'ok: a full purge deletes what is allowed and follows no link'

pages
is "$(fetch /news/items/2.html)" 'item 2' 'a page through the cache'
is "$(send_purge 3 /news/items/2.html)" 200 'a PURGE request'
is "$(grep -c 'confirmed in' "$scratch/body")" 2 "PURGE said: $(cat "$scratch/body")"
[ ! -e "$www/news/items/2.html" ] && [ ! -e "$scratch/cache2/$site/news/items/2.html" ] ||
    fail 'what was confirmed is still there'
is "$(send_purge 2 /news/items/3.html 127.0.0.1)" 403 'PURGE from an address that may not'
[ -e "$www/news/items/3.html" ] || fail 'a refused PURGE was carried out'
kill -STOP $purged
is "$(send_purge 3 /news/items/3.html)" 504 'PURGE while one does not answer'
grep -q 'no answer in time' "$scratch/body" || fail "PURGE said: $(cat "$scratch/body")"
kill -CONT $purged
gone() { [ ! -e "$1" ]; }
until_true 10 'it catches up' gone "$www/news/items/3.html"
echo 'ok: PURGE from allowed addresses, 200 only when all have confirmed'

pages
ip link set veth1 down
until_true 10 'host 2 is alone' views_are host2 2
on 2 "$bin/purge" -s "$scratch/host2/socket" /news/items/1.html >/dev/null || fail 'a purge on one side'
[ -e "$www/news/items/1.html" ] || fail 'it cannot have heard that'
ip link set veth1 up
until_true 20 'what was missed is told' gone "$www/news/items/1.html"
grep -q '^purged: replayed' "$scratch/purged.err" || fail 'the cache was not asked'
echo 'ok: cut off and back, the purge that was missed is replayed'

kill -TERM $purged
wait $purged || fail 'purged did not stop with exit 0'
"$bin/purged" --root "$www" imgcache 2>/dev/null
is $? 2 'without --allow'
echo 'ok: a clean stop, and what is no command line'
