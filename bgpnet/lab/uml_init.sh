# Process 1 inside User Mode Linux. BGPNET_UML is the directory (hostfs, read and write) through which the outer side
# gives run.sh, mounts.sh and takes rc. The root is this machine's file system, read-only: before /proc is mounted even
# /proc is the host's, so nothing else may come first.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
mount -t proc proc /proc || exit 1
grep -q 'User Mode Linux' /proc/cpuinfo || exit 1
mount -t sysfs sys /sys
mount -t tmpfs -o mode=1777 tmp /tmp
mount -t tmpfs -o mode=755 run /run
for directory in /var/tmp /var/lib/bgpnet /var/log /var/cache /etc/cni /opt/cni; do
    [ -d $directory ] && mount -t tmpfs -o mode=755 none $directory
done
mkdir -p /dev/pts /dev/shm
mount -t devpts -o ptmxmode=666,newinstance devpts /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
ln -sfn /proc/self/fd /dev/fd
ln -sfn /proc/self/fd/0 /dev/stdin
ln -sfn /proc/self/fd/1 /dev/stdout
ln -sfn /proc/self/fd/2 /dev/stderr
ln -sfn pts/ptmx /dev/ptmx
hostname lab
ip link set lo up
control=/run/bgpnet-uml
mkdir $control && mount -t hostfs -o "$BGPNET_UML" none $control || exit 1
. $control/mounts.sh
if [ -e $control/interactive ]; then
    setsid -w -c sh $control/run.sh </dev/tty1 >/dev/tty1 2>&1
else
    stty -F /dev/tty1 -opost -echo
    stty -F /dev/tty2 -opost
    setsid -w sh $control/run.sh <$control/stdin >/dev/tty1 2>/dev/tty2
fi
echo $? >$control/rc.new
mv $control/rc.new $control/rc
sync
echo o >/proc/sysrq-trigger
sleep 10
