#!/usr/bin/env bash
# Two caches and an origin: misses, hits, files that are named like URLs, rm, purges and their races.
bin=$1
. "$(dirname "$0")/net.sh" "$@"
. "$(dirname "$0")/caches.sh"

two_hosts
start_origin 10.77.0.3 on 3
for i in 1 2; do start_cache $i 'CacheSize = 20000'; done
echo 'ok: two caches serve'

for i in 1 2; do
    like "$(how $i /img/logo.gif)" 'fwd=uri-miss; fwd-status=200; stored*' "a miss at cache $i"
    like "$(how $i /img/logo.gif)" 'hit; ttl=*' "a hit at cache $i"
    is "$(cat "$scratch/cache$i/$site/img/logo.gif")" '/img/logo.gif one' 'the file is the body'
done
like "$("$bin/imgcachectl" -S "$scratch/control1" show "http://$site/img/logo.gif")" \
    "http://$site/img/logo.gif*$scratch/cache1/$site/img/logo.gif*stored*sha256*" 'show of a URL'
like "$("$bin/imgcachectl" -S "$scratch/control1" show "$scratch/cache1/$site/img/logo.gif")" \
    "http://$site/img/logo.gif*stored*" 'show of a file'
echo 'ok: a miss, a hit, and a file that is named like the URL'

version two
rm "$scratch/cache1/$site/img/logo.gif"
is "$(get 1 /img/logo.gif)" '/img/logo.gif two' 'after rm'
get 1 /dir/a.gif >/dev/null
mv "$scratch/cache1/$site/dir/a.gif" "$scratch/cache1/$site/dir/b.gif"
like "$(how 1 /dir/a.gif)" 'fwd=uri-miss*' 'after mv'
like "$(how 1 /dir/b.gif)" 'fwd=uri-miss*' 'a file that was moved here'
echo forged >"$scratch/cache1/$site/dir/a.gif"
is "$(get 1 /dir/a.gif)" '/dir/a.gif two' 'a file written by hand'
rm -r "$scratch/cache1/$site/dir"
like "$(how 1 /dir/a.gif)" 'fwd=uri-miss*' 'after rm -r'
echo 'ok: rm, mv and files written by hand take effect at once'

out=$(purge /img/logo.gif) || fail "purge: $out"
is "$(echo "$out" | grep -c 'confirmed in .*, 1 deleted')" 2 "purge said: $out"
for i in 1 2; do
    [ ! -e "$scratch/cache$i/$site/img/logo.gif" ] || fail "the file is still at cache $i"
    is "$(get $i /img/logo.gif)" '/img/logo.gif two' "cache $i after the purge"
done
echo "ok: a purge that both caches confirmed: $(echo "$out" | tr '\n' ' ')"

for i in 1 2; do get $i /news/a.gif >/dev/null && get $i /tagged.gif >/dev/null; done
version three
purge '/news/*' --tag news >/dev/null || fail 'a purge of a pattern and a tag'
for i in 1 2; do
    is "$(get $i /news/a.gif)" '/news/a.gif three' "a pattern at cache $i"
    is "$(get $i /tagged.gif)" '/tagged.gif three' "a tag at cache $i"
    is "$(get $i /img/logo.gif)" '/img/logo.gif two' "what was not meant, at cache $i"
done
purge --soft "http://img.example.com/img/logo.gif" >/dev/null || fail 'a soft purge by an alias'
is "$(get 1 /img/logo.gif)" '/img/logo.gif three' 'after a soft purge'
is_swept() { ! [ -e "$scratch/cache1/$site/old/a.gif" ] && ! [ -e "$scratch/cache2/$site/old" ]; }
for i in 1 2; do get $i /old/a.gif >/dev/null; done
purge '/old/*' >/dev/null || fail 'a purge of a directory'
until_true 5 'the files of a pattern are deleted' is_swept
echo 'ok: patterns, tags, aliases, soft purges'

for path in /slow-head.gif /slow-body.gif; do
    rm -f "$origin/go" "$origin/waiting"
    version old
    get 1 $path >"$scratch/first" &
    first=$!
    until_true 5 "$path is under way" waits $path
    get 1 $path >"$scratch/second" &
    second=$!
    version new
    purge $path >/dev/null || fail "a purge during $path"
    touch "$origin/go"
    is "$(get 1 $path)" "$path new" "$path after a purge during its fill"
    wait $first $second || fail "$path: a client got nothing"
    is "$(cat "$scratch/first")" "$path old" "$path for the client that was there before"
    is "$(get 1 $path)" "$path new" "$path is not resurrected"
    is "$(cat "$scratch/cache1/$site$path")" "$path new" "$path on disk"
done
echo 'ok: a fill that was purged is not stored'

rm -f "$origin/go" "$origin/waiting"
: >"$origin/requests"
for n in 1 2 3 4 5; do get 2 /slow-body-shared.gif >"$scratch/shared$n" & shared[n]=$!; done
until_true 5 'five clients wait' waits /slow-body-shared.gif
until_true 5 'all have begun' sh -c "'$bin/imgcachectl' -S '$scratch/control2' --json status | grep -q '\"connections\":5'"
touch "$origin/go"
wait "${shared[@]}" || fail 'a collapsed client got nothing'
is "$(sort -u "$scratch"/shared? | wc -l)" 1 'all got the same'
is "$(wc -l <"$origin/requests")" 1 'one request to the origin'
echo 'ok: five clients, one request to the origin'

is "$(on 1 curl -s -o "$scratch/body" -w '%{http_code}' -H 'Host: other.org' http://127.0.0.1/)" 421 'a foreign site'
is "$(on 1 curl -s -o "$scratch/body" -w '%{http_code}' -x 127.0.0.1:80 http://10.77.0.3:8080/)" 421 'as a proxy'
is "$(get 1 /big.gif -r 0-3)" '/big' 'a range of a miss'
is "$(get 1 /big.gif -r 1-3)" 'big' 'a range of a hit'
tag=$(get 1 /big.gif -o "$scratch/body" -D - | tr -d '\r' | sed -n 's/^ETag: //p')
is "$(get 1 /big.gif -o "$scratch/body" -w '%{http_code}' -H "If-None-Match: $tag")" 304 'a condition'
echo 'ok: foreign sites are refused, ranges and conditions are answered'

kill -TERM "${caches[2]}"
wait "${caches[2]}" || fail 'the cache did not stop with exit 0'
out=$(purge /img/logo.gif) || fail "purge with one cache: $out"
is "$(echo "$out" | wc -l)" 1 "purge named: $out"
purge --expect 2 /img/logo.gif >/dev/null && fail 'one cache is not two'
start_cache 2 'CacheSize = 20000'
echo 'ok: a clean stop, and --expect'

kill -STOP "${caches[2]}"
before=$(grep -c purged "$scratch/imgcache1.err")
has_more() { [ "$(grep -c purged "$scratch/imgcache1.err")" -gt "$before" ]; }
purge --timeout 60 --json /img/logo.gif >"$scratch/purge.out" &
purging=$!
until_true 5 'cache 1 has the purge' has_more
kill -9 "${caches[2]}"
wait "${caches[2]}" 2>/dev/null
wait $purging && fail 'a purge that a lost cache did not confirm is no success'
grep -q '"gone"' "$scratch/purge.out" || fail "purge said: $(cat "$scratch/purge.out")"
start_cache 2 'CacheSize = 20000'
echo 'ok: a lost cache is named'

version before
purge /cut.gif >/dev/null || fail 'a purge'
get 2 /cut.gif >/dev/null
is_cut() { "$bin/imgcachectl" -S "$scratch/control2" --json status | grep -q '"isolated":true'; }
ip link set veth2 down
until_true 10 'cache 2 knows that it is cut off' is_cut
is "$(get 2 /cut.gif)" '/cut.gif before' 'cut off from its origin, too, it serves what it has'
version after
out=$(purge /cut.gif) || fail "a purge on one side: $out"
is "$(echo "$out" | wc -l)" 1 "purge named: $out"
ip link set veth2 up
until_true 10 'it is back' whole 2
is "$(get 2 /cut.gif)" '/cut.gif after' 'a purge that was missed'
echo 'ok: cut off and back, a missed purge does no harm'

for n in $(seq 20); do
    version "kill$n"
    purge --all >/dev/null || fail 'a purge of all'
    for path in 1 2 3 4; do get 2 /big$path.gif -o /dev/null & fills[path]=$!; done
    kill -9 "${caches[2]}"
    wait "${caches[2]}" "${fills[@]}" 2>/dev/null
    start_cache 2 'CacheSize = 20000'
    for path in 1 2 3 4; do
        get 2 /big$path.gif >"$scratch/body" || fail "nothing after a kill"
        is "$(stat -c %s "$scratch/body")" 1048576 'a body after a kill'
        is "$(head -n 1 "$scratch/body" | cut -c 1-20 | cut -d' ' -f 1)" /big$path.gif 'its first word'
    done
    is "$(find "$scratch/cache2" -name '#tmp*' | wc -l)" 0 'what is left of unfinished fills'
done
echo 'ok: twenty kills during fills, nothing torn'
