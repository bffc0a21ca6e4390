#!/usr/bin/env bash
# logmon in a browser: what comes from the log is shown as text, the cluster as programs tell it,
# and nothing is let in without the password. PICTURES=DIRECTORY keeps screenshots, to be looked at.
bin=$1
. "$(dirname "$0")/net.sh" "$@"
need chromium python3 curl

cat >"$scratch/one.conf" <<CONF
Spread_Segment 127.0.0.255:$port {
    web1 127.0.0.1
}
SpreadSocket = false
StateDir = $scratch
CONF
export GROUPD_SOCKET=$scratch/socket HOME=$scratch
"$bin/groupd" -c "$scratch/one.conf" --socket "$GROUPD_SOCKET" 2>"$scratch/groupd.err" &
until_true 10 'groupd answers' "$bin/groupctl" --socket "$GROUPD_SOCKET" status

echo 'open sesame' >"$scratch/password"
"$bin/whosonline" web --user host --control "$scratch/online" 2>"$scratch/whosonline.err" &
"$bin/logmon" web --listen 127.0.0.1:8090 2>"$scratch/logmon.err" &
"$bin/logmon" web --listen 127.0.0.1:8091 --password "$scratch/password" 2>"$scratch/locked.err" &
members() { [ "$("$bin/groupctl" --socket "$GROUPD_SOCKET" members web 2>/dev/null | grep -c '^#')" -eq 3 ]; }
until_true 20 'three programs in the group' members

# Three servers; one line in ten means harm to a page.
python3 - <<'PY' >"$scratch/log" 2>"$scratch/generator.err"
import random
random.seed(5)
for number in range(6000):
    page = '/page/%d' % int(60 ** random.random())
    if number % 10 == 7:
        page = '/<img/src=x/onerror=document.title=1><script>document.title=1</script>'
    status = random.choice([200] * 30 + [304] * 6 + [301, 404, 404, 503])
    print('10.0.0.%d - - [10/Oct/2020:10:00:00 +0000] "GET %s HTTP/1.1" %d %d "-" "<script>document.title=1</script>"'
          % (number % 200, page, status, 200 + number % 9000))
PY
feed() {
    while sed -n "$1~3p" "$scratch/log" | shuf -n $((RANDOM % 90 + 40 * $1)); do sleep 1; done |
        "$bin/logpub" web 2>"$scratch/logpub$1.err"
}
for i in 1 2 3; do feed $i & done
send() { "$bin/groupctl" --socket "$GROUPD_SOCKET" send covey.status "$1"; }
tell() {
    while send '{"program":"vipd","host":"web1","state":"run","sets":6,"held":4,"holds":["10.0.0.80","10.0.0.81"],"uncovered":2,"uncovered_sets":["10.0.0.84","10.0.0.85"]}' &&
        send '{"program":"imgcache","host":"web1","hits":900,"misses":100,"objects":1200,"used_bytes":73400320,"isolated":true}' &&
        send '{"program":"spreadlogd","name":"log1","group":"web","lag":3,"gap_bytes":0}' &&
        send '{"program":"<script>document.title=1</script>","name":"<b>bold</b>"}'; do
        sleep 2
    done
}
tell >"$scratch/tell.log" 2>&1 &

history() { curl -s "http://127.0.0.1:8090/history"; }
seen() { history | python3 -c '
import json, sys
history = json.load(sys.stdin)
programs = {one["program"] for one in history["cluster"]["programs"]}
assert {"vipd", "imgcache", "spreadlogd", "whosonline"} <= programs, programs
assert history["cluster"]["daemons"] == ["web1"], history["cluster"]
assert any(one.get("holds") == "10.0.0.80, 10.0.0.81" for one in history["cluster"]["programs"])
assert len(history["past"]) >= 5 and len(history["names"]) == 3'; }
until_true 30 'programs and servers at logmon' seen
echo 'ok: the state of the cluster comes from the bus'

[ "$(curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:8091/history)" = 401 ] || fail 'no password, no page'
[ "$(curl -s -u 'x:open sesame' -o /dev/null -w '%{http_code}' http://127.0.0.1:8091/history)" = 200 ] ||
    fail 'the password opens the page'
echo 'ok: the page is for who knows the password'

# A second in which nothing but hits is new is a small message.
curl -sN --max-time 6 http://127.0.0.1:8090/events >"$scratch/events"
least=$(grep -A1 '^event: second' "$scratch/events" | grep '^data' | awk '{ print length }' | sort -n | head -n 1)
[ "${least:-9999}" -lt 300 ] || fail "a second has ${least:-no} bytes"
echo "ok: a second has $least bytes"

timeout 5 chromium --headless=new --no-sandbox --version >/dev/null 2>&1 || skip 'chromium does not start here'
# The hostile page is among the top pages, and what programs say has come.
ready="document.body.innerText.includes('<img/src=x') && document.body.innerText.includes('90 %') &&
    document.body.innerText.includes('4 of 6: 10.0.0.80, 10.0.0.81') && document.body.innerText.includes('nobody holds 10.0.0.84') &&
    document.body.innerText.includes('isolated')"
timeout 90 python3 "$plays/browser.py" http://127.0.0.1:8090/ "$scratch/profile" "$ready" ${PICTURES:-} \
    >"$scratch/dom" 2>"$scratch/browser.err" || fail 'the page in a browser'
grep -q '<title>logmon</title>' "$scratch/dom" || fail "no page: $(head -c 300 "$scratch/dom")"
grep -qF '&lt;img/src=x/onerror=document.title=1&gt;&lt;script&gt;' "$scratch/dom" || fail 'the hostile page is not shown'
grep -qF '&lt;b&gt;bold&lt;/b&gt;' "$scratch/dom" || fail "the hostile program is not shown"
[ "$(grep -o '<script\|<img\|<b>' "$scratch/dom" | wc -l)" -eq 1 ] || fail 'more than our own script'
grep -q '4 of 6' "$scratch/dom" && grep -q '90 %' "$scratch/dom" || fail 'addresses and caches'
echo 'ok: hostile lines are text, in a browser'
