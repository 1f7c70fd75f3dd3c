#!/bin/sh
# One boot of a node: a root file system, a network, a pid namespace and cgroups of its own, and
# in them the container runtime, kubelet, kube-proxy and the slot's own service. It ends when the
# outermost process is killed, with everything that runs in it, as a machine does without power.
# Its parts call each other: node.sh slice -> node.sh wire -> node.sh init (pid 1 of the node).
#
# Environment (from hack/real/node-system.ts): NODE its name, DIRECTORY its files, SLICE its cgroup,
# HIERARCHIES those of cgroup v1, ADDRESS and VETH its network, ROUTES (RANGE=ADDRESS ...) to
# Services and the Pods of other nodes, SETTINGS the files for /etc, PROGRAMS what runs, SERVICE_PORT.
set -eu

case ${1:-} in
slice)
  for hierarchy in $HIERARCHIES; do
    slice=/sys/fs/cgroup/$hierarchy/$SLICE
    mkdir -p "$slice"
    if [ "$hierarchy" = cpuset ]; then
      for folder in "$(dirname "$slice")" "$slice"; do
        cat "$folder/../cpuset.cpus" >"$folder/cpuset.cpus"
        cat "$folder/../cpuset.mems" >"$folder/cpuset.mems"
      done
    fi
    echo 0 >"$slice/cgroup.procs"
  done
  # The device is this boot's: marked for removal while open, it goes with its last user.
  DISK=$(losetup --find --show "$DIRECTORY/disk.img")
  export DISK
  exec 9<>"$DISK"
  losetup --detach "$DISK"
  exec unshare --net --mount --propagation private --uts --ipc --cgroup -- sh "$0" wire
  ;;
wire)
  hostname "$NODE"
  ip link set lo up
  # The last boot's may still be on its way out.
  nsenter --net=/proc/1/ns/net ip link delete "$VETH" 2>/dev/null || :
  ip link add eth0 type veth peer name "$VETH" netns 1
  nsenter --net=/proc/1/ns/net ip link set "$VETH" master slipway0 up
  ip address add "$ADDRESS/24" dev eth0
  ip link set eth0 up
  for route in $ROUTES; do ip route add "${route%=*}" via "${route#*=}"; done
  exec unshare --pid --fork --kill-child=SIGKILL -- sh "$0" init
  ;;
init) ;;
*)
  echo "usage: node.sh slice" >&2
  exit 2
  ;;
esac

# The root file system: /usr is the box's, /var outlives boots, everything else is made anew.
mkdir -p "$DIRECTORY/node" "$DIRECTORY/var/lib/volume" "$DIRECTORY/var/log"
mount -t tmpfs -o mode=755 node "$DIRECTORY/node"
cd "$DIRECTORY/node"
mkdir -p usr var run tmp dev proc sys etc opt/bin opt/slipway slot root old
chmod 1777 tmp
for folder in bin sbin lib lib64; do ln -s "usr/$folder" "$folder"; done
mount --bind /usr usr
mount --bind "$DIRECTORY/var" var
ln -s /run var/run 2>/dev/null || :
mount --bind -o ro "$DIRECTORY/root" slot
mount -t tmpfs -o mode=755 run run
for program in $PROGRAMS; do
  : >"opt/bin/$(basename "$program")"
  mount --bind "$program" "opt/bin/$(basename "$program")"
done
cp -R "$SETTINGS/." etc/
cp "$DIRECTORY/root/usr/lib/os-release" etc/os-release
cp "$DIRECTORY/machine-id" etc/machine-id
cp "$DIRECTORY/node-hook" opt/slipway/hook
: >opt/slipway/control.sock
mount --bind "$DIRECTORY/control.sock" opt/slipway/control.sock

mount -t proc proc proc
# Own files where kubelet would write the machine's settings, and where it reads which boot this is.
mkdir -p run/kernel
for setting in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops \
  kernel/keys/root_maxkeys kernel/keys/root_maxbytes; do
  copy=run/kernel/$(basename "$setting")
  cat "proc/sys/$setting" >"$copy"
  mount --bind "$copy" "proc/sys/$setting"
done
mount --bind "$DIRECTORY/boot-id" proc/sys/kernel/random/boot_id
mount --bind "$DIRECTORY/cmdline" proc/cmdline

mount -t sysfs sysfs sys
mount -t tmpfs -o mode=755 cgroup sys/fs/cgroup
for hierarchy in $HIERARCHIES; do
  mkdir "sys/fs/cgroup/$hierarchy"
  case $hierarchy in
  systemd) options=none,name=systemd ;;
  *) options=$hierarchy ;;
  esac
  mount -t cgroup -o "$options" cgroup "sys/fs/cgroup/$hierarchy"
done

# Only these devices: a privileged Pod of a test must not find the disks of the machine that runs it.
mount -t tmpfs -o mode=755 dev dev
for device in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 kmsg:1:11 tty:5:0; do
  minor=${device##*:} rest=${device%:*}
  mknod -m 666 "dev/${rest%:*}" c "${rest#*:}" "$minor"
done
mknod -m 660 dev/sda b 7 "${DISK#/dev/loop}"
mkdir dev/pts dev/shm dev/mqueue
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mount -t tmpfs shm dev/shm
mount -t mqueue mqueue dev/mqueue
for link in fd:/proc/self/fd stdin:/proc/self/fd/0 stdout:/proc/self/fd/1 stderr:/proc/self/fd/2; do
  ln -s "${link#*:}" "dev/${link%%:*}"
done

pivot_root . old
umount -l /old
rmdir /old
mount --make-rshared /
echo 1 >/proc/sys/net/ipv4/ip_forward
export PATH=/opt/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root

# service NAME COMMAND...: runs it again a second after it ended. Only pid 1 keeps the disk open.
service() {
  name=$1
  shift
  while :; do
    "$@" >>"/var/log/$name.log" 2>&1 || :
    sleep 1
  done 9<&- </dev/null &
}

service harbor node /slot/usr/lib/harbor/service.mjs 0.0.0.0 "$SERVICE_PORT"
service containerd containerd --config /etc/containerd/config.toml
tries=0
until [ -S /run/containerd/containerd.sock ] || [ "$tries" -gt 200 ]; do
  sleep 0.05
  tries=$((tries + 1))
done
service kubelet kubelet --config /etc/kubernetes/kubelet.yaml --kubeconfig /etc/kubernetes/kubelet.kubeconfig \
  --hostname-override "$NODE" --node-ip "$ADDRESS" --node-labels "$LABELS"
service kube-proxy kube-proxy --config /etc/kubernetes/kube-proxy.yaml --hostname-override "$NODE"
# Also reaps whoever lost its parent.
while :; do wait; sleep 1; done
