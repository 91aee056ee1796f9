#!/bin/sh
# A node's main process: keeps the BGP speaker and the agent running. One that was killed, or had run for a while,
# starts again after half a second; one that cannot start waits longer each time, up to eight seconds.
keep() {
    pause=0.5
    while :; do
        read -r begun _ </proc/uptime
        "$@"
        status=$?
        read -r ended _ </proc/uptime
        if [ $status -gt 128 ] || [ $((${ended%.*} - ${begun%.*})) -ge 5 ]; then pause=0.5; fi
        echo "keep: $* ended with status $status; again in $pause s"
        sleep $pause
        case $pause in 0.5) pause=1 ;; 1) pause=2 ;; 2) pause=4 ;; *) pause=8 ;; esac
    done
}
# containerlab starts this first and gives links and addresses afterwards
until [ -z "$BGPNET_IP" ] || grep -qw "${BGPNET_IP%/*}" /proc/net/fib_trie; do sleep 0.2; done
keep bgpnet speaker &
keep bgpnet agent &
wait
