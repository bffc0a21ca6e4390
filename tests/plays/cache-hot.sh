#!/usr/bin/env bash
# rm, mv, files moved over, bytes written by hand and PURGE, while a crowd asks for the object from
# all loops, and while its answer is prepared: each takes effect on the next request.
bin=$1
. "$(dirname "$0")/net.sh" "$@"
. "$(dirname "$0")/lone-cache.sh"

start_origin 127.0.0.1
write_conf 'PurgeFrom = 127.0.0.1'
start_cache
python3 "$plays/hot.py" 127.0.0.1 $site "$scratch/cache/$site" "$origin" 50 >"$scratch/hot.out" 2>"$scratch/hot.err" ||
    fail 'a deleted object was served'
echo "ok: rm, mv, rename, writing by hand and PURGE of a hot file: $(cat "$scratch/hot.out")"

python3 "$plays/often.py" 127.0.0.1 $site "$scratch/cache/$site" "$origin" $cache 12 \
    >"$scratch/often.out" 2>"$scratch/often.err" || fail 'an answer that was prepared is wrong'
stop_cache
echo "ok: rm, mv, rename and writing by hand while an answer is prepared: $(cat "$scratch/often.out")"
