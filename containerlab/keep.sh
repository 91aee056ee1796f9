#!/bin/sh
# A node's main process: keeps the BGP speaker and the agent running, each started again half a second after it ends.
# What they say goes to standard output; a program that fails again and again says so once a failure, in one line.
keep() {
    while :; do
        "$@"
        echo "keep: $* ended with status $?; again in 0.5 s"
        sleep 0.5
    done
}
keep bgpnet speaker &
keep bgpnet agent &
wait
