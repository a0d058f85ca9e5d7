# What the driver runs on a host, as root, for each of its calls. Kept by nobody: it comes with the call.
#
#   look [TOKEN]                       what the host is, and what it knows of TOKEN; changes nothing
#   note TOKEN HOST                    remember that TOKEN is about to be tried on HOST (see placement.py)
#   shut TOKEN                         TOKEN's machine is to go: no more notes of it are taken; what is known of it
#   close TOKEN                        TOKEN's machine is gone: no notes of it are needed, and none are taken any more
#   claim TOKEN CLUSTER MACHINE HOST   claim the host, called HOST, with what was uploaded, and start applying it
#   resume TOKEN                       go on where a reboot or a kill ended the applying
#   fence TOKEN                        this host is TOKEN's, or will never be
#   reset TOKEN CLUSTER                start the reset, or say how far it is; the claim goes when it is done
#   diagnose TOKEN                     the ends of the logs
#   facts                              cores, memory, disk, architecture
#
# Answers: a line "nodeset 1", headers "name=value", an empty line, text. Exit status 0 whenever there is an answer.
# All arguments are plain words, checked by the driver. POSIX sh, with flock, tar, setsid and timeout.
#
# /var/lib/nodeset-provider
#   claim               whose the host is. A hard link made at one go: it exists whole or not at all, and only once
#   machines/TOKEN/     what is applied and how far it is (run.sh), how it is undone (reset.sh)
#   notes/TOKEN         hosts that TOKEN was to be tried on, of which this host is a witness
#   closed/TOKEN        TOKEN's machine, on whatever host, is gone or to go
#   refused/TOKEN       TOKEN can never claim this host
#   quarantine          why nobody may claim this host until a person has removed this file
#   incoming/           uploads that have not become a claim
set -u
umask 077
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL
base=/var/lib/nodeset-provider
here=${NODESET_UPLOAD:-}

say() { printf '%s=%s\n' "$1" "$2"; }
answer() { printf 'nodeset 1\n'; say result "$1"; }
fail() {
  left=$(df -Pk "$base" 2>/dev/null | sed -n '2s/  */ /gp' | cut -d ' ' -f 4)
  [ "${left:-1000}" -ge 64 ] || printf 'nodeset: the disk is full\n' >&2
  printf 'nodeset: %s\n' "$1" >&2
  exit 70
}
settle() { sync -f "$base" 2>/dev/null || sync; }

lock() {
  mkdir -p "$base" || exit 70
  exec 9>"$base/lock"
  flock -w 15 9 || fail "$base/lock is held by another call for more than 15 s"
}

read_claim() {
  token='' cluster='' machine='' created='' called=''
  [ -f "$base/claim" ] || return 0
  while IFS='=' read -r name value; do
    case $name in
      token) token=$value ;;
      cluster) cluster=$value ;;
      machine) machine=$value ;;
      created) created=$value ;;
      host) called=$value ;;
    esac
  done <"$base/claim"
  directory=$base/machines/$token
}

# Whether nothing holds that lock file. Waits $2 seconds for it.
unlocked() { flock -w "${2:-0}" "$1" true 2>/dev/null; }

# Runs beside us and after us; it does not matter to it that a connection ends.
detach() {
  if [ -d /run/systemd/system ] && systemd-run --quiet --collect --no-block -p KillMode=process -p TasksMax=infinity \
    --unit="nodeset-$1-$token" /bin/sh "$2" "$directory" </dev/null >/dev/null 2>&1 9>&-; then
    return 0
  fi
  setsid /bin/sh "$2" "$directory" </dev/null >/dev/null 2>&1 9>&- &
}

progress() {
  if [ -e "$directory/reset" ]; then
    echo resetting
  elif [ -e "$directory/finished" ]; then
    echo finished
  elif [ -e "$directory/failed" ]; then
    echo failed
  elif unlocked "$directory/run.lock"; then
    echo interrupted
  else
    echo applying
  fi
}

# The source address of the default route is what kubelet takes for its InternalIP.
source_address() {
  previous=''
  for word in $(ip "$1" route get "$2" 2>/dev/null); do
    [ "$previous" != src ] || {
      say address "$word"
      return
    }
    previous=$word
  done
}

look() {
  read_claim
  answer "${2:-ok}"
  if [ -e "$base/quarantine" ]; then
    say quarantine "$(tr '\n' ' ' <"$base/quarantine" | cut -c 1-500)"
  fi
  if [ -n "$1" ]; then
    [ ! -e "$base/refused/$1" ] || say refused yes
    [ ! -e "$base/closed/$1" ] || say closed yes
    [ ! -f "$base/notes/$1" ] || sed 's/^/note=/' "$base/notes/$1"
  fi
  if [ -n "$token" ]; then
    say token "$token"
    say cluster "$cluster"
    say machine "$machine"
    say created "$created"
    say host "$called"
    state=$(progress)
    say state "$state"
    source_address -4 192.0.2.1
    source_address -6 2001:db8::1
    if [ "$state" = failed ]; then
      echo
      cat "$directory/failed"
      # Some programs say on standard output why they fail.
      if [ -s "$directory/stderr" ]; then tail -c 1500 "$directory/stderr"; else tail -c 600 "$directory/log"; fi
    fi
  fi
  return 0
}

# mark FOLDER TOKEN: an empty file. Such marks are of no use once no call of long ago can arrive any more.
mark() {
  mkdir -p "$base/$1" && : >"$base/$1/$2" || fail "cannot write $base/$1/$2"
  find "$base/$1" -type f -mtime +30 -exec rm -f {} + 2>/dev/null
  settle
}

note() {
  lock
  if [ -e "$base/closed/$1" ]; then
    answer closed
    return
  fi
  mkdir -p "$base/notes" || exit 70
  file=$base/notes/$1
  if ! grep -qxF -e "$2" "$file" 2>/dev/null; then
    { cat "$file" 2>/dev/null; printf '%s\n' "$2"; } >"$file.new" && mv "$file.new" "$file" || fail "cannot write $file"
    settle
  fi
  answer ok
}

shut() {
  lock
  mark closed "$1"
  look "$1"
}

close() {
  lock
  mark closed "$1"
  rm -f "$base/notes/$1"
  answer ok
}

start() {
  echo probe >"$directory/probe" || fail "cannot write below $directory"
  [ -e "$directory/finished" ] || [ -e "$directory/failed" ] || [ -e "$directory/stop" ] ||
    ! unlocked "$directory/run.lock" || detach run "$directory/run.sh"
}

claim() {
  lock
  read_claim
  if [ "$token" = "$1" ]; then
    start
    look "$1" yours
    return
  fi
  if [ -n "$token" ] || [ -e "$base/quarantine" ] || [ -e "$base/refused/$1" ]; then
    mark refused "$1"
    look "$1" refused
    return
  fi
  # Nobody's, so whatever lies here is nobody's too.
  rm -rf "$base/machines"
  find "$base/incoming" -mindepth 1 -maxdepth 1 -mmin +60 -exec rm -rf {} + 2>/dev/null
  directory=$base/machines/$1
  mkdir -p "$base/machines" && mv "$here" "$directory" || fail "cannot write $directory"
  printf 'token=%s\ncluster=%s\nmachine=%s\ncreated=%s\nhost=%s\n' "$1" "$2" "$3" "$(date +%s)" "$4" >"$directory/claim" ||
    fail "cannot write $directory/claim"
  settle
  ln "$directory/claim" "$base/claim" || fail "cannot write $base/claim"
  settle
  read_claim
  start
  look "$1" claimed
}

resume() {
  lock
  read_claim
  if [ "$token" = "$1" ]; then start; fi
  look "$1"
}

fence() {
  lock
  read_claim
  if [ "$token" != "$1" ]; then mark refused "$1"; fi
  look "$1"
}

# Ends the applying, whatever it is at.
halt() {
  : >"$directory/stop" || fail "cannot write $directory/stop"
  unlocked "$directory/run.lock" && return
  # Of before a reboot, the number is anybody's by now; what has not written its own yet sees "stop" by itself.
  pid=$(cat "$directory/run.pid" 2>/dev/null) && grep -qF "$directory" "/proc/$pid/cmdline" 2>/dev/null ||
    fail "what is being applied has just begun"
  kill -TERM "$pid" 2>/dev/null
  unlocked "$directory/run.lock" 10 && return
  kill -KILL "$pid" 2>/dev/null
  unlocked "$directory/run.lock" 5 || fail "what is being applied (process $pid) cannot be stopped"
}

reset() {
  lock
  read_claim
  if [ "$token" != "$1" ]; then
    mark refused "$1"
    answer gone
    return
  fi
  if [ "$cluster" != "$2" ]; then
    answer foreign
    return
  fi
  halt
  work=$directory/reset
  mkdir -p "$work" || fail "cannot write $work"
  if [ ! -e "$work/finished" ] && [ ! -e "$work/stuck" ] && unlocked "$work/lock"; then
    rm -rf "$work/commands"
    mv "$here/reset.sh" "$work/reset.sh" && mv "$here/commands" "$work/commands" || fail "cannot write $work"
    detach reset "$work/reset.sh"
    sleep 1
    unlocked "$work/lock" 8
  fi
  if [ -e "$work/stuck" ]; then
    # The next call tries again.
    answer stuck
    echo
    cat "$work/stuck"
    rm -f "$work/stuck"
  elif [ ! -e "$work/finished" ]; then
    answer resetting
  elif [ -s "$work/dirty" ] && [ ! -e "$work/told" ]; then
    { printf 'the reset after machine %s failed\n' "$machine"; cat "$work/dirty"; } >"$base/quarantine.new" &&
      mv "$base/quarantine.new" "$base/quarantine" || fail "cannot write $base/quarantine"
    settle
    # Once: the file may be removed by a person before we are asked again.
    : >"$work/told"
    answer quarantined
    echo
    cat "$work/dirty"
  else
    # The claim last: until then nobody else begins.
    mark refused "$1"
    rm -rf "$directory"
    settle
    rm -f "$base/claim"
    settle
    answer gone
  fi
}

diagnose() {
  read_claim
  answer ok
  echo
  [ "$token" = "$1" ] || return 0
  [ ! -e "$directory/failed" ] || cat "$directory/failed"
  for file in "$directory/reset/log" "$directory/log" "$directory/stderr"; do
    [ -s "$file" ] || continue
    printf -- '-- %s\n' "${file##*/}"
    tail -n 12 "$file" | tail -c 700
    echo
  done
  if command -v journalctl >/dev/null; then
    timeout 5 journalctl --no-pager --quiet --output=cat --unit=kubelet --unit=k3s-agent --lines=20 2>/dev/null |
      tail -c 1200
  fi
  return 0
}

facts() {
  disk=/var/lib/kubelet
  [ -d "$disk" ] || disk=/var/lib
  answer ok
  say cores "$(getconf _NPROCESSORS_ONLN 2>/dev/null || nproc)"
  say memory "$(sed -n 's/^MemTotal: *\([0-9]*\) kB$/\1/p' /proc/meminfo)"
  say disk "$(df -Pk "$disk" | sed -n '2s/  */ /gp' | cut -d ' ' -f 2)"
  say architecture "$(uname -m)"
}

main() {
  # Not the directory alone: a leftover of another user's would be somebody else's to fill.
  if [ -n "$here" ]; then trap 'rm -rf "$here"' EXIT; fi
  # The last of its files: tar takes an end between two files for the end.
  [ -z "$here" ] || [ -e "$here/complete" ] || fail "the upload is not complete"
  if [ "$(id -u)" != 0 ]; then
    printf 'nodeset 1\nresult=not-root\n'
    exit 0
  fi
  for tool in flock tar setsid timeout; do
    command -v "$tool" >/dev/null || {
      printf 'nodeset 1\nresult=lacks\ntool=%s\n' "$tool"
      exit 0
    }
  done
  verb=$1
  shift
  case $verb in
    look | note | shut | close | claim | resume | fence | reset | diagnose | facts) "$verb" "$@" ;;
    *) fail "no such call: $verb" ;;
  esac
}
main "$@"
exit
