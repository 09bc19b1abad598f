# shellcheck shell=bash
# Where certificates come from: what was chosen, whether that can work, and what Traefik and their keeper are given for it.

PUBLIC_DIRECTORY=https://acme-v02.api.letsencrypt.org/directory

# kept GIVEN KEY DEFAULT: what a flag says, else the settings, else the default.
kept() {
  local value=${1:-$(setting "$2")}
  echo "${value:-$3}"
}

# The choice itself, which settings.sh needs first: SCHEME follows from it.
choose_tls() {
  local given=$TLS
  case $given in
    '' | none | own | acme-http | acme-dns | files) ;;
    *) die "--tls '$given' is no way to have certificates" "give own, acme-http, acme-dns or files" ;;
  esac
  if [[ -z $given && -n $CERTIFICATE$KEY ]]; then given=files; fi
  TLS=$(kept "$given" CLAWLOOPS_TLS none)
  if [[ $BASE == localhost || $BASE == *.localhost ]]; then
    [[ -z $given || $given == none ]] ||
      die "--tls $given needs a name of your own, and this box is $BASE" "give one with --domain, for example --domain claw.example.org"
    TLS=none
  elif [[ $TLS == none ]]; then
    [[ $given != none ]] || die "plain HTTP works only for *.localhost" "leave --tls out, or choose another with it"
    TLS=own
  fi
}

read_tls() {
  EMAIL=$(kept "$EMAIL" CLAWLOOPS_ACME_EMAIL '')
  DIRECTORY=$(kept "$DIRECTORY" CLAWLOOPS_ACME_DIRECTORY "$PUBLIC_DIRECTORY")
  DNS_PROVIDER=$(kept "$DNS_PROVIDER" CLAWLOOPS_ACME_DNS '')
  HOURS=$(kept '' CLAWLOOPS_ACME_HOURS 2160)
  RESOLVERS=$(kept '' CLAWLOOPS_ACME_RESOLVERS '')
  CERTIFICATE=$(kept "$CERTIFICATE" CLAWLOOPS_TLS_CERTIFICATE '')
  KEY=$(kept "$KEY" CLAWLOOPS_TLS_KEY '')
  case $TLS in
    acme-*) read_acme ;;
    files) read_files ;;
  esac
  local each
  for each in certificates files acme; do
    COMPOSE_FILES=$(without "docker-compose.$each.yml" "$COMPOSE_FILES" :)
  done
  case $TLS in
    own) COMPOSE_FILES=$(with docker-compose.certificates.yml "$COMPOSE_FILES" :) ;;
    files) COMPOSE_FILES=$(with docker-compose.files.yml "$(with docker-compose.certificates.yml "$COMPOSE_FILES" :)" :) ;;
    acme-*) COMPOSE_FILES=$(with docker-compose.acme.yml "$COMPOSE_FILES" :) ;;
  esac
}

read_acme() {
  [[ $EMAIL =~ ^[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+$ ]] ||
    die "--tls $TLS needs an address for the authority to write to${EMAIL:+, and $EMAIL is none}" "give one with --email you@example.org"
  [[ $DIRECTORY =~ ^https://[A-Za-z0-9.:/_-]+$ ]] ||
    die "--acme-directory '$DIRECTORY' is not the https address of an ACME directory" "leave it out for Let's Encrypt"
  [[ $HOURS =~ ^[1-9][0-9]{0,4}$ ]] || die "CLAWLOOPS_ACME_HOURS='$HOURS' is not a number of hours" "set 2160, or leave it out"
  [[ $RESOLVERS =~ ^([A-Za-z0-9.-]+:[0-9]+(,[A-Za-z0-9.-]+:[0-9]+)*)?$ ]] ||
    die "CLAWLOOPS_ACME_RESOLVERS='$RESOLVERS' is not a list of ADDRESS:PORT" "set for example 1.1.1.1:53,9.9.9.9:53"
  if [[ -n $ACME_CA ]]; then
    grep -qs 'BEGIN CERTIFICATE' "$ACME_CA" || die "--acme-ca '$ACME_CA' is not a file with a certificate in PEM form" \
      "give the certificate that the ACME server's own address is signed with"
  fi
  if [[ $TLS == acme-dns ]]; then read_provider; fi
}

read_provider() {
  [[ $DNS_PROVIDER =~ ^[a-z0-9]+$ ]] || die "--tls acme-dns needs the name of your DNS provider${DNS_PROVIDER:+, and $DNS_PROVIDER is none}" \
    "give it with --dns-provider, as go-acme.github.io/lego/dns lists them: cloudflare, rfc2136 …"
  case $DNS_PROVIDER in
    exec | manual) die "the DNS provider '$DNS_PROVIDER' is not supported: nothing may run a program or wait for a person in there" \
      "use your provider's own name, or rfc2136, or httpreq" ;;
  esac
  if [[ -z $DNS_CREDENTIALS ]]; then
    [[ -s $DATA/acme/dns.env ]] || die "there are no credentials for the DNS provider $DNS_PROVIDER" \
      "write what lego's page of it names, one NAME=value a line, into a file (chmod 600) and give it with --dns-credentials"
    return
  fi
  [[ -r $DNS_CREDENTIALS && -f $DNS_CREDENTIALS ]] || die "--dns-credentials '$DNS_CREDENTIALS' is not a file that can be read" \
    "write NAME=value lines into one and give its path"
  local wrong
  wrong=$(grep -nvE '^(#.*|[[:space:]]*|[A-Z][A-Z0-9_]*=[^"'\'']+)$' "$DNS_CREDENTIALS" | cut -d : -f 1 | paste -sd ' ') || true
  [[ -z $wrong ]] || die "--dns-credentials '$DNS_CREDENTIALS' is not understood in line $wrong" \
    "write each line as NAME=value, with neither 'export' nor quotes"
  grep -qE '^[A-Z]' "$DNS_CREDENTIALS" || die "--dns-credentials '$DNS_CREDENTIALS' holds no credentials" "write NAME=value lines into it"
}

# The folder of given files that their keeper has to see: with the files that links lead to, and no more than needed.
read_files() {
  [[ -n $CERTIFICATE && -n $KEY ]] || die "--tls files needs two files" \
    "give --certificate FILE (this box's certificate and its chain) and --key FILE, in PEM form"
  CERTIFICATE=$(realpath -ms "$CERTIFICATE") KEY=$(realpath -ms "$KEY") # whole, and with links as they are
  local each
  for each in "$CERTIFICATE" "$KEY"; do
    [[ $each =~ ^/[A-Za-z0-9._/@+-]+$ ]] || die "'$each' holds characters other than letters, digits, . _ - @ + and /" "choose a plainer name"
    [[ -f $each && -r $each ]] || die "$each is not a file that can be read" "give the paths of the certificate and of its key"
  done
  TLS_FOLDER=$(dirname "$CERTIFICATE")
  for each in "$KEY" "$(readlink -f "$CERTIFICATE")" "$(readlink -f "$KEY")"; do
    until [[ $TLS_FOLDER == / || $each == "$TLS_FOLDER"/* ]]; do TLS_FOLDER=$(dirname "$TLS_FOLDER"); done
  done
  [[ $TLS_FOLDER == /*/* ]] || die "$CERTIFICATE and $KEY have only $TLS_FOLDER in common, which is too much to show to a container" \
    "put both into one folder of their own, for example /etc/clawloops/tls"
}

# Before anything is changed: whatever browsers would refuse is refused here. The keeper of certificates looks again at
# each renewal (clawloops/certificates/pair.py).
check_certificate() {
  if [[ $TLS != files ]]; then return; fi
  local each name
  openssl x509 -in "$CERTIFICATE" -noout 2>/dev/null || die "$CERTIFICATE holds no certificate in PEM form" \
    "give the file that begins with this box's certificate, its chain after it (fullchain.pem)"
  openssl pkey -in "$KEY" -passin pass: -noout 2>/dev/null || die "$KEY holds no private key in PEM form, or one with a password" \
    "give the key without a password (privkey.pem)"
  [[ $(openssl x509 -in "$CERTIFICATE" -noout -pubkey) == "$(openssl pkey -in "$KEY" -passin pass: -pubout 2>/dev/null)" ]] ||
    die "$KEY is not the key of $CERTIFICATE" "give the two that belong together; this box's certificate comes first in its file"
  openssl x509 -in "$CERTIFICATE" -noout -checkend 0 >/dev/null || die "$CERTIFICATE has ended ($(ends_at))" "renew it"
  for each in "$BASE" "x.ws.$BASE"; do
    name=${each/#x./\*.}
    if [[ $(openssl x509 -in "$CERTIFICATE" -noout -checkhost "$each") != *"does match"* ]]; then
      die "$CERTIFICATE is not for $name" "get one for $BASE and *.ws.$BASE, or let ClawLoops see to it (--tls own, acme-dns or acme-http)"
    fi
  done
}

ends_at() { openssl x509 -in "$CERTIFICATE" -noout -enddate | cut -d = -f 2; }

make_tls() {
  if [[ -e $DATA/keys/ca.key ]]; then mv "$DATA/keys/ca.key" "$DATA/authority/ca.key"; fi # where the control plane could read it
  rm -f "$DATA/tls/server.key" "$DATA/tls/server.crt"
  case $TLS in
    own | files) return ;;
  esac
  # First of all their keeper: it would put them there again, and what is covered already Traefik does not ask for.
  docker ps -aq --filter "label=clawloops.install=${INSTALL_ID:-none}" --filter label=com.docker.compose.service=certificates |
    xargs -r docker rm -f >/dev/null
  rm -f "$DATA/traefik/dynamic/certificate.yml" "$DATA/tls/problem"
  if [[ -n $DNS_CREDENTIALS ]]; then keep_private "$DNS_CREDENTIALS" "$DATA/acme/dns.env"; fi
  if [[ -n $ACME_CA ]]; then keep_private "$ACME_CA" "$DATA/acme/ca.pem"; fi
  if [[ $DIRECTORY == "$PUBLIC_DIRECTORY" ]]; then rm -f "$DATA/acme/ca.pem"; fi
}

keep_private() { (umask 077 && cp "$1" "$2.new") && mv "$2.new" "$2"; }

# What makes a new Traefik necessary: it reads these only when it starts.
traefik_stamp() {
  {
    cat "$ROOT/traefik/traefik.yml" "$ROOT/traefik/run.sh"
    echo "$TLS $HTTPS_PORT"
    if [[ $TLS == acme-* ]]; then
      echo "$EMAIL $DIRECTORY $DNS_PROVIDER $HOURS $RESOLVERS"
      cat "$DATA/acme/dns.env" "$DATA/acme/ca.pem" 2>/dev/null || true
    fi
  } | sha256sum | cut -c 1-12
}

write_tls_settings() {
  set_value CLAWLOOPS_TLS "$TLS"
  set_value CLAWLOOPS_ACME_EMAIL "$EMAIL"
  set_value CLAWLOOPS_ACME_DIRECTORY "$DIRECTORY"
  set_value CLAWLOOPS_ACME_DNS "$DNS_PROVIDER"
  set_value CLAWLOOPS_ACME_HOURS "$HOURS"
  set_value CLAWLOOPS_ACME_RESOLVERS "$RESOLVERS"
  set_value CLAWLOOPS_TLS_CERTIFICATE "$CERTIFICATE"
  set_value CLAWLOOPS_TLS_KEY "$KEY"
  set_value CLAWLOOPS_TLS_FOLDER "$TLS_FOLDER"
  set_value CLAWLOOPS_TRAEFIK_CONFIG "$(traefik_stamp)"
}

# What to do so that browsers find this box, and trust it.
tell_tls() {
  if [[ $TLS == none ]]; then return; fi
  local here
  here=$(ip -4 route get 192.0.2.254 2>/dev/null | sed -n 's/.* src \([0-9.]*\).*/\1/p')
  if ! getent ahosts "x.ws.$BASE" >/dev/null || ! getent ahosts "$BASE" >/dev/null; then
    note "x.ws.$BASE does not resolve here yet. Add to your DNS:"
    note "    $BASE.       A  ${here:-ADDRESS OF THIS MACHINE}"
    note "    *.ws.$BASE.  A  ${here:-ADDRESS OF THIS MACHINE}"
  fi
  case $TLS in
    own)
      note "browsers must trust this box's authority once: $URL/trust says how, for each system. Its fingerprint, to compare:"
      note "    $(openssl x509 -in "$DATA/tls/ca.crt" -noout -fingerprint -sha256 | cut -d = -f 2)"
      ;;
    acme-*)
      if [[ $TLS == acme-http && $HTTP_PORT != 80 ]]; then
        note "the authority comes to port 80 of $BASE: let your router lead that to port $HTTP_PORT here"
      fi
      await_certificate
      ;;
    files) await_certificate ;;
  esac
}

await_certificate() {
  local until=$((SECONDS + 90))
  say "waiting for the certificate of $BASE"
  until openssl s_client -connect "127.0.0.1:$PORT" -servername "$BASE" </dev/null 2>/dev/null |
    openssl x509 -noout -checkhost "$BASE" 2>/dev/null | grep -q 'does match'; do
    if ((SECONDS >= until)) || [[ -s $DATA/tls/problem ]]; then
      note "there is no certificate for $BASE yet, and browsers will warn. It is tried again by itself, within minutes."
      if [[ -s $DATA/tls/problem ]]; then note "    $(sed 's/.*error="//' "$DATA/tls/problem" | cut -c 1-700)"; fi
      note "    docker exec clawloops-$INSTALL_ID-clawloops clawloops doctor  says how it stands"
      return
    fi
    sleep 1
  done
}
