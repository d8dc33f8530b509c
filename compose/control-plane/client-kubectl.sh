#!/bin/sh
# kubectl, at work until DIR/stop exists: client-kubectl.sh KUBECTL KUBECONFIG DIR. Writes DIR/kubectl, a line for each
# command: `ok` or `failed`, and the command. A failure is written to DIR/failures, too.
set -u
kubectl=$1 kubeconfig=$2 dir=$3
run() {
  # Discovery is read every time: what kubectl remembers must not hide what it would find.
  rm -rf "$dir/cache"
  if "$kubectl" --kubeconfig "$kubeconfig" --cache-dir "$dir/cache" --request-timeout 60s "$@" \
    >"$dir/kubectl.out" 2>&1; then
    printf 'ok %s\n' "$*" >>"$dir/kubectl"
  else
    printf 'failed %s\n' "$*" >>"$dir/kubectl"
    printf 'kubectl %s: %s\n' "$*" "$(tr '\n' ' ' <"$dir/kubectl.out")" >>"$dir/failures"
  fi
}
: >"$dir/kubectl"
run delete configmap upgrade-kubectl --ignore-not-found
while [ ! -e "$dir/stop" ]; do
  run create configmap upgrade-kubectl --from-literal=a=b
  run get configmap upgrade-kubectl --output yaml
  run get mutatingadmissionpolicies
  run api-resources --api-group admissionregistration.k8s.io
  run delete configmap upgrade-kubectl
done
