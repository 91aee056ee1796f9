#!/bin/sh
# Takes off a node what bgpnet left there, and nothing of anybody else's. It refuses while an agent still answers.
set -eu
bgpnet cni install --uninstall
# links of pods that were not deleted: ours have an alias container/interface/instant
for link in /sys/class/net/cali*; do
	[ -e "$link" ] || continue
	case $(cat "$link/ifalias") in
	*/*/*) ip link delete "${link##*/}" && echo "deleted link ${link##*/}" ;;
	esac
done
# 144: this node's blocks and pods; 145: learned by BGP
for protocol in 144 145; do
	found=$(ip -4 route show table all proto $protocol | wc -l)
	[ "$found" = 0 ] || { ip -4 route flush table all proto $protocol && echo "deleted $found routes of protocol $protocol"; }
done
if ip link show vxlan.bgpnet >/dev/null 2>&1; then ip link delete vxlan.bgpnet && echo "deleted vxlan.bgpnet"; fi
# tunl0 is the kernel's own and cannot be deleted
if ip -4 address show dev tunl0 2>/dev/null | grep -q inet; then
	ip address flush dev tunl0 && ip link set tunl0 down && echo "tunl0 is down, without an address"
fi
if nft list table inet bgpnet >/dev/null 2>&1; then nft delete table inet bgpnet && echo "deleted nft table inet bgpnet"; fi
for handle in $(nft -a list chain ip filter FORWARD 2>/dev/null | sed -n 's/.*comment "bgpnet: pods".*# handle //p'); do
	nft delete rule ip filter FORWARD handle "$handle" && echo "deleted our rule in FORWARD"
done
rm -rf /run/bgpnet/* /var/lib/bgpnet/*
echo "bgpnet is off this node"
