// Command kube-apiserver runs the real Kubernetes API server of the release
// that go.mod names, by calling its own command.
//
// It is of an age that knows no aggregated discovery: the lists of groups, and
// of resources in each group-version, are all that it tells.
package main

import (
	"os"

	"k8s.io/component-base/logs"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func main() {
	logs.InitLogs()
	err := app.NewAPIServerCommand().Execute()
	logs.FlushLogs()
	if err != nil {
		os.Exit(1)
	}
}
