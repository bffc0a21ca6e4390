#!/usr/bin/env bash
# What is on disk: kills during a thousand fills, bodies that lost their bytes, files that come back
# after a purge, a disk that is full, a limit that holds.
bin=$1
. "$(dirname "$0")/net.sh" "$@"
. "$(dirname "$0")/lone-cache.sh"

start_origin 127.0.0.1

# start_with KILOBYTES: a cache with so much room, on $root.
start_with() {
    write_conf "CacheSize = $1" 'PurgeFrom = 127.0.0.1'
    start_counted
}

start_with 100000
for n in $(seq 5); do
    python3 "$plays/fill.py" 127.0.0.1 $site "/list$n/%d.gif" 200 2>/dev/null &
    fill=$!
    some() { [ -n "$(ls "$root/$site/list$n" 2>/dev/null)" ]; }
    until_true 20 'some of the fills are over' some
    kill_cache
    wait $fill 2>/dev/null
    # Each file is all of its body, as its name says.
    torn=$(find "$root/$site" -type f -name '*.gif' -printf '%P\n' |
        while read -r file; do printf '/%s one\n' "$file" | cmp -s - "$root/$site/$file" || echo "$file"; done)
    is "$torn" '' 'torn files'
    start_with 100000
    is "$(find "$root" -name '#tmp*' | wc -l)" 0 'what is left of unfinished fills'
    is "$(get "/list$n/1.gif")" "/list$n/1.gif one" 'an object after a kill'
done
echo 'ok: five kills during a thousand fills, nothing torn'

get /zero.gif >/dev/null && get /short.gif >/dev/null && get /back.gif >/dev/null
ln "$root/$site/back.gif" "$scratch/kept"
is "$(send_purge /back.gif)" 200 'PURGE'
[ ! -e "$root/$site/back.gif" ] || fail 'the purged file is there'
echo two >"$origin/version"
kill_cache
# As after a power failure: right length and time, no bytes; a cut; a deletion that was lost.
file=$root/$site/zero.gif
touch -r "$file" "$scratch/time"
head -c "$(stat -c %s "$file")" /dev/zero | dd of="$file" conv=notrunc status=none
touch -r "$scratch/time" "$file"
truncate -s 3 "$root/$site/short.gif"
mv "$scratch/kept" "$root/$site/back.gif"
start_with 100000
is "$(get /zero.gif)" '/zero.gif two' 'a body of zeros'
is "$(get /short.gif)" '/short.gif two' 'a body that was cut'
is "$(get /back.gif)" '/back.gif two' 'a purged file that came back'
is "$(cat "$root/$site/back.gif")" '/back.gif two' 'the file of it'
echo 'ok: zeroed, cut and resurrected files are not served after an unclean stop'

get /big-cut.gif -o "$scratch/whole" || fail 'a big object'
like "$(how /big-cut.gif)" 'hit*' 'a big object'
truncate -s 1000 "$root/$site/big-cut.gif"
is "$(get /big-cut.gif | wc -c)" 1048576 'a body that was cut while it was known'
echo 'ok: a body that is cut while the cache runs is a miss'

path=/size-30000000-cut.gif
get $path -o "$scratch/whole" && like "$(how $path)" 'hit*' 'a bigger object'
get $path --limit-rate 5M -o "$scratch/part" &
part=$!
until_true 10 'a client has some of it' test -s "$scratch/part"
truncate -s 1000 "$root/$site$path"
wait $part && fail 'a body that was cut while it was sent ended as if it were whole'
echo 'ok: a body that is cut while it is sent closes the connection'

get /above/a.gif >/dev/null && like "$(how /above/a.gif)" 'hit*' 'an object in a directory'
mv "$root/$site/above" "$root/$site/other"
read -rt 1 <> <(:)
like "$(how /above/a.gif)" 'fwd=uri-miss*' 'what is asked for a second after a directory above was renamed'
rm -f "$origin/go" "$origin/waiting"
get /slow-body-rm.gif >"$scratch/filled" &
filling=$!
until_true 5 'a fill is under way' waits /slow-body-rm.gif
rm -r "${root:?}/$site"
touch "$origin/go"
wait $filling || fail 'the client of a fill got nothing'
is "$(cat "$root/$site/slow-body-rm.gif")" '/slow-body-rm.gif two' 'rm during a fill'
echo 'ok: a renamed directory is noticed within a second; rm does not stop a fill'

stop_cache
root=$scratch/limited
start_with 4096
for n in $(seq 12); do
    get "/big$n.gif" -o "$scratch/body" || fail 'an object within the limit'
    is "$(stat -c %s "$scratch/body")" 1048576 'its length'
    used=$(du -sk "$root" | cut -f 1)
    [ "$used" -le 4136 ] || fail "$used kB are used, 4096 are allowed"
    case $n in
        4) rm "$root/$site"/big*.gif ;;
        8)
            kill_cache
            start_with 4096
            ;;
    esac
done
like "$(ctl status)" '*evictions*' 'the status'
echo 'ok: the limit holds with rm and a restart, by du'

stop_cache
root=$scratch/small
mkdir "$root"
mount -t tmpfs -o size=3m none "$root" || skip 'no tmpfs in a namespace of this kernel'
start_with 100000
for n in $(seq 6); do
    get "/big-full$n.gif" -o "$scratch/body" || fail 'an object while the disk is full'
    is "$(stat -c %s "$scratch/body")" 1048576 'its length while the disk is full'
done
is "$(find "$root" -name '#tmp*' | wc -l)" 0 'what is left of failed fills'
like "$(how /big-full1.gif)" 'hit*' 'what was stored before the disk was full'
stop_cache
echo 'ok: a full disk is passed through'
