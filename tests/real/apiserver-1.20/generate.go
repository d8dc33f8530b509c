//go:build generate

package main

// With this, go.mod requires the generator that tests/real/fetch needs before the build.
import _ "k8s.io/kube-openapi/cmd/openapi-gen"
