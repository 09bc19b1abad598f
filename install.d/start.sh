# shellcheck shell=bash
# Traefik's configuration, the services, and the wait until a browser would get an answer.

# Marks of the lines in traefik/ that are for some installs only: those of this one.
marks() {
  if [[ $TLS != none ]]; then echo https; fi
  case $TLS in
    acme-http) echo acme http01 ;;
    acme-dns) echo acme dns01 ${RESOLVERS:+resolvers} ;;
  esac
  if [[ $TLS == acme-* && -s $DATA/acme/ca.pem ]]; then echo private; fi
  # Only where every browser trusts the certificates: else it would lock out whoever has not learnt to.
  if [[ $TLS == acme-* && $DIRECTORY == "$PUBLIC_DIRECTORY" ]]; then echo hsts; fi
}

# render TEMPLATE TARGET: fills @NAME@ in, and lines with a mark of this install. Written only when it differs.
render() {
  local address pool each script=() store=${DIRECTORY#https://}
  address=$(setting CLAWLOOPS_EDGE_ADDRESS) pool=$(setting CLAWLOOPS_RUNTIME_POOL)
  for each in $(marks); do script+=(-e "s/^#$each//"); done
  sed "${script[@]}" -e '/^#\(https\|hsts\|acme\|http01\|dns01\|private\|resolvers\)/d' \
    -e "s|@EDGE_ADDRESS@|$address|g; s|@INSTALL_ID@|$INSTALL_ID|g; s|@HTTPS_PORT@|$HTTPS_PORT|g; s|@BASE@|$BASE|g" \
    -e "s|@RUNTIME_POOL@|$pool|g; s|@EMAIL@|$EMAIL|g; s|@DIRECTORY@|$DIRECTORY|g; s|@HOURS@|$HOURS|g" \
    -e "s|@STORE@|${store%%/*}-$TLS|g; s|@PROVIDER@|$DNS_PROVIDER|g; s|@RESOLVERS@|$RESOLVERS|g" \
    -e "s|@ENTRYPOINT@|$([[ $SCHEME == https ]] && echo websecure || echo web)|g" \
    -e "s|@WORKSPACE_HOST@|^[a-z0-9-]+[.]ws[.]${BASE//./[.]}\$|g" "$1" >"$TMP/rendered"
  if ! cmp -s "$TMP/rendered" "$2"; then
    cp "$TMP/rendered" "$2.new" && mv "$2.new" "$2"
  fi
}

render_traefik() {
  render "$ROOT/traefik/traefik.yml" "$DATA/traefik/traefik.yml"
  render "$ROOT/traefik/run.sh" "$DATA/traefik/run.sh"
  render "$ROOT/traefik/dynamic.yml" "$DATA/traefik/dynamic/clawloops.yml"
}

start_services() {
  say "starting the services"
  if ! compose_up; then
    tail_of compose 25
    die "the services did not start" "the lines above say why; mend that, then run this again"
  fi
}

compose_up() {
  logged compose compose up -d --no-build edge || return 1
  drop_stranded_sharers || return 1
  logged compose compose up -d --no-build --remove-orphans || return 1
  drop_services_not_chosen
}

# Compose lets the container of a profile run on after the profile was taken out of the settings.
drop_services_not_chosen() {
  local service
  for service in ollama postgres vllm; do
    if ! chosen "$service"; then
      docker ps -aq --filter "label=clawloops.install=$INSTALL_ID" --filter "label=com.docker.compose.service=$service" |
        xargs -r docker rm -f >/dev/null
    fi
  done
}

# Traefik and the control plane live in edge's namespace. Where edge was made or started anew they sit in a dead one, and
# Compose 1.29 calls that up to date.
drop_stranded_sharers() {
  local edge service sharer
  edge=$(compose ps -q edge 2>/dev/null)
  for service in traefik clawloops; do
    sharer=$(compose ps -q "$service" 2>/dev/null) || true
    if [[ -n $sharer ]] && [[ $(docker inspect -f '{{.HostConfig.NetworkMode}}' "$sharer") != "container:$edge" ||
      $(docker inspect -f '{{.State.StartedAt}}' "$sharer") < $(docker inspect -f '{{.State.StartedAt}}' "$edge") ]]; then
      docker rm -f "$sharer" >/dev/null
    fi
  done
}

# As a browser on this machine would ask, past whatever the resolver says.
ask() {
  local trust=(--insecure) # whose certificate is not there yet; tell_tls waits for it
  if [[ $TLS == own ]]; then trust=(--cacert "$DATA/tls/ca.crt"); fi
  curl --silent --fail --max-time 5 --noproxy '*' "${trust[@]}" --resolve "$BASE:$PORT:127.0.0.1" "$SCHEME://$BASE:$PORT$1"
}

wait_until_healthy() {
  local until=$((SECONDS + 120)) each
  say "waiting for $URL/healthz"
  until ask /healthz >/dev/null; do
    if ((SECONDS >= until)); then
      for each in guard traefik clawloops $([[ $TLS != own && $TLS != files ]] || echo certificates); do
        compose logs --tail=12 "$each" 2>&1 | cut -c 1-300 | sed 's/^/    | /' >&2
      done
      die "ClawLoops does not answer at $URL/healthz after 120 s" \
        "the log lines above say why; docker logs of the containers clawloops-$INSTALL_ID-* has all of them. Then run this again"
    fi
    sleep 0.5
  done
}

greet() {
  local link
  say "ClawLoops is up: $URL"
  tell_tls
  link=$(compose exec -T clawloops clawloops setup-link </dev/null 2>"$TMP/link.log" | tr -d '\r') || {
    tail_of link 5
    die "the set-up link could not be made" "run: docker exec clawloops-$INSTALL_ID-clawloops clawloops setup-link"
  }
  if [[ -n $link ]]; then
    printf '\n  Open this link once to make the first account (run ./install.sh again for a new one):\n\n    %s\n\n' "$link"
  fi
}
