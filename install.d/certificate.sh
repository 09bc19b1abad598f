# shellcheck shell=bash
# Our own authority and the certificate of --domain: made once, the certificate renewed when it nears its end.

# An authority that can vouch for this domain only, so that trusting it costs a team nothing elsewhere.
make_authority() {
  say "making a certificate authority for $BASE"
  cat >"$TMP/authority.cnf" <<CONFIG
[req]
distinguished_name = name
x509_extensions = authority
prompt = no
[name]
O = ClawLoops
CN = ClawLoops authority for $BASE
[authority]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
nameConstraints = critical, permitted;DNS:$BASE, excluded;IP:0.0.0.0/0.0.0.0, excluded;IP:0:0:0:0:0:0:0:0/0:0:0:0:0:0:0:0
CONFIG
  (umask 077 && openssl ecparam -name prime256v1 -genkey -noout -out "$TMP/ca.key")
  openssl req -x509 -new -config "$TMP/authority.cnf" -key "$TMP/ca.key" -sha256 -days 3650 -out "$TMP/ca.crt"
  mv "$TMP/ca.key" "$DATA/keys/ca.key"
  mv "$TMP/ca.crt" "$DATA/tls/ca.crt"
}

make_certificate() {
  say "making the certificate of $BASE and *.ws.$BASE"
  cat >"$TMP/server.cnf" <<CONFIG
[req]
distinguished_name = name
prompt = no
[name]
CN = ClawLoops server
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = DNS:$BASE, DNS:*.ws.$BASE
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
CONFIG
  (umask 077 && openssl ecparam -name prime256v1 -genkey -noout -out "$TMP/server.key")
  openssl req -new -config "$TMP/server.cnf" -key "$TMP/server.key" -out "$TMP/server.csr"
  # 825 days is the longest that Apple's systems accept.
  openssl x509 -req -in "$TMP/server.csr" -CA "$DATA/tls/ca.crt" -CAkey "$DATA/keys/ca.key" -set_serial "0x$(openssl rand -hex 16)" \
    -sha256 -days 825 -extfile "$TMP/server.cnf" -extensions server -out "$TMP/server.crt" 2>/dev/null
  mv "$TMP/server.key" "$DATA/tls/server.key"
  mv "$TMP/server.crt" "$DATA/tls/server.crt"
}

ensure_certificate() {
  if [[ $SCHEME != https ]]; then return; fi
  if ! openssl x509 -in "$DATA/tls/ca.crt" -noout -subject 2>/dev/null | grep -qF "authority for $BASE"; then make_authority; fi
  if ! openssl x509 -in "$DATA/tls/server.crt" -noout -checkend $((30 * 86400)) >/dev/null 2>&1 ||
    ! openssl verify -CAfile "$DATA/tls/ca.crt" -verify_hostname "x.ws.$BASE" "$DATA/tls/server.crt" >/dev/null 2>&1; then
    make_certificate
  fi
}

check_name() {
  if [[ $SCHEME != https ]]; then return; fi
  local here
  here=$(ip -4 route get 192.0.2.254 2>/dev/null | sed -n 's/.* src \([0-9.]*\).*/\1/p')
  if ! getent ahosts "x.ws.$BASE" >/dev/null || ! getent ahosts "$BASE" >/dev/null; then
    note "x.ws.$BASE does not resolve here yet. Add to your DNS:"
    note "    $BASE.       A  ${here:-ADDRESS OF THIS MACHINE}"
    note "    *.ws.$BASE.  A  ${here:-ADDRESS OF THIS MACHINE}"
  fi
  note "browsers must trust $DATA/tls/ca.crt once; members download it from the sign-in page"
}
