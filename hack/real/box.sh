#!/bin/sh
# The box around a real cluster: namespaces for its network, its mounts and its processes.
# Usage: box.sh NAME DIRECTORY TREE <PIPE
#
# NAME names the cgroups of the box's nodes, DIRECTORY holds all of its files, TREE is laid over
# /usr. The box ends with the pipe, or with a SIGKILL for any of its processes up to pid 1; then
# this script, which stays outside, removes what namespaces don't take along.
set -eu
name=$1 directory=$2 tree=$3

# patiently TRIES COMMAND...: every 50 ms until it succeeds.
patiently() {
  tries=$1
  shift
  until "$@"; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || return 1
    sleep 0.05
  done
}

gone() {
  [ ! -e "/proc/$1" ] || grep -q '^State:.*Z' "/proc/$1/status" 2>/dev/null
}

remove_cgroups() {
  [ ! -d "$1" ] || find "$1" -depth -type d -exec rmdir {} + 2>/dev/null
}

if [ "${4:-}" != inside ]; then
  trap '' INT TERM HUP
  # The pipe goes to the box's pid 1 alone; its other end is with whoever started us.
  exec 3<&0 </dev/null
  unshare --net --mount --propagation private --pid --fork --kill-child=SIGKILL --mount-proc -- \
    sh "$0" "$name" "$directory" "$tree" inside &
  exec 3<&-
  outer=$!
  echo "$outer" >"$directory/outer.pid"
  inner=
  until [ -n "$inner" ] || [ ! -e "/proc/$outer" ]; do
    inner=$(cat "/proc/$outer/task/$outer/children" 2>/dev/null || :)
    inner=${inner%% *}
  done
  echo "$inner" >"$directory/inner.making"
  mv "$directory/inner.making" "$directory/inner.pid"
  wait "$outer" || :
  # Pid 1 of the box is the last one of it to go.
  patiently 200 gone "$inner" || :
  # Loop devices go with their last user; an image that was being attached may be left.
  losetup --list --noheadings --output NAME,BACK-FILE | while read -r device file; do
    case $file in "$directory"/*) losetup --detach "$device" || : ;; esac
  done
  for hierarchy in /sys/fs/cgroup/*/; do
    patiently 100 remove_cgroups "$hierarchy$name" || echo "$hierarchy$name stays: processes are in it"
  done
  [ -e "$directory/keep" ] || rm -rf "$directory"
  exit 0
fi

# From here on pid 1 of the box.
mount -t overlay overlay -o "lowerdir=$tree/usr:/usr" /usr
ip link set lo up
ip link add slipway0 type bridge forward_delay 0
ip link set slipway0 up
ip address add "10.89.0.1/24" dev slipway0
echo 1 >/proc/sys/net/ipv4/ip_forward
: >"$directory/ready"
# Until the pipe ends; wait also reaps whoever lost its parent.
cat <&3 >/dev/null &
exec 3<&-
wait "$!"
