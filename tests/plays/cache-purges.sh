#!/usr/bin/env bash
# Purges against everything that may be under way: fills, validations, waiters, sweeps, restarts, a
# cache that is cut off. No client that asks after a purge gets what was there before it.
bin=$1
. "$(dirname "$0")/net.sh" "$@"
. "$(dirname "$0")/caches.sh"

# hold: the origin holds what it may hold; let_go: until here.
hold() { rm -f "$origin/go" "$origin/waiting"; }
let_go() { touch "$origin/go"; }
is_cut() { "$bin/imgcachectl" -S "$scratch/control$1" --json status | grep -q '"isolated":true'; }
# patient_cache I [LINE...]: one that takes any number of connections of a client.
patient_cache() { start_cache "$1" 'ClientLimit = 0' "${@:2}"; }

two_hosts
start_origin 10.77.0.3 on 3
for i in 1 2; do patient_cache $i; done

# race WHAT PATH PURGE...: a purge while the origin holds its answer.
race() {
    local what=$1 path=$2 first second
    shift 2
    hold
    version old
    get 1 "$path" >"$scratch/first" &
    first=$!
    until_true 5 "$what: under way" waits "$path"
    get 1 "$path" >"$scratch/second" &
    second=$!
    version new
    purge "$@" >/dev/null || fail "$what: the purge"
    get 1 "$path" >"$scratch/third" &
    third=$!
    let_go
    wait $first $second $third || fail "$what: a client got nothing"
    is "$(cat "$scratch/third")" "$path new" "$what: asked after the purge"
    is "$(get 1 "$path")" "$path new" "$what: what is stored"
    is "$(cat "$scratch/cache1/$site$path")" "$path new" "$what: the file"
}
race 'head pending' /slow-head.gif /slow-head.gif
race 'body pending' /slow-body.gif /slow-body.gif
race 'pattern during fill' /slow-body-pattern.gif '/slow-body-p*'
race 'tag during fill' /slow-body-tagged.gif --tag news
echo 'ok: head pending, body pending, pattern and tag during a fill'

let_go
version old
path=/slow-check.gif
get 1 $path >/dev/null
purge --soft $path >/dev/null || fail 'a soft purge'
hold
get 1 $path >"$scratch/first" &
first=$!
until_true 5 'the validation is under way' waits $path
version new
purge $path >/dev/null || fail '304 pending: the purge'
is "$(get 1 $path)" "$path new" '304 pending: asked after the purge'
let_go
wait $first || fail '304 pending: a client got nothing'
is "$(get 1 $path)" "$path new" '304 pending: the 304 brings nothing back'
echo 'ok: 304 pending'

hold
version old
path=/slow-body-waiters.gif
for n in 1 2 3 4 5 6; do get 1 $path >"$scratch/waiter$n" & waiters[n]=$!; done
until_true 5 'the fill is under way' waits $path
version new
purge $path >/dev/null || fail 'collapsed waiters: the purge'
for n in 7 8 9; do get 1 $path >"$scratch/waiter$n" & waiters[n]=$!; done
let_go
wait "${waiters[@]}" || fail 'collapsed waiters: one got nothing'
for n in 7 8 9; do is "$(cat "$scratch/waiter$n")" "$path new" "waiter $n"; done
is "$(get 1 $path)" "$path new" 'what is stored'
echo 'ok: collapsed waiters'

for language in en de fr; do get 1 /vary.gif -H "Accept-Language: $language" >/dev/null; done
is "$(find "$scratch/cache1/$site" -name 'vary.gif*' | wc -l)" 3 'variants on disk'
purge /vary.gif | grep -q '#ic.*#host1 .* 3 deleted' || fail 'all variants are counted'
is "$(find "$scratch/cache1/$site" -name 'vary.gif*' | wc -l)" 0 'variants after the purge'
version newest
is "$(get 1 /vary.gif -H 'Accept-Language: de' | head -n 1)" '/vary.gif newest' 'a variant after the purge'
echo 'ok: all variants of a URL go'

on 1 python3 "$plays/fill.py" 127.0.0.1 $site /list/%d.gif 1000 || fail 'a thousand objects'
is "$(find "$scratch/cache1/$site/list" -name '*.gif' | wc -l)" 1000 'objects on disk'
seq 1000 | sed 's|.*|/list/&.gif|' | purge --timeout 30 --json - >"$scratch/purge.out" || fail 'a purge of a list'
is "$(find "$scratch/cache1/$site/list" -name '*.gif' | wc -l)" 0 'objects after the purge'
grep -q '"deleted":1000' "$scratch/purge.out" || fail "purge said: $(cat "$scratch/purge.out")"
echo "ok: a thousand objects from a list, all unlinked"

get 2 /cut.gif >/dev/null
get 2 /kept.gif >/dev/null
start_cut() {
    ip link set veth2 down
    until_true 10 'cache 2 knows that it is cut off' is_cut 2
    until_true 10 'host 1 is alone' views_are host1 1
}
end_cut() {
    ip link set veth2 up
    until_true 20 'it is back' whole 2
}
start_cut
like "$(how 2 /cut.gif)" 'hit; detail=stale-on-error' 'cut off from its origin, too, it serves what it has'
like "$(how 2 /cut.gif)" 'hit; ttl=*' 'and does not ask for it again at once'
version later
purge /cut.gif >/dev/null || fail 'a purge on one side'
end_cut
grep -q '^imgcache: caught-up complete=true' "$scratch/imgcache2.err" || fail 'the log was not replayed'
is "$(get 2 /cut.gif)" '/cut.gif later' 'a purge that was missed'
like "$(how 2 /kept.gif)" 'hit; ttl=*' 'what no purge meant is not even validated'
echo 'ok: cut off and back, the log of a peer is replayed'

on 1 python3 "$plays/fill.py" 127.0.0.1 $site /list/%d.gif 1000 || fail 'a thousand objects'
version after
# The sweep takes longer than the restart that follows the confirmation at once.
purge '/list/*' >/dev/null || fail 'a purge of a pattern'
kill -9 "${caches[1]}"
wait "${caches[1]}" 2>/dev/null
patient_cache 1
is "$(get 1 /list/77.gif)" '/list/77.gif after' 'restarted in mid-sweep'
old_files() { ! grep -qsr newest "$scratch/cache1/$site/list"; }
until_true 20 'the rest is swept' old_files
echo 'ok: restarted in mid-sweep, the purge holds and is swept to its end'

for mode in revalidate pass serve; do
    kill -TERM "${caches[2]}"
    wait "${caches[2]}" || fail 'a clean stop'
    patient_cache 2 "OnIsolation = $mode"
    get 2 /$mode.gif >/dev/null
    kill -9 "${groupds[2]}"
    until_true 10 'cache 2 knows that the bus is away' is_cut 2
    case $mode in
        revalidate)
            like "$(how 2 /$mode.gif)" 'fwd=stale; fwd-status=304*' 'revalidate: the origin is asked once'
            like "$(how 2 /$mode.gif)" 'hit; ttl=*' 'revalidate: and then not for ten seconds'
            ;;
        pass) like "$(how 2 /$mode.gif)" 'fwd=stale; fwd-status=304*' 'pass: the origin is asked' ;;
        serve) like "$(how 2 /$mode.gif)" 'hit; ttl=*' 'serve: as if nothing were' ;;
    esac
    start_groupd 2
    until_true 20 'the bus is back' whole 2
done
echo 'ok: OnIsolation revalidate, pass and serve'

race 'everything during fill' /slow-body-all.gif --all
echo 'ok: everything during a fill'
