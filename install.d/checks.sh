# shellcheck shell=bash
# What must hold before anything is changed, each with its own refusal.

MEMORY_MIB=3700       # "4 GiB" as the kernel counts it: its own share is already gone
FIRST_BUILD_GIB=10    # images, their builders and the packages they fetch
UPDATE_GIB=2
DATA_GIB=1

need_root() {
  ((EUID == 0)) || die "only root may do this" "run it again with sudo"
}

take_lock() {
  exec 9>/run/lock/clawloops-install.lock
  if flock -n 9; then return; fi
  say "waiting for another install.sh on this machine to end"
  flock -w 1800 9 || die "another install.sh has been at work for 30 minutes" "see what it waits for, then run this again"
}

# above PATH: the nearest folder of it that exists.
above() {
  local path=$1
  while [[ ! -d $path ]]; do path=$(dirname "$path"); done
  echo "$path"
}

# need_space PATH GIB FOR NEXT
need_space() {
  local at free
  at=$(above "$1")
  free=$(($(stat -f -c '%a * %S' "$at") / 1048576))
  ((free >= $2 * 1024)) || die "$3 needs $2 GiB of disk, and $at has $free MiB free" "$4"
}

docker_root() { docker info -f '{{.DockerRootDir}}' 2>/dev/null || echo /var/lib/docker; }

check_space() {
  local need=$FIRST_BUILD_GIB
  if docker image ls -q clawloops/openclaw 2>/dev/null | grep -q .; then need=$UPDATE_GIB; fi
  need_space "$(docker_root)" "$need" "Docker" "free some (docker system df shows what Docker holds), then run this again"
}

check_machine() {
  # shellcheck source=/dev/null
  . /etc/os-release
  case ${ID:-} in
    debian | ubuntu) ;;
    *) die "this is ${PRETTY_NAME:-an unknown system}; ClawLoops installs on Debian 12 or 13 and on Ubuntu" \
      "use one of them, or write .env by hand and start docker-compose.yml" ;;
  esac
  if [[ -e $ROOT/.env && ! -L $ROOT/.env ]]; then
    die "$ROOT/.env is a file of your own, and Compose would read it" "move it away; settings belong in $DATA/.env"
  fi
  case ${DOCKER_HOST:-unix:///var/run/docker.sock} in
    unix:///var/run/docker.sock | unix:///run/docker.sock) ;;
    *) die "DOCKER_HOST points to $DOCKER_HOST, and ClawLoops runs on this machine's own Docker" "unset DOCKER_HOST" ;;
  esac
  need_space "$DATA" "$DATA_GIB" "--data" "free some, or give another folder with --data"
  check_space
  local memory
  memory=$(($(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo) / 1024))
  ((memory >= MEMORY_MIB)) || die "this machine has $memory MiB of memory; ClawLoops needs 4 GiB (each workspace up to 2)" \
    "add memory, or use another machine"
  check_port "$HTTP_PORT" --http-port
  if [[ $SCHEME == https ]]; then check_port "$HTTPS_PORT" --https-port; fi
}

# check_port PORT FLAG: free, or held by our own edge.
check_port() {
  local holders
  holders=$(ss -Hltnp "sport = :$1" | awk -v any="$BIND" '
    { at = $4; sub(/:[0-9]+$/, "", at) }
    any == "0.0.0.0" || at ~ /^(0\.0\.0\.0|127\.0\.0\.1|\*|\[::\]|\[::ffff:127\.0\.0\.1\])$/' || true)
  if [[ -z $holders ]]; then return; fi
  if [[ -n $INSTALL_ID ]] && docker port "clawloops-$INSTALL_ID-edge" 2>/dev/null | grep -q ":$1\$"; then return; fi
  holders=$(sed -n 's/.*users:(("\([^"]*\)",pid=\([0-9]*\).*/ (\1, process \2)/p' <<<"$holders" | head -n 1)
  die "port $1 is taken$holders" "give another one with $2, for example $2 $(($1 < 1024 ? $1 + 8000 : $1 + 1))"
}

announce_plan() {
  say "ClawLoops: dashboard at $URL, data in $DATA"
  if [[ -n $INSTALL_ID ]]; then note "install $INSTALL_ID is there: what this checkout changes is updated, the rest stays"; fi
  if docker version >/dev/null 2>&1; then
    note "the Docker Engine here is used as it is; its configuration and other containers are not touched"
  else
    note "Docker Engine and Compose come from this system's own packages where they are missing"
  fi
  note "images are pulled, or built from packages where no registry answers (a first build takes 10 to 20 minutes)"
}
