#!/bin/sh
# Reports a server that has gone silent, and a surge of errors: watch.sh GROUP [SECONDS]
#
# logtop says once a second what came in the last so many seconds. A server that was heard before
# and has no row any more is silent; more than one answer in ten with a status of 5xx is a surge.
# Each is said when it begins and when it is over. Needs awk and logtop.
group=${1:?"usage: watch.sh GROUP [SECONDS]"}
seconds=${2:-10}
logtop --group "$group" --json --every 1s --time "$seconds" --number 0 | awk '
    function value(text, key) {
        return match(text, "\"" key "\":[0-9]+") ? substr(text, RSTART + length(key) + 3, RLENGTH - length(key) - 3) : 0
    }
    function say(text) { print text; fflush() }
    {
        split("", now)
        rest = $0
        sub(/.*"servers":\[/, "", rest)
        while (match(rest, /"name":"[^"]*"/)) {
            now[substr(rest, RSTART + 8, RLENGTH - 9)] = 1
            rest = substr(rest, RSTART + RLENGTH)
        }
        for (server in now) {
            if (silent[server]) say("heard again: " server)
            known[server] = 1
            silent[server] = 0
        }
        for (server in known)
            if (!(server in now) && !silent[server]) { say("silent: " server); silent[server] = 1 }
        window = $0
        sub(/.*"window":/, "", window)
        requests = value(window, "requests")
        errors = value(window, "5xx")
        surge = requests >= 20 && errors * 10 > requests
        if (surge != before) say(surge ? "surge: " errors " of " requests " are 5xx" : "surge over")
        before = surge
    }'
