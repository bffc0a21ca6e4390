#!/usr/bin/env bash
# A cache and two origins: fail-over, health checks, an origin that falls silent, names that move;
# and what the cache tells on the bus: its access log and its status.
bin=$1
. "$(dirname "$0")/net.sh" "$@"
. "$(dirname "$0")/caches.sh"

checked=checked.example.com named=named.example.com
three_hosts
start_groupd 1
until_true 10 'groupd is there' views_are host1 1
declare -A origins
# start_origin I: one on its host, with answers of its own.
start_origin() {
    nsenter -t "${anchors[$1]}" -n python3 "$plays/origin.py" "10.77.0.$1" 8080 "$scratch/origin$1" \
        2>>"$scratch/origin$1.err" &
    origins[$1]=$!
    until_true 30 "origin $1 answers" answers "$1"
}
answers() { on 1 curl -sf --max-time 2 "http://10.77.0.$1:8080/"; }
for i in 2 3; do
    mkdir "$scratch/origin$i"
    echo "origin$i" >"$scratch/origin$i/version"
    start_origin $i
done
printf '127.0.0.1 localhost\n10.77.0.2 origin.test\n' >"$scratch/hosts"
mount --bind "$scratch/hosts" /etc/hosts || skip 'no bind mounts in a namespace of this kernel'

cat >"$scratch/imgcache.conf" <<CONF
Listen = 80
CacheRoot = $scratch/cache
Group = imgcache
Control = $scratch/control1
AccessLog = \$example combined
Site $site {
    Origin = http://10.77.0.2:8080/
    Origin = http://10.77.0.3:8080/
}
Site $checked {
    Origin = http://10.77.0.2:8080/
    Origin = http://10.77.0.3:8080/
    HealthCheck = /alive
}
Site $named { Origin = http://origin.test:8080/ }
CONF
"$bin/groupctl" -s "$scratch/host1/socket" join example covey.status >"$scratch/heard" 2>"$scratch/groupctl.err" &
nsenter -t "${anchors[1]}" -n "$bin/imgcache" -v -c "$scratch/imgcache.conf" \
    -s "$scratch/host1/socket" 2>"$scratch/imgcache.err" &
cache=$!
# get SITE PATH [CURL OPTION...]
get() { on 1 curl -sf --max-time 12 -H "Host: $1" "${@:3}" "http://127.0.0.1$2"; }
logged() { grep -q "^imgcache: $1" "$scratch/imgcache.err"; }
heard() { grep -aq "$1" "$scratch/heard"; }
until_true 10 'the cache serves' get $site /start.gif
until_true 10 'it is whole' whole 1

get $site /log.gif -A agent -e http://example.org/ >/dev/null
until_true 10 'a line of the access log on the bus' \
    heard '127\.0\.0\.1 - - \[.*\] "GET /log\.gif HTTP/1\.1" 200 17 "http://example.org/" "agent"'
until_true 10 'a line in covey.status' heard '"misses":[1-9].*"program":"imgcache"'
echo 'ok: the access log and the status travel on the bus'

is "$(get $site /a.gif)" '/a.gif origin2' 'the first origin'
kill "${origins[2]}"
wait "${origins[2]}" 2>/dev/null
is "$(get $site /b.gif)" '/b.gif origin3' 'the first origin refuses connections'
logged 'origin-unreachable' || fail 'nothing is said about it'
echo 'ok: an origin that is not there is passed over'

start_origin 2
# While it was away a check may have found that.
is_well() { ! "$bin/imgcachectl" -S "$scratch/control1" status | grep -q "down *$checked"; }
until_true 20 'the first origin is well' is_well
purge --site $checked --all >/dev/null || fail 'a purge of a site'
touch "$scratch/origin2/sick"
until_true 10 'the health check fails' logged "origin-down site=$checked origin=10.77.0.2:8080 .*503"
is "$(get $checked /a.gif)" '/a.gif origin3' 'the first origin is not well'
"$bin/imgcachectl" -S "$scratch/control1" status | grep -q "down *$checked 10.77.0.2:8080" ||
    fail 'the status does not name it'
rm "$scratch/origin2/sick"
until_true 20 'the health check succeeds' is_well
logged "origin-up site=$checked origin=10.77.0.2:8080" || fail 'nothing is said about that'
is "$(get $checked /c.gif)" '/c.gif origin2' 'the first origin is well again'
echo 'ok: an origin that is not well is asked last, until it is well'

recovered() { [ "$(get $site "/r$((RANDOM)).gif" | cut -d' ' -f 2)" = origin2 ]; }
until_true 10 'the first origin is asked again' recovered
# There is an idle connection to it now.
ip link set veth2 down
is "$(get $site /d.gif)" '/d.gif origin3' 'the first origin has fallen silent behind an idle connection'
ip link set veth2 up
echo 'ok: an origin that falls silent costs one request some seconds'

until_true 20 'the first origin is back' answers 2
is "$(get $named /a.gif)" '/a.gif origin2' 'an origin by its name'
# In place: what is mounted is the file.
printf '127.0.0.1 localhost\n10.77.0.3 origin.test\n' >"$scratch/hosts"
kill -HUP $cache
moved() { [ "$(get $named "/m$((RANDOM)).gif" | cut -d' ' -f 2)" = origin3 ]; }
until_true 10 'the name has another address' moved
echo 'ok: names are looked up again'

kill -TERM $cache
wait $cache || fail 'the cache did not stop with exit 0'
