#!/usr/bin/env bash
# Two kind clusters of different versions, and one proxy before both.
#
#   compose/kind/up.sh       makes what is not there yet
#   compose/kind/down.sh     removes all of it
#
# The two share nothing: no storage, no CA. What both serve (pods, namespaces and nearly all else) is the first one's,
# which is home; of the second one only that can be seen which the first does not serve at all. Callers come from a
# third CA, the demo's own, and become `demo:NAME` in the group demo:users in each (identityMap).
#
# Variables: KPP_FIRST_IMAGE and KPP_SECOND_IMAGE (kind's node images), KPP_KIND_PORT (of the proxy, on 127.0.0.1),
# KUBE_PEER_PROXY_IMAGE (built if it is not there).
# shellcheck disable=SC2154 # what common.sh sets
# shellcheck source=/dev/null
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

images=("${KPP_FIRST_IMAGE:-kindest/node:v1.35.0}" "${KPP_SECOND_IMAGE:-kindest/node:v1.36.1}")
port=${KPP_KIND_PORT:-7643}
domains=(first second)

case ${1:-} in
  -h | --help) sed -n '2,/^# shellcheck/{/^# shellcheck/d;s/^# \{0,1\}//;p;}' "$0"; exit 0 ;;
  '') ;;
  *) die "'$1' is not understood; it takes variables only (see --help)" ;;
esac

# === is everything there? ===
command -v kind >/dev/null || die 'there is no kind command: see https://kind.sigs.k8s.io, or go install sigs.k8s.io/kind@latest'
command -v kubectl >/dev/null || die 'there is no kubectl command: see https://kubernetes.io/docs/tasks/tools'
need_docker
if ! docker image inspect "$image" >/dev/null 2>&1; then
  say "building $image"
  docker build --file "$root/compose/Dockerfile" --tag "$image" "$root" || die "$image could not be built"
fi
# Keys lie here: they are for their owner only.
umask 077
mkdir -p "$state"
# Containers read and write them as whoever that is.
me=$(id -u):$(id -g)
case $(docker info --format '{{.SecurityOptions}}') in *rootless*) me=0:0 ;; esac

# === two clusters ===
existing=$(kind get clusters 2>/dev/null) || die "kind does not say which clusters there are; try: kind get clusters"
for number in 0 1; do
  cluster=${clusters[$number]}
  node=$(node_of "$cluster")
  kubeconfig=$state/$cluster.kubeconfig
  if grep -qx "$cluster" <<<"$existing" || has_container "$node"; then
    is_running "$node" || die "the cluster $cluster is only half there ($node does not run). Remove it: $here/down.sh"
    say "$cluster is there already"
    kind export kubeconfig --name "$cluster" --kubeconfig "$kubeconfig" >/dev/null 2>&1 \
      || die "the cluster $cluster is only half there (kind has no kubeconfig of it). Remove it: $here/down.sh"
  else
    kind create cluster --name "$cluster" --image "${images[$number]}" --kubeconfig "$kubeconfig" --wait 180s \
      || die "kind could not make $cluster of ${images[$number]}. Another image: KPP_FIRST_IMAGE, KPP_SECOND_IMAGE (each release of kind lists its own). What is half there: $here/down.sh"
  fi
done

# === what the proxy needs of each ===
demo=$state/demo
for number in 0 1; do
  node=$(node_of "${clusters[$number]}")
  folder=$demo/${domains[$number]}
  mkdir -p "$folder"
  for name in ca.crt front-proxy-client.crt front-proxy-client.key; do
    docker exec "$node" cat "/etc/kubernetes/pki/$name" >"$folder/$name" \
      || die "$node has no /etc/kubernetes/pki/$name. Is it half there? $here/down.sh removes it"
    grep -q -e '-----BEGIN ' "$folder/$name" || die "/etc/kubernetes/pki/$name of $node is no PEM file. Remove the cluster: $here/down.sh"
  done
done

# === the callers: a CA that neither cluster knows ===
docker run --rm --network none --user "$me" --volume "$demo:/demo" "$image" \
  certs --dir /demo/pki --keep --client alice=demo:users --client bob >/dev/null \
  || die "the demo's certificates could not be made; its state can be removed with $here/down.sh"

cat >"$demo/config.yaml" <<YAML
# Written by up.sh. Callers are of the trust domain demo, the clusters of two others.
securePort: 6443
tlsCertFile: pki/proxy.crt
tlsPrivateKeyFile: pki/proxy.key
clientCaFile: pki/ca.crt
trustDomain: demo
home: first
apiServers:
- name: first
  url: https://$(node_of "${clusters[0]}"):6443
  trustDomain: first
  caFile: first/ca.crt
  serverName: $(node_of "${clusters[0]}")
  proxyClientCertFile: first/front-proxy-client.crt
  proxyClientKeyFile: first/front-proxy-client.key
- name: second
  url: https://$(node_of "${clusters[1]}"):6443
  trustDomain: second
  caFile: second/ca.crt
  serverName: $(node_of "${clusters[1]}")
  proxyClientCertFile: second/front-proxy-client.crt
  proxyClientKeyFile: second/front-proxy-client.key
# Nobody but demo:users gets anywhere, and nobody is in a group that a cluster made.
identityMap:
- {trustDomain: first, groups: ["demo:users"], asUserPrefix: "demo:", asGroups: ["demo:users"]}
- {trustDomain: second, groups: ["demo:users"], asUserPrefix: "demo:", asGroups: ["demo:users"]}
YAML

# === what they may do, and something to see ===
for cluster in "${clusters[@]}"; do
  kubectl --kubeconfig "$state/$cluster.kubeconfig" apply --filename "$here/rbac.yaml" \
    --filename "$root/compose/kubernetes/rbac.yaml" >/dev/null || die "$cluster does not take the roles; is it up? $here/down.sh removes it"
done
second=$state/${clusters[1]}.kubeconfig
kubectl --kubeconfig "$second" apply --filename "$here/second-only.yaml" >/dev/null \
  || die "${clusters[1]} does not take $here/second-only.yaml"
kubectl --kubeconfig "$second" wait --for condition=Established --timeout 60s crd/lights.demo.example.com >/dev/null
# A controller adds the right to `edit`, a moment later.
end=$((SECONDS + 60))
until kubectl --kubeconfig "$second" auth can-i create lights.demo.example.com --namespace demo --as demo:alice --as-group demo:users \
  >/dev/null 2>&1; do
  [ $SECONDS -lt $end ] || die "${clusters[1]} lets nobody of demo:users create lights after 60 s; is its controller manager well?"
  sleep 0.5
done

# === the proxy ===
if has_container "$proxy"; then docker rm --force "$proxy" >/dev/null; fi
if ! fault=$(docker run --detach --name "$proxy" --network kind --publish "127.0.0.1:$port:6443" --user "$me" \
  --read-only --cap-drop ALL --security-opt no-new-privileges --restart unless-stopped \
  --volume "$demo:/demo:ro" "$image" serve --config /demo/config.yaml 2>&1 >/dev/null); then
  docker rm --force "$proxy" >/dev/null 2>&1 || true
  case $fault in
    *'already allocated'* | *'in use'*) die "port $port is taken. Another one: KPP_KIND_PORT=7644 $here/up.sh" ;;
    *) die "the proxy does not start: $fault" ;;
  esac
fi
end=$((SECONDS + 60))
until docker exec "$proxy" /kube-peer-proxy healthz >/dev/null 2>&1; do
  [ $SECONDS -lt $end ] || die "the proxy is not ready after 60 s. Its log: docker logs $proxy"
  sleep 0.5
done

encoded() { base64 <"$demo/pki/$1" | tr -d '\n'; } # FILE
user() { # NAME
  printf -- '- name: %s\n  user: {client-certificate-data: "%s", client-key-data: "%s"}\n' "$1" \
    "$(encoded "$1.crt")" "$(encoded "$1.key")"
}
kubeconfig=$state/kubeconfig
cat >"$kubeconfig" <<YAML
apiVersion: v1
kind: Config
clusters:
- name: both
  cluster: {server: "https://127.0.0.1:$port", certificate-authority-data: "$(encoded ca.crt)"}
users:
$(user alice)
$(user bob)
contexts:
- {name: alice, context: {cluster: both, user: alice, namespace: demo}}
- {name: bob, context: {cluster: both, user: bob, namespace: demo}}
current-context: alice
YAML

cat <<TEXT

One proxy before two clusters that share nothing. Try:

  export KUBECONFIG=$kubeconfig
  kubectl auth whoami                       # demo:alice, of no group that could do harm
  kubectl create configmap here --from-literal=is=first
  kubectl get configmaps                    # both serve these, so they are the first cluster's
  kubectl explain light.spec                # only the second one has lights
  kubectl create -f - <<< '{"apiVersion":"demo.example.com/v1","kind":"Light","metadata":{"name":"hall"},"spec":{"on":true}}'
  kubectl get lights                        # ... and there they are
  kubectl get nodes                         # no: alice is an administrator nowhere
  kubectl --context bob get configmaps      # no: bob is in no group that the map knows
  kubectl --kubeconfig $second get lights --namespace demo   # asked directly, as its administrator

Each kind of resource lives in one of the two: what the first serves is the first's, and the second's ConfigMaps, pods
and namespaces can't be seen from here. Tokens go to the first cluster only. To remove all of it: $here/down.sh
TEXT
