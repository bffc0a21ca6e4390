#!/usr/bin/env bash
# Three loggers with one clock an hour off: names, rotation and rewritten stamps follow the time that
# they have in common, in the zone of TimeZone, and are the same byte for byte.
bin=$1
. "$(dirname "$0")/net.sh" "$@"
command -v cc >/dev/null || skip 'cc is not here (Debian: gcc); it compiles the clock that is wrong'
[ -e /usr/share/zoneinfo/Europe/Paris ] || skip 'no time zones here (Debian: tzdata)'

lone_host
start_bus

cc -O1 -shared -fPIC -o "$scratch/clock.so" "$plays/../torture/clock.c" || fail 'the clock does not compile'
# An hour ahead: 3600 as a native 64-bit number, of a machine with the least byte first.
printf '\x10\x0e\0\0\0\0\0\0' >"$scratch/ahead"

declare -A loggers
for name in a b c; do
    mkdir -p "$scratch/$name/logs"
    cat >"$scratch/$name.conf" <<CONF
Name = $name
Loggers = a b c
Quorum = majority
TimeZone = Europe/Paris
StateDir = $scratch/$name/state
Spread {
    Log {
        Group = web
        File = $scratch/$name/logs/log-%Y%m%d-%H%M%S
        RotateBytes = 100000
        RewriteTimestamp = CommonLogFormat
    }
}
CONF
    wrong=()
    [ $name = a ] && wrong=(env "LD_PRELOAD=$scratch/clock.so" "TORTURE_CLOCK=$scratch/ahead")
    "${wrong[@]}" "$bin/spreadlogd" -s "$GROUPD_SOCKET" -c "$scratch/$name.conf" 2>"$scratch/$name.err" 7>&- &
    loggers[$name]=$!
done
for name in a b c; do until_true 20 "$name takes part" grep -qs round-open "$scratch/$name.err"; done

# stamp_of_paris WHEN: what a file is called that begins then.
stamp_of_paris() { TZ=Europe/Paris date -d "$1" +%Y%m%d-%H%M%S; }
# The last tick was a little before the first line.
first=$(stamp_of_paris '-10 seconds')
mkfifo "$scratch/pipe"
exec 7<>"$scratch/pipe"
"$bin/logpub" --spool "$scratch/spool" web <"$scratch/pipe" 2>"$scratch/logpub.err" 7>&- &
publisher=$!
# Until three seconds have their files. Many messages are cut by the size, some by the second.
seconds_with_files() { ls "$scratch/b/logs" | cut -d. -f1 | sort -u | wc -l; }
sent=0
deadline=$((SECONDS + 20))
until [ "$(seconds_with_files)" -ge 3 ]; do
    ((SECONDS < deadline)) || fail 'no second has a file of its own'
    awk -v from=$sent 'BEGIN { for (i = from; i < from + 1000; i++)
        print "192.0.2.7 - - [01/Jan/2001:00:00:00 -0800] \"GET /" i " HTTP/1.1\" 200 17" }' >&7
    sent=$((sent + 1000))
done
exec 7>&-
wait $publisher || fail "logpub: exit $?"
all_in() { [ "$(cat "$scratch/$1"/logs/* 2>/dev/null | wc -l)" -eq $sent ]; }
for name in a b c; do until_true 20 "all lines in the files of $name" all_in $name; done
last=$(stamp_of_paris now)
for name in a b c; do
    kill -TERM "${loggers[$name]}"
    wait "${loggers[$name]}" || fail "logger $name did not stop with exit 0"
done

for name in b c; do
    diff -r "$scratch/a/logs" "$scratch/$name/logs" >"$scratch/diff" || fail "a and $name: $(head -n 5 "$scratch/diff")"
done
echo "ok: $(ls "$scratch/a/logs" | wc -l) files of $sent lines are the same at three loggers, names included"

for file in "$scratch"/a/logs/*; do
    stamp=$(basename "$file")
    stamp=${stamp#log-}
    stamp=${stamp%%.*}
    [[ ! $stamp < $first && ! $stamp > $last ]] || fail "$file: named by a clock that is an hour off ($first to $last)"
    [ "$(stat -c %s "$file")" -le 100000 ] || fail "$file is too long"
    # Every line bears the second of its file.
    months=(x Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec)
    month=${months[10#${stamp:4:2}]}
    time="[${stamp:6:2}/$month/${stamp:0:4}:${stamp:9:2}:${stamp:11:2}:${stamp:13:2} $(TZ=Europe/Paris date +%z)]"
    grep -vqF "$time" "$file" && fail "$file: a line without $time: $(grep -vF "$time" "$file" | head -n 1)"
done
in_order() { cd "$scratch/a/logs" && ls | sort -t. -k1,1 -k2,2n | xargs cat; }
in_order | sed 's/.*"GET \/\([0-9]*\) .*/\1/' >"$scratch/numbers"
seq 0 $((sent - 1)) | cmp - "$scratch/numbers" || fail 'a line was lost, doubled or moved at a rotation'
echo 'ok: names and stamps are those of the common time in the zone of TimeZone, though one clock is an hour ahead'
kill -TERM $bus
wait $bus || fail 'groupd did not stop with exit 0'
