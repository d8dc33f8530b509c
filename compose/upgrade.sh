#!/usr/bin/env bash
# Upgrades the control plane of compose/control-plane.yaml server by server, while a client works through HAProxy, and
# says what the client saw. Exit code 1 if anything failed.
#
#   compose/upgrade.sh [VERSION]      v1.36.3, if left out
#
# One that has that version already is left alone, so it may be run again. `docker compose -f
# compose/control-plane.yaml up --detach` brings the older versions back, to see it once more. Takes the same variables
# as the file; KPP_COMPOSE names the command if it is neither `docker compose` nor docker-compose. Where this machine
# has no curl, the client runs in a container (KPP_CURL_IMAGE).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
file=$here/control-plane.yaml
kubeconfig=$here/control-plane/out/kubeconfig
servers=(cp1 cp2 cp3)
image=${KPP_APISERVER_IMAGE:-registry.k8s.io/kube-apiserver}
balancer=https://127.0.0.1:${KPP_BALANCER_PORT:-7443}
apiserver_ports=("${KPP_CP1_PORT:-7461}" "${KPP_CP2_PORT:-7462}" "${KPP_CP3_PORT:-7463}")
sidecar_ports=("${KPP_CP1_SIDECAR_PORT:-7451}" "${KPP_CP2_SIDECAR_PORT:-7452}" "${KPP_CP3_SIDECAR_PORT:-7453}")

say() { printf '%s\n' "$*"; }
die() { printf 'upgrade.sh: %s\n' "$*" >&2; exit 1; }

case ${1:-} in
  -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "$0"; exit 0 ;;
  '' | v[0-9]*.[0-9]*.[0-9]*) target=${1:-v1.36.3} ;;
  *) die "'$1' is no version; one looks like v1.36.3" ;;
esac

# === is everything there? ===
command -v docker >/dev/null || die 'there is no docker command: install Docker first'
if ! fault=$(docker version --format '{{.Server.Version}}' 2>&1); then
  case $fault in
    *'permission denied'*) die "you may not talk to Docker: join its group (sudo usermod -aG docker $(id -un)), log in again, and try once more" ;;
    *) die "Docker does not answer; is it running? It says: $fault" ;;
  esac
fi
if [ -n "${KPP_COMPOSE:-}" ]; then
  read -ra compose_command <<<"$KPP_COMPOSE"
elif docker compose version >/dev/null 2>&1; then
  compose_command=(docker compose)
elif command -v docker-compose >/dev/null; then
  compose_command=(docker-compose)
else
  die "there is neither 'docker compose' nor docker-compose: install Docker's Compose plugin"
fi
compose() { "${compose_command[@]}" -f "$file" "$@"; }
up="${compose_command[*]} -f $file up --detach"
anew="${compose_command[*]} -f $file down --volumes"

# A line for each container: its service, whether it runs, its ID.
containers=
ids=$(compose ps -q 2>/dev/null || true)
if [ -n "$ids" ]; then
  # shellcheck disable=SC2086  # a list
  containers=$(docker inspect --format \
    '{{index .Config.Labels "com.docker.compose.service"}} {{.State.Running}} {{.Id}}' $ids)
fi
missing=()
for service in etcd "${servers[@]}" cp1-sidecar cp2-sidecar cp3-sidecar balancer; do
  grep -q "^$service true " <<<"$containers" || missing+=("$service")
done
[ ${#missing[@]} -lt 8 ] || die "the control plane is not up. First: $up"
[ ${#missing[@]} = 0 ] || die "only a part of the control plane runs; missing: ${missing[*]}.
  To start the rest:      $up
  To begin anew:          $anew
  If a port is taken, that command names it; each is a variable (KPP_BALANCER_PORT, KPP_CP1_PORT, KPP_CP1_SIDECAR_PORT and so on)."
[ -r "$kubeconfig" ] || die "$kubeconfig is not there, or not yours to read. It is written with: $up"

# === a client's files, from the kubeconfig ===
work=$(mktemp -d "${TMPDIR:-/tmp}/kpp-upgrade.XXXXXX")
client='' kubectl_client='' client_container=''
finish() {
  local code=$?
  trap - EXIT
  trap '' INT TERM
  : >"$work/stop"
  if [ -n "$client_container" ]; then docker rm -f "$client_container" >/dev/null 2>&1 || true; fi
  # Each leads a group of its own: its curls go with it.
  if [ -n "$client" ]; then kill -- "-$client" 2>/dev/null || true; fi
  if [ -n "$kubectl_client" ]; then kill -- "-$kubectl_client" 2>/dev/null || true; fi
  if [ $code != 0 ] && [ -s "$work/failures" ]; then
    rm -f "$work/client.key"
    say "All that the client saw is in $work" >&2
  else
    rm -rf "$work"
  fi
  exit $code
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
part() { # KEY FILE
  (umask 077 && awk -v key="$1:" '$1 == key { print $2; exit }' "$kubeconfig" | base64 --decode >"$work/$2") \
    || die "$kubeconfig has no $1: remove it and run $up"
}
part certificate-authority-data ca.crt
part client-certificate-data client.crt
part client-key-data client.key

# curl on this machine, else in a container.
if command -v curl >/dev/null; then
  in_container=
else
  in_container=${KPP_CURL_IMAGE:-curlimages/curl:8.15.0}
fi
network=$(docker inspect --format '{{range $name, $_ := .NetworkSettings.Networks}}{{$name}}{{end}}' \
  "$(awk '$1 == "balancer" { print $3 }' <<<"$containers")")
in_curl_container() { # DOCKER-ARGUMENT... -- COMMAND...
  local arguments=()
  while [ "$1" != -- ]; do arguments+=("$1"); shift; done
  shift
  docker run --rm --network "$network" --user "$(id -u):$(id -g)" --volume "$work:$work" \
    --volume "$here/control-plane/client.sh:/client.sh:ro" ${arguments[@]+"${arguments[@]}"} \
    --entrypoint "$1" "$in_container" "${@:2}"
}
ask() { # SERVICE PORT PATH [CURL-ARGUMENT...]: through its published port, or from inside
  local service=$1 port=$2 path=$3
  shift 3
  set -- -sS -m 10 -A upgrade --cacert "$work/ca.crt" --cert "$work/client.crt" --key "$work/client.key" "$@"
  if [ -z "$in_container" ]; then
    curl "$@" "https://127.0.0.1:$port$path"
  else
    in_curl_container -- curl "$@" "https://$service:6443$path"
  fi
}
version_of() { # NUMBER
  ask "${servers[$1]}" "${apiserver_ports[$1]}" /version 2>/dev/null \
    | sed -n 's/.*"gitVersion": *"\([^"]*\)".*/\1/p' || true
}
is_ready() { # NUMBER
  [ "$(ask "${servers[$1]}" "${apiserver_ports[$1]}" /readyz 2>/dev/null)" = ok ]
}
# A sidecar knows what its API server serves when its nopeer document is that one's own.
is_known() { # NUMBER
  local accept='Accept: application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList;profile=nopeer'
  ask "${servers[$1]}" "${apiserver_ports[$1]}" /apis -f -H "$accept" -o "$work/own" 2>/dev/null \
    && ask "${servers[$1]}-sidecar" "${sidecar_ports[$1]}" /apis -f -H "$accept" -o "$work/known" 2>/dev/null \
    && cmp -s "$work/own" "$work/known"
}
wait_for() { # SECONDS WHAT COMMAND...
  local end=$((SECONDS + $1)) seconds=$1 what=$2
  shift 2
  until "$@"; do
    [ $SECONDS -lt "$end" ] || die "$what: not within $seconds s. Look at: ${compose_command[*]} -f $file logs --tail 50"
    sleep 1
  done
}

if ! fault=$(ask balancer "${KPP_BALANCER_PORT:-7443}" /readyz 2>&1); then
  die "$balancer does not answer as the control plane of $kubeconfig would ($fault).
  If the file is of an earlier run, or the port somebody else's: $up"
fi

# === what is to do ===
todo=()
for number in 0 1 2; do
  wait_for 120 "${servers[$number]} is not ready" is_ready "$number"
  version=$(version_of "$number")
  say "${servers[$number]}: $version"
  if [ "$version" != "$target" ]; then todo+=("$number"); fi
  # What compose is told of those that are not to be touched.
  export "KPP_CP$((number + 1))_VERSION=$version"
done
if [ ${#todo[@]} = 0 ]; then
  say "All are $target: there is nothing to upgrade. To begin again with older ones: $up"
  exit 0
fi
# Before anything is stopped.
docker image inspect "$image:$target" >/dev/null 2>&1 || docker pull "$image:$target" \
  || die "there is no image $image:$target. Nothing was changed."

# === clients ===
set -m
if [ -z "$in_container" ]; then
  sh "$here/control-plane/client.sh" "$balancer" "$work" &
else
  client_container=kpp-upgrade-client-$$
  in_curl_container --name "$client_container" -- sh /client.sh https://balancer:6443 "$work" &
fi
client=$!
if command -v "${KUBECTL:-kubectl}" >/dev/null; then
  "$here/control-plane/client-kubectl.sh" "${KUBECTL:-kubectl}" "$kubeconfig" "$work" &
  kubectl_client=$!
fi
set +m
has_worked() {
  kill -0 "$client" 2>/dev/null || die "the client ended: $(cat "$work/failures" 2>/dev/null)"
  [ "$(cat "$work/rounds" 2>/dev/null || echo 0)" -ge "$1" ]
}
wait_for 120 'a first round of the client' has_worked 1
say "a client works through HAProxy at $balancer$([ -z "$kubectl_client" ] || echo ', and kubectl with it')"

# === one after the other ===
for number in "${todo[@]}"; do
  server=${servers[$number]}
  began=$SECONDS
  eval "before=\$KPP_CP$((number + 1))_VERSION"
  # shellcheck disable=SC2154  # set by eval
  say "$server: $before -> $target"
  export "KPP_CP$((number + 1))_VERSION=$target"
  if ! compose up --detach --no-deps "$server" >"$work/compose" 2>&1; then
    die "$server could not be made anew: $(tail -n 5 "$work/compose")"
  fi
  # Ready on its own, then known to its sidecar. Until then others stand in.
  wait_for 240 "$server is not ready" is_ready "$number"
  [ "$(version_of "$number")" = "$target" ] || die "$server answers as $(version_of "$number"), not as $target"
  wait_for 60 "$server-sidecar does not know what the new $server serves" is_known "$number"
  rounds=$(cat "$work/rounds")
  wait_for 120 'another round of the client' has_worked $((rounds + 2))
  say "$server: ready and known after $((SECONDS - began)) s"
done

# === what was seen ===
: >"$work/stop"
has_ended() { [ -e "$work/done" ]; }
wait_for 120 'the end of the client' has_ended
wait "$client" || true
client=
if [ -n "$kubectl_client" ]; then
  wait "$kubectl_client" || true
  kubectl_client=
fi
printf '\n%s rounds of the client, its answers by status:\n' "$(cat "$work/rounds")"
awk '
  { what = $0; sub(/ [^ ]*$/, "", what); status = $NF
    if (!(what in seen)) { seen[what] = 1; order[++rows] = what }
    if (status ~ /^2/) good[what]++
    else if (status == 404 || status == 503 || status == 429 || status == "broken") count[what, status]++
    else other[what]++ }
  END {
    printf "  %-22s %7s %5s %5s %5s %7s %6s\n", "", "2xx", "404", "503", "429", "broken", "other"
    for (row = 1; row <= rows; row++) { what = order[row]
      printf "  %-22s %7d %5d %5d %5d %7d %6d\n", what, good[what], count[what, 404], count[what, 503], \
        count[what, 429], count[what, "broken"], other[what] } }
' "$work/answers"
say "  (503 and 429 had Retry-After, were tried again and then succeeded, unless a failure below says otherwise;"
say "   the lines of watches count those that ended and were begun again)"
if [ -s "$work/kubectl" ]; then
  awk '{ total[$1]++ } END { printf "kubectl: %d commands succeeded, %d failed\n", total["ok"], total["failed"] }' "$work/kubectl"
fi
failures=$(wc -l <"$work/failures" | tr -d ' ')
made=$(wc -l <"$work/made" | tr -d ' ')
say "watches: 3, each saw $made objects come and go$([ "$failures" = 0 ] || echo ', but for what is below')"
if [ "$failures" != 0 ]; then
  say "FAILED: $failures"
  head -n 20 "$work/failures"
  exit 1
fi
say "Nothing failed: all of ${servers[*]} are $target now."
