#!/usr/bin/env bash
# What a cache must not do for strangers: pass on what can be read in two ways, fetch from anywhere,
# wait for ever for slow clients, or hold more connections of one address than it is told to.
bin=$1
. "$(dirname "$0")/net.sh" "$@"
. "$(dirname "$0")/lone-cache.sh"

ip address add 10.0.0.1/32 dev lo
sites="Site $site { Origin = http://10.0.0.1:8080/ }"
write_conf 'ClientLimit = 40' 'MinimumRate = 1000' "AccessLog = $scratch/access.log combined"
launch_cache
until_true 10 'the cache serves' listens

python3 "$plays/hostile.py" 127.0.0.1 $site 10.0.0.1 >"$scratch/hostile.out" ||
    fail "$(grep -v ', at the origin: ' "$scratch/hostile.out")"
[ "$(grep -c ', at the origin: ' "$scratch/hostile.out")" -ge 100 ] || fail 'the table is shorter than it was'
echo "ok: smuggling and open-proxy probes, no byte of them at the origin: $(tail -n 1 "$scratch/hostile.out")"

# open N TEXT: a connection that says so much and then nothing.
open() {
    exec {fd}<>/dev/tcp/127.0.0.1/80 && printf '%b' "$2" >&"$fd"
    fds[$1]=$fd
}
has() { [ "$(status connections)" = "$1" ]; }
declare -A fds
until_true 20 'all former connections are over' has 0
for n in $(seq 1 40); do open "$n" 'GET /slow HTTP/1.1\r\nHost: '; done
until_true 10 'forty half-sent heads' has 40
[ "$(curl -s --max-time 5 -o "$scratch/body" -w '%{http_code}' -H "Host: $site" http://127.0.0.1/)" = 000 ] ||
    fail 'the forty-first connection of one address was served'
until_true 30 'half-sent heads time out' has 0
for n in $(seq 1 40); do exec {fds[$n]}>&-; done
echo 'ok: forty half-sent heads are closed, and no more than forty are taken from one address'

open 1 "POST /x HTTP/1.1\r\nHost: $site\r\nContent-Length: 100000\r\n\r\nx"
until_true 10 'an upload' has 1
until_true 40 'an upload slower than the minimum rate' has 0
grep -q '"POST /x HTTP/1.1"' "$scratch/access.log" || fail 'the access log has no line of it'
head -n 1 "$scratch/access.log" | grep -Eq \
    '^127\.0\.0\.1 - - \[[^]]* \+0000\] "[^"]*" [0-9]{3} [0-9]+ "-" "-"$' ||
    fail "the first line of the access log: $(head -n 1 "$scratch/access.log")"
echo 'ok: a slow upload is closed; the access log is in the Combined format'

mv "$scratch/access.log" "$scratch/access.log.1"
sed -i 's/ClientLimit = 40/ClientLimit = 2/; s/^Listen.*/Listen = 127.0.0.1:80/' "$scratch/imgcache.conf"
kill -HUP $cache
reloaded() { grep -q '^imgcache: reloaded' "$scratch/imgcache.err"; }
until_true 10 'the configuration is read again' reloaded
open 1 'GET'
open 2 'GET'
until_true 10 'two connections' has 2
curl -s --max-time 5 -o "$scratch/body" -H "Host: $site" http://127.0.0.1/ && fail 'the third was served'
exec {fds[1]}>&- {fds[2]}>&-
until_true 20 'both are over' has 0
curl -s --max-time 5 -o "$scratch/body" -H "Host: other.org" http://127.0.0.1/
until_true 10 'the log is written to a new file' test -s "$scratch/access.log"
echo 'Bogus = 1' >>"$scratch/imgcache.conf"
kill -HUP $cache
refused() { grep -q '^imgcache: reload-failed.*unknown keyword' "$scratch/imgcache.err"; }
until_true 10 'a bad configuration is refused' refused
ctl metrics | grep -q '^imgcache_connections 0$' || fail 'no metrics'
stop_cache
echo 'ok: HUP reads the configuration and opens the log again, TERM stops'
