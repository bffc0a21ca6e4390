#!/usr/bin/env bash
# CacheSize by du, while more is asked for than fits, files and directories are deleted by hand, and
# the cache is stopped, killed and started: at no look more than one per cent too much.
#
# Arguments: the directory of the programs [--seconds N] [--seed S]. `make cache-limit` takes 600 s.
bin=$1
. "$(dirname "$0")/net.sh" "$@"
. "$(dirname "$0")/lone-cache.sh"
shift
seconds=12 seed=1
while [ $# -gt 0 ]; do
    case $1 in
        --seconds) seconds=$2 ;;
        --seed) seed=$2 ;;
        *) fail "what is $1?" ;;
    esac
    shift 2
done
RANDOM=$seed

limit=16384
start_origin 127.0.0.1
write_conf "CacheSize = $limit"
start_cache
python3 "$plays/churn.py" 127.0.0.1 $site "$seconds" "$seed" >"$scratch/churn.out" 2>"$scratch/churn.err" &
churn=$!

# stands: all its threads are stopped.
stands() { ! grep -qv ') T ' /proc/$cache/task/*/stat; }
most=0 looks=0 removed=0 restarts=0
while kill -0 $churn 2>/dev/null; do
    case $((RANDOM % 60)) in
        0 | 1 | 2 | 3)
            file=$(find "$root/$site" -type f 2>/dev/null | shuf -n 1 --random-source=/dev/zero)
            rm -f "$file" && removed=$((removed + 1))
            ;;
        4 | 5) rm -rf "$root/$site/d$((RANDOM % 8))" 2>/dev/null && removed=$((removed + 1)) ;;
        6 | 7)
            [ $((RANDOM % 2)) = 0 ] && signal=TERM || signal=KILL
            kill -$signal $cache
            wait $cache 2>/dev/null
            launch_cache
            restarts=$((restarts + 1))
            ;;
    esac
    # It stands still while it is looked at: a file that is moved must not be counted twice.
    kill -STOP $cache
    until_true 20 'the cache stands still' stands
    used=$(du -sk "$root" | cut -f 1)
    kill -CONT $cache
    [ "$used" -le "$most" ] || most=$used
    [ "$used" -le $((limit + limit / 100)) ] || fail "$used kB are used, $limit are allowed (seed $seed)"
    looks=$((looks + 1))
    read -rt 0.05 <> <(:)
done
wait $churn || fail "$(cat "$scratch/churn.err")"
until_true 20 'the cache serves at the end' get /end.gif
stop_cache
echo "$(cat "$scratch/churn.out") answers, $looks looks, $removed removals by hand, $restarts restarts: at most $most kB of $limit"
[ "$looks" -gt 20 ] && [ "$removed" -gt 0 ] && [ "$restarts" -gt 0 ] || fail 'too little happened'
[ "$most" -gt $((limit * 3 / 4)) ] || fail 'the cache was never full'
echo 'ok: the limit holds by du'
