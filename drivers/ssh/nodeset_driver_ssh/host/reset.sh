# Puts a host back: nothing of the cluster runs on it, nothing that was applied is left. $1 is the machine's directory.
#
# reset/stuck     what had to be stopped runs on: the machine still exists, and the host stays claimed
# reset/dirty     it is stopped, but something is left: the host is quarantined
# reset/finished  the end was reached
# Begun again after a reboot, it does everything again; all of it can be.
set -u
umask 077
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL
directory=$1
work=$directory/reset
cd / || exit 70
exec 9>"$work/lock"
flock -w 10 9 || exit 0
[ ! -e "$work/finished" ] && [ ! -e "$work/stuck" ] || exit 0
: >"$work/dirty"
systemd=''
command -v systemctl >/dev/null && systemd=yes

have() { command -v "$1" >/dev/null; }
# Where nothing was run, nothing was noted, and everything was there.
was_there() { [ ! -e "$directory/before" ] || grep -qxF "$1" "$directory/before"; }
bounded() { timeout -k 5 120 "$@" </dev/null 9>&-; }

# Notes a step that failed, with the end of what it said; the next ones are done all the same.
try() {
  printf '== %s\n' "$1" >>"$work/log"
  name=$1
  shift
  if ! "$@" >>"$work/log" 2>"$work/stderr"; then
    { printf '%s:\n' "$name"; tail -n 5 "$work/stderr" | tail -c 600; echo; } >>"$work/dirty"
  fi
  cat "$work/stderr" >>"$work/log" 2>/dev/null
}

# What was told to end may need a moment for it.
patiently() { "$@" || { sleep 2 && "$@"; } || { sleep 5 && "$@"; }; }

quietly() { "$@" >>"$work/log" 2>&1; }

kubelets() {
  for process in /proc/[0-9]*; do
    case $(cat "$process/comm" 2>/dev/null) in
      kubelet | k3s-agent) printf '%s ' "${process#/proc/}" ;;
    esac
  done
}

stop_kubelet() {
  if [ -n "$systemd" ]; then
    for unit in kubelet k3s-agent; do quietly bounded systemctl disable --now "$unit"; done
  fi
  waited=0
  while [ -n "$(kubelets)" ] && [ "$waited" -lt 20 ]; do
    [ "$waited" -lt 10 ] || kill -KILL $(kubelets) 2>/dev/null
    sleep 1
    waited=$((waited + 1))
  done
  [ -z "$(kubelets)" ]
}

# Units that were brought do not outlive their files.
stop_units() {
  failed=0
  for record in "$directory"/undo/*.path; do
    [ -e "$record" ] && [ ! -e "${record%.path}.saved" ] || continue
    path=$(cat "$record")
    case $path in
      /etc/systemd/system/*/*) ;;
      /etc/systemd/system/*.*)
        [ -e "$path" ] || continue
        bounded systemctl disable --now "${path##*/}" || failed=1
        ;;
    esac
  done
  return "$failed"
}

stop_pods() {
  if have crictl && quietly bounded crictl info; then
    bounded crictl rmp --all --force
  elif have ctr && quietly bounded ctr version; then
    for task in $(ctr --namespace k8s.io tasks list --quiet); do
      bounded ctr --namespace k8s.io tasks kill --signal SIGKILL --all "$task"
      bounded ctr --namespace k8s.io tasks delete --force "$task"
    done
    for container in $(ctr --namespace k8s.io containers list --quiet); do
      bounded ctr --namespace k8s.io containers delete "$container" || return 1
    done
  fi
}

reset_k3s() {
  for folder in /usr/local/bin /opt/bin; do
    if [ -x "$folder/k3s-killall.sh" ]; then bounded "$folder/k3s-killall.sh" || return 1; fi
    # Brought by our commands, it goes; the host's own stays.
    if [ -x "$folder/k3s-agent-uninstall.sh" ] && ! was_there "$folder/k3s-agent-uninstall.sh"; then
      bounded "$folder/k3s-agent-uninstall.sh" || return 1
    fi
  done
  rm -rf /var/lib/rancher/k3s/agent /etc/rancher/node
}

unmount_pods() {
  # Deepest first. The kernel writes blanks in mount points as \040.
  cut -d ' ' -f 2 /proc/mounts | grep '^/var/lib/kubelet/' | sort -r >"$work/mounts"
  while IFS= read -r encoded; do
    umount "$(printf '%b' "$encoded")" || return 1
  done <"$work/mounts"
}

remove_kubelet_state() {
  # The directory may be a mount point of the host's own; what else is mounted below it is not ours to empty.
  if [ -d /var/lib/kubelet ]; then
    find /var/lib/kubelet -xdev -mindepth 1 -maxdepth 1 -exec rm -rf --one-file-system {} + || return 1
  fi
  rm -f /etc/kubernetes/kubelet.conf /etc/kubernetes/bootstrap-kubelet.conf
  # A kubeadm join that ended early has left it, and the next one would not begin.
  was_there /etc/kubernetes/pki/ca.crt || rm -f /etc/kubernetes/pki/ca.crt
}

# The join configuration puts a class's CAs, by these names, where the distribution looks for such.
remove_trust() {
  found=''
  for file in /usr/local/share/ca-certificates/nodeset-*.crt /etc/pki/ca-trust/source/anchors/nodeset-*.crt \
    /etc/pki/trust/anchors/nodeset-*.crt /etc/ssl/certs/nodeset-*.pem; do
    # Links in /etc/ssl/certs are the tool's own.
    if [ -f "$file" ] && [ ! -L "$file" ]; then found=yes && rm -f "$file" || return 1; fi
  done
  [ -n "$found" ] || return 0
  if have update-ca-trust; then bounded update-ca-trust; else bounded update-ca-certificates --fresh; fi
}

remove_network() {
  rm -rf /var/lib/cni /run/flannel /var/run/calico
  for file in /etc/cni/net.d/*; do
    [ ! -e "$file" ] || was_there "$file" || rm -rf "$file" || return 1
  done
  have ip || return 0
  for link in /sys/class/net/*; do
    was_there "$link" && continue
    case ${link##*/} in
      cni* | flannel* | veth* | cali* | vxlan.calico | cilium* | lxc* | weave | kube-ipvs0 | kube-bridge | nodelocaldns)
        ip link delete "${link##*/}" 2>/dev/null
        ;;
    esac
  done
  # kube-proxy and the network plug-ins mark their rules; all others stay as they are.
  for tables in iptables ip6tables; do
    have "$tables-save" || continue
    "$tables-save" 2>/dev/null | grep -q -e KUBE- -e CNI- -e FLANNEL || continue
    "$tables-save" | grep -v -e KUBE- -e CNI- -e FLANNEL | "$tables-restore" || return 1
  done
}

# In the reverse order of the writing.
undo_files() {
  failed=0
  for record in $(ls -r "$directory/undo" 2>/dev/null | grep '\.path$'); do
    slot=$directory/undo/${record%.path}
    path=$(cat "$slot.path")
    rm -f "${path%/*}/.nodeset-${record%.path}"
    if [ -e "$slot.saved" ] || [ -L "$slot.saved" ]; then
      new=${path%/*}/.nodeset-undo
      # Again after a break: the copy is still there, and moved into place at one go.
      mkdir -p "${path%/*}" && cp -pP "$slot.saved" "$new" && mv -f "$new" "$path" || failed=1
    else
      rm -f "$path" || failed=1
    fi
    while IFS= read -r made; do rmdir "$made" 2>/dev/null; done <"$slot.directories"
  done
  return "$failed"
}

undo_users() {
  failed=0
  for record in "$directory"/undo/*.user-*; do
    [ -e "$record" ] || continue
    user=${record##*.user-}
    id "$user" >/dev/null 2>&1 || continue
    quietly pkill -KILL -u "$user"
    patiently userdel --remove "$user" || failed=1
    if [ -s "$record" ] && ! getent group "$user" >/dev/null; then
      groupadd --gid "$(cut -d : -f 3 "$record")" "$user" || failed=1
    fi
  done
  return "$failed"
}

undo_hostname() {
  [ ! -e "$directory/undo/hostname" ] || cat "$directory/undo/hostname" >/proc/sys/kernel/hostname
}

# What runs on does so without the settings that were brought for it, such as a proxy.
restart_units() {
  for record in "$directory"/undo/*.path; do
    [ -e "$record" ] || continue
    folder=$(dirname "$(cat "$record")")
    case $folder in
      /etc/systemd/system/kubelet.service.d | /etc/systemd/system/k3s-agent.service.d) ;;
      /etc/systemd/system/*.d) printf '%s\n' "$(basename "$folder" .d)" ;;
    esac
  done | sort -u >"$work/units"
  while IFS= read -r unit; do
    bounded systemctl try-restart --no-block "$unit" || return 1
  done <"$work/units"
}

own_command() {
  umask 022
  timeout -k 10 "$(cat "$work/commands/seconds")" env -i PATH="$PATH" HOME=/root LC_ALL=C.UTF-8 \
    sh -c "$(cat "$1")" </dev/null 9>&-
  code=$?
  umask 077
  return "$code"
}

if ! stop_kubelet; then
  { printf 'stopping the kubelet (processes %s):\n' "$(kubelets)"; tail -n 5 "$work/log"; } >"$work/stuck.new"
  mv "$work/stuck.new" "$work/stuck"
  exit 0
fi
[ -z "$systemd" ] || try 'stopping the units that were brought' stop_units
# kubeadm writes this file when it joins a node.
if have kubeadm && [ -e /var/lib/kubelet/kubeadm-flags.env ]; then
  try 'kubeadm reset' bounded kubeadm reset --force
fi
try 'stopping pods' patiently stop_pods
try 'resetting k3s' reset_k3s
try 'unmounting volumes of pods' patiently unmount_pods
try 'removing the state of the kubelet' remove_kubelet_state
try 'removing trusted certificates' remove_trust
try 'removing what network plug-ins left' remove_network
for command in "$work"/commands/[0-9]*; do
  [ ! -e "$command" ] || try "config.resetCommands[$((1${command##*/} - 10000))]" own_command "$command"
done
try 'removing users' undo_users
try 'restoring files' undo_files
try 'restoring the host name' undo_hostname
if [ -n "$systemd" ]; then
  quietly bounded systemctl daemon-reload
  try 'restarting what was set up anew' restart_units
  quietly bounded systemctl reset-failed
fi
sync -f "$work" 2>/dev/null || sync
: >"$work/finished.new" && mv "$work/finished.new" "$work/finished"
