# What the scripts of this folder share. Source it: . "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
#
#   need_docker                            an engine to talk to, or out with a sentence
#   need_kube_apiservers                   what tests/real/fetch makes, or out with a sentence
#   binary_of LIST VERSION                 the program of that version
#   build_proxy_image                      the runtime stage of compose/Dockerfile, under the name that the files use
#   build_image_from_files NAME FILE...    an image FROM scratch of this machine's files and their libraries
#   image_of FILE SERVICE                  the image that a compose file names
#   compose FILE PROJECT ARGS...           docker-compose, with what every call needs
#   wait_until SECONDS COMMAND...          until it succeeds
#   at_exit COMMAND...                     at the end, last come first served
#
# Nothing is pulled: all images are made of this machine's files, under the very names that the compose files use.
# shellcheck shell=bash
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# docker-compose 1.29 by default; KPP_COMPOSE="docker compose" or a path tries another one.
read -ra compose_command <<<"${KPP_COMPOSE:-docker-compose}"

say() { printf '%s\n' "$*"; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }
ok() { printf 'ok  %s\n' "$*"; }

# === the end ===
exit_commands=()
at_exit() { # COMMAND...
  exit_commands+=("$(printf '%q ' "$@")")
}
finish() {
  local code=$? index
  # A second one would cut this short.
  trap '' INT TERM
  set +e
  for ((index = ${#exit_commands[@]} - 1; index >= 0; index--)); do eval "${exit_commands[index]}"; done
  exit "$code"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# A folder that is gone at the end.
temporary_folder() { # VARIABLE
  local made
  made=$(mktemp -d "${TMPDIR:-/tmp}/kpp-compose.XXXXXX")
  at_exit rm -rf "$made"
  printf -v "$1" %s "$made"
}

# === waiting ===
# A condition, looked at four times a second; out with a sentence when the time is over.
wait_until() { # SECONDS COMMAND...
  local deadline=$((SECONDS + $1)) seconds=$1
  shift
  until "$@" >/dev/null 2>&1; do
    if ((SECONDS >= deadline)); then
      say "not within $seconds s: $*" >&2
      return 1
    fi
    sleep 0.25
  done
}

# === the engine ===
# Without an engine these tests are skipped, but never in CI.
no_docker() { # WHY
  if [ "${CI:-}" = true ]; then die "$1"; fi
  say "SKIPPED tests/compose: $1"
  exit 0
}
need_tools() { # COMMAND:PACKAGE...
  local pair missing=()
  for pair in "$@"; do command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}"); done
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "${CI:-}" != true ] || [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    no_docker "install Debian's packages ${missing[*]} and try again"
  fi
  # RUNLEVEL: no service of theirs starts.
  export RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive
  apt-get install -qq -y --no-install-recommends "${missing[@]}" >&2 \
    || { apt-get update -qq >&2 && apt-get install -qq -y --no-install-recommends "${missing[@]}" >&2; }
}
docker_answers() { docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

need_docker() {
  if [ "$(id -u)" != 0 ] && ! docker_answers; then
    no_docker 'needs root, or a user who may talk to a Docker engine (the group docker)'
  fi
  if [ -n "${KPP_COMPOSE:-}" ]; then
    need_tools docker:docker.io
  else
    need_tools docker:docker.io docker-compose:docker-compose
  fi
  if docker_answers; then return; fi
  [ "$(id -u)" = 0 ] || no_docker 'no Docker engine answers, and only root can start one'
  need_tools dockerd:docker.io iptables:iptables
  start_dockerd
}

# An engine of our own, which leaves nothing behind.
start_dockerd() {
  local folder
  temporary_folder folder
  # The socket's path has to be short.
  export DOCKER_HOST=unix://$folder/docker.sock
  setsid dockerd --data-root "$folder/data" --exec-root "$folder/exec" --pidfile "$folder/pid" \
    --host "$DOCKER_HOST" >"$folder/log" 2>&1 </dev/null &
  at_exit stop_dockerd $!
  if ! wait_until 60 docker_answers; then
    tail -n 20 "$folder/log" >&2
    no_docker 'dockerd does not start; its last words are above'
  fi
  say "started a Docker engine of our own: $(docker version --format '{{.Server.Version}}')"
}
stop_dockerd() { # PID
  kill "$1" 2>/dev/null
  wait "$1" 2>/dev/null
}

# === what tests/real/fetch makes ===
need_kube_apiservers() {
  if [ -n "${KPP_KUBE_APISERVERS:-}" ]; then return; fi
  local env_file=${KPP_CACHE:-$HOME/.cache/kube-peer-proxy}/env
  [ -e "$env_file" ] || no_docker 'run tests/real/fetch first: it makes the kube-apiservers'
  # shellcheck source=/dev/null
  . "$env_file"
}
binary_of() { # LIST VERSION
  local entry
  for entry in ${1//,/ }; do
    if [ "${entry%%=*}" = "$2" ]; then printf '%s\n' "${entry#*=}"; return; fi
  done
  die "there is no $2 among $1"
}

# === compose ===
# Every call of a project: compose FILE PROJECT ARGS...
compose() {
  local file=$1 project=$2
  shift 2
  "${compose_command[@]}" --project-name "$project" --file "$root/$file" "$@"
}
# What a file names, variables and their defaults resolved, so that no name is written twice.
image_of() { # FILE SERVICE
  local image
  image=$(COMPOSE_PROFILES='*' "${compose_command[@]}" --file "$root/$1" config | awk -v service="  $2:" '
    /^[^ ]/ { inside = ($0 == "services:") }
    inside && /^  [^ ]/ { here = ($0 == service) }
    inside && here && $1 == "image:" { print $2; exit }')
  [ -n "$image" ] || die "$1 names no image for the service $2"
  printf '%s\n' "$image"
}
# The container of a service, running or not.
container_of() { # FILE PROJECT SERVICE
  docker ps --all --quiet --latest --filter "label=com.docker.compose.project=$2" \
    --filter "label=com.docker.compose.service=$3" --filter label=com.docker.compose.oneoff=False
}
health_of() { # CONTAINER
  docker inspect --format '{{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}}' "$1"
}
is_healthy() { [ "$(health_of "$1")" = healthy ]; } # CONTAINER
# Containers, volumes and networks that a project has.
remains_of() { # PROJECT
  local label=label=com.docker.compose.project=$1
  docker ps --all --quiet --filter "$label"
  docker volume ls --quiet --filter "$label"
  docker network ls --quiet --filter "$label"
}

# === images ===
# The static program: KPP_STATIC_BINARY, or else built here, for musl, whatever C library the machine has.
static_binary() {
  local target
  if [ -n "${KPP_STATIC_BINARY:-}" ]; then
    [ -x "$KPP_STATIC_BINARY" ] || die "KPP_STATIC_BINARY=$KPP_STATIC_BINARY is no program"
    printf '%s\n' "$KPP_STATIC_BINARY"
    return
  fi
  target=$(uname -m)-unknown-linux-musl
  need_tools musl-gcc:musl-tools >&2
  # Says so and does nothing if it is there.
  rustup --quiet target add "$target" >&2
  (cd "$root" && env "CC_${target//-/_}=musl-gcc" cargo build --locked --release --target "$target" \
    --bin kube-peer-proxy) >&2
  printf '%s\n' "${CARGO_TARGET_DIR:-$root/target}/$target/release/kube-peer-proxy"
}
# The classic builder, which comes with the engine; its output is of interest only if it fails.
build() { # ARGS...
  local log
  if ! log=$(DOCKER_BUILDKIT=0 docker build "$@" 2>&1); then
    printf '%s\n' "$log" >&2
    die "docker build $*: failed"
  fi
}
build_proxy_image() { # NAME
  local folder binary
  binary=$(static_binary)
  temporary_folder folder
  if ! strip -o "$folder/kube-peer-proxy" "$binary" 2>/dev/null; then cp "$binary" "$folder/kube-peer-proxy"; fi
  chmod 755 "$folder" "$folder/kube-peer-proxy"
  install -D -m 644 /etc/ssl/certs/ca-certificates.crt "$folder/etc/ssl/certs/ca-certificates.crt"
  build --file "$root/compose/Dockerfile" --target prebuilt --tag "$1" \
    --build-arg COMMIT="$(git -C "$root" rev-parse HEAD 2>/dev/null || true)" "$folder"
  say "built $1"
}

# FILE is a path, or SOURCE:PATH-IN-THE-IMAGE; a program brings its libraries. Options come first:
#   --entrypoint '["/bin/x"]'   --user 65534:65534   --busybox (sh and the usual tools, below /bin)
build_image_from_files() { # NAME [OPTION...] FILE...
  local name=$1 entrypoint='' user='' busybox='' folder file target library
  shift
  while [[ ${1:-} = --* ]]; do
    case $1 in
      --entrypoint) entrypoint=$2; shift 2 ;;
      --user) user=$2; shift 2 ;;
      --busybox) busybox=yes; shift ;;
      *) die "build_image_from_files: what is $1?" ;;
    esac
  done
  temporary_folder folder
  mkdir -p "$folder/files"/{bin,etc,tmp}
  chmod 1777 "$folder/files/tmp"
  for file in "$@"; do
    target=${file#*:}
    file=${file%%:*}
    # -L: what a link leads to, for the link's own target would be missing.
    install -D -m "$(stat -L -c %a "$file")" "$file" "$folder/files$target"
    while read -r library; do
      [ -e "$folder/files$library" ] || install -D -m 755 "$library" "$folder/files$library"
    done < <(ldd "$file" 2>/dev/null | grep -o '/[^ ]*' || true)
  done
  if [ -n "$busybox" ]; then
    need_tools busybox:busybox-static
    install -D -m 755 "$(command -v busybox)" "$folder/files/bin/busybox"
    for file in $(busybox --list); do
      [ -e "$folder/files/bin/$file" ] || ln -s busybox "$folder/files/bin/$file"
    done
  fi
  {
    printf 'FROM scratch\nCOPY files /\nENV PATH=/bin:/usr/bin:/usr/local/bin\n'
    if [ -n "$user" ]; then printf 'USER %s\n' "$user"; fi
    if [ -n "$entrypoint" ]; then printf 'ENTRYPOINT %s\n' "$entrypoint"; fi
  } >"$folder/Dockerfile"
  build --tag "$name" "$folder"
  say "built $name"
}
