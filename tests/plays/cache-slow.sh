#!/usr/bin/env bash
# The four attacks of slowhttptest at once: half-sent heads, half-sent bodies, many ranges, and
# answers that are hardly read. Others are served meanwhile, and the attackers cost little.
bin=$1
. "$(dirname "$0")/net.sh" "$@"
. "$(dirname "$0")/lone-cache.sh"
command -v slowhttptest >/dev/null || skip 'slowhttptest is not here (Debian: slowhttptest)'

three_hosts
start_origin 127.0.0.1 nsenter -t "${anchors[1]}" -n
sites="Site $site 10.77.0.1 { Origin = http://127.0.0.1:8080/ }"
write_conf 'Listen = 10.77.0.1:80'
launch_cache nsenter -t "${anchors[1]}" -n
# get PATH [CURL OPTION...]: what a client on host 3 gets.
get() { on 3 curl -sf --max-time 10 -H "Host: $site" "${@:2}" "http://10.77.0.1$1"; }
connections() { status connections; }
until_true 30 'the cache serves' get /big.gif -o "$scratch/body"
memory() { sed -n "s/^$1:[[:space:]]*\([0-9]*\) kB/\1/p" "/proc/$cache/status"; }
before=$(memory RssAnon)

# attack NAME OPTION...: from host 2, until it is ended.
attack() {
    local name=$1
    shift
    nsenter -t "${anchors[2]}" -n slowhttptest -c 120 -r 120 -l 240 -p 5 -u http://10.77.0.1/big.gif "$@" \
        >"$scratch/$name.out" 2>&1 &
    attackers+=($!)
}
attackers=()
attack headers -H -i 5 -x 10
attack body -B -i 5 -s 100000 -x 10
attack range -R -a 1 -b 3000 # answered at once, so nothing stays of it
attack read -X -w 1 -y 8 -n 5 -z 1 -k 1
many() { [ "$(connections)" -ge 300 ]; }
until_true 20 'the attackers are connected' many
# The attackers are closed in their time, and a busy machine may take longer for a hundred requests.
most=0 beside=0
for n in $(seq 100); do
    [ "$(get "/page$n.gif")" = "/page$n.gif one" ] || fail "request $n of another client is not answered"
    now=$(memory RssAnon)
    [ "$now" -le "$most" ] || most=$now
    [ "$(connections)" -lt 100 ] || beside=$((beside + 1))
done
[ $beside -ge 10 ] || fail "only $beside requests had slow connections beside them"
echo "ok: a hundred requests answered, $beside of them beside 100 slow connections and more, which cost $((most - before)) kB"
[ $((most - before)) -lt 32768 ] || fail 'slow clients cost too much'
kill "${attackers[@]}" 2>/dev/null # those that got their answers have ended
wait "${attackers[@]}" 2>/dev/null

# Without anybody who closes them: who says nothing more is disconnected.
nsenter -t "${anchors[2]}" -n slowhttptest -H -c 100 -r 100 -i 200 -l 240 -p 5 -u http://10.77.0.1/big.gif \
    >"$scratch/silent.out" 2>&1 &
silent=$!
until_true 10 'silent attackers' eval '[ "$(connections)" -ge 90 ]'
until_true 30 'they are disconnected' eval '[ "$(connections)" -lt 10 ]'
kill $silent 2>/dev/null # it ends when nothing is left to it
wait $silent 2>/dev/null
echo 'ok: half-sent heads are closed after their time'
stop_cache
