# shellcheck shell=bash
# How the installer speaks: one line per step with the seconds since the start, one line of what and what next per failure.

# die WHAT NEXT: ends the installer. NEXT is mandatory, so that no failure leaves its reader without a next step.
die() {
  printf '\ninstall.sh: %s\n  Next: %s\n' "$1" "$2" >&2
  exit 1
}

say() { printf '[%4ds] %s\n' "$SECONDS" "$*"; }

note() { printf '        %s\n' "$*"; }

# logged NAME COMMAND...: runs it with its output in a log and a sign of life each 20 s. Returns the command's status;
# the log is $TMP/NAME.log.
logged() {
  local name=$1 log=$TMP/$1.log from=$SECONDS last='' pid status=0
  shift
  "$@" >"$log" 2>&1 </dev/null &
  pid=$!
  while kill -0 "$pid" 2>/dev/null; do
    sleep 0.2
    if ((SECONDS - from >= 20 && (SECONDS - from) % 20 == 0)) && [[ $last != "$SECONDS" ]]; then
      last=$SECONDS
      say "$name: $((SECONDS - from)) s so far; $(tail -n 200 "$log" | tr '\r' '\n' | grep -aE '^(Step |I: |Get:)' | tail -n 1 | cut -c 1-90)"
    fi
  done
  wait "$pid" || status=$?
  return "$status"
}

# The end of a step's log, for a failure's reader.
tail_of() { [[ ! -e $TMP/$1.log ]] || tail -n "${2:-15}" "$TMP/$1.log" | tr '\r' '\n' | cut -c 1-300 | sed 's/^/    | /' >&2; }
