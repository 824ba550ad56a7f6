#!/bin/bash
# The first process of a User-Mode Linux whose root is the host's, read-only: sets
# quotas on /dev/ubda, runs the server, and lets users write until the kernel warns.
# @PROGRAM@ and @MODULES@ are filled in by the test; results go to the console.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/run TMPDIR=/run
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /mnt
for m in quota_tree quota_v2; do insmod "@MODULES@/$(uname -r)/kernel/fs/quota/$m.ko"; done
ip link set lo up
mkdir -p /mnt/q /run/data
mount -t ext4 -o usrquota,prjquota /dev/ubda /mnt/q || echo "FAILED: mount"
setquota -u www-data 4096 5120 0 0 /mnt/q
setquota -P 42 4096 5120 0 0 /mnt/q
install -d -o www-data /mnt/q/u
install -d -o daemon /mnt/q/p
chattr -p 42 +P /mnt/q/p || echo "FAILED: chattr"
# An hour between two looks: what is told in time is told because the kernel warns.
echo 'sources: {disk_full: {interval: 1h, paths: [/mnt/q]}}' >/run/test.yaml
@PROGRAM@ serve --data /run/data --listen 127.0.0.1:7722 --config /run/test.yaml >/run/out 2>/run/err &
for _ in $(seq 200); do
	grep -q 'ready at' /run/out && break
	sleep 0.05
done
sleep 0.5
setpriv --reuid www-data --regid www-data --clear-groups dd if=/dev/zero of=/mnt/q/u/f bs=64k count=160 2>&1 | tail -1
setpriv --reuid daemon --regid daemon --clear-groups dd if=/dev/zero of=/mnt/q/p/f bs=64k count=160 2>&1 | tail -1
for _ in $(seq 100); do
	@PROGRAM@ --data /run/data events 'type == "disk_full"' -o json >/run/events 2>/run/events.err
	[ "$(grep -o '"used_percent"' /run/events | wc -l)" -ge 2 ] && break
	sleep 0.1
done
echo "<<<EVENTS"
cat /run/events
echo
echo "EVENTS>>>"
cat /run/events.err
grep -v '"level":"INFO"' /run/err | tail -5
kill %1
echo o >/proc/sysrq-trigger
sleep 1
