#!/usr/bin/env bash
# A cache whose files are named like the URLs: a miss, a hit, ls, rm, and a purge over two caches.
#
# Arguments: the directory of the programs and an empty scratch directory. No root, no network:
# two groupd on 127.0.0.1 and .2, a cache at each, an origin at 127.0.0.3.
set -euo pipefail
part=cache
. "$(dirname "$0")/part.bash"
site=www.example.com

for tool in curl python3; do
    command -v $tool >/dev/null || { say "skipped: $tool is not here"; exit 0; }
done

members() { "$bin/groupctl" --socket "$scratch/web1/socket" members imgcache | grep -c '^#ic'; }
both_joined() { [ "$(members)" -eq 2 ]; }
# get I PATH [CURL OPTION...]: what cache I answers.
get() { curl -sf --max-time 5 -H "Host: $site" "${@:3}" "http://127.0.0.$1:$port$2"; }
# how I PATH: what it says about the answer.
how() { get "$1" "$2" -o "$scratch/body" -D - | tr -d '\r' | sed -n 's/^Cache-Status: imgcache; //p'; }

mkdir -p "$scratch/www/img"
printf 'GIF89a, the old logo\n' >"$scratch/www/img/logo.gif"
python3 -m http.server --bind 127.0.0.3 --directory "$scratch/www" "$port" >/dev/null 2>"$scratch/origin.err" &
pids+=($!)
until_true 10 'the origin answers' curl -sf -o "$scratch/body" "http://127.0.0.3:$port/img/logo.gif"
# It names no lifetime: a tenth of the file's age is taken.
touch -d '10 days ago' "$scratch/www/img/logo.gif"

cat >"$scratch/spread.conf" <<CONF
Spread_Segment 127.0.0.255:$port {
    web1 127.0.0.1
    web2 127.0.0.2
}
SpreadSocket = false
StateDir = $scratch
CONF
for i in 1 2; do
    mkdir -m 700 "$scratch/web$i"
    "$bin/groupd" -c "$scratch/spread.conf" -n "web$i" --socket "$scratch/web$i/socket" \
        2>"$scratch/groupd$i.err" &
    pids+=($!)
    cat >"$scratch/imgcache$i.conf" <<CONF
Listen = 127.0.0.$i:$port
CacheRoot = $scratch/cache$i
CacheSize = 51200
Group = imgcache
Control = $scratch/control$i
Site $site {
    Origin = http://127.0.0.3:$port/
}
CONF
    "$bin/imgcache" -c "$scratch/imgcache$i.conf" -s "$scratch/web$i/socket" 2>"$scratch/imgcache$i.err" &
    pids+=($!)
done
until_true 10 'two caches in the group' both_joined
say "two caches serve $site"

for i in 1 2; do
    say "cache $i, first:  $(how $i /img/logo.gif)"
    say "cache $i, second: $(how $i /img/logo.gif)"
done
[[ $(how 1 /img/logo.gif) == hit* ]] || fail 'no hit'
say "ls: $(cd "$scratch/cache1" && find $site -type f -printf '%p, %s bytes')"
cmp "$scratch/www/img/logo.gif" "$scratch/cache1/$site/img/logo.gif" || fail 'the file is not the body'

rm "$scratch/cache1/$site/img/logo.gif"
say "after rm:         $(how 1 /img/logo.gif)"

printf 'GIF89a, the new logo\n' >"$scratch/www/img/logo.gif"
get 2 /img/logo.gif | grep -q old || fail 'a hit asks the origin'
"$bin/purge" -s "$scratch/web1/socket" /img/logo.gif | sed 's/^/cache: purge: /' || fail 'purge'
for i in 1 2; do
    get $i /img/logo.gif | grep -q new || fail "cache $i serves what was purged"
done
say 'both caches serve the new logo'
