# An origin and caches with imgcache, for the plays about them: sourced, not run, behind net.sh.
for tool in python3 curl; do command -v $tool >/dev/null || skip "$tool is not here (Debian: $tool)"; done

site=www.example.com
origin=$scratch/origin
mkdir "$origin"
declare -A caches

# start_origin ADDRESS [COMMAND...]: answers as its files say; the command runs it and asks it.
start_origin() {
    local address=$1
    shift
    version one
    "$@" python3 "$plays/origin.py" "$address" 8080 "$origin" 2>"$scratch/origin.err" &
    until_true 30 'the origin answers' "$@" curl -sf --max-time 2 "http://$address:8080/"
}
version() { echo "$1" >"$origin/version"; }
waits() { grep -qs "^$1\$" "$origin/waiting"; }

# two_hosts: hosts 1 and 2 are a ring, host 3 is for the origin.
two_hosts() {
    three_hosts
    for i in 1 2; do start_groupd $i; done
    until_true 10 'two hosts see each other' views_are 'host1 host2' 1 2
}

# start_cache I [LINE...]: the cache of a host, with these lines in its file; caches[I] is its pid.
start_cache() {
    launch_cache "$@"
    until_true 10 "cache $1 serves" get "$1" /start.gif
    until_true 10 "cache $1 is whole" whole "$1"
}
# launch_cache I [LINE...]: the same without waiting.
launch_cache() {
    cat >"$scratch/imgcache$1.conf" <<CONF
Listen = 80
CacheRoot = $scratch/cache$1
Group = imgcache
Control = $scratch/control$1
$(printf '%s\n' "${@:2}")
Site $site img.example.com {
    Origin = http://10.77.0.3:8080/
}
CONF
    nsenter -t "${anchors[$1]}" -n "$bin/imgcache" -vv -c "$scratch/imgcache$1.conf" \
        -s "$scratch/host$1/socket" 2>>"$scratch/imgcache$1.err" &
    caches[$1]=$!
}
whole() { "$bin/imgcachectl" -S "$scratch/control$1" --json status | grep -q '"isolated":false'; }

# get I PATH [CURL OPTION...]: what cache I answers.
get() { on "$1" curl -sf --max-time 20 -H "Host: $site" "${@:3}" "http://127.0.0.1$2"; }
# cache_status: what a cache said about an answer whose head is on stdin.
cache_status() { tr -d '\r' | sed -n 's/^Cache-Status: imgcache; //p'; }
# how I PATH: what it says about it.
how() { get "$1" "$2" -o "$scratch/body" -D - | cache_status; }
purge() { on 1 "$bin/purge" -s "$scratch/host1/socket" "$@"; }

is() { [ "$1" = "$2" ] || fail "$3: got \"$1\", not \"$2\""; }
# like TEXT PATTERN WHAT: a glob.
like() { case $1 in $2) ;; *) fail "$3: got \"$1\", not \"$2\"" ;; esac; }
