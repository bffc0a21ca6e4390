#!/usr/bin/env bash
# Byte by byte between an origin, the cache and its clients: interim responses, bodies that are cut,
# responses that can be read in two ways, pipelines, and what is not stored.
bin=$1
. "$(dirname "$0")/net.sh" "$@"
. "$(dirname "$0")/lone-cache.sh"

ip address add 10.0.0.1/32 dev lo
sites="Site $site { Origin = http://10.0.0.1:8080/ NegativeSeconds = 600 }"
write_conf
launch_cache
until_true 30 'the cache serves' listens
python3 "$plays/wire.py" 127.0.0.1 $site 10.0.0.1 "$scratch/cache" 2>"$scratch/wire.err" ||
    fail 'something else is on the wire'
stop_cache
