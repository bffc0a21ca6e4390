# One cache on this machine alone, without a bus: sourced, not run, in place of caches.sh, whose get
# and how take a host first.
. "$plays/caches.sh"

root=$scratch/cache
sites="Site $site { Origin = http://127.0.0.1:8080/ }"

# write_conf [LINE...]: the file of the cache, with these lines.
write_conf() {
    cat >"$scratch/imgcache.conf" <<CONF
Listen = 127.0.0.1:80
CacheRoot = $root
Control = $scratch/control
$(printf '%s\n' "$@")
$sites
CONF
}

# launch_cache [COMMAND...]: runs it, by this command; cache is its pid.
launch_cache() {
    "$@" "$bin/imgcache" -v -c "$scratch/imgcache.conf" 2>>"$scratch/imgcache.err" &
    cache=$!
}
# start_cache [COMMAND...]: the same, until it serves; start_counted: until it knows what it has, too.
start_cache() {
    launch_cache "$@"
    until_true 30 'the cache serves' get /start.gif -o "$scratch/body"
}
start_counted() {
    start_cache
    until_true 30 'all is counted' counted
}
stop_cache() {
    kill -TERM $cache
    wait $cache || fail 'the cache did not stop with exit 0'
}
kill_cache() {
    kill -KILL $cache
    wait $cache 2>/dev/null
}

# get PATH [CURL OPTION...]: what it answers; how: what it says about it.
get() { curl -sf --max-time 20 -H "Host: ${host:-$site}" "${@:2}" "http://127.0.0.1$1"; }
how() { get "$1" -o "$scratch/body" -D - "${@:2}" | cache_status; }
send_purge() { get "$1" -X PURGE -o "$scratch/body" -w '%{http_code}'; }
ctl() { "$bin/imgcachectl" -S "$scratch/control" "$@"; }
# status KEY: a number of its status.
status() { ctl --json status | grep -o "\"$1\":[0-9]*" | cut -d: -f2; }
counted() { ctl --json status | grep -q '"counted":true'; }
listens() { (exec 3<>/dev/tcp/127.0.0.1/80) 2>/dev/null; }
