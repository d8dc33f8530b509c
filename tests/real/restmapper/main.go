// Command restmapper asks controller-runtime's RESTMapper, with which controllers find the path of a kind, for each
// of its arguments, and prints what it says:
//
//	KUBECONFIG=FILE restmapper batch/v1/CronJob resource=cronjobs
//
// An argument is GROUP/VERSION/KIND, GROUP/KIND (any version), or resource=RESOURCE[.GROUP] (any version).
package main

import (
	"fmt"
	"os"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "restmapper:", err)
		os.Exit(1)
	}
}

func run(wanted []string) error {
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return err
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return err
	}
	mapper, err := apiutil.NewDynamicRESTMapper(config, client)
	if err != nil {
		return err
	}
	for _, one := range wanted {
		if err := tell(mapper, one); err != nil {
			return fmt.Errorf("%s: %w", one, err)
		}
	}
	return nil
}

func tell(mapper meta.RESTMapper, one string) error {
	if resource, ok := strings.CutPrefix(one, "resource="); ok {
		kinds, err := mapper.KindsFor(schema.ParseGroupResource(resource).WithVersion(""))
		if err != nil {
			return err
		}
		for _, kind := range kinds {
			fmt.Printf("%s is %s/%s %s\n", one, kind.Group, kind.Version, kind.Kind)
		}
		return nil
	}
	parts := strings.Split(one, "/")
	kind := schema.GroupKind{Group: parts[0], Kind: parts[len(parts)-1]}
	var versions []string
	if len(parts) == 3 {
		versions = parts[1:2]
	}
	mapping, err := mapper.RESTMapping(kind, versions...)
	if err != nil {
		return err
	}
	resource := mapping.Resource
	fmt.Printf("%s is %s/%s %s, scope %s\n", one, resource.Group, resource.Version, resource.Resource, mapping.Scope.Name())
	return nil
}
