#!/usr/bin/env bash
# Each option of whosonline, each question of online and over HTTP, and the protocol of 2004 byte for
# byte, on a log of twelve lines.
bin=$1
. "$(dirname "$0")/net.sh" "$@"
need curl python3 od

lone_host
start_bus
ip address add 10.9.9.9/32 dev lo

# start NAME [OPTION...]: a whosonline; ports NAME says where it answers HTTP.
declare -A ports=()
start() {
    ports[$1]=$((8100 + ${#ports[@]}))
    "$bin/whosonline" web --control "$scratch/$1" --http "${ports[$1]}" "${@:2}" 2>"$scratch/$1.err" &
}
format='%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i" "%{SITE}C"'
start default --historic 8989
start anonymous --anonymous
start host --user host
start cookie --user SITE --format "$format"
start status --status 400-404
start method --methods HEAD,PUT
start skip --skip=
start suffix --skip=gif,html
start query --query
start pages --pages-max 1
start users --users-max 2
start window --window 8
start empty --status 999
members() { [ "$("$bin/groupctl" --socket "$GROUPD_SOCKET" members web 2>/dev/null | grep -c '^#')" -eq "$1" ]; }
until_true 20 'all in the group' members ${#ports[@]}

line() { printf '10.0.0.%d - %s [10/Oct/2020:10:00:%02d +0000] "%s HTTP/1.1" %s 10 "-" "-" "%s"\n' "$@"; }
{
    line 1 258 0 'GET /a?x=1' 200 c1
    line 2 ann 1 'GET /b.gif' 200 c2
    line 3 bob 2 'POST /b.html' 302 c3
    line 4 cyd 3 'HEAD /c' 200 c4
    line 5 dan 4 'GET /d' 404 c5
    line 6 - 5 'GET /e' 200 -
    line 7 '""' 5 'GET /e' 200 -
    line 8 18446744073709551615 6 'GET /a' 200 c1
    line 9 eve 7 'GET /a?y=2' 304 c6
    line 9 fay 8 'GET /f' 500 c6
    echo garbage
    line 9 two\ words 9 'GET /a' 200 c7
} >"$scratch/log"
"$bin/logpub" web <"$scratch/log" 2>"$scratch/logpub.err" || fail 'logpub'
lines() { curl -s "http://127.0.0.1:${ports[$1]}/metrics" | grep -qx 'whosonline_lines_total 12'; }
for name in "${!ports[@]}"; do until_true 20 "all lines at $name" lines "$name"; done

# says NAME STATUS EXPECTED [ARGUMENT...]: what online prints and its exit status.
says() {
    local name=$1 status=$2 expected=$3 got
    got=$("$bin/online" --control "$scratch/$name" "${@:4}" 2>&1)
    [ $? -eq "$status" ] && [ "$got" = "$expected" ] || fail "online ${*:4} of $name: $got, not $expected with exit $status"
}
says default 0 5
says anonymous 0 7
says host 0 6
says cookie 0 4
says status 0 1
says status 0 '     5s /d' --user dan
says method 0 1
says method 0 '     6s /c' --user cyd
says skip 0 6
says skip 0 '     8s /b.gif' --user ann
says suffix 0 4
says suffix 1 '' --user bob
says query 0 '     9s /a?x=1' --user 258
says pages 0 '       4 /a
       1 (other)' --top 20
says users 0 2
says users 0 '     0s /a' --user 'two words'
says window 0 4
says window 1 '' --user 258
says anonymous 0 '     4s /e' --user 10.0.0.7
says host 0 '     0s /a' --user 10.0.0.9
says cookie 0 '     3s /a' --user c1
echo 'ok: the window, users by field, cookie and address, what counts, query strings, and caps'

says default 0 '4
     0s two words
     2s eve
     3s 18446744073709551615
     9s 258' /a -n 30
says default 0 '4
     0s two words' /a -n 1
says default 0 '       4 /a
       1 /b.html' --top 20
says default 0 '     2s /a' --user eve
says default 1 0 /nobody
says default 1 '' --user nobody
says empty 1 0
says empty 1 '' --top 20
"$bin/online" --control "$scratch/none" 2>/dev/null
[ $? -eq 2 ] || fail 'exit 2 when nobody is there to be asked'
"$bin/online" --control "$scratch/default" /a --top 3 2>/dev/null
[ $? -eq 2 ] || fail 'exit 2 for two questions at once'
"$bin/online" --control "$scratch/empty" --json >"$scratch/none.json"
[ $? -eq 1 ] && grep -q '"users":0' "$scratch/none.json" || fail 'exit 1 with JSON too'
"$bin/whosonline" web --user SITE 2>"$scratch/wrong.txt"
[ $? -eq 2 ] && grep -q 'not in --format' "$scratch/wrong.txt" || fail 'a user that is not in the format'
echo 'ok: online, its exit status, and lists newest first'

python3 - "$scratch/default" "${ports[default]}" <<'PY' || fail 'JSON'
import http.client, json, socket, sys
path, port = sys.argv[1], int(sys.argv[2])
def line(question):
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(10)
        peer.connect(path)
        peer.sendall(question.encode() + b'\n')
        return json.loads(peer.makefile('rb').readline())
def http_get(target):
    peer = http.client.HTTPConnection('127.0.0.1', port, timeout=10)
    peer.request('GET', target)
    answer = peer.getresponse()
    return answer.status, json.loads(answer.read())
place = line('count')['position']
assert set(place) == {'membership', 'messages', 'table'}, place
newest = [('two words', 0), ('eve', 2), ('18446744073709551615', 3), ('258', 9)]
for question, target, wanted in [
    ('count', '/count', {'users': 5}),
    ('page /a 30', '/page?url=/a&n=30', {'users': [{'user': user, 'age': age} for user, age in newest], 'count': 4}),
    ('page /a', '/page?url=%2Fa', {'count': 4}),
    ('page /a 2', '/page?n=2&url=/a', {'users': [{'user': user, 'age': age} for user, age in newest[:2]], 'count': 4}),
    ('page /none', '/page?url=/none', {'users': [], 'count': 0}),
    ('top 20', '/top?n=20', {'pages': [{'page': '/a', 'users': 4}, {'page': '/b.html', 'users': 1}]}),
    ('user two words', '/user?name=two%20words', {'user': 'two words', 'page': '/a', 'age': 0}),
    ('user nobody', '/user?name=nobody', {'page': None}),
]:
    answer = line(question)
    assert {key: answer[key] for key in wanted} == wanted, (question, answer)
    assert http_get(target) == (200, answer), (target, http_get(target), answer)
    assert answer['position'] == place and not answer['complete'], answer
for question in ('nonsense', '', 'page', 'top x'):
    answer = line(question)
    assert answer['error'] and answer['position'] == place, answer
for target, status in [('/page', 400), ('/page?url=/a&n=x', 400), ('/user', 400), ('/nothing', 404)]:
    got, answer = http_get(target)
    assert got == status and answer['error'] and answer['position'] == place, (target, got, answer)
with socket.create_connection(('127.0.0.1', port), 10) as peer:
    peer.sendall(b'GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n')
    events = peer.makefile('rb')
    assert b'200' in events.readline()
    data = []
    while len(data) < 2:
        text = events.readline()
        if text.startswith(b'data: '):
            data.append(json.loads(text[6:]))
    assert all(one['users'] == 5 and one['position'] == place for one in data), data
PY
metrics=$(curl -s "http://127.0.0.1:${ports[default]}/metrics")
for metric in users:5 pages:2 holding:1 evicted_users_total:0 lines_total:12 unparsed_lines_total:1 hits_total:5; do
    [[ $metrics == *"whosonline_${metric%:*} ${metric#*:}"* ]] || fail "metrics: $metric, not $metrics"
done
for at in "${ports[default]}" 8989; do
    curl -s --max-time 2 "http://10.9.9.9:$at/count" && fail 'only the loopback address unless told otherwise'
done
echo 'ok: the same over the socket and HTTP, each with its position; events; metrics; loopback'

# ask_2004 BYTES COUNT: asks, and gives so many bytes of the answer.
ask_2004() {
    exec 3<>/dev/tcp/127.0.0.1/8989
    printf "$1" >&3
    head -c "$2" <&3 | od -An -v -tx1 -w16 | sed 's/^ //'
    exec 3>&-
}
expected='00 00 00 05 00 00 00 04 00 00 00 04 00 00 00 00
00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
00 00 00 00 00 00 00 02 00 00 00 00 ff ff ff ff
ff ff ff ff 00 00 00 03 00 00 00 00 00 00 00 00
00 00 01 02 00 00 00 09 00 00 00 00 00 00 00 05
00 00 00 00 00 00 00 00'
got=$(ask_2004 '\0\2/a\0\5/none' 88)
[ "$got" = "$expected" ] || fail "the protocol of 2004: $got"
echo 'ok: the bytes of 2004, two questions on one connection'
