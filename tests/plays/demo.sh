#!/usr/bin/env bash
# The demo's log part says so when the files are not what they must be: with a spreadlogd between
# that changes, drops, doubles or swaps lines it fails, and without it passes.
bin=$1
. "$(dirname "$0")/net.sh" "$@"

demo=$(cd "$(dirname "$0")/../../examples/demo" && pwd)
seq 1 3000 | sed 's|.*|10.0.0.1 - - [17/May/2015:10:05:03 +0000] "GET /& HTTP/1.1" 200 5|' >"$scratch/access.log"
mkdir "$scratch/bin"
ln -s "$(cd "$bin" && pwd)"/{groupd,groupctl,logpub} "$scratch/bin/"
# In the place of spreadlogd: each logger's lines go through a command, which keeps their length.
cat >"$scratch/bin/spreadlogd" <<END
#!/bin/bash
file=\${!#}
number=\${file//[!12]/}
command=FILTER\${number: -1}
[ -z "\${!command:-}" ] || set -- "\${@:1:\$#-1}" "|\${!command} >\$file"
exec "$(cd "$bin" && pwd)/spreadlogd" "\$@"
END
chmod +x "$scratch/bin/spreadlogd"

# demo: runs it; its output is in $scratch/said.
demo() {
    rm -rf "$scratch/demo"
    mkdir "$scratch/demo"
    LOG=$scratch/access.log "$demo/1-log.sh" "$scratch/bin" "$scratch/demo" >"$scratch/said" 2>&1
}
# fails NAME WHAT: it ends with 1 and says this.
fails() {
    demo
    local status=$?
    [ $status -eq 1 ] || fail "$1: the demo ended with $status: $(cat "$scratch/said")"
    grep -q "^log: FAILED: $2" "$scratch/said" || fail "$1: $(cat "$scratch/said")"
    echo "ok: $1 is seen"
}

demo || fail "the demo fails: $(cat "$scratch/said")"
grep -q '^log: both spreadlogd wrote the same 3000 lines in [0-9]* ms: [0-9]* lines/s' "$scratch/said" ||
    fail "$(cat "$scratch/said")"
echo 'ok: the demo passes, and says how many lines a second'

export FILTER1='' FILTER2='sed -u s/GET/PUT/'
fails 'a byte that differs between the files' 'the two loggers wrote different files'
changed='sed -u "s,/2999 ,/2998 ,"'
export FILTER1=$changed FILTER2=$changed
fails 'a line lost and another one twice, in both files' 'the lines of web. are not all there'
swapped='sed -u "s,/1501 ,/XXXX ,; s,/1504 ,/1501 ,; s,/XXXX ,/1504 ,"'
export FILTER1=$swapped FILTER2=$swapped
fails 'two lines swapped, in both files' 'the lines of web. are not all there'
