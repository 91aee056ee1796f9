#!/bin/sh
# A switch's main process: FRR's zebra, and bgpd with /etc/frr-lab.conf; their sockets in the node's own /run/frr.
PATH=$PATH:/usr/lib/frr
mkdir -p /run/frr
zebra -u root -g frrvty -P 0 -f /dev/null &
# bgpd asks zebra once when it starts
until [ -S /run/frr/zserv.api ]; do sleep 0.1; done
exec bgpd -u root -g frrvty -P 0 -f /etc/frr-lab.conf
