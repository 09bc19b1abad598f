# shellcheck shell=bash
# The settings file DATA/.env: read first, changed on a copy, and put in place by one rename.

# setting KEY: its value in the settings file, empty where there is none.
setting() { [[ ! -e $DATA/.env ]] || sed -n "s/^$1=//p" "$DATA/.env" | tail -n 1; }

# need_value KEY VALUE: writes what is not there yet; never changes what is.
need_value() {
  grep -q "^$1=" "$TMP/env" || printf '%s=%s\n' "$1" "$2" >>"$TMP/env"
}

# set_value KEY VALUE: for what follows from the checkout or was asked for by a flag.
set_value() {
  if grep -q "^$1=" "$TMP/env"; then
    awk -v key="$1" -v value="$2" 'index($0, key "=") == 1 { $0 = key "=" value } { print }' "$TMP/env" >"$TMP/env.new"
    mv "$TMP/env.new" "$TMP/env"
  else
    need_value "$1" "$2"
  fi
}

# with WORD LIST SEPARATOR / without WORD LIST SEPARATOR: a list that holds / does not hold the word.
with() {
  case "$3$2$3" in
    *"$3$1$3"*) echo "$2" ;;
    *) echo "${2:+$2$3}$1" ;;
  esac
}
without() { echo "$2" | tr "$3" '\n' | grep -vxF -- "$1" | paste -sd "$3" || true; }

# need_secret FILE OWNER PREFIX: a random secret, made once and never changed.
need_secret() {
  [[ -s $1 ]] || (umask 077 && printf '%s%s\n' "$3" "$(openssl rand -hex 32)" >"$1.new" && mv "$1.new" "$1")
  chown "$2:$2" "$1"
  chmod 600 "$1"
}

read_settings() {
  INSTALL_ID=$(setting CLAWLOOPS_INSTALL_ID)
  BASE=${DOMAIN:-$(setting CLAWLOOPS_BASE)}
  BASE=${BASE:-clawloops.localhost}
  HTTP_PORT=${HTTP_PORT:-$(setting CLAWLOOPS_HTTP_PORT)}
  HTTP_PORT=${HTTP_PORT:-80}
  HTTPS_PORT=${HTTPS_PORT:-$(setting CLAWLOOPS_HTTPS_PORT)}
  HTTPS_PORT=${HTTPS_PORT:-443}
  PROFILES=$(setting COMPOSE_PROFILES)
  if ! grep -qs '^COMPOSE_PROFILES=' "$DATA/.env"; then PROFILES=ollama; fi
  if [[ -n $WITHOUT_OLLAMA ]]; then PROFILES=$(without ollama "$PROFILES" ,); fi
  COMPOSE_FILES=$(setting COMPOSE_FILE)
  COMPOSE_FILES=${COMPOSE_FILES:-docker-compose.yml}

  REGISTRY=${REGISTRY:-$(setting CLAWLOOPS_REGISTRY)}
  [[ $REGISTRY =~ ^([a-z0-9.-]+(:[0-9]+)?(/[a-z0-9._-]+)*)?$ ]] ||
    die "--registry '$REGISTRY' is not the address of a registry" "give one like mirror.example.org:5000"

  local label='[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?'
  [[ $BASE =~ ^($label\.)*$label$ && ${#BASE} -le 200 ]] ||
    die "--domain '$BASE' is not a host name in lower case" "give one like claw.example.org"
  local port
  for port in "$HTTP_PORT" "$HTTPS_PORT"; do
    if ! [[ $port =~ ^[1-9][0-9]{0,4}$ ]] || ((port > 65535)); then
      die "'$port' is not a port" "give a number from 1 to 65535"
    fi
  done
  choose_tls
  if [[ $TLS == none ]]; then
    # Browsers trust plain HTTP there and keep __Host- cookies; nobody else on the network can reach it.
    SCHEME=http PORT=$HTTP_PORT BIND=127.0.0.1
    COMPOSE_FILES=$(without docker-compose.https.yml "$COMPOSE_FILES" :)
  else
    SCHEME=https PORT=$HTTPS_PORT BIND=0.0.0.0
    COMPOSE_FILES=$(with docker-compose.https.yml "$COMPOSE_FILES" :)
    [[ $HTTP_PORT != "$HTTPS_PORT" ]] || die "HTTP and HTTPS cannot share port $HTTP_PORT" "give another --http-port"
  fi
  read_tls
  URL=$SCHEME://$BASE
  if [[ $SCHEME$PORT != http80 && $SCHEME$PORT != https443 ]]; then URL+=:$PORT; fi
}

# The first /18 of our candidates that meets no route of the host and no Docker network: half of it for members, a /24
# for each network of the appliance.
choose_subnets() {
  SUBNET=$(setting CLAWLOOPS_RUNTIME_POOL)
  if [[ -n $SUBNET ]]; then return; fi
  local taken candidate
  taken=$(
    ip -4 -o route show table all | awk '{ for (i = 1; i <= NF; i++) if ($i ~ /^[0-9.]+\/[0-9]+$/) print $i }'
    docker network ls -q | xargs -r docker network inspect -f '{{range .IPAM.Config}}{{println .Subnet}}{{end}}'
  )
  for candidate in 10.201 10.202 10.203 10.204 10.205 10.206 172.29 172.30; do
    if ! grep -E '^[0-9.]+/[0-9]+$' <<<"$taken" | overlaps "$candidate.0.0/18"; then
      SUBNET=$candidate.0.0/19
      return
    fi
  done
  die "no private /18 is free for ClawLoops' networks (tried 10.201-10.206, 172.29 and 172.30)" \
    "free one of them: ip route and docker network ls show who holds it"
}

# overlaps A/N: does one of the networks on stdin share an address with it?
overlaps() {
  awk -v mine="$1" '
    function low(net, p, o) { split(net, p, "/"); split(p[1], o, "."); return ((o[1] * 256 + o[2]) * 256 + o[3]) * 256 + o[4] }
    function size(net, p) { split(net, p, "/"); return 2 ^ (32 - p[2]) }
    $0 !~ /\/0$/ && low($0) < low(mine) + size(mine) && low(mine) < low($0) + size($0) { found = 1 }
    END { exit !found }'
}

# This box's own addresses but those of bridges for containers: no agent is to reach them through the proxy, and the canary
# tries them. Of public IPv6 the whole networks: there the neighbours' addresses are public, too.
host_addresses() {
  {
    ip -4 -o addr show scope global | awk '$2 !~ /^(docker|br-|veth|virbr|cni|flannel)/ { sub("/.*", "", $4); print $4 }'
    ip -6 -o addr show scope global | awk '$4 ~ /^[23]/ { sub("/.*", "", $4); print $4 }'
    ip -6 route show | awk '$1 ~ /^[23]/ && /proto (kernel|ra)/ && !/ via / { print $1 }'
  } | sort -u | paste -sd , -
}

# The folders, keys and secrets. What is there stays as it is.
make_data() {
  local mode owner name
  install -d -m 0711 "$DATA"
  while read -r name owner mode; do
    install -d -m "$mode" -o "$owner" -g "$owner" "$DATA/$name"
  done <<'FOLDERS'
keys 0 0700
secrets 0 0700
tls 0 0755
traefik 0 0755
traefik/dynamic 0 0755
traefik/dynamic/again 0 0755
authority 0 0700
acme 0 0700
runtimes 0 0711
control 0 0700
log 0 0750
ollama 10003 0750
postgres 999 0700
FOLDERS
  move_control_data
  need_secret "$DATA/keys/master.key" 0 ''
  need_secret "$DATA/secrets/litellm.key" 10002 sk-
  need_secret "$DATA/secrets/postgres.password" 999 ''
}

# Before there was a folder of its own, what the control plane writes lay beside what the other parts are given.
move_control_data() {
  local each
  for each in clawloops.db clawloops.db-wal clawloops.db-shm journal backups imports parcels; do
    if [[ ! -e $DATA/$each ]]; then continue; fi
    if [[ -n $INSTALL_ID ]]; then
      docker ps -q --filter "label=clawloops.install=$INSTALL_ID" --filter label=com.docker.compose.service=clawloops |
        xargs -r docker stop -t 20 >/dev/null
    fi
    mv -n "$DATA/$each" "$DATA/control/"
  done
  rm -f "$DATA/leader.lock" "$DATA/nudge"
}

write_settings() {
  local net=${SUBNET%.*.*} key
  touch "$TMP/env"
  if [[ -f $DATA/.env ]]; then cp "$DATA/.env" "$TMP/env"; fi
  if [[ ! -s $TMP/env ]]; then
    printf '# Settings of this ClawLoops; README.md explains them. After a change: ./install.sh --data %s\n' "$DATA" >"$TMP/env"
  fi
  need_value CLAWLOOPS_INSTALL_ID "$(openssl rand -hex 4)"
  INSTALL_ID=$(sed -n 's/^CLAWLOOPS_INSTALL_ID=//p' "$TMP/env")
  set_value COMPOSE_PROJECT_NAME "clawloops-$INSTALL_ID"
  set_value COMPOSE_FILE "$COMPOSE_FILES"
  set_value COMPOSE_PROFILES "$PROFILES"
  set_value CLAWLOOPS_REGISTRY "$REGISTRY"
  set_value CLAWLOOPS_DATA "$DATA"
  set_value CLAWLOOPS_BASE "$BASE"
  set_value CLAWLOOPS_PORT "$PORT"
  set_value CLAWLOOPS_BIND "$BIND"
  set_value CLAWLOOPS_HTTP_PORT "$HTTP_PORT"
  set_value CLAWLOOPS_HTTPS_PORT "$HTTPS_PORT"
  need_value CLAWLOOPS_RUNTIME_POOL "$SUBNET"
  need_value CLAWLOOPS_SUBNET_FRONT "$net.32.0/24"
  need_value CLAWLOOPS_EDGE_ADDRESS "$net.32.10"
  need_value CLAWLOOPS_SUBNET_LLM "$net.33.0/24"
  need_value CLAWLOOPS_SUBNET_LLMOUT "$net.34.0/24"
  need_value CLAWLOOPS_SUBNET_MODELS "$net.35.0/24"
  need_value CLAWLOOPS_SUBNET_MODELSOUT "$net.36.0/24"
  need_value CLAWLOOPS_SUBNET_DB "$net.37.0/24"
  need_value CLAWLOOPS_OPENCLAW_REPOSITORIES ''
  need_value CLAWLOOPS_DATABASE_URL ''
  need_value CLAWLOOPS_DATABASE_PASSWORD_FILE "$DATA/secrets/postgres.password"
  need_value CLAWLOOPS_LITELLM_URL http://litellm:4000
  need_value CLAWLOOPS_LITELLM_KEY_FILE "$DATA/secrets/litellm.key"
  case ,$PROFILES, in
    *,ollama,*) set_value CLAWLOOPS_OLLAMA_URL http://ollama:11434 ;;
    *) set_value CLAWLOOPS_OLLAMA_URL '' ;;
  esac
  for key in RUNTIME_MEMORY_MB=2048 RUNTIME_CPUS=2 PAUSE_AFTER_MINUTES=15 STOP_AFTER_MINUTES=240 BOOTS_AT_ONCE=0 SANDBOX=runc LOG_LEVEL=info; do
    need_value "CLAWLOOPS_${key%=*}" "${key#*=}"
  done
  set_value CLAWLOOPS_HOST_ADDRESSES "$(host_addresses)"
  for key in "${!IMAGES[@]}"; do set_value "$key" "${IMAGES[$key]}"; done
  write_tls_settings

  if ! cmp -s "$TMP/env" "$DATA/.env"; then
    (umask 077 && cp "$TMP/env" "$DATA/.env.new") && mv "$DATA/.env.new" "$DATA/.env"
    say "wrote $DATA/.env"
  fi
  if [[ ! -e $ROOT/.env ]]; then
    ln -sfn "$DATA/.env" "$ROOT/.env" 2>/dev/null || note "cannot link $ROOT/.env: for Compose by hand, add --env-file $DATA/.env"
  elif [[ $(readlink -f "$ROOT/.env") != "$(readlink -f "$DATA/.env")" ]]; then
    note "$ROOT/.env belongs to another install: for Compose by hand, add --env-file $DATA/.env"
  fi
}
