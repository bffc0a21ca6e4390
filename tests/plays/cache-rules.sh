#!/usr/bin/env bash
# Rules of HTTP that http-cache-tests does not ask about: docs/CACHE-RULES.md names them.
bin=$1
. "$(dirname "$0")/net.sh" "$@"
. "$(dirname "$0")/lone-cache.sh"

start_origin 127.0.0.1
sites="Site $site { Origin = http://127.0.0.1:8080/ NegativeSeconds = 0 }
Site loop.example.com { Origin = http://127.0.0.1:80/ }
Site away.example.com { Origin = http://127.0.0.1:1/ }"
write_conf
launch_cache
# Errors are answers here. head: the head of the answer; code: its status.
get() { curl -s --max-time 20 -H "Host: ${host:-$site}" "${@:2}" "http://127.0.0.1$1"; }
head() { get "$1" -o "$scratch/body" -D - "${@:2}" | tr -d '\r'; }
code() { head "$@" | sed -n '1s/^[^ ]* \([0-9]*\).*/\1/p'; }
asked() { tail -n 1 "$origin/headers"; }
until_true 30 'the cache serves' eval '[ "$(code /start.gif)" = 200 ]'

like "$(head /via.gif)" '*Via: 1.1 imgcache*' 'the answer'
like "$(asked)" '*"Via": "1.1 imgcache"*"X-Forwarded-For": "127.0.0.1"*"CDN-Loop": "imgcache; id=*' 'the request'
head /via2.gif -H 'X-Forwarded-For: 192.0.2.1' >/dev/null
like "$(asked)" '*"X-Forwarded-For": "127.0.0.1"*' 'what a client says of itself'
echo 'ok: Via, CDN-Loop, X-Forwarded-For'

is "$(host=loop.example.com code /x.gif)" 508 'a cache that is its own origin'
is "$(code / -X OPTIONS -H 'Max-Forwards: 0')" 200 'OPTIONS that goes no further'
like "$(asked)" '*/via2.gif*' 'it went no further'
code / -X OPTIONS -H 'Max-Forwards: 7' >/dev/null
like "$(asked)" '*"Max-Forwards": "6"*' 'OPTIONS that may go on'
like "$(host=away.example.com head /x.gif)" '* 502 *Proxy-Status: imgcache; error=*no-store*' 'an origin that is away'
echo 'ok: loops, Max-Forwards, Proxy-Status'

like "$(head /moved.gif)" '* 302 *Location: /elsewhere.gif?x*' 'a Location that leads to the origin'
like "$(head /moved-away.gif)" '* 302 *Location: http://127.0.0.1:80801/elsewhere.gif*' 'one that does not'
like "$(head /chunked.gif -0)" 'HTTP/1.1 200*Connection: close*' 'chunks for an HTTP/1.0 client'
case $(head /chunked2.gif -0) in *chunked*) fail 'an HTTP/1.0 client got chunks' ;; esac
is "$(get /chunked3.gif -0)" '/chunked3.gif one' 'the body for it'
echo 'ok: Location, HTTP/1.0 clients'

get /gone.gif >/dev/null
like "$(how /gone.gif)" 'hit*' 'what is stored'
echo stale >"$origin/lifetime"
get /short-gone.gif >/dev/null
[ -e "$scratch/cache/$site/short-gone.gif" ] || fail 'it is not stored'
touch "$origin/gone"
is "$(code /short-gone.gif)" 404 'what is gone at the origin'
deleted() { [ ! -e "$scratch/cache/$site/short-gone.gif" ]; }
until_true 10 'its object goes' deleted
rm "$origin/gone" "$origin/lifetime"
echo 'ok: what the origin does not have any more is deleted'

# A HEAD for what is stale: another version makes it stale for good, the same version renews it.
echo stale >"$origin/lifetime"
get /head.gif >/dev/null
rm "$origin/lifetime"
like "$(how /head.gif -I)" 'fwd=bypass; fwd-status=200*' 'a HEAD for what is stale'
like "$(how /head.gif)" 'hit; ttl=*' 'a HEAD that agrees is as good as a validation'
echo stale >"$origin/lifetime"
get /head2.gif >/dev/null
rm "$origin/lifetime"
version two
get /head2.gif -I >/dev/null
like "$(how /head2.gif)" 'fwd=stale; fwd-status=200*' 'a HEAD that does not agree'
echo 'ok: what a HEAD tells'

is "$(get /rude.gif)" '/rude.gif two' 'an origin that will say too much'
touch "$origin/go"
until_true 10 'it has said it' test -e "$origin/sent"
is "$(get /next.gif)" '/next.gif two' 'what nobody asked for is no answer'
echo 'ok: a response that nobody asked for is not taken for one'
rm -f "$origin/go" "$origin/waiting"
get /slow-body-drain.gif >"$scratch/drained" &
client=$!
until_true 5 'a request is under way' waits /slow-body-drain.gif
kill -TERM $cache
refuses() { ! (exec 3<>/dev/tcp/127.0.0.1/80) 2>/dev/null; }
until_true 10 'no more requests are taken' refuses
touch "$origin/go"
wait $client && is "$(cat "$scratch/drained")" '/slow-body-drain.gif two' 'what was under way'
wait $cache || fail 'the cache did not stop with exit 0'
echo 'ok: TERM drains'
