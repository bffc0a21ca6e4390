#!/usr/bin/env bash
# Metadata beside the bodies: on a file system without attributes, and where it is too long for them.
bin=$1
. "$(dirname "$0")/net.sh" "$@"
. "$(dirname "$0")/lone-cache.sh"

start_origin 127.0.0.1
mkdir "$root"
mount -t ramfs none "$root" || skip 'no ramfs in a namespace of this kernel'
python3 -c "import os; os.setxattr('$root', 'user.x', b'x')" 2>/dev/null && skip 'ramfs takes attributes here'

# restart SIGNAL
restart() {
    kill -"$1" $cache
    wait $cache 2>/dev/null
    start_counted
}
here=$root/$site

write_conf 'CacheSize = 100000' 'PurgeFrom = 127.0.0.1'
start_counted
like "$(how /a.gif)" 'fwd=uri-miss*stored*' 'a miss'
like "$(how /a.gif)" 'hit; ttl=*' 'a hit'
is "$(cat "$here/a.gif")" '/a.gif one' 'the body and nothing else'
like "$(cat "$here/a.gif#m")" "imgcache 1*url http://$site/a.gif*inode *size 11*mtime *sha256 *" 'the metadata'
like "$("$bin/imgcachectl" -S "$scratch/control" show "$here/a.gif")" "http://$site/a.gif*stored*sha256*" 'show'
restart TERM
like "$(how /a.gif)" 'hit; ttl=*' 'a hit after a restart'
restart KILL
like "$(how /a.gif)" 'hit; ttl=*' 'a hit after a kill: the sum is right'
echo 'ok: bodies and metadata survive a restart and a kill'

version two
rm "$here/a.gif"
is "$(get /a.gif)" '/a.gif two' 'after rm, the metadata still there'
cp -p "$here/a.gif" "$scratch/copy" && mv "$scratch/copy" "$here/copy" && mv "$here/copy" "$here/a.gif"
like "$(how /a.gif)" 'fwd=uri-miss*' 'a copy has another inode'
touch -d '1 hour ago' "$here/a.gif"
like "$(how /a.gif)" 'fwd=uri-miss*' 'another time'
echo more >>"$here/a.gif"
is "$(get /a.gif)" '/a.gif two' 'another size'
like "$(how /a.gif)" 'hit; ttl=*' 'it is stored again'
restart KILL
printf '/a.gif xxx\n' | dd of="$here/a.gif" conv=notrunc status=none
is "$(get /a.gif)" '/a.gif two' 'other bytes'
echo 'ok: another inode, size or time, or other bytes, are a miss'

for language in en de fr; do get /vary.gif -H "Accept-Language: $language" >/dev/null; done
files() { find "$here" -name "$1" | wc -l; }
is "$(files 'vary.gif*')" 6 'three variants with their metadata'
like "$(how /vary.gif -H 'Accept-Language: fr')" 'hit; ttl=*' 'a variant'
is "$(send_purge /vary.gif)" 200 'PURGE of the variants'
like "$(cat "$scratch/body")" 'confirmed, 3 deleted*' 'what PURGE said'
is "$(files 'vary.gif*')" 0 'what is left of them'
get /orphan.gif >/dev/null && rm "$here/orphan.gif"
gone() { [ ! -e "$1" ]; }
[ -e "$here/orphan.gif#m" ] || fail 'there is no orphan'
is "$(send_purge '/nothing/*')" 200 'a purge that has all looked through'
until_true 20 'the orphan is swept' gone "$here/orphan.gif#m"
get /orphan.gif >/dev/null && rm "$here/orphan.gif"
restart TERM
until_true 20 'the orphan is swept after a start' gone "$here/orphan.gif#m"
[ -e "$here/a.gif#m" ] || fail 'what is no orphan is gone'
echo 'ok: purges take the metadata along, orphans are swept'

stop_cache
umount "$root" && root=$scratch/disk && here=$root/$site
write_conf 'CacheSize = 100000' 'PurgeFrom = 127.0.0.1'
start_counted
get /padded.gif -o "$scratch/body" || fail 'an object with long headers'
restart TERM
get /padded.gif -o "$scratch/body" -D "$scratch/head" || fail 'it after a restart'
like "$(cache_status <"$scratch/head")" 'hit; ttl=*' 'long headers'
is "$(tr -d '\r' <"$scratch/head" | sed -n 's/^X-Padding: //p' | tr -d '\n' | wc -c)" 12000 'the long header'
[ -e "$here/padded.gif#m" ] && where='beside the body' || where='in an attribute'
is "$(send_purge /padded.gif)" 200 'PURGE'
is "$(find "$here" -name 'padded*')" '' 'what is left of it'
echo "ok: metadata that is long ($where here)"
stop_cache
