#!/bin/sh
# Takes off a node what bgpnet left there, and nothing of anybody else's. It refuses while an agent still answers, ends
# at the first thing that cannot be done, and may be run again: what is done is passed over.
set -eu
state=/var/lib/bgpnet
bgpnet cni install --uninstall
# links of pods that were not deleted: ours have an alias container/interface/instant
for link in /sys/class/net/cali*; do
	[ -e "$link" ] || continue
	case $(cat "$link/ifalias") in
	*/*/*)
		ip link delete "${link##*/}"
		echo "deleted link ${link##*/}"
		;;
	esac
done
# 144: this node's blocks and pods; 145: learned by BGP
for protocol in 144 145; do
	found=$(ip -4 route show table all proto $protocol)
	[ -n "$found" ] || continue
	ip -4 route flush table all proto $protocol
	echo "deleted $(echo "$found" | wc -l) routes of protocol $protocol"
done
if ip link show vxlan.bgpnet >/dev/null 2>&1; then
	ip link delete vxlan.bgpnet
	echo "deleted vxlan.bgpnet"
fi
# tunl0 is the kernel's own and cannot be deleted. Its address has no mark: it is ours while our state is there, and may
# be the next network's when this runs again.
if [ -n "$(ls -A $state)" ] && ip -4 address show dev tunl0 2>/dev/null | grep -q inet; then
	ip address flush dev tunl0
	ip link set tunl0 down
	echo "tunl0 is down, without an address"
fi
if nft list table inet bgpnet >/dev/null 2>&1; then
	nft delete table inet bgpnet
	echo "deleted nft table inet bgpnet"
fi
for handle in $(nft -a list chain ip filter FORWARD 2>/dev/null | sed -n 's/.*comment "bgpnet: pods".*# handle //p'); do
	nft delete rule ip filter FORWARD handle "$handle"
	echo "deleted our rule in FORWARD"
done
# iptables-legacy, where it has tables: looking would make them
if [ -n "$(cat /proc/net/ip_tables_names 2>/dev/null)" ]; then
	saved=$(iptables-legacy-save)
	# our chains are emptied, then who leads there and our rules in FORWARD go, then the chains
	undone=$(echo "$saved" | sed -n '
		/^\*/p
		/^COMMIT/p
		s/^:\(BGPNET-[^ ]*\) .*/:\1 - [0:0]/p
		/^-A BGPNET-/d
		/ -j BGPNET-/s/^-A/-D/p
		/ --comment "bgpnet: pods" /s/^-A/-D/p')
	gone=$(echo "$saved" | sed -n '/^\*/p; /^COMMIT/p; s/^:\(BGPNET-[^ ]*\) .*/-X \1/p')
	if echo "$undone" | grep -q '^[:-]'; then
		echo "$undone" | iptables-legacy-restore --noflush -w 10
		echo "$gone" | iptables-legacy-restore --noflush -w 10
		echo "deleted our rules of iptables-legacy"
	fi
fi
find /run/bgpnet $state -mindepth 1 -delete
echo "bgpnet is off this node"
