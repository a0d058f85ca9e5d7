# Applies what was uploaded with a claim, step by step, beside all connections. Started by agent.sh; $1 is its directory.
#
# steps/NNNN/ is data: "kind" and what that kind needs, one value a file, so that nothing is ever read as shell.
# done/NNNN says that a step took effect; nothing that has one is done again. tries/NNNN counts how often a command was
# begun: one that a reboot or a kill broke off in the middle is begun once more, and only once.
# undo/ is what reset.sh needs to put the host back: written before each change.
set -u
umask 077
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL
directory=$1
cd / || exit 70
exec 9>"$directory/run.lock"
flock -w 10 9 || exit 0
child=''

# The value exactly, a newline at its end too.
value() {
  value=$(cat "$1" && printf x) || return 1
  value=${value%x}
}

settle() { sync -f "$directory" 2>/dev/null || sync; }

mark() { : >"$1.new" && mv "$1.new" "$1"; }

halted() {
  [ -z "$child" ] || {
    kill -TERM "$child" 2>/dev/null
    wait "$child"
  }
  exit 0
}
trap halted TERM

# Before a path is written for the first time: what stood there, and which of its directories did not exist.
remember() {
  slot=$directory/undo/$1
  [ ! -e "$slot.path" ] || return 0
  if [ -e "$2" ] || [ -L "$2" ]; then cp -pP "$2" "$slot.saved" || return 1; fi
  : >"$slot.directories"
  parent=${2%/*}
  while [ -n "$parent" ] && [ ! -e "$parent" ]; do
    printf '%s\n' "$parent" >>"$slot.directories"
    parent=${parent%/*}
  done
  printf %s "$2" >"$slot.path.new" && settle && mv "$slot.path.new" "$slot.path"
}

# place SLOT PATH CONTENT OWNER MODE: at one go, and only where no directory is in its place. What already bears the
# new file's name may be a link that somebody made to be followed.
place() {
  [ ! -d "$2" ] || {
    printf '%s is a directory\n' "$2" >&2
    return 1
  }
  remember "$1" "$2" || return 1
  parent=${2%/*}
  (umask 022 && mkdir -p "${parent:-/}") || return 1
  new=$parent/.nodeset-$1
  rm -f "$new"
  cp "$3" "$new" && chown "$4" "$new" && chmod "$5" "$new" && mv -f "$new" "$2" || {
    rm -f "$new"
    return 1
  }
}

apply_file() {
  value "$step/path" && path=$value && value "$step/owner" && owner=$value && value "$step/mode" || return 1
  place "$number" "$path" "$step/content" "$owner" "$value"
}

apply_hostname() {
  [ -e "$directory/undo/hostname" ] || cp /proc/sys/kernel/hostname "$directory/undo/hostname" || return 1
  cat "$step/name" >/proc/sys/kernel/hostname || return 1
  place "$number" /etc/hostname "$step/name" root:root 0644
}

apply_user() {
  value "$step/name" && user=$value && value "$step/shell" && shell=$value || return 1
  if ! id "$user" >/dev/null 2>&1; then
    # A system may have a group of that name already, as Debian has "operator"; userdel takes it along.
    group=$(getent group "$user")
    printf %s "$group" >"$directory/undo/user.new" &&
      mv "$directory/undo/user.new" "$directory/undo/$number.user-$user" && settle || return 1
    if [ -n "$group" ]; then set -- --gid "$user"; else set -- --user-group; fi
    useradd --create-home --shell "$shell" "$@" "$user" || return 1
  fi
  if [ -s "$step/keys" ]; then
    home=$(getent passwd "$user" | cut -d : -f 6) && group=$(id -g "$user") || return 1
    keys=$home/.ssh/authorized_keys
    remember "$number.keys" "$keys" || return 1
    # Of a user who was there before, it may lead anywhere.
    [ ! -L "$home/.ssh" ] || {
      printf '%s is a link\n' "$home/.ssh" >&2
      return 1
    }
    [ -d "$home/.ssh" ] || { mkdir "$home/.ssh" && chown "$user:$group" "$home/.ssh"; } || return 1
    { cat "$directory/undo/$number.keys.saved" 2>/dev/null; cat "$step/keys"; } >"$directory/keys" || return 1
    place "$number.keys" "$keys" "$directory/keys" "$user:$group" 0600 || return 1
  fi
  if [ -s "$step/sudo" ]; then
    place "$number.sudo" "/etc/sudoers.d/90-nodeset-$user" "$step/sudo" root:root 0440 || return 1
  fi
}

apply_command() {
  tries=$(cat "$directory/tries/$number" 2>/dev/null || echo 0)
  [ "$tries" -lt 2 ] || {
    echo 'it was broken off twice by a reboot or a kill and is not begun a third time' >&2
    return 1
  }
  echo $((tries + 1)) >"$directory/tries/$number.new" &&
    mv "$directory/tries/$number.new" "$directory/tries/$number" && settle || return 1
  set --
  for file in "$step"/argv/*; do
    value "$file" || return 1
    set -- "$@" "$value"
  done
  value "$directory/step-seconds" || return 1
  # What it makes is for others too, as at every first boot.
  umask 022
  timeout -k 10 "$value" env -i PATH="$PATH" HOME=/root LC_ALL=C.UTF-8 "$@" </dev/null 9>&- &
  child=$!
  umask 077
  wait "$child"
  code=$?
  child=''
  [ "$code" != 124 ] || printf 'it ran longer than %s s\n' "$value" >&2
  return "$code"
}

[ ! -e "$directory/finished" ] && [ ! -e "$directory/failed" ] && [ ! -e "$directory/stop" ] || exit 0
echo $$ >"$directory/run.pid" && mkdir -p "$directory/done" "$directory/tries" "$directory/undo" || exit 70
# What reset.sh must leave alone because it was there before us.
[ -e "$directory/before" ] || {
  {
    ls -d /etc/cni/net.d/* /etc/kubernetes/pki/ca.crt /usr/local/bin/k3s* /opt/bin/k3s* /sys/class/net/* 2>/dev/null
  } >"$directory/before.new"
  mv "$directory/before.new" "$directory/before"
}

for step in "$directory"/steps/*; do
  number=${step##*/}
  [ ! -e "$directory/done/$number" ] || continue
  [ ! -e "$directory/stop" ] || exit 0
  : >"$directory/stderr"
  kind=$(cat "$step/kind")
  case $kind in
    file | hostname | user | command) "apply_$kind" >>"$directory/log" 2>"$directory/stderr" ;;
    *) false ;;
  esac
  code=$?
  [ ! -e "$directory/stop" ] || exit 0
  if [ "$code" != 0 ]; then
    { cat "$step/title"; printf ' failed with exit code %s\n' "$code"; } >"$directory/failed.new"
    settle
    mv "$directory/failed.new" "$directory/failed"
    settle
    exit 0
  fi
  { [ ! -s "$directory/stderr" ] || cat "$directory/stderr"; } >>"$directory/log"
  # A command may write more than anybody reads.
  if [ "$(wc -c <"$directory/log")" -gt 1000000 ]; then
    tail -c 100000 "$directory/log" >"$directory/log.new" && mv "$directory/log.new" "$directory/log"
  fi
  settle
  mark "$directory/done/$number"
  settle
done
# What was applied may hold a token; how to undo it stays.
rm -rf "$directory/steps" "$directory/keys"
mark "$directory/finished"
settle
