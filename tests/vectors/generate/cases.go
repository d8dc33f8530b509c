package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	discovery "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// recordedFleets are fleets of real servers: the version whose recorded document each server has.
var recordedFleets = map[string][]string{
	"recorded-one-version":      {"1.36", "1.36"},
	"recorded-upgrade":          {"1.36", "1.35"},
	"recorded-upgrade-reversed": {"1.35", "1.36"},
	"recorded-far-apart":        {"1.32", "1.36"},
	"recorded-three-versions":   {"1.32", "1.36", "1.35"},
}

func recordedCases(root string) ([]Case, error) {
	var cases []Case
	for _, name := range sortedKeys(recordedFleets) {
		c := Case{Name: name}
		for i, version := range recordedFleets[name] {
			file := filepath.Join("src", "embedded", "recorded", version, "apis.json")
			data, err := os.ReadFile(filepath.Join(root, file))
			if err != nil {
				return nil, err
			}
			var list discovery.APIGroupDiscoveryList
			if err := json.Unmarshal(data, &list); err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			c.Servers = append(c.Servers, Server{ID: fmt.Sprintf("kas-%c", 'a'+i), File: file, recorded: list.Items})
		}
		cases = append(cases, c)
	}
	return cases, nil
}

// written are fleets in short: per server (a, b, c, ...) its groups separated by spaces, each
// group:version/version, each version name=resource,resource, all parts but the names optional; ! behind the
// name of a version makes it Stale.
var written = map[string][]string{
	"one-server":                         {"g2:v1=pods g1:v1"},
	"an-empty-server-adds-nothing":       {"g2:v1 g1:v1", ""},
	"groups-contradict":                  {"g2:v1 g1:v1", "g1:v1 g2:v1"},
	"groups-in-a-circle":                 {"g3:v1 g1:v1 x:v1", "g1:v1 g3:v1 y:v1"},
	"groups-around-common-ends":          {"apireg:v1 apps:v1 zz:v1", "apireg:v1 batch:v1 zz:v1"},
	"group-priority-is-lost":             {"z.high:v1 m:v1", "a.low:v1 m:v1"},
	"second-group-list-is-complete":      {"b:v1 d:v1", "d:v1 c:v1 b:v1"},
	"versions-new-first":                 {"g:v1/v1beta1", "g:v2/v1"},
	"versions-without-a-common-one":      {"g:v1alpha1", "g:v1"},
	"versions-between":                   {"g:v1/v1alpha1", "g:v1/v1beta1"},
	"preferred-version-stays":            {"g:v1", "g:v2"},
	"versions-contradict":                {"g:v1/v2", "g:v2/v1"},
	"resources-between":                  {"g:v1=pods,services", "g:v1=pods,newthings,services"},
	"resources-contradict":               {"g:v1=pods,services", "g:v1=services,pods"},
	"a-group-without-versions-of-a-peer": {"g1:v1=pods g2:v1", "g1:v1=pods e g2:v1"},
	"three-servers":                      {"g1:v1 g2:v1", "g2:v1 g3:v1", "g1:v1 g3:v2"},
	"stale-and-empty-first":              {"g:v1!", "g:v1=pods"},
	"stale-first":                        {"g:v1!=pods", "g:v1=pods"},
	"stale-second":                       {"g:v1=pods", "g:v1!=pods"},
	"stale-everywhere":                   {"g:v1!=pods", "g:v1!=pods,services"},
	"stale-but-for-the-last":             {"g:v1!", "g:v1!", "h:v1", "g:v1"},
}

func writtenCases() []Case {
	var cases []Case
	for _, name := range sortedKeys(written) {
		c := Case{Name: name}
		for i, text := range written[name] {
			c.Servers = append(c.Servers, Server{ID: fmt.Sprintf("%c", 'a'+i), Items: parseGroups(text)})
		}
		cases = append(cases, c)
	}
	return append(cases, resourceCases()...)
}

func parseGroups(text string) []discovery.APIGroupDiscovery {
	groups := []discovery.APIGroupDiscovery{}
	for _, text := range strings.Fields(text) {
		name, versions, _ := strings.Cut(text, ":")
		group := discovery.APIGroupDiscovery{ObjectMeta: metav1.ObjectMeta{Name: name}}
		for _, text := range strings.FieldsFunc(versions, func(r rune) bool { return r == '/' }) {
			name, resources, _ := strings.Cut(text, "=")
			version := discovery.APIVersionDiscovery{Version: name, Freshness: discovery.DiscoveryFreshnessCurrent}
			if fresh, stale := strings.CutSuffix(name, "!"); stale {
				version.Version, version.Freshness = fresh, discovery.DiscoveryFreshnessStale
			}
			for _, text := range strings.FieldsFunc(resources, func(r rune) bool { return r == ',' }) {
				version.Resources = append(version.Resources, resource(text, "get", "list"))
			}
			group.Versions = append(group.Versions, version)
		}
		groups = append(groups, group)
	}
	return groups
}

func resource(name string, verbs ...string) discovery.APIResourceDiscovery {
	singular := strings.TrimSuffix(name, "s")
	return discovery.APIResourceDiscovery{
		Resource: name, SingularResource: singular, Scope: discovery.ScopeNamespace, Verbs: verbs,
		ResponseKind: &metav1.GroupVersionKind{Kind: strings.ToUpper(singular[:1]) + singular[1:]},
	}
}

func subresource(name string, verbs ...string) discovery.APISubresourceDiscovery {
	return discovery.APISubresourceDiscovery{Subresource: name, Verbs: verbs}
}

// resourceCases are about one resource that two servers describe differently.
func resourceCases() []Case {
	with := func(r discovery.APIResourceDiscovery, change func(*discovery.APIResourceDiscovery)) discovery.APIResourceDiscovery {
		change(&r)
		return r
	}
	pods := resource("pods", "list", "get")
	pairs := []struct {
		name string
		a, b discovery.APIResourceDiscovery
	}{
		{"verbs-in-another-order", pods, resource("pods", "get", "list")},
		{"verbs-unsorted-but-equal", pods, pods},
		{"verbs-united", pods, resource("pods", "watch", "get")},
		{"verbs-missing-in-one", pods, resource("pods")},
		{"verbs-missing-in-both", resource("pods"), with(resource("pods"), func(r *discovery.APIResourceDiscovery) { r.Scope = "" })},
		{"verbs-empty-and-missing", with(pods, func(r *discovery.APIResourceDiscovery) { r.Verbs = []string{} }), resource("pods")},
		{
			"subresources-united-the-later-wins",
			with(pods, func(r *discovery.APIResourceDiscovery) {
				r.Subresources = []discovery.APISubresourceDiscovery{subresource("status", "get"), subresource("log", "get")}
				r.ResponseKind.Kind = "KindA"
			}),
			with(resource("pods", "get", "watch"), func(r *discovery.APIResourceDiscovery) {
				r.Subresources = []discovery.APISubresourceDiscovery{subresource("status", "patch"), subresource("exec", "create")}
				r.ResponseKind = nil
			}),
		},
		{
			"the-rest-is-the-earlier-ones",
			with(pods, func(r *discovery.APIResourceDiscovery) {
				r.ShortNames, r.Scope = []string{"po"}, discovery.ScopeCluster
			}),
			with(pods, func(r *discovery.APIResourceDiscovery) {
				r.ShortNames, r.Categories, r.SingularResource = []string{"p"}, []string{"all"}, "other"
			}),
		},
		{
			"accepted-types",
			with(pods, func(r *discovery.APIResourceDiscovery) {
				r.Subresources = []discovery.APISubresourceDiscovery{subresource("eviction", "create")}
			}),
			with(pods, func(r *discovery.APIResourceDiscovery) {
				r.Subresources = []discovery.APISubresourceDiscovery{{
					Subresource: "eviction", Verbs: []string{"create"},
					ResponseKind:  &metav1.GroupVersionKind{Group: "policy", Version: "v1", Kind: "Eviction"},
					AcceptedTypes: []metav1.GroupVersionKind{{Group: "policy", Version: "v1", Kind: "Eviction"}, {Kind: "Pod"}},
				}}
			}),
		},
		{
			"characters-that-go-escapes",
			with(pods, func(r *discovery.APIResourceDiscovery) {
				r.ShortNames = []string{"<a>&\"b\"\\/", "\u2028\u2029\u2027", "\b\f\n\r\t\x00\x1f\x7f", "Grüße, 世界 \U0001F600"}
			}),
			resource("services", "get"),
		},
	}
	var cases []Case
	for _, pair := range pairs {
		c := Case{Name: "resource-" + pair.name}
		for id, r := range map[string]discovery.APIResourceDiscovery{"a": pair.a, "b": pair.b} {
			c.Servers = append(c.Servers, Server{ID: id, Items: []discovery.APIGroupDiscovery{{
				ObjectMeta: metav1.ObjectMeta{Name: "g"},
				Versions: []discovery.APIVersionDiscovery{{
					Version: "v1", Freshness: discovery.DiscoveryFreshnessCurrent,
					Resources: []discovery.APIResourceDiscovery{r},
				}},
			}}})
		}
		sortServers(c.Servers)
		cases = append(cases, c)
	}
	return cases
}
