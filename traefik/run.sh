#!/bin/sh
# Runs Traefik for as long as its network namespace leads anywhere. When the edge container, which owns the namespace, has
# died, nothing but loopback is left here: Traefik ends, and Docker's restart joins the new one. Plain sh: the official
# image has nothing else.
traefik --configFile=/etc/traefik/traefik.yml &
traefik=$!
trap 'kill "$traefik"' TERM INT
while kill -0 "$traefik" 2>/dev/null; do
  if [ "$(wc -l </proc/net/route)" -lt 2 ]; then
    echo "the edge container is gone: stopping, so that a restart joins the new one" >&2
    kill "$traefik"
    break
  fi
  sleep 2 &
  wait $!
done
wait "$traefik"
