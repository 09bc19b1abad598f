#!/usr/bin/env bash
# Installs ClawLoops on this machine, or brings an installed one up to date with this checkout.
#
#   ./install.sh [options]              install or update; running it again changes nothing that is already right
#   ./install.sh images [options]       only get the images (pull or build) and print their names as KEY=VALUE
#   ./install.sh uninstall [--purge]    remove containers and networks; --purge also removes workspaces, data and images
#
#   --data DIR          where everything but workspaces lives            (default /var/lib/clawloops)
#   --domain NAME       serve a team over HTTPS at NAME and *.ws.NAME
#                       (default clawloops.localhost: plain HTTP, this machine only)
#   --tls MODE          where the certificates come from: own (an authority of this box's own; the default),
#                       acme-http (Let's Encrypt, one for each host), acme-dns (Let's Encrypt, one wildcard) or files
#   --email ADDRESS     for acme-*: whom the authority writes to
#   --acme-directory URL, --acme-ca FILE      for acme-*: another authority than Let's Encrypt, and what signed its address
#   --dns-provider NAME, --dns-credentials FILE   for acme-dns: lego's name of your DNS provider, and NAME=value lines
#   --certificate FILE, --key FILE            for files: certificate with its chain, and key; renewed ones are noticed
#   --http-port PORT    port of the dashboard; redirects to HTTPS with --domain     (default 80)
#   --https-port PORT   port of the dashboard with --domain                         (default 443)
#   --registry HOST     pull the official images from this registry or mirror instead of Docker Hub
#   --build             build every image from packages, even where a container registry answers
#   --without-ollama    leave the bundled Ollama out
#   --help              this text
#
# A flag given again on a later run changes what it names and nothing else. Everything can also be set in DATA/.env;
# PostgreSQL, GPU and vLLM are chosen there (README.md).
set -Eeuo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
COMMAND=install
DATA=/var/lib/clawloops
TLS='' EMAIL='' DIRECTORY='' ACME_CA='' DNS_PROVIDER='' DNS_CREDENTIALS='' CERTIFICATE='' KEY='' TLS_FOLDER=''
DOMAIN='' REGISTRY='' HTTP_PORT='' HTTPS_PORT='' BUILD='' PURGE='' WITHOUT_OLLAMA=''

# What this shell happens to have set must not override the settings file.
unset "${!CLAWLOOPS_@}" "${!COMPOSE_@}"
umask 022

# shellcheck source=install.d/say.sh
. "$ROOT/install.d/say.sh"
# shellcheck source=install.d/settings.sh
. "$ROOT/install.d/settings.sh"
# shellcheck source=install.d/checks.sh
. "$ROOT/install.d/checks.sh"
# shellcheck source=install.d/docker.sh
. "$ROOT/install.d/docker.sh"
# shellcheck source=install.d/images.sh
. "$ROOT/install.d/images.sh"
# shellcheck source=install.d/tls.sh
. "$ROOT/install.d/tls.sh"
# shellcheck source=install.d/start.sh
. "$ROOT/install.d/start.sh"
# shellcheck source=install.d/uninstall.sh
. "$ROOT/install.d/uninstall.sh"

read_arguments() {
  while (($#)); do
    case $1 in
      --data | --domain | --http-port | --https-port | --registry | --tls | --email | --acme-directory | --acme-ca | \
        --dns-provider | --dns-credentials | --certificate | --key)
        (($# > 1)) || die "$1 needs a value" "./install.sh --help lists the options"
        case $1 in
          --data) DATA=$2 ;;
          --domain) DOMAIN=$2 ;;
          --http-port) HTTP_PORT=$2 ;;
          --https-port) HTTPS_PORT=$2 ;;
          --registry) REGISTRY=${2%/} ;;
          --tls) TLS=$2 ;;
          --email) EMAIL=$2 ;;
          --acme-directory) DIRECTORY=$2 ;;
          --acme-ca) ACME_CA=$2 ;;
          --dns-provider) DNS_PROVIDER=$2 ;;
          --dns-credentials) DNS_CREDENTIALS=$2 ;;
          --certificate) CERTIFICATE=$2 ;;
          --key) KEY=$2 ;;
        esac
        shift
        ;;
      --build) BUILD=yes ;;
      --without-ollama) WITHOUT_OLLAMA=yes ;;
      --purge) PURGE=yes ;;
      images | uninstall) COMMAND=$1 ;;
      -h | --help)
        sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
        exit 0
        ;;
      *) die "unknown option or command '$1'" "./install.sh --help lists them" ;;
    esac
    shift
  done
  [[ -z $PURGE || $COMMAND == uninstall ]] || die "--purge belongs to uninstall" "run ./install.sh uninstall --purge"
  [[ $DATA == /* ]] || DATA=$PWD/$DATA
  # Compose and .env read these characters as their own.
  [[ $DATA =~ ^/[A-Za-z0-9._/-]+$ ]] || die "--data '$DATA' holds characters other than letters, digits, . _ - and /" \
    "choose a plainer folder"
  DATA=${DATA%/}
}

set_up() {
  read_settings
  check_machine
  take_lock
  announce_plan
  ensure_tools
  check_certificate
  ensure_docker
  choose_subnets
  get_images
  make_data
  make_tls
  write_settings
  render_traefik
  start_services
  wait_until_healthy
  greet
}

read_arguments "$@"
need_root
TMP=$(mktemp -d)
trap 'rm -rf "$TMP"' EXIT
trap '((BASH_SUBSHELL)) || die "\`$BASH_COMMAND\` failed (${BASH_SOURCE[0]##*/}, line $LINENO)" "mend what it reports above, then run this again"' ERR
# shellcheck source=images/versions.env
. "$ROOT/images/versions.env"

case $COMMAND in
  install) set_up ;;
  images)
    exec 3>&1 1>&2
    take_lock
    read_settings
    check_space
    ensure_tools
    ensure_docker
    get_images
    print_images >&3
    ;;
  uninstall)
    take_lock
    uninstall
    ;;
esac
