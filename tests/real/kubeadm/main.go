// Command kubeadm runs the real kubeadm of the release that go.mod names, by
// calling its own command.
//
// It exists so that what compose/kubeadm asks of kubeadm can be tried wherever
// the Go module proxy is reachable: tests/real/fetch builds it from source
// instead of downloading a binary.
package main

import (
	"k8s.io/kubernetes/cmd/kubeadm/app"
	utilerrors "k8s.io/kubernetes/cmd/kubeadm/app/util/errors"
)

func main() {
	utilerrors.HandleError(app.Run())
}
