#!/usr/bin/env bash
# Three hosts share four addresses; one of them is killed, and a fourth host does not notice much.
#
# Arguments: the directory of the programs and an empty scratch directory. The hosts are network
# namespaces of their own, without root; where the kernel refuses them, this part is left out.
set -uo pipefail
bin=$1
here=$(cd "$(dirname "$0")" && pwd)
say() { printf 'addresses: %s\n' "$*"; }

play=$here/../../tests/plays/takeover.sh
status=0
bash "$play" "$bin" 1 >"$2/play" 2>"$2/play.err" || status=$?
case $status in
0) while read -r line; do say "${line#ok: }"; done <"$2/play" ;;
77)
    say "$(cat "$2/play")"
    say 'on real hosts, "vipctl what-if --down HOST" says what a takeover would do'
    ;;
*)
    cat "$2/play" "$2/play.err"
    say 'FAILED'
    exit 1
    ;;
esac
