#!/bin/sh
# A client that works until DIR/stop exists: creates, reads, lists, watches and deletes ConfigMaps and objects of a kind
# that only 1.36 serves, and reads discovery. compose/upgrade.sh runs it and adds up what it wrote.
#
#   client.sh URL DIR
#
# DIR holds ca.crt, client.crt and client.key. Needs nothing but a shell and curl. Writes DIR/answers (a line for each
# answer: WHAT STATUS), DIR/failures (a line for each: WHAT, and why), DIR/rounds and DIR/watch.N.
set -u
url=$1 dir=$2
# One that is told to wait tries again, for as long as clients do; then it is a failure.
patience=60
policies=/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies
maps=/api/v1/namespaces/default/configmaps
mine='labelSelector=made-by%3Dupgrade-client'

kube() { (become_curl "$@"); } # CURL-ARGUMENT...
become_curl() {
  # Not curl's own name: kube-apiserver indents its answers for that.
  exec curl -sS -A upgrade-client --cacert "$dir/ca.crt" --cert "$dir/client.crt" --key "$dir/client.key" \
    -H 'Content-Type: application/json' "$@"
}
failed() { printf '%s\n' "$*" >>"$dir/failures"; }

# ask WHAT STATUS PATTERN PATH [CURL-ARGUMENT...]: until that status comes, with something that matches in its body.
ask() {
  what=$1 wanted=$2 pattern=$3 path=$4
  shift 4
  began=$(date +%s)
  while :; do
    status=$(kube -m 30 -o "$dir/body" -D "$dir/headers" -w '%{http_code}' "$@" "$url$path" 2>"$dir/error") || status=broken
    printf '%s %s\n' "$what" "$status" >>"$dir/answers"
    case $status in
      "$wanted")
        grep -q "$pattern" "$dir/body" || failed "$what: the answer lacks $pattern"
        return ;;
      429 | 503)
        if ! grep -qi '^retry-after:' "$dir/headers"; then
          failed "$what: $status without Retry-After: $(head -c 300 "$dir/body")"
          return
        fi
        if [ $(($(date +%s) - began)) -ge $patience ]; then
          failed "$what: still $status after $patience s: $(head -c 300 "$dir/body")"
          return
        fi
        sleep 1 ;;
      broken) failed "$what: $(cat "$dir/error")"; return ;;
      *) failed "$what: $status instead of $wanted: $(head -c 300 "$dir/body")"; return ;;
    esac
  done
}

watching() { # FILE REVISION: one watch after the other, each from where the last one ended
  revision=$2 watch=
  trap 'kill "$watch"; exit' TERM
  while :; do
    : >"$1.part"
    become_curl -N -o "$1.part" -w '%{http_code}' >"$1.status" 2>"$1.error" \
      "$url$maps?watch=1&allowWatchBookmarks=true&timeoutSeconds=300&$mine&resourceVersion=$revision" &
    watch=$!
    if wait "$watch"; then status=$(cat "$1.status"); else status=broken; fi
    printf 'watch %s\n' "$status" >>"$dir/answers"
    cat "$1.part" >>"$1"
    seen=$(grep -o '"resourceVersion":"[0-9]*"' "$1.part" | tail -n 1 | tr -dc 0-9)
    revision=${seen:-$revision}
    # Not at once, should it be refused at once.
    sleep 1
  done
}

: >"$dir/answers"; : >"$dir/failures"; : >"$dir/made"; echo 0 >"$dir/rounds"
# What an earlier run left.
kube -m 30 -o /dev/null -X DELETE "$url$maps?$mine"
kube -m 30 -o /dev/null -X DELETE "$url$policies?$mine"

ask 'list' 200 '"items":' "$maps?limit=1"
revision=$(grep -o '"resourceVersion":"[0-9]*"' "$dir/body" | head -n 1 | tr -dc 0-9)
watches=
for number in 1 2 3; do
  : >"$dir/watch.$number"
  watching "$dir/watch.$number" "$revision" &
  watches="$watches $!"
done

round=0
run=$(date +%s)
while [ ! -e "$dir/stop" ]; do
  round=$((round + 1))
  name=upgrade-client-$run-$round
  meta='"metadata":{"name":"'$name'","labels":{"made-by":"upgrade-client"}}'
  ask 'create' 201 "$name" "$maps" -d '{"apiVersion":"v1","kind":"ConfigMap",'"$meta"',"data":{"round":"'$round'"}}'
  echo "$name" >>"$dir/made"
  ask 'get' 200 "$name" "$maps/$name"
  ask 'list' 200 "$name" "$maps?$mine"
  ask 'create (1.36 only)' 201 "$name" "$policies" -d '{"apiVersion":"admissionregistration.k8s.io/v1",
    "kind":"MutatingAdmissionPolicy",'"$meta"',"spec":{"reinvocationPolicy":"Never","failurePolicy":"Ignore",
    "matchConstraints":{"resourceRules":[{"apiGroups":["nobody.example"],"apiVersions":["v1"],
      "operations":["CREATE"],"resources":["things"]}]},
    "mutations":[{"patchType":"ApplyConfiguration","applyConfiguration":{"expression":"Object{}"}}]}}'
  ask 'get (1.36 only)' 200 "$name" "$policies/$name"
  ask 'list (1.36 only)' 200 "$name" "$policies?$mine"
  ask 'discovery' 200 '"mutatingadmissionpolicies"' /apis \
    -H 'Accept: application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList'
  ask 'discovery, a list' 200 '"mutatingadmissionpolicies"' /apis/admissionregistration.k8s.io/v1
  ask 'delete (1.36 only)' 200 . "$policies/$name" -X DELETE
  ask 'delete' 200 . "$maps/$name" -X DELETE
  echo "$round" >"$dir/rounds"
done

# What was made last is on its way to the watches.
last=$(tail -n 1 "$dir/made")
for number in 1 2 3; do
  waited=0
  until grep -q "\"DELETED\".*\"$last\"" "$dir/watch.$number" "$dir/watch.$number.part" || [ $waited -ge 20 ]; do
    sleep 1
    waited=$((waited + 1))
  done
done
# shellcheck disable=SC2086  # a list of numbers
kill $watches 2>/dev/null
wait
for number in 1 2 3; do
  cat "$dir/watch.$number.part" >>"$dir/watch.$number"
  while read -r name; do
    grep -q "\"ADDED\".*\"$name\"" "$dir/watch.$number" || failed "watch $number: never saw that $name was created"
    grep -q "\"DELETED\".*\"$name\"" "$dir/watch.$number" || failed "watch $number: never saw that $name was deleted"
  done <"$dir/made"
done
: >"$dir/done"
