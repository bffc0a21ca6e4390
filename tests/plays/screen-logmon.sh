#!/usr/bin/env bash
# logmon on three hosts beside all that it shows: hits by server, and the cluster as vipd, imgcache,
# spreadlogd and whosonline tell of themselves. Then in a browser: what comes from the log is shown
# as text, and keys, readers of the screen, narrow ones and the dark are served. PICTURES=DIRECTORY
# keeps screenshots, to be looked at.
bin=$1
. "$(dirname "$0")/net.sh" "$@"
need python3 curl
addresses=(101 102 103 104)
. "$plays/vip.sh"
. "$plays/caches.sh"
export HOME=$scratch
# What is shown here is not how fast who fails is missed.
detection=wan

three_hosts
for i in 1 2 3; do start_groupd $i; done
until_true 20 'three hosts see each other' views_are 'host1 host2 host3' 1 2 3
# run I PROGRAM...: on a host, with the bus there.
run() { GROUPD_SOCKET=$scratch/host$1/socket nsenter -t "${anchors[$1]}" -n "$bin/$2" "${@:3}"; }

version one
on 3 python3 "$plays/origin.py" 10.77.0.3 8080 "$origin" 2>"$scratch/origin.err" &
for i in 1 2; do
    launch_cache $i 'CacheSize = 20000'
    start_vipd $i
    cat >"$scratch/logger$i.conf" <<CONF
Name = logger$i
Loggers = logger1 logger2
Quorum = none
StateDir = $scratch/logger$i
Spread { Log { Group = web File = $scratch/web$i.log } }
CONF
    run $i spreadlogd -c "$scratch/logger$i.conf" 2>"$scratch/logger$i.err" &
done
run 1 whosonline web --user host --skip= --control "$scratch/online" 2>"$scratch/whosonline.err" &
run 2 whosonline other --user host --control "$scratch/other" 2>"$scratch/other.err" &
echo 'open sesame' >"$scratch/password"
run 3 logmon web --listen 8090 2>"$scratch/logmon.err" &
run 3 logmon web --listen 8091 --password "$scratch/password" 2>"$scratch/locked.err" &
members() { [ "$(ctl 3 members web 2>/dev/null | grep -c '^#')" -eq 5 ]; }
until_true 30 'loggers, whosonline and logmon in the group' members
until_true 30 'each address is on one host' once 1 2
until_true 60 'the origin answers' on 3 curl -sf --max-time 2 http://10.77.0.3:8080/

# One line in ten means harm to a page.
python3 - <<'PY' >"$scratch/log" 2>"$scratch/generator.err"
import random, time
random.seed(5)
now = time.strftime('%d/%b/%Y:%H:%M:%S +0000', time.gmtime())
for number in range(6000):
    page = '/page/%d' % int(60 ** random.random())
    if number % 10 == 7:
        page = '/<img/src=x/onerror=document.title=1><script>document.title=1</script>'
    status = random.choice([200] * 30 + [304] * 6 + [301, 404, 404, 503])
    print('10.0.0.%d - - [%s] "GET %s HTTP/1.1" %d %d "-" "<script>document.title=1</script>"'
          % (number % 200, now, page, status, 200 + number % 9000))
PY
# Each second some lines of each server, a question to each cache, and harm from a program.
feed() {
    while sed -n "$1~3p" "$scratch/log" | shuf -n $((RANDOM % 90 + 40 * $1)); do sleep 1; done |
        run "$1" logpub web 2>"$scratch/logpub$1.err"
}
for i in 1 2 3; do feed $i & done
harm() {
    while ctl 3 send covey.status '{"program":"<script>document.title=1</script>","name":"<b>bold</b>"}'; do
        for i in 1 2; do get $i /img/logo.gif -o "$scratch/got$i"; done
        sleep 1
    done
}
harm >"$scratch/harm.log" 2>&1 &

history() { on 3 curl -s http://127.0.0.1:8090/history; }
cat >"$scratch/seen.py" <<'PY'
import json, subprocess, sys
history = json.loads(sys.argv[1])
cluster = history['cluster']
of = lambda name: [one for one in cluster['programs'] if one['program'] == name]
def same(got, wanted, what):
    assert got == wanted, f'{what}: {got}, not {wanted}'
same(cluster['daemons'], ['host1', 'host2', 'host3'], 'members')
same(sorted(history['names']), ['host1', 'host2', 'host3'], 'servers')
same(history['group'], 'web', 'group')
held = json.loads(sys.argv[2])
same({one['host']: sorted(word.split(':')[-1].split('/')[0] for word in one.get('holds', '').split(', ') if word)
      for one in of('vipd') if one['host'] in held}, held, 'holders')
same(sorted((one['daemon'], one['isolated'], one['hit_rate']) for one in of('imgcache')),
     [('host1', False, 100), ('host2', False, 100)], 'caches')
assert all(one['objects'] >= 1 and one['used_bytes'] > 0 for one in of('imgcache')), of('imgcache')
same(sorted((one['name'], one['daemon'], one['group'], one['open'], one['loggers']) for one in of('spreadlogd')),
     [(f'logger{i}', f'host{i}', 'web', True, 'logger1, logger2') for i in (1, 2)], 'loggers')
assert all(one['lag'] < 1000 and one['lines'] > 100 for one in of('spreadlogd')), of('spreadlogd')
same(sorted((one['daemon'], one['group'], one['users']) for one in of('whosonline')),
     [('host1', 'web', int(sys.argv[3])), ('host2', 'other', 0)], 'whosonline')
assert len(history['past']) >= 5 and all(sum(second['classes']) == sum(second['servers']) for second in history['past'])
PY
kernel() {
    local i hosts=()
    for i in "$@"; do
        hosts+=("\"host$i\": [$(held "$i" | sort | sed 's/.*/"&"/' | paste -sd,)]")
    done
    (IFS=, && echo "{${hosts[*]}}")
}
users() { "$bin/online" --control "$scratch/online"; }
seen() { python3 "$scratch/seen.py" "$(history)" "$(kernel "$@")" "$(users)" 2>"$scratch/seen.err"; }
until_true 40 'the cluster as its programs tell of it' seen 1 2
echo "ok: members, holders ($(kernel 1 2)), caches, loggers and $(users) users, all from covey.status"

kill -9 "${vipds[2]}"
until_true 20 'host 1 holds all' once 1
until_true 20 'and logmon says so' seen 1
echo 'ok: who takes addresses over is shown'

[ "$(on 3 curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:8091/history)" = 401 ] || fail 'no password, no page'
for path in '' events logmon.js history; do
    on 3 curl -s --max-time 2 -u 'x:open sesam' "http://127.0.0.1:8091/$path" | grep -q 'a password is needed' ||
        fail "/$path for who does not know the password"
done
[ "$(on 3 curl -s -u 'x:open sesame' -o /dev/null -w '%{http_code}' http://127.0.0.1:8091/history)" = 200 ] ||
    fail 'the password opens the page'
curl -s --max-time 2 http://10.77.0.3:8090/ && fail 'other hosts are not let in unless told'
echo 'ok: the page is for who knows the password, on its own host'

# What is told each second is small: what has changed, and no more.
on 3 curl -sN --max-time 8 http://127.0.0.1:8090/events >"$scratch/events"
python3 - "$scratch/events" <<'PY' || fail 'events'
import json, sys
sizes = []
for block in open(sys.argv[1], encoding='utf-8').read().split('\n\n')[:-1]:
    kind, data = block.split('\n')
    if kind == 'event: second':
        told = json.loads(data[6:])
        sizes.append(len(data))
        changed = told.get('cluster', {}).get('programs', [])
        assert len({one['id'] for one in changed}) == len(changed)
        # Without what is new it is the second alone.
        second = {key: value for key, value in told.items() if key not in ('cluster', 'pages')}
        assert len(json.dumps(second)) < 300 and len(data) < 400 + 600 * len(changed) + 1500 * ('pages' in told), data
sizes.sort()
assert len(sizes) >= 4 and sizes[len(sizes) // 2] < 1500, sizes
print(f'ok: {len(sizes)} seconds of {sizes[0]} to {sizes[-1]} bytes, half of them below {sizes[len(sizes) // 2]}')
PY

need chromium
timeout 20 chromium --headless=new --no-sandbox --version >/dev/null 2>&1 || skip 'chromium does not start here'
ready="['<img/src=x', '<b>bold</b>', '100 %', '4 of 4: ', '10.77.0.104', 'logger2', 'imgcache, spreadlogd, vipd', 'host3'].every(
    (text) => document.body.innerText.includes(text))"
on 3 timeout 120 python3 "$plays/browser.py" http://127.0.0.1:8090/ "$scratch/profile" "$ready" ${PICTURES:-} \
    >"$scratch/dom" 2>"$scratch/browser.err" || fail 'the page in a browser'
grep '^ok:' "$scratch/dom"
grep -q '<title>logmon web</title>' "$scratch/dom" || fail "no page: $(head -c 300 "$scratch/dom")"
grep -qF '&lt;img/src=x/onerror=document.title=1&gt;&lt;script&gt;' "$scratch/dom" || fail 'the hostile page is not shown'
grep -qF '&lt;b&gt;bold&lt;/b&gt;' "$scratch/dom" || fail "the hostile program is not shown"
[ "$(grep -o '<script\|<img\|<b>' "$scratch/dom" | wc -l)" -eq 1 ] || fail 'more than our own script'
echo 'ok: hostile lines are text, in a browser'
