#!/usr/bin/env bash
# Removes what compose/kind/up.sh made, also if it is half there; run again, it finds nothing.
# (kind's network, which other clusters of yours use as well, stays.)
# shellcheck disable=SC2154 # what common.sh sets
# shellcheck source=/dev/null
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

case ${1:-} in
  -h | --help) sed -n '2,/^# shellcheck/{/^# shellcheck/d;s/^# \{0,1\}//;p;}' "$0"; exit 0 ;;
  '') ;;
  *) die "'$1' is not understood; it takes nothing" ;;
esac
need_docker

removed=0
if has_container "$proxy"; then
  docker rm --force --volumes "$proxy" >/dev/null
  say "removed the proxy ($proxy)"
  removed=1
fi
for cluster in "${clusters[@]}"; do
  node=$(node_of "$cluster")
  there=
  if has_container "$node"; then there=yes; fi
  if command -v kind >/dev/null; then
    if kind get clusters 2>/dev/null | grep -qx "$cluster"; then there=yes; fi
    if [ -n "$there" ]; then
      kind delete cluster --name "$cluster" --kubeconfig "$state/$cluster.kubeconfig" >/dev/null 2>&1 || true
    fi
  fi
  # Where kind is gone, or knew it no longer.
  if has_container "$node"; then docker rm --force --volumes "$node" >/dev/null; fi
  if [ -n "$there" ]; then
    say "removed the cluster $cluster"
    removed=1
  fi
done
if [ -e "$state" ]; then
  rm -rf "$state"
  say "removed $state, with the keys in it"
  removed=1
fi
if [ $removed = 0 ]; then say 'nothing to remove'; fi
