#!/bin/sh
# The internal key reaches LiteLLM through a mounted file, so that `docker inspect` never shows it.
set -eu
LITELLM_MASTER_KEY=$(cat /run/secrets/litellm-key)
export LITELLM_MASTER_KEY
exec /opt/litellm/bin/litellm --config /etc/litellm/config.yaml --host 0.0.0.0 --port 4000 --telemetry False
