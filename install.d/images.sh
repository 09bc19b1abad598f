# shellcheck shell=bash
# The images: pulled where they are official and a registry answers, else built from packages. Ours are tagged with a hash of
# what they are made of, so what is there already is not made again.

declare -A IMAGES=()

have() { docker image inspect "$1" >/dev/null 2>&1; }

# official_name REFERENCE: where an official image is pulled from.
official_name() { echo "${REGISTRY:+$REGISTRY/}$1"; }

get_images() {
  choose_base
  ours CLAWLOOPS_IMAGE_EDGE edge
  official CLAWLOOPS_IMAGE_TRAEFIK traefik "traefik:v$TRAEFIK_VERSION"
  ours CLAWLOOPS_IMAGE_CLAWLOOPS clawloops
  ours CLAWLOOPS_IMAGE_LITELLM litellm
  ours CLAWLOOPS_OPENCLAW_IMAGE openclaw
  IMAGES[CLAWLOOPS_IMAGE_OLLAMA]=$(official_name "ollama/ollama:$OLLAMA_VERSION")
  IMAGES[CLAWLOOPS_IMAGE_POSTGRES]=$(official_name "postgres:$POSTGRES_VERSION")
  IMAGES[CLAWLOOPS_IMAGE_VLLM]=$(official_name "vllm/vllm-openai:v$VLLM_VERSION")
  if chosen postgres; then official CLAWLOOPS_IMAGE_POSTGRES postgres "postgres:$POSTGRES_VERSION"; fi
  if chosen ollama; then get_ollama; fi
}

# The optional part whose absence must not fail the install.
get_ollama() {
  if official CLAWLOOPS_IMAGE_OLLAMA ollama "ollama/ollama:$OLLAMA_VERSION"; then
    use_gpu
  else
    PROFILES=$(without ollama "$PROFILES" ,)
    note "Ollama is left out, it cannot be had here ($(reason ollama)): use another model address or a provider key, or set" \
      "COMPOSE_PROFILES=ollama in $DATA/.env and run this again"
  fi
}

use_gpu() {
  if [[ ${COMPOSE_FILES} == *docker-compose.gpu.yml* ]] || ! nvidia-smi -L >/dev/null 2>&1; then return; fi
  if ! docker info -f '{{json .Runtimes}}' | grep -q nvidia; then
    note "an NVIDIA GPU is here, but Docker has no NVIDIA runtime: install the NVIDIA container toolkit, then run this again"
  elif [[ ${IMAGES[CLAWLOOPS_IMAGE_OLLAMA]} == clawloops/* ]]; then
    note "an NVIDIA GPU is here, but an Ollama built from packages has no CUDA: it needs a registry with ollama/ollama"
  else
    COMPOSE_FILES=$(with docker-compose.gpu.yml "$COMPOSE_FILES" :)
    note "Ollama uses the NVIDIA GPU"
  fi
}

chosen() { [[ ,$PROFILES, == *",$1,"* ]]; }

choose_base() {
  local known
  known=$(setting CLAWLOOPS_IMAGE_BASE)
  if [[ -n $known && -z $BUILD ]] && have "$known"; then
    BASE_IMAGE=$known
  elif [[ -z $BUILD ]] && pull "$(official_name "debian:$DEBIAN_SUITE-slim")"; then
    BASE_IMAGE=$(official_name "debian:$DEBIAN_SUITE-slim")
  else
    BASE_IMAGE=clawloops/base:$DEBIAN_SUITE
    if [[ -z $BUILD ]]; then note "no container registry answers: the images are built from packages"; fi
    if ! have "$BASE_IMAGE"; then bootstrap_base; fi
  fi
  IMAGES[CLAWLOOPS_IMAGE_BASE]=$BASE_IMAGE
}

pull() {
  if have "$1"; then return; fi
  say "image $1: pulling"
  logged "pull" timeout "${2:-60}" docker pull -q "$1"
}

# The host's own Debian mirrors as source lines of the suite, security updates included; nothing where this is no Debian,
# because mmdebstrap then knows better ones.
mirrors() {
  # shellcheck source=/dev/null
  . /etc/os-release
  if [[ ${ID:-} != debian ]]; then return; fi
  {
    { cat /etc/apt/sources.list.d/*.sources 2>/dev/null || true; } | sed '/^#/d' | awk -v RS= -v FS='\n' '{
      uri = suites = main = ""
      for (i = 1; i <= NF; i++) {
        split($i, word, " ")
        if (word[1] == "URIs:") uri = word[2]
        if (word[1] == "Suites:") suites = substr($i, 8)
        if ($i ~ /^Components:.* main( |$)/) main = 1
      }
      count = split(suites, suite, " ")
      for (i = 1; main && i <= count; i++) print uri, suite[i]
    }'
    { cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null || true; } |
      sed -n 's/^deb  *\(\[[^]]*\] *\)\{0,1\}//p' | awk '/ main( |$)/ { print $1, $2 }'
  } | awk -v old="$VERSION_CODENAME" -v new="$DEBIAN_SUITE" '
      $2 == old || $2 == old "-updates" || $2 == old "-security" { sub(old, new, $2); print "deb", $1, $2, "main" }' | sort -u
}

bootstrap_base() {
  packages mmdebstrap debian-archive-keyring
  say "image $BASE_IMAGE: bootstrapping Debian $DEBIAN_SUITE"
  local keys=/usr/share/keyrings/debian-archive-keyring.gpg sources=()
  mirrors >"$TMP/sources.list"
  if [[ -s $TMP/sources.list ]]; then sources=("$TMP/sources.list"); fi
  if ! logged base mmdebstrap --variant=minbase --include=ca-certificates --keyring="$keys" \
    --aptopt='Apt::Install-Recommends "false"' "$DEBIAN_SUITE" "$TMP/base.tar" "${sources[@]}" ||
    ! docker import "$TMP/base.tar" "$BASE_IMAGE" >>"$TMP/base.log" 2>&1; then
    tail_of base
    die "the base image could not be made" "check that this host's Debian mirror answers and has $DEBIAN_SUITE, then run this again"
  fi
  rm -f "$TMP/base.tar"
}

# official KEY NAME REFERENCE: the official image where it can be pulled, else ours.
official() {
  local reference
  reference=$(official_name "$3")
  if [[ $BASE_IMAGE != clawloops/* ]] && pull "$reference" 900; then
    IMAGES[$1]=$reference
  else
    ours "$1" "$2"
  fi
}

# ours KEY NAME: builds images/NAME where its hash is not there yet.
ours() {
  local name=$2 context=$TMP/context/$2 tag from=$SECONDS
  mkdir -p "$context"
  cp -r "$ROOT/images/$name/." "$context"
  if [[ $name == clawloops ]]; then
    mkdir "$context/app"
    cp -r "$ROOT/clawloops" "$ROOT/templates" "$context/app"
    find "$context/app" -name __pycache__ -prune -exec rm -rf {} +
  fi
  tag=clawloops/$name:$(contents "$context" "$name")
  if ! have "$tag"; then
    say "image $name: building"
    # Builder stages fetch through whatever authority this host trusts; no final image keeps it.
    cp /etc/ssl/certs/ca-certificates.crt "$context/ca.crt"
    if ! logged "image-$name" build "$context" "$tag"; then
      if [[ $name == ollama ]]; then return 1; fi
      tail_of "image-$name"
      die "the image $name could not be built" "the lines above say why; mend that, then run this again (what is built stays)"
    fi
    docker image prune -f --filter label=org.clawloops.stage=build >/dev/null # gigabytes of compilers
    say "image $name: ready after $((SECONDS - from)) s, $(docker image inspect -f '{{.Size}}' "$tag" | awk '{ printf "%d MB", $1 / 1e6 }')"
  fi
  IMAGES[$1]=$tag
}

# The last thing that a failed build complained about.
reason() { tail -n 20 "$TMP/image-$1.log" | grep -avE '^ *$|returned a non-zero code|^Removing intermediate container' | tail -n 1 | cut -c 1-160; }

# What an image is made of: its folder, its version and its base.
contents() {
  local version=${2^^}_VERSION
  {
    (cd "$1" && find . -type f ! -name ca.crt -print0 | LC_ALL=C sort -z | xargs -0 sha256sum)
    echo "${!version:-} $BASE_IMAGE"
  } | sha256sum | cut -c 1-12
}

build() {
  local each arguments=()
  for each in BASE="$BASE_IMAGE" OLLAMA_VERSION="$OLLAMA_VERSION" POSTGRES_VERSION="$POSTGRES_VERSION" \
    PIP_INDEX_URL="$(pip_index)" npm_config_registry="$(npm_registry)" GOPROXY="${GOPROXY:-}"; do
    if grep -q "^ARG ${each%%=*}\$" "$1/Dockerfile" && [[ -n ${each#*=} ]]; then arguments+=(--build-arg "$each"); fi
  done
  for each in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
    if [[ -n ${!each:-} ]]; then arguments+=(--build-arg "$each"); fi
  done
  # The classic builder is on every Engine. The host's network, because a bridge may have no working resolver.
  DOCKER_BUILDKIT=0 docker build --force-rm --network host "${arguments[@]}" -t "$2" "$1"
}

pip_index() { echo "${PIP_INDEX_URL:-$(pip config get global.index-url 2>/dev/null || true)}"; }

npm_registry() {
  local found=${npm_config_registry:-${NPM_CONFIG_REGISTRY:-$(npm config get registry 2>/dev/null || true)}}
  if [[ $found == http* ]]; then echo "$found"; fi
}

print_images() {
  local key
  for key in "${!IMAGES[@]}"; do
    if have "${IMAGES[$key]}"; then echo "$key=${IMAGES[$key]}"; fi
  done | sort
}
