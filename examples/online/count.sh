#!/bin/sh
# How many users are online, and who is on a page: count.sh [PAGE] [SOCKET]
# Only the shell and `online`, whose exit status is 1 when there is nobody.
page=${1:-/}
socket=${2:-/run/whosonline/control}
if users=$(online --control "$socket"); then
    echo "$users online"
else
    echo 'nobody is online'
    exit
fi
online --control "$socket" -n 5 "$page" | tail -n +2
