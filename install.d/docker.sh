# shellcheck shell=bash
# Docker Engine and Compose from the distribution where they are missing. A daemon that runs is never reconfigured or restarted.

# packages NAME...: installs those that are missing.
packages() {
  local each missing=()
  for each in "$@"; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$each" 2>/dev/null) == installed ]] || missing+=("$each")
  done
  if ((${#missing[@]} == 0)); then return; fi
  say "installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  if ! logged apt apt_install "${missing[@]}"; then
    tail_of apt
    die "the system's packages ${missing[*]} could not be installed" "apt-get install ${missing[*]}, then run this again"
  fi
}

apt_install() { apt-get update -q && apt-get install -y -q --no-install-recommends "$@"; }

ensure_tools() { packages openssl curl ca-certificates iproute2; }

ensure_docker() {
  if ! docker version >/dev/null 2>&1; then
    if ! command -v dockerd >/dev/null; then packages docker.io iptables; fi
    # Debian 13 keeps the command line tool in a package of its own.
    if ! command -v docker >/dev/null; then packages docker-cli; fi
    start_daemon
  fi
  local engine
  engine=$(docker version -f '{{.Server.Version}}')
  [[ ${engine%%.*} -ge 20 ]] || die "Docker Engine $engine is too old" "update it to 20.10 or newer"
  find_compose
}

find_compose() {
  if docker compose version >/dev/null 2>&1; then
    COMPOSE=(docker compose)
    return
  fi
  if ! command -v docker-compose >/dev/null; then
    if apt-cache show docker-compose-v2 >/dev/null 2>&1; then packages docker-compose-v2; else packages docker-compose; fi
  fi
  if docker compose version >/dev/null 2>&1; then COMPOSE=(docker compose); else COMPOSE=(docker-compose); fi
  "${COMPOSE[@]}" version >/dev/null 2>&1 ||
    die "Docker Compose does not run" "apt-get install --reinstall docker-compose, then run this again"
}

start_daemon() {
  local log=/var/log/dockerd.log fresh='' daemon='' waited
  if docker version >/dev/null 2>&1; then return; fi
  say "starting the Docker daemon"
  if [[ -d /run/systemd/system ]]; then
    log="journalctl -u docker"
    systemctl start docker || die "the Docker daemon does not start" "$log says why; mend that, then run this again"
  else
    [[ -e $log ]] || fresh=yes
    # In a session of its own and without our lock: it outlives the installer.
    setsid dockerd >>"$log" 2>&1 </dev/null 9>&- &
    daemon=$!
  fi
  for ((waited = 0; waited < 60; waited++)); do
    if docker version >/dev/null 2>&1; then return; fi
    if [[ -n $daemon ]] && ! kill -0 "$daemon" 2>/dev/null; then break; fi
    sleep 1
  done
  if [[ -n $daemon ]]; then
    tail -n 8 "$log" | cut -c 1-300 | sed 's/^/    | /' >&2
    if [[ -n $fresh ]]; then rm -f "$log"; fi
    die "the Docker daemon does not start" "run dockerd by hand and mend what it reports, then run this again"
  fi
  die "the Docker daemon does not start" "$log says why; mend that, then run this again"
}

compose() {
  (
    cd "$ROOT" || exit
    COMPOSE_FILE=$(setting COMPOSE_FILE) COMPOSE_PROFILES=$(setting COMPOSE_PROFILES)
    COMPOSE_PROJECT_NAME=$(setting COMPOSE_PROJECT_NAME)
    export COMPOSE_FILE COMPOSE_PROFILES COMPOSE_PROJECT_NAME
    "${COMPOSE[@]}" --env-file "$DATA/.env" "$@"
  )
}
