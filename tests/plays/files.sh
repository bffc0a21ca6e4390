#!/usr/bin/env bash
# Files that say the same in other words: the daemons in another order, comments, blanks, quotes.
bin=$1
. "$(dirname "$0")/net.sh" "$@"

bridge br0
for i in 1 2 3; do host $i br0 "10.77.0.$i/24"; done
make_key

# The file of host 1, whose order holds where it is in the view.
cat >"$scratch/spread.conf1" <<END
Spread_Segment 239.77.0.1:$port {
    host3 10.77.0.3
    host1 10.77.0.1
    host2 10.77.0.2
}
SpreadSocket = false
StateDir = $scratch
Key = $key
END
cat >"$scratch/spread.conf2" <<END
# The same, by somebody else.
StateDir = "$scratch"
Key=$key

SpreadSocket = no   # not here
Spread_Segment   239.77.0.1:$port
{
	host2	10.77.0.2   # first
	host3 10.77.0.3

    host1     10.77.0.1 }
END
cat >"$scratch/spread.conf3" <<END
Spread_Segment 239.77.0.1:$port { host1 10.77.0.1
host2 10.77.0.2
host3 10.77.0.3
}
Key = '$key'
StateDir = $scratch
SpreadSocket = false
END
start() { cp "$scratch/spread.conf$1" "$scratch/spread.conf" && start_groupd "$1" &&
    until_true 5 "host $1 runs" ctl "$1" status; }

for i in 3 2 1; do start $i; done
until_true 10 'three files, one view' views_are 'host3 host1 host2' 1 2 3
for i in 1 2 3; do ctl $i join room >/dev/null 2>&1 & done
members() { ctl "$1" members room 2>/dev/null | grep -o '#host[0-9]' | tr -d '\n#'; }
all_see() { local i; for i in 1 2 3; do [ "$(members $i)" = host3host1host2 ] || return 1; done; }
until_true 10 'members in one order everywhere' all_see
echo 'ok: three files with three orders are one view, with members in one order'

kill -KILL "${groupds[1]}" && wait "${groupds[1]}" 2>/dev/null
until_true 10 'two of them' views_are 'host2 host3' 2 3
start 1
until_true 10 'three again' views_are 'host3 host1 host2' 1 2 3
if grep -h foreign-configuration "$scratch"/groupd?.err; then fail 'they are said to differ'; fi
echo 'ok: the order of the lowest address holds, and nothing is said to differ'
