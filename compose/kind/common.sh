# What up.sh and down.sh share.
# shellcheck shell=bash disable=SC2034 # for the scripts that source this
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
state=$here/.state
clusters=(kpp-first kpp-second)
proxy=kpp-kind-proxy
image=${KUBE_PEER_PROXY_IMAGE:-kube-peer-proxy}

say() { printf '%s\n' "$*"; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }
node_of() { printf '%s-control-plane\n' "$1"; } # CLUSTER

need_docker() {
  command -v docker >/dev/null || die 'there is no docker command: install Docker first'
  local fault
  if ! fault=$(docker version --format '{{.Server.Version}}' 2>&1); then
    case $fault in
      *'permission denied'*) die "you may not talk to Docker: join its group (sudo usermod -aG docker $(id -un)), log in again, and try once more" ;;
      *) die "Docker does not answer; is it running? It says: $fault" ;;
    esac
  fi
}
has_container() { docker container inspect "$1" >/dev/null 2>&1; } # NAME
is_running() { [ "$(docker container inspect --format '{{.State.Running}}' "$1" 2>/dev/null)" = true ]; } # NAME
