#!/usr/bin/env bash
# rm, mv, files moved over, bytes written by hand and PURGE, while a crowd asks for the object from
# all loops: each takes effect on the next request.
bin=$1
. "$(dirname "$0")/net.sh" "$@"
. "$(dirname "$0")/caches.sh"

start_origin 127.0.0.1
cat >"$scratch/imgcache.conf" <<CONF
Listen = 127.0.0.1:80
CacheRoot = $scratch/cache
Control = $scratch/control
PurgeFrom = 127.0.0.1
Site $site { Origin = http://127.0.0.1:8080/ }
CONF
"$bin/imgcache" -c "$scratch/imgcache.conf" 2>"$scratch/imgcache.err" &
cache=$!
get() { curl -sf --max-time 20 -H "Host: $site" "http://127.0.0.1$1"; }
until_true 30 'the cache serves' get /start.gif
python3 "$plays/hot.py" 127.0.0.1 $site "$scratch/cache/$site" "$origin" 50 >"$scratch/hot.out" 2>"$scratch/hot.err" ||
    fail 'a deleted object was served'
kill -TERM $cache
wait $cache || fail 'the cache did not stop with exit 0'
echo "ok: rm, mv, rename, writing by hand and PURGE of a hot file: $(cat "$scratch/hot.out")"
