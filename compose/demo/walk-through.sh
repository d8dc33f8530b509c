#!/bin/sh
# What there is to see, shown with curl alone. The service walk-through of demo.yaml runs this beside the proxy, in its
# network, as the demo's administrator. Only what BusyBox has is used.
set -eu

proxy=${PROXY:-https://127.0.0.1:6443}
admin=${ADMIN:-http://127.0.0.1:8090}
pki=${PKI:-/pki}
policies=/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies
v2='application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList'
seen=$(mktemp -d)
trap 'rm -rf "$seen"' EXIT

kpp() { curl -sS --fail-with-body --cacert "$pki/ca.crt" --cert "$pki/admin.crt" --key "$pki/admin.key" "$@"; }
# A sentence, and below it what was asked and what came.
step() { printf '\n=== %s\n' "$1"; }
line() { printf '    %s\n' "$*"; }
# Group, version and resource of each that a discovery document lists, one a line. Subresources are left out.
listed() {
  tr -d ' \n' <"$1" | grep -oE '"metadata":\{"name":"[^"]*"|"version":"[^"]*","resources"|"resource":"[^"]*"' \
    | awk -F'"' '
      $2 == "metadata" { group = $6 }
      $2 == "version" { version = $4 }
      $2 == "resource" { print group "/" version " " $4 }' | sort -u
}
count() { wc -l <"$1" | tr -d ' '; }

step 'Three API servers stand behind one proxy. It knows of each:'
curl -sS "$admin/debug/servers" | grep -E '"(name|version|freshness|healthy)":' \
  | tr -d ' ",' | awk -F: '$1 == "name" { printf "%s    %s", (NR > 1 ? "\n" : ""), $2; next } { printf "  %s %s", $1, $2 } END { print "" }'

step 'What does v132, the home of all requests here, serve by itself? That is discovery with profile=nopeer:'
line "GET /apis   Accept: $v2;profile=nopeer"
kpp -H "Accept: $v2;profile=nopeer" "$proxy/apis" >"$seen/nopeer.json"
listed "$seen/nopeer.json" >"$seen/nopeer"
line "$(count "$seen/nopeer") resources"

step 'And all three together? Merged discovery, which every client gets that does not ask otherwise:'
line "GET /apis   Accept: $v2"
kpp -H "Accept: $v2" "$proxy/apis" >"$seen/merged.json"
listed "$seen/merged.json" >"$seen/merged"
line "$(count "$seen/merged") resources. These are the ones that v132 lacks:"
grep -vxFf "$seen/nopeer" "$seen/merged" >"$seen/more"
while read -r resource; do line "+ $resource"; done <"$seen/more"

step 'One of them only v136 has: mutatingadmissionpolicies of v1. Where would a request for it go, and why?'
line "GET $admin/debug/explain?path=$policies&verb=list"
curl -sS "$admin/debug/explain?path=$policies&verb=list" | sed 's/^/    /'

step 'So a client makes one through the proxy and lists it, as if there were nothing special about it:'
name=walk-through-$(date +%s)
line "POST $policies"
kpp -o "$seen/made" -w '    %{http_code}\n' -H 'Content-Type: application/json' "$proxy$policies" --data \
  "{\"apiVersion\":\"admissionregistration.k8s.io/v1\",\"kind\":\"MutatingAdmissionPolicy\",\"metadata\":{\"name\":\"$name\"},\"spec\":{}}"
line "GET $policies"
kpp -o "$seen/list" -w '    %{http_code}\n' "$proxy$policies"
grep -q "\"$name\"" "$seen/list" && line "the list has $name"

step 'The same without rerouting, as v132 alone answers (the header keeps a request at home):'
line "GET $policies   x-kubernetes-peer-proxied: true"
curl -sS --cacert "$pki/ca.crt" --cert "$pki/admin.crt" --key "$pki/admin.key" -o "$seen/alone" -w '    %{http_code}\n' \
  -H 'x-kubernetes-peer-proxied: true' "$proxy$policies"

step 'Try it: stop v136 (docker compose -f compose/demo.yaml kill v136) and list again: 503, for it is away, never 404.'
printf '\nwalk-through: done\n'
