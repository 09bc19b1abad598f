#!/usr/bin/env bash
# Boots the gateway until it is ready and ends it politely, twice: what Node compiled on the way stays in its cache.
set -euo pipefail

echo bake >/run/clawloops/model-token
chmod 600 /run/clawloops/model-token

for round in 1 2; do
  node /opt/openclaw/node_modules/openclaw/dist/index.js gateway >/tmp/gateway.log 2>&1 &
  gateway=$!
  ready=
  for _ in $(seq 180); do
    if curl -fsS http://127.0.0.1:18789/startupz >/tmp/startupz 2>/dev/null && grep -q '{' /tmp/startupz; then
      ready=yes
      break
    fi
    kill -0 "$gateway" 2>/dev/null || break
    sleep 1
  done
  if [ -z "$ready" ]; then
    echo "bake.sh: OpenClaw did not become ready in round $round; its log:" >&2
    tail -n 40 /tmp/gateway.log >&2
    exit 1
  fi
  sleep 5 # late modules (plugins, first timers) belong into the cache too
  kill -TERM "$gateway"
  wait "$gateway" || true
done
du -sh /opt/openclaw-cache
