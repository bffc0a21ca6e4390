#!/usr/bin/env bash
# Three hosts share six addresses; one of them is killed, and a fourth host does not notice much.
#
# Arguments: the directory of the programs and an empty scratch directory. The hosts are network
# namespaces of their own, without root; where the kernel refuses them, this part shows what would
# happen.
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
    example=$here/../vipd/wackamole.conf
    asked=(what-if --node web1 --node web2 --node web3 --down web1)
    say "so this is what would happen: vipctl -c examples/vipd/wackamole.conf ${asked[*]}"
    "$bin/vipctl" -c "$example" "${asked[@]}" >"$2/what-if" || exit 1
    while read -r line; do say "  $line"; done <"$2/what-if"
    ;;
*)
    cat "$2/play" "$2/play.err"
    say 'FAILED'
    exit 1
    ;;
esac
