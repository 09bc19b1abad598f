#!/bin/sh
# Runs Traefik for as long as its network namespace leads anywhere. When the edge container, which owns the namespace, has
# died, nothing but loopback is left here: Traefik ends, and Docker's restart joins the new one. With ACME it also gives
# Traefik the DNS provider's credentials, notes for the dashboard what could not be had, and has it tried again. Plain sh:
# the official image has nothing else.

problem=/tls/problem
again=/etc/traefik/dynamic/again

# The credentials are in the environment of Traefik alone: Docker knows nothing of them.
read_credentials() {
  while IFS= read -r line || [ -n "$line" ]; do
    case $line in [A-Z]*=*) export "${line?}" ;; esac
  done <"$1"
}

# masked LINE: some providers' addresses hold the key, and would be told with a failed call.
masked() {
  text=$1
  while IFS= read -r pair || [ -n "$pair" ]; do
    value=${pair#*=}
    if [ "${#value}" -lt 8 ]; then continue; fi
    while :; do
      case $text in
        *"$value"*) text="${text%%"$value"*}***${text#*"$value"}" ;;
        *) break ;;
      esac
    done
  done <"$credentials"
  printf '%s\n' "$text"
}

# Traefik's log, passed on; the last thing about a certificate stays where the control plane reads it.
follow() {
  while IFS= read -r line; do
    line=$(masked "$line")
    printf '%s\n' "$line"
    case $line in
      *"Unable to obtain ACME certificate"* | *"Error renewing ACME certificate"*)
        printf '%s\n' "$line" | cut -c 1-2000 >"$problem.new" && mv "$problem.new" "$problem"
        ;;
    esac
  done
}

# Traefik asks for a certificate that it could not get only after its configuration has changed.
try_again() {
  if ! grep -q "Error renewing" "$problem"; then rm -f "$problem"; fi # that comes of itself, in its own time
  tries=$((tries + 1))
  printf 'http: {middlewares: {cl-again: {headers: {customResponseHeaders: {X-Try: "%s"}}}}}\n' "$tries" >"$again/again.yml"
  kill -HUP "$traefik"
}

if [ -d /acme ]; then
  credentials=/acme/dns.env
  if [ -s "$credentials" ]; then read_credentials "$credentials"; else credentials=/dev/null; fi
  rm -f "$problem"
  rm -f /tmp/log && mkfifo /tmp/log
  follow </tmp/log &
  traefik --configFile=/etc/traefik/traefik.yml >/tmp/log 2>&1 &
else
  traefik --configFile=/etc/traefik/traefik.yml &
fi
traefik=$!
trap 'kill "$traefik"' TERM INT
tries=0 waited=0 pause=120
while kill -0 "$traefik" 2>/dev/null; do
  if [ "$(wc -l </proc/net/route)" -lt 2 ]; then
    echo "the edge container is gone: stopping, so that a restart joins the new one" >&2
    kill "$traefik"
    break
  fi
  # With growing pauses: an authority counts what fails, for each host and hour.
  if [ -d /acme ] && [ -e "$problem" ]; then
    waited=$((waited + 2))
    if [ "$waited" -ge "$pause" ]; then
      waited=0 pause=$((pause < 450 ? pause * 2 : 900))
      try_again
    fi
  fi
  sleep 2 &
  wait $!
done
wait "$traefik"
