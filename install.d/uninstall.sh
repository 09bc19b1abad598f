# shellcheck shell=bash
# Takes one install away: containers and networks; with --purge also workspaces, data and images that nobody else uses.

uninstall() {
  INSTALL_ID=$(setting CLAWLOOPS_INSTALL_ID)
  [[ -n $INSTALL_ID ]] || die "no ClawLoops has its data in $DATA" "name its folder with --data DIR"
  docker version >/dev/null 2>&1 || die "the Docker daemon does not answer" "start it (systemctl start docker), then run this again"
  local mine=(--filter "label=clawloops.install=$INSTALL_ID") list

  say "removing the containers and networks of install $INSTALL_ID"
  # The control plane first: it would bring its members' runtimes back.
  each_of "docker stop -t 10" "$(docker ps -q "${mine[@]}" --filter label=com.docker.compose.service=clawloops)"
  each_of "docker stop -t 10" "$(docker ps -q "${mine[@]}")"
  each_of "docker rm -f" "$(docker ps -aq "${mine[@]}")"
  each_of "docker network rm" "$(docker network ls -q "${mine[@]}")"
  if [[ $(readlink "$ROOT/.env" 2>/dev/null) == "$DATA/.env" ]]; then rm -f "$ROOT/.env"; fi

  # The guard's two, which hold nothing but its sockets.
  each_of "docker volume rm" "$(docker volume ls -q "${mine[@]}" --filter label=com.docker.compose.volume)"
  list=$(docker volume ls -q "${mine[@]}")
  if [[ -z $PURGE ]]; then
    say "done; $DATA and $(wc -w <<<"$list") workspace volumes stay (./install.sh brings it back, uninstall --purge removes them)"
    return
  fi
  say "removing its $(wc -w <<<"$list") workspace volumes and $DATA"
  each_of "docker volume rm" "$list"
  remove_images
  # Only what we made: a folder that held other things before keeps them.
  local name
  for name in control keys secrets tls authority acme traefik runtimes backups journal imports log ollama parcels postgres vllm .env; do
    rm -rf "${DATA:?}/$name"
  done
  rm -f "$DATA"/clawloops.db* "$DATA/leader.lock" "$DATA/nudge"
  rmdir "$DATA" 2>/dev/null || note "$DATA holds files that are not ours; they stay"
  say "done"
}

# each_of COMMAND IDS: one call for all of them; what is gone meanwhile is no failure.
each_of() {
  if [[ -z $2 ]]; then return; fi
  # shellcheck disable=SC2086
  $1 $2 >/dev/null 2>"$TMP/each.log" || grep -qiE 'no such|not found' "$TMP/each.log" || {
    tail_of each 5
    die "'$1' failed" "mend what the lines above say, then run this again"
  }
}

remove_images() {
  if [[ -n $(docker ps -aq --filter label=clawloops.managed) ]]; then
    note "the images stay: another install on this machine uses them"
    return
  fi
  docker image ls --format '{{.Repository}}:{{.Tag}}' --filter 'reference=clawloops/*' |
    while read -r each; do docker image rm "$each" >/dev/null 2>&1 || note "$each stays: a container uses it"; done
  # What builder stages left behind carries this label and no name.
  docker image prune -f --filter label=org.clawloops.stage >/dev/null
}
