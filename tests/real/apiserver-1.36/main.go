// Command kube-apiserver runs the real Kubernetes API server of the release
// that go.mod names, by calling its own command.
//
// It exists so that the suite on real components can be run wherever the Go
// module proxy is reachable: tests/real/fetch builds it from source instead of
// downloading a binary.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func main() {
	os.Exit(cli.Run(app.NewAPIServerCommand()))
}
