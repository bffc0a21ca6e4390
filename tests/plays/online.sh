#!/usr/bin/env bash
# Who listens to the log: two whosonline, logtop and logmon on one daemon. A log goes through the
# bus; what they say is what awk counts in the file.
bin=$1
. "$(dirname "$0")/net.sh" "$@"
need awk curl python3

lone_host
start_bus

sample=$plays/../../../shared/samples/apache_logs.log
log=$scratch/access.log
if [ -e "$sample" ]; then
    cat "$(dirname "$sample")"/hackers-access.log "$sample" >"$log"
else
    awk -v seed=1 -v lines=10000 -f "$plays/../../examples/demo/generate-log.awk" >"$log"
fi
# A line that means harm: to a page that shows it, and to a terminal.
printf '6.6.6.6 - - [21/May/2015:23:59:59 +0000] "GET /<script>alert(1)</script>\x1b[2J HTTP/1.1" 200 7 "-" "<script>"\n' >>"$log"
total=$(wc -l <"$log")

for i in 1 2; do
    "$bin/whosonline" web --user host --skip= --window 604800 --control "$scratch/online$i" \
        --http 127.0.0.1:808$i --historic 127.0.0.1:898$i 2>"$scratch/whosonline$i.err" &
    pids[i]=$!
done
"$bin/logtop" -g web --json --every 0.2s -T 86400 -n 3 >"$scratch/logtop.json" 2>"$scratch/logtop.err" &
"$bin/logmon" web --listen 127.0.0.1:8090 2>"$scratch/logmon.err" &
members() { [ "$("$bin/groupctl" --socket "$GROUPD_SOCKET" members web 2>/dev/null | grep -c '^#')" -eq "$1" ]; }
until_true 10 'four programs in the group' members 4

ask() { "$bin/online" --control "$scratch/online$1" "${@:2}"; }
same() { [ "$(ask 1 "$@" --json)" = "$(ask 2 "$@" --json)" ]; }
ask 1 >"$scratch/empty"
[ $? -eq 1 ] && [ "$(cat "$scratch/empty")" = 0 ] || fail 'nobody is online yet, exit 1'

"$bin/logpub" web <"$log" 2>"$scratch/logpub.err" || fail 'logpub'

lines() { curl -s "http://127.0.0.1:808$1/metrics" | awk '$1 == "whosonline_lines_total" { print $2 }'; }
all_lines() { [ "$(lines "$1")" = "$total" ]; }
for i in 1 2; do until_true 10 "all lines at whosonline $i" all_lines $i; done

counts='{ gsub(/"/, "", $6) } ($6 == "GET" || $6 == "POST") && $9 >= 200 && $9 < 400'
users=$(awk "$counts { seen[\$1] = 1 } END { print length(seen) }" "$log")
[ "$(ask 1)" = "$users" ] || fail "online: $(ask 1), awk: $users"
echo "ok: $users users online after $total lines, as awk counts"

# The last page of each user, without query strings, and the page that most of them are on.
awk "$counts { sub(/\\?.*/, \"\", \$7); last[\$1] = \$7 }
    END { for (user in last) n[last[user]]++; for (page in n) print n[page], page }" "$log" |
    LC_ALL=C sort -k1,1nr -k2,2 | awk '{ printf "%8d %s\n", $1, $2 }' | head -n 20 >"$scratch/top.awk"
ask 1 --top 20 >"$scratch/top" || fail 'online --top'
cmp -s "$scratch/top" "$scratch/top.awk" || fail "top pages: $(diff "$scratch/top" "$scratch/top.awk")"
page=$(awk 'NR == 1 { print $2 }' "$scratch/top.awk")
on=$(awk 'NR == 1 { print $1 }' "$scratch/top.awk")
[ "$(ask 1 "$page" -n 5 | head -n 1)" = "$on" ] || fail "online $page"
[ "$(ask 1 "$page" -n 5 | wc -l)" -eq 6 ] || fail "online $page -n 5 lists five"
echo "ok: the twenty busiest pages, and $on users on $page"

for question in '' '--top 50' "$page -n 100" '--user 6.6.6.6'; do
    # shellcheck disable=SC2086 # words are meant
    same $question || fail "two whosonline differ about '$question'"
done
[ "$(ask 1 --user nobody; echo $?)" = 1 ] || fail 'nobody is nowhere, exit 1'
ask 1 --user 6.6.6.6 | grep -qF '\u{1b}' || fail 'a name must not steer a terminal'
echo 'ok: both whosonline give the same answers at the same position'

# HTTP and the historic protocol, byte by byte, behind a client that is stalled on each.
python3 - "$page" "$users" "$on" <<'PY' || fail 'requests byte by byte'
import json, socket, struct, sys, urllib.parse
page, users, on = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
stalled = [socket.create_connection(('127.0.0.1', port)) for port in (8081, 8981)]
stalled[0].sendall(b'GET /count HT')
stalled[1].sendall(b'\0')

def ask(port, request, done):
    peer = socket.create_connection(('127.0.0.1', port), 5)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in request:
        peer.sendall(bytes([byte]))
    answer = b''
    while not done(answer):
        piece = peer.recv(65536)
        if not piece:
            break
        answer += piece
    return answer

target = '/page?url=' + urllib.parse.quote(page, safe='') + '&n=7'
answer = ask(8081, f'GET {target} HTTP/1.0\r\n\r\n'.encode(), lambda _: False)
answer = json.loads(answer.split(b'\r\n\r\n')[1])
assert (answer['count'], len(answer['users'])) == (on, min(on, 7)), answer
ages = [user['age'] for user in answer['users']]
assert ages == sorted(ages), ages
url = page.encode()
full = 12 + 16 * min(on, 30)
answer = ask(8981, struct.pack('>H', len(url)) + url, lambda got: len(got) >= full)
assert struct.unpack('>III', answer[:12]) == (users, on, min(on, 30)), answer[:12]
assert len(answer) == full
PY
[ "$(curl -s -o /dev/null -w '%{http_code}' -H 'Host: evil.example' http://127.0.0.1:8081/count)" = 421 ] ||
    fail 'a name that somebody points at us is refused'
[ "$(curl -s http://127.0.0.1:8081/nothing -o /dev/null -w '%{http_code}')" = 404 ] || fail 'a 404'
echo 'ok: HTTP and the protocol of 2004, byte by byte, behind stalled clients'

value() { python3 -c 'import json, sys; print(eval(sys.argv[1], {"d": json.loads(sys.stdin.readlines()[-1])}))' "$1"; }
seen() { [ "$(tail -n 1 "$scratch/logtop.json" | value 'd["all"]["requests"]' 2>/dev/null)" = "$total" ]; }
until_true 10 'all lines at logtop' seen
expected=$(awk '{ n[int($9 / 100)]++; bytes += $10 } END { printf "%.0f %d %d %d %d", bytes, n[2], n[3], n[4], n[5] }' "$log")
got=$(tail -n 1 "$scratch/logtop.json" | value '" ".join(str(d["all"][k]) for k in ("bytes", "2xx", "3xx", "4xx", "5xx"))')
[ "$got" = "$expected" ] || fail "logtop: $got, awk: $expected"
echo "ok: logtop's sums are those of awk: $got"

history() { curl -s http://127.0.0.1:8090/history; }
drawn() { [ "$(history | value 'sum(sum(s["classes"]) for s in d["past"])')" = "$total" ]; }
until_true 10 'all lines at logmon' drawn
head=$(curl -si http://127.0.0.1:8090/)
[[ $head == *"Content-Security-Policy: default-src 'none'; script-src 'self'"* ]] ||
    fail 'logmon without its policy'
status_of() { [[ $(curl -sN --max-time 2 http://127.0.0.1:8090/events) == *'"program":"whosonline"'* ]]; }
until_true 20 "whosonline's status at logmon" status_of
echo 'ok: logmon drew all lines, and shows what whosonline says of itself'

kill -TERM "${pids[1]}"
wait "${pids[1]}" || fail 'whosonline did not stop with exit 0'
kill -9 "${pids[2]}"
wait "${pids[2]}" 2>/dev/null
until_true 10 'both have left' members 2
echo 'ok: an orderly stop, exit 0'
