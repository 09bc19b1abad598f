#!/usr/bin/env bash
# Makes the cluster at the first start, from the same variables as the official image, then becomes the server.
set -euo pipefail

if [ ! -s "$PGDATA/PG_VERSION" ]; then
  # In a folder of its own, and PG_VERSION last: a start that was cut short begins anew instead of serving half a cluster.
  rm -rf "$PGDATA/new"
  initdb --pgdata="$PGDATA/new" --username="$POSTGRES_USER" --pwfile="$POSTGRES_PASSWORD_FILE" --auth-host=scram-sha-256 --auth-local=trust \
    --encoding=UTF8 --locale=C.UTF-8 --data-checksums
  echo 'host all all all scram-sha-256' >>"$PGDATA/new/pg_hba.conf"
  postgres -D "$PGDATA/new" -c listen_addresses= -c unix_socket_directories=/tmp &
  server=$!
  until pg_isready --quiet --host=/tmp; do sleep 0.2; done
  if [ "${POSTGRES_DB:-$POSTGRES_USER}" != postgres ]; then
    createdb --host=/tmp --username="$POSTGRES_USER" "${POSTGRES_DB:-$POSTGRES_USER}"
  fi
  kill -INT "$server"
  wait "$server"
  find "$PGDATA/new" -mindepth 1 -maxdepth 1 ! -name PG_VERSION -exec mv -t "$PGDATA" {} +
  mv "$PGDATA/new/PG_VERSION" "$PGDATA"
  rmdir "$PGDATA/new"
fi
exec "$@" -D "$PGDATA" -c listen_addresses='*' -c unix_socket_directories=/tmp
