#!/usr/bin/env bash
# What "confirmed" means, clause by clause: who is waited for, what becomes of those who leave, are
# lost, fail or say nothing, who joins later; and each option of purge.
bin=$1
. "$(dirname "$0")/net.sh" "$@"
. "$(dirname "$0")/caches.sh"

# The last value wins: where a time is given, that one holds.
purge() { on 1 "$bin/purge" -s "$scratch/host1/socket" --timeout 30 "$@"; }
three_hosts
start_groupd 1
until_true 30 'groupd is there' views_are host1 1
start_origin 10.77.0.3 on 3

out=$(purge /x)
is "$?:$out" '1:no cache is in the group' 'a purge without any cache'
start_cache 1 'PurgeFrom = 127.0.0.1'
out=$(purge --group other /x)
is "$?:$out" '1:no cache is in the group' 'a purge in a group without caches'
echo 'ok: no cache at all is a failure'

# silent NAME LAST: a member of the group that does not confirm; stop_silent ends it.
silent() {
    rm -f "$scratch/silent.in" && mkfifo "$scratch/silent.in"
    nsenter -t "${anchors[1]}" -n python3 "$plays/silent.py" "$scratch/host1/socket" "$1" "$2" \
        <"$scratch/silent.in" >"$scratch/silent.out" 2>"$scratch/silent.err" &
    silent=$!
    exec {hold}>"$scratch/silent.in"
    until_true 30 "$1 is a member" is_member "$1"
}
is_member() { ctl 1 members imgcache | grep -q "^#$1#"; }
has_heard() { grep -q "^heard" "$scratch/silent.out"; }
stop_silent() {
    echo >&"$hold"
    exec {hold}>&-
    wait $silent || fail 'the silent member failed'
}
# purge_beside NAME LAST: what a purge says, and its exit code, about a member that ends like that.
purge_beside() {
    silent "$1" "$2"
    purge --timeout 60 /x >"$scratch/purge.out" 2>"$scratch/purge.err" &
    local purging=$!
    until_true 30 'the purge is delivered' has_heard
    stop_silent
    wait $purging
    said="$?:$(grep "^#$1#" "$scratch/purge.out")"
}
purge_beside icleaves leave
is "$said" '0:#icleaves#host1 left, it does not serve any more' 'a cache that leaves in order'
purge_beside icvanish vanish
is "$said" '1:#icvanish#host1 gone, it may go on serving' 'a cache that is lost'
purge_beside icfails 'failed no space'
is "$said" '1:#icfails#host1 failed: no space' 'a cache that fails'
purge_beside pdleaves leave
is "$said" '0:#pdleaves#host1 left, it does not serve any more' 'a purged that leaves in order'
purge_beside other leave
is "$said" '0:' 'a member that is no cache is not waited for'
grep -Eq '^#ic[0-9]+#host1 confirmed in [0-9.]+ ms, [0-9]+ deleted$' "$scratch/purge.out" ||
    fail "the cache beside it: $(cat "$scratch/purge.out")"
silent icsays leave
out=$(purge --timeout 0.5 --json /x)
is $? 1 'a cache that says nothing'
like "$out" '{"caches":[*{"cache":"#icsays#host1","fate":"unanswered"}*' 'JSON about it'
is "$(purge --no-wait /x)" '' '--no-wait'
purge --no-wait /x || fail '--no-wait beside a cache that says nothing'
stop_silent
purge --expect 1 /x >/dev/null || fail 'one cache is enough for --expect 1'
purge --expect 2 /x >/dev/null && fail 'one cache is not two'
echo 'ok: left, gone, failed and unanswered are told apart; who is no cache is not waited for'

# asked PATH...: have them stored, whatever the version.
asked() { for path in "$@"; do get 1 "$path" >/dev/null || fail "no $path"; done; }
# is_purged PATH, is_kept PATH: whether the next request gets another version.
is_purged() { like "$(get 1 "$1")" '* new' "$1 is purged"; }
is_kept() { like "$(get 1 "$1")" '* old' "$1 is kept"; }
version old
asked /q.gif '/q.gif?a' '/q.gif?b' /r.gif '/r.gif?a' /s.gif '/s.gif?a' /alias.gif /https.gif /a/x.gif /ab/x.gif \
    /list1.gif /list2.gif /here.gif /star.gif /hand.gif /http.gif /dry.gif /tagged.gif /grouped.gif
version new
purge --dry-run --soft --site $site /dry.gif --tag a --tag b >"$scratch/dry" || fail '--dry-run'
is "$(tr '\n' ';' <"$scratch/dry")" \
    "purge --soft --site $site --tag a;purge --soft --site $site --tag b;purge --soft --site $site /dry.gif;" '--dry-run'
is_kept /dry.gif
purge '/q.gif?a' >/dev/null || fail 'a purge with a query'
is_purged '/q.gif?a'; is_kept '/q.gif?b'; is_kept /q.gif
purge /r.gif >/dev/null || fail 'a purge without a query'
is_purged /r.gif; is_kept '/r.gif?a'
purge '/s.gif?*' >/dev/null || fail 'a purge of all queries'
is_purged /s.gif; is_purged '/s.gif?a'
purge http://img.example.com/alias.gif https://$site/https.gif >/dev/null || fail 'an alias and the other scheme'
is_purged /alias.gif; is_purged /https.gif
purge '/a/*' >/dev/null || fail 'a pattern'
is_purged /a/x.gif; is_kept /ab/x.gif
purge --tag weather >/dev/null || fail 'a tag of Cache-Groups'
is_purged /grouped.gif; is_kept /tagged.gif
printf '/list1.gif\n\n  /list2.gif \n' | purge - >/dev/null || fail 'a list'
is_purged /list1.gif; is_purged /list2.gif
purge --site other.example.com /here.gif --all >/dev/null || fail 'a purge of another site'
is_kept /here.gif
purge --site img.example.com /here.gif >/dev/null || fail 'a purge of this site'
is_purged /here.gif
ctl 1 send imgcache 'purge /hand.gif' || fail 'by hand'
by_hand() { [ "$(get 1 /hand.gif)" = '/hand.gif new' ]; }
until_true 30 'a purge by hand' by_hand
is "$(get 1 /http.gif -X PURGE -o "$scratch/body" -w '%{http_code}')" 200 'PURGE'
grep -Eq '^#ic[0-9]+#host1 confirmed in [0-9.]+ ms, 1 deleted$' "$scratch/body" || fail "PURGE: $(cat "$scratch/body")"
is_purged /http.gif
is "$(get 1 '/star.gif*' -X PURGE -o "$scratch/body" -w '%{http_code}')" 200 'PURGE of a pattern'
is_purged /star.gif
for bad in '' x ftp://a/ '--site a http://b/' '--timeout 0 /x' '--expect x /x' '--what /x'; do
    # shellcheck disable=SC2086 # words
    purge $bad >/dev/null 2>"$scratch/usage" && fail "purge $bad"
    is $? 2 "purge $bad"
    [ -s "$scratch/usage" ] || fail "purge $bad says nothing"
done
echo 'ok: queries, patterns, tags, lists, sites, aliases, schemes, by hand, by PURGE'

version old
asked /sie-soft.gif /sie-hard.gif
touch "$origin/sick"
purge --soft /sie-soft.gif >/dev/null && purge /sie-hard.gif >/dev/null || fail 'two purges'
like "$(how 1 /sie-soft.gif)" 'hit; detail=stale-if-error' 'a soft purge while the origin fails'
is "$(get 1 /sie-hard.gif -o "$scratch/body" -w '%{http_code}')" 503 'a purge while the origin fails'
rm "$origin/sick"
version new
is_purged /sie-soft.gif; is_purged /sie-hard.gif
echo 'ok: a soft purge keeps for stale-if-error'

rm -f "$origin/go" "$origin/waiting"
get 1 /slow-body-stream.gif -N >"$scratch/first" &
first=$!
until_true 30 'a fill is under way' waits /slow-body-stream.gif
get 1 /slow-body-stream.gif -N >"$scratch/second" &
second=$!
until_true 30 'a later client has what has come' test -s "$scratch/second"
[ ! -e "$origin/go" ] || fail 'the origin has gone on'
touch "$origin/go"
wait $first $second || fail 'a client got nothing'
cmp "$scratch/first" "$scratch/second" || fail 'both get the same'
is "$(cat "$scratch/second")" '/slow-body-stream.gif new' 'all of it'
echo 'ok: who comes later is sent the body as it grows'

start_groupd 2
until_true 30 'two hosts see each other' views_are 'host1 host2' 1 2
start_cache 2
version old
for path in /late.gif /other.gif; do get 2 $path >/dev/null || fail "no $path"; done
# A cache asks for some time more than it knows that it has missed: so far must its peer's log reach.
uptime() { "$bin/imgcachectl" -S "$scratch/control1" --json status | sed -n 's/.*"uptime_seconds":\([0-9]*\).*/\1/p'; }
until_true 40 'its peer has run for long enough' eval '[ "$(uptime)" -ge 24 ]'
kill -TERM "${caches[2]}"
wait "${caches[2]}" || fail 'a clean stop'
version new
purge /late.gif >/dev/null || fail 'a purge while a cache is down'
: >"$scratch/imgcache2.err"
start_cache 2
grep -q 'caught-up complete=true' "$scratch/imgcache2.err" || fail 'it was told what it missed'
is "$(get 2 /late.gif)" '/late.gif new' 'a cache that joins later'
like "$(how 2 /other.gif)" 'hit; ttl=*' 'what was not purged meanwhile'
echo 'ok: a cache that joins later is told what it missed'

version later
get 2 /long.gif >/dev/null && get 1 /long.gif >/dev/null || fail 'no /long.gif'
for i in 2 1; do
    kill -TERM "${caches[$i]}"
    wait "${caches[$i]}" || fail 'a clean stop'
done
start_cache 1
: >"$scratch/imgcache2.err"
start_cache 2 # its peer has heard nothing of the time before
grep -q 'caught-up complete=false' "$scratch/imgcache2.err" || fail 'nobody could tell it'
for i in 1 2; do
    like "$(how $i /long.gif)" 'fwd=stale; fwd-status=304*' "cache $i asks the origin once"
    like "$(how $i /long.gif)" 'hit; ttl=*' "cache $i then believes it"
done
echo 'ok: who finds no log that reaches back validates everything'
