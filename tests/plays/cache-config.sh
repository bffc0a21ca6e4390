#!/usr/bin/env bash
# imgcache as it is set up: the file of the slide, what is wrong with one, loops and their sockets,
# names that are not found, names of files both ways, and that nothing is made outside the root.
bin=$1
. "$(dirname "$0")/net.sh" "$@"
. "$(dirname "$0")/lone-cache.sh"
repository=$plays/../..

sed -n '/^\.Bd -literal/,/^\.Ed/{/^\.[BE]d/d;s/\\&//g;p}' "$repository/man/imgcache.conf.5" >"$scratch/slide.conf"
grep -q '^CacheSize = 5120000$' "$scratch/slide.conf" && grep -q '^CacheRoot = /data/cache$' "$scratch/slide.conf" ||
    fail "the example of the manual: $(cat "$scratch/slide.conf")"
for file in "$scratch/slide.conf" "$repository/examples/conformance.conf"; do
    is "$("$bin/imgcache" -t -c "$file" 2>&1)" 'configuration ok' "$file"
done
printf 'CacheSize = 1\nLisen = 80\nSite a {\n}\n' >"$scratch/bad.conf"
"$bin/imgcache" -t -c "$scratch/bad.conf" 2>"$scratch/said"
is $? 2 'a file with mistakes'
is "$(cut -d' ' -f 1,2 "$scratch/said" | tr '\n' ';')" \
    "imgcache: $scratch/bad.conf:1:;imgcache: $scratch/bad.conf:2:;imgcache: $scratch/bad.conf:3:;" 'all mistakes by line'
echo 'ok: the file of the slide; mistakes by file and line'

start_origin 127.0.0.1
# A server of names that never answers.
python3 -c '
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.1", 53))
while True:
    s.recvfrom(512)
    print("asked", flush=True)
' >"$scratch/names" 2>"$scratch/names.err" &
# 35 is port 53.
until_true 30 'it listens' grep -q ' 0100007F:0035 ' /proc/net/udp
printf 'nameserver 127.0.0.1\noptions timeout:30 attempts:1\n' >"$scratch/resolv.conf"
printf 'hosts: files dns\n' >"$scratch/nsswitch.conf"
mount --bind "$scratch/resolv.conf" /etc/resolv.conf && mount --bind "$scratch/nsswitch.conf" /etc/nsswitch.conf ||
    skip 'no bind mounts in a namespace of this kernel'
mkdir "$scratch/real" "$scratch/beside"
ln -s "$scratch/real" "$scratch/link"
echo "$site" >"$scratch/beside/file"
root=$scratch/link/cache
sites="Site $site img.example.com { Origin = http://127.0.0.1:8080/ }
Site lost.example.com { Origin = http://nowhere.example.net/ }"
write_conf 'CacheSize = 100000' 'Loops = 3'
launch_cache
get() { curl -s --path-as-is --max-time "${seconds:-20}" -H "Host: ${host:-$site}" "${@:2}" "http://127.0.0.1$1"; }
code() { get "$1" -o "$scratch/body" -w '%{http_code}' "${@:2}"; }
until_true 30 'the cache serves' eval '[ "$(code /start.gif)" = 200 ]'
until_true 30 'a name is asked for' grep -q asked "$scratch/names"
for n in $(seq 5); do is "$(seconds=15 code "/beside$n.gif")" 200 'while a name is looked up'; done
is "$(seconds=15 host=lost.example.com code /x.gif)" 502 'an origin whose name is not known yet'
grep -q 'origin-unknown' "$scratch/imgcache.err" && fail 'it was not asked for all the time'
echo 'ok: a name that is not answered for holds up nobody'

# 80 is 0050, 0A is LISTEN.
is "$(grep -c '^ *[0-9]*: 0100007F:0050 00000000:0000 0A' /proc/net/tcp)" 3 'listening sockets'
is "$(grep -l '^loop$' /proc/$cache/task/*/comm | wc -l)" 3 'loops'
sed -i '/^Loops/d' "$scratch/imgcache.conf"
echo 'ok: a loop has a socket of its own'

# show both ways: URL, file.
while read -r url file; do
    [ "$(code "$url")" = 200 ] || fail "no $url"
    path=$scratch/real/cache/$site/$file
    is "$(ctl show "http://img.example.com$url" | head -n 3 | tr '\n' ' ')" "http://$site$url $path stored " "show of $url"
    for name in "$path" "$scratch/link/cache/$site/$file" "$site/$file"; do
        is "$(ctl show "$name" | head -n 1)" "http://$site$url" "show of $name"
    done
    like "$(get "$url")" "$url one" "$url"
    is "$(cat "$path")" "$url one" "$path"
done <<'NAMES'
/logo.gif logo.gif
/img/logo.gif img/logo.gif
/ #index
/a a#f
/a/ a/#index
/x.gif/y.gif x.gif#d/y.gif
/c//b.gif c/#/b.gif
/q.gif?w=1/2&x=%2F q.gif?w=1#2F2&x=%2F
/%20%2Fc.gif %20%2Fc.gif
NAMES
ctl show "http://$site/none.gif" >"$scratch/said" && fail 'what is not there is stored'
like "$(cat "$scratch/said")" '*absent*' 'what is not there'
cp "$scratch/beside/file" "$scratch/real/cache/$site/forged.gif"
like "$(ctl show "http://$site/forged.gif")" '*foreign*' 'what was written by hand'
long=/$(printf 'n%.0s' $(seq 400)).gif
is "$(code "$long")" 200 'a long name'
file=$(ctl show "http://$site$long" | sed -n 2p)
like "$file" "$scratch/real/cache/$site/nnn*#h=*" 'a long name'
is "$(ctl show "$file" | head -n 1)" "http://$site$long" 'the file of a long name'
echo 'ok: show maps URLs to files and files to URLs'

# Whatever is asked for, nothing is made but below the root.
everything() { find "$scratch" / -xdev -newer "$scratch/mark" -not -path "$scratch/real/cache/*" \
    -not -path '/proc/*' -not -path '/sys/*' -type f -path '*escape*' 2>/dev/null; }
touch "$scratch/mark"
for path in /../escape.gif /..%2fescape.gif /%2e%2e/escape.gif /a/%2E%2e/%2e./escape.gif /..%5cescape.gif \
    '/..\escape.gif' //escape.gif ///tmp/escape.gif /%2Ftmp%2Fescape.gif /./escape.gif '/a#/../escape.gif' \
    '/x?/../../escape.gif' /%00/escape.gif /escape.gif%00 /%23tmp.escape '/#tmp.escape' /%2523/escape.gif; do
    code "$path" >/dev/null
    get "$path" --request-target "$path" -o "$scratch/body"
done
for name in ../escape .. . /tmp/escape '#tmp' $site/../escape; do
    host=$name code /escape.gif >/dev/null
done
is "$(everything)" '' 'what was made elsewhere'
[ -n "$(find "$scratch/real/cache/$site" -name '*escape*')" ] || fail 'nothing was stored at all'
is "$(find "$scratch/real/cache" -maxdepth 1 -not -name '#*' -printf '%f ')" "cache $site " 'what is at the top'
echo 'ok: nothing is made outside the root'

ctl metrics >"$scratch/metrics" || fail 'no metrics'
grep -Evq '^(# TYPE imgcache_[a-z_]+ (counter|gauge)|imgcache_[a-z_]+(\{site="[a-z.]+"\})? [0-9]+)$' "$scratch/metrics" &&
    fail "metrics: $(cat "$scratch/metrics")"
for name in hits_total misses_total sent_bytes_total objects evictions_total; do
    grep -Eq "^imgcache_$name\{site=\"$site\"\} [0-9]+\$" "$scratch/metrics" || fail "no $name in the metrics"
done
like "$(ctl status)" "*site         $site: * hits, * misses, * bytes, * objects, 0 evictions*" 'the status'
echo 'ok: metrics are text as Prometheus reads it'

sed -i "s/^Site lost.*/Site new.example.com { Origin = http:\/\/127.0.0.1:8080\/ }/" "$scratch/imgcache.conf"
is "$(host=new.example.com code /x.gif)" 421 'a site that is not there yet'
kill -HUP $cache
until_true 30 'HUP' eval '[ "$(host=new.example.com code /x.gif)" = 200 ]'
is "$(host=lost.example.com code /x.gif)" 421 'a site that is not there any more'
grep -q 'restart-needed keyword=Loops' "$scratch/imgcache.err" || fail 'what needs a restart is not named'
like "$(get /logo.gif -o "$scratch/body" -D - | cache_status)" 'hit*' 'what was stored before'
stop_cache
echo 'ok: HUP reads the file again'
