#!/usr/bin/env bash
# Installs ClawLoops on this machine, or brings an installed one up to date with this checkout.
#
#   ./install.sh [options]              install or update; running it again changes nothing that is already right
#   ./install.sh images [options]       only get the images (pull or build) and print their names as KEY=VALUE
#   ./install.sh uninstall [--purge]    remove containers and networks; --purge also removes workspaces, data and images
#
#   --data DIR          where everything but workspaces lives            (default /var/lib/clawloops)
#   --domain NAME       serve a team over HTTPS at NAME and *.ws.NAME, with a certificate of our own authority
#                       (default clawloops.localhost: plain HTTP, this machine only)
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
# shellcheck source=install.d/certificate.sh
. "$ROOT/install.d/certificate.sh"
# shellcheck source=install.d/start.sh
. "$ROOT/install.d/start.sh"
# shellcheck source=install.d/uninstall.sh
. "$ROOT/install.d/uninstall.sh"

read_arguments() {
  while (($#)); do
    case $1 in
      --data | --domain | --http-port | --https-port | --registry)
        (($# > 1)) || die "$1 needs a value" "./install.sh --help lists the options"
        case $1 in
          --data) DATA=$2 ;;
          --domain) DOMAIN=$2 ;;
          --http-port) HTTP_PORT=$2 ;;
          --https-port) HTTPS_PORT=$2 ;;
          --registry) REGISTRY=${2%/} ;;
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
  ensure_docker
  choose_subnets
  get_images
  make_data
  write_settings
  ensure_certificate
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
