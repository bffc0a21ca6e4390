#!/usr/bin/env bash
# spreadlogd with a file as it was written for the original, and what the original did wrong with
# it: long messages, messages that are not for it, a command that dies, virtual hosts by the
# hundred, relative names, a second Log block, a second logger on one file.
bin=$1
. "$(dirname "$0")/net.sh" "$@"
need python3
export PYTHONDONTWRITEBYTECODE=1
plays=$(cd "$(dirname "$0")" && pwd)
bin=$(cd "$bin" && pwd)

lone_host "ListenTCP = 127.0.0.1:$port"
start_bus

mkdir "$scratch/vhosts" "$scratch/start"
cat >"$scratch/historic.conf" <<CONF
# Values of every form; statements in the order of the original's grammar.
BufferSize = 100
Spread {
    Port = $port@127.0.0.1
    Log {
        Group = "web"        # quoted
        File = relative.log
        Match = '^x'
        Match = "keep"
        Match = late\$
    }
    Log {
        Group = web
        File = $scratch/stamped
        RewriteTimestamp = "<%Y>"
    }
    Log {
        Group = web
        File = '|head -n 1 >>$scratch/first'
    }
    Log {
        Group = hosts
        VhostDir = $scratch/vhosts
        File = $scratch/not-used
    }
    Log {
        Group = "Log"
        File = $scratch/log
    }
}
CONF
(cd "$scratch/start" && exec "$bin/spreadlogd" -D -c "$scratch/historic.conf" 2>"$scratch/spreadlogd.err") &
logger=$!
joined() { [ "$(grep -c ' joined ' "$scratch/spreadlogd.err")" -ge "$1" ]; }
until_true 10 'three groups' joined 3
has_lines() { [ "$(cat "$2" 2>/dev/null | wc -l)" -eq "$1" ]; }
stamped=0
# publish LINE...: sends lines and waits until they are in the file that takes all.
publish() {
    printf '%s\n' "$@" | "$bin/logpub" web || fail 'logpub'
    stamped=$((stamped + $#))
    until_true 10 "$stamped lines" has_lines $stamped "$scratch/stamped"
}

publish 'x first' 'dropped' 'I keep it' 'later' 'too late'
[ "$(cat "$scratch/start/relative.log")" = "$(printf 'x first\nI keep it\ntoo late')" ] || fail 'not the lines that match'
publish 'a [01/Jan/1999] b [x]'
[ "$(tail -n 1 "$scratch/stamped")" = "a <$(date -u +%Y)> b [x]" ] || fail "$(tail -n 1 "$scratch/stamped")"
echo word | "$bin/logpub" Log || fail 'logpub'
until_true 5 'a group that is called as a keyword' has_lines 1 "$scratch/log"
echo 'ok: a historic file: several Match are alternatives, two Log blocks for a group, quoted keywords'

long=$(head -c 100000 /dev/zero | tr '\0' y)
publish "x$long" 'x behind it'
[ "$(tail -n 2 "$scratch/start/relative.log" | head -n 1)" = "x$long" ] || fail 'a line longer than BufferSize is not whole'
echo 'ok: a message longer than BufferSize is taken'

until_true 10 'the command is started again' sh -c "[ \$(grep -c command-ended '$scratch/spreadlogd.err') -ge 1 ]"
again() { publish 'x for the command' && has_lines 2 "$scratch/first"; }
until_true 15 'the command has its first line again' again
[ "$(ps -o stat= --ppid $logger | grep -c Z)" -eq 0 ] || fail 'zombies'
echo 'ok: a command that ends takes nothing with it, and is started again'

private=$("$bin/groupctl" members web | head -n 1)
"$bin/groupctl" send "$private" 'not for a log' || fail 'send'
(cd "$plays/../python" && python3 - "$GROUPD_SOCKET" <<'END') || fail 'a message to several groups'
import sys
import spread_client
client = spread_client.Client(sys.argv[1], "stranger")
client.multicast(["nobody", "web"], b"x to two groups\n")
client.multicast(["nobody", "hosts", "web"], b"both x\n")
client.disconnect()
END
stamped=$((stamped + 2))
until_true 10 'messages to several groups' has_lines $stamped "$scratch/stamped"
publish 'x still there'
grep -q 'not for a log' "$scratch/stamped" && fail 'a private message is in the log'
grep -q '^x to two groups$' "$scratch/start/relative.log" || fail 'a message to two groups is not in the log'
has_lines 1 "$scratch/vhosts/both" || fail 'a message to three groups is in one of two'
echo 'ok: messages to its private group, and to groups that it does not know'

for i in $(seq 200); do echo "www$i.example.com line $i"; done >"$scratch/in"
for i in 1 2 3; do "$bin/logpub" hosts <"$scratch/in" || fail 'logpub'; done
all_hosts() { [ "$(cat "$scratch"/vhosts/www* | wc -l)" -eq 600 ]; }
until_true 10 'all virtual hosts' all_hosts
[ "$(cat "$scratch/vhosts/www77.example.com")" = "$(printf 'line 77\nline 77\nline 77')" ] || fail 'lines of www77'
[ ! -e "$scratch/not-used" ] || fail 'File is written beside VhostDir'
echo 'ok: 200 virtual hosts, each with its lines'

mv "$scratch/start/relative.log" "$scratch/start/old"
kill -HUP $logger
until_true 5 'the relative file where it was' test -e "$scratch/start/relative.log"
printf 'Spread { Log { Group = web File = %s } }\n' "$scratch/stamped" >"$scratch/second.conf"
"$bin/spreadlogd" -c "$scratch/second.conf" 2>"$scratch/second.err"
[ $? -eq 1 ] || fail 'a second logger on one file must end with 1'
grep -q "spreadlogd: cannot open $scratch/stamped: another process has locked it" "$scratch/second.err" || fail "$(cat "$scratch/second.err")"
echo 'ok: a relative name stays where it was at a HUP; a second logger of one file refuses'

# --- other write errors: reported, counted, tried again
mkdir "$scratch/directory"
printf 'Spread { Log { Group = web File = %s/directory/log } }\n' "$scratch" >"$scratch/gone.conf"
"$bin/spreadlogd" -c "$scratch/gone.conf" 2>"$scratch/gone.err" &
other=$!
until_true 10 'joined' grep -q ' joined ' "$scratch/gone.err"
rm -r "$scratch/directory"
kill -HUP $other
until_true 10 'the failure is said' grep -q 'write-failed\|open-failed' "$scratch/gone.err"
publish 'x waits' 'x waits, too'
until_true 10 'the failure is counted' grep -q 'write-failed .*failures=' "$scratch/gone.err"
kill -USR1 $other
until_true 10 'USR1 tells of failures' grep -q 'status queued-bytes=.* failures=[1-9]' "$scratch/gone.err"
mkdir "$scratch/directory"
until_true 10 'what waited is written' has_lines 2 "$scratch/directory/log"
grep -q 'write-resumed .*failures=[1-9]' "$scratch/gone.err" || fail "$(cat "$scratch/gone.err")"
for pid in $other $logger; do kill -TERM $pid && wait $pid || fail 'spreadlogd did not stop with exit 0'; done
echo 'ok: a file that cannot be written is reported, counted, and written later'
