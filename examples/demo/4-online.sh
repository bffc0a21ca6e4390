#!/usr/bin/env bash
# Who listens to the log: whosonline, logtop and logmon, at no cost to those who publish it.
#
# Arguments: the directory of the programs and an empty scratch directory. No root, no network.
# Exit 0 only if two whosonline agree, and logtop has counted what was published.
set -euo pipefail
part=online
. "$(dirname "$0")/part.bash"

cat >"$scratch/spread.conf" <<CONF
Spread_Segment 127.0.0.255:$port {
    localhost 127.0.0.1
}
SpreadSocket = false
StateDir = $scratch
CONF
export GROUPD_SOCKET=$scratch/socket
"$bin/groupd" -c "$scratch/spread.conf" --socket "$GROUPD_SOCKET" 2>"$scratch/groupd.err" &
pids+=($!)
ready() { "$bin/groupctl" --socket "$GROUPD_SOCKET" status >/dev/null 2>&1; }
until_true 10 'groupd answers' ready

if [ -n "${LOG:-}" ]; then
    cp "$LOG" "$scratch/access.log"
else
    awk -v seed=9 -v lines=50000 -f "$here/generate-log.awk" >"$scratch/access.log"
fi
total=$(wc -l <"$scratch/access.log")

for i in 1 2; do
    "$bin/whosonline" web --user host --control "$scratch/online$i" 2>"$scratch/whosonline$i.err" &
    pids+=($!)
done
"$bin/logtop" -g web --json --every 0.5s -T 60 >"$scratch/logtop.json" 2>"$scratch/logtop.err" &
pids+=($!)
"$bin/logmon" web --listen 127.0.0.1:0 2>"$scratch/logmon.err" &
pids+=($!)
members() { [ "$("$bin/groupctl" --socket "$GROUPD_SOCKET" members web 2>/dev/null | grep -c '^#')" -eq 4 ]; }
until_true 10 'all in the group' members
say 'two whosonline, a logtop and a logmon have joined the group "web"'

"$bin/logpub" web <"$scratch/access.log" 2>"$scratch/logpub.err"
counted() { tail -n 1 "$scratch/logtop.json" | grep -q "\"lines\":$total,"; }
until_true 20 "logtop counts $total lines" counted
say "logtop has counted the $total lines that logpub published"

ask() { "$bin/online" --control "$scratch/online$1" "${@:2}"; }
agree() { [ "$(ask 1 --json --top 100)" = "$(ask 2 --json --top 100)" ]; }
until_true 20 'both whosonline are at the same position' agree
say "$(ask 1) users were online in the log's last 30 minutes; most of them on"
ask 1 --top 3 | sed 's/^/online: /'
page=$(ask 1 --top 1 | awk '{ print $2 }')
say "the newest on $page:"
ask 1 "$page" -n 3 | tail -n +2 | sed 's/^/online: /'
say 'both whosonline say the same, at the same position in the order'

if command -v curl >/dev/null; then
    url=$(sed -n 's/.*ready http=//p' "$scratch/logmon.err")
    page=$(curl -s --max-time 5 "http://$url/")
    [[ $page == *'<title>logmon'* ]] || fail 'no page from logmon'
    # A second of the history is there when it is over.
    has_history() {
        history=$(curl -s --max-time 5 "http://$url/history")
        [[ $history == *'"past":[{'* ]]
    }
    until_true 10 'a second of history from logmon' has_history
    say "logmon has drawn them at http://$url/"
fi
stop
