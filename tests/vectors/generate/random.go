package main

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	discovery "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func sortServers(servers []Server) {
	slices.SortFunc(servers, func(a, b Server) int { return cmp.Compare(a.ID, b.ID) })
}

// randomCases are fleets drawn from a fixed seed: servers that agree in most things and differ in a few.
func randomCases(count int) []Case {
	source := rand.New(rand.NewPCG(20, 36))
	cases := make([]Case, 0, count)
	for i := range count {
		c := Case{Name: fmt.Sprintf("random-%02d", i)}
		// Half of the fleets know Stale, for there upstream and we differ on purpose.
		d := drawing{source, i%2 == 1}
		common := d.groups(1 + source.IntN(4))
		for server := range 2 + source.IntN(3) {
			c.Servers = append(c.Servers, Server{ID: fmt.Sprintf("kas-%c", 'a'+server), Items: d.variant(common)})
		}
		cases = append(cases, c)
	}
	return cases
}

type drawing struct {
	*rand.Rand
	stale bool
}

func (d drawing) chance(percent int) bool { return d.IntN(100) < percent }

func (d drawing) some(names []string, atMost int) []string {
	drawn := []string{}
	for _, i := range d.Perm(len(names))[:1+d.IntN(atMost)] {
		drawn = append(drawn, names[i])
	}
	return drawn
}

func (d drawing) groups(atMost int) []discovery.APIGroupDiscovery {
	groups := []discovery.APIGroupDiscovery{}
	for _, name := range d.some([]string{"apps", "batch", "apiregistration.k8s.io", "a.example.com", "z.example.com", "storage.k8s.io"}, atMost) {
		group := discovery.APIGroupDiscovery{ObjectMeta: metav1.ObjectMeta{Name: name}}
		for _, name := range d.some([]string{"v1", "v2", "v1beta1", "v1beta2", "v1alpha1"}, 2) {
			version := discovery.APIVersionDiscovery{Version: name, Freshness: discovery.DiscoveryFreshnessCurrent}
			for _, name := range d.some([]string{"pods", "jobs", "leases", "widgets", "gadgets"}, 3) {
				version.Resources = append(version.Resources, d.resource(name))
			}
			group.Versions = append(group.Versions, version)
		}
		groups = append(groups, group)
	}
	return groups
}

func (d drawing) resource(name string) discovery.APIResourceDiscovery {
	r := resource(name, d.some([]string{"create", "delete", "get", "list", "patch", "watch"}, 3)...)
	if d.chance(70) {
		slices.Sort(r.Verbs)
	}
	if d.chance(30) {
		r.ShortNames = []string{name[:2]}
	}
	if d.chance(40) {
		for _, name := range d.some([]string{"status", "scale", "resize"}, 2) {
			r.Subresources = append(r.Subresources, subresource(name, "get", "patch"))
		}
	}
	return r
}

// variant is a server's document: the common one with a few changes, and what only this server has.
func (d drawing) variant(common []discovery.APIGroupDiscovery) []discovery.APIGroupDiscovery {
	groups := []discovery.APIGroupDiscovery{}
	add := func(group discovery.APIGroupDiscovery) {
		known := func(g discovery.APIGroupDiscovery) bool { return g.Name == group.Name }
		if !slices.ContainsFunc(groups, known) {
			groups = append(groups, group)
		}
	}
	for _, group := range common {
		if d.chance(10) {
			continue
		}
		if d.chance(15) {
			add(d.groups(1)[0])
		}
		group := *group.DeepCopy()
		if d.chance(15) {
			slices.Reverse(group.Versions)
		}
		for i := range group.Versions {
			d.change(&group.Versions[i])
		}
		add(group)
	}
	if d.chance(15) {
		slices.Reverse(groups)
	}
	return groups
}

func (d drawing) change(version *discovery.APIVersionDiscovery) {
	if d.stale && d.chance(30) {
		version.Freshness = discovery.DiscoveryFreshnessStale
		if d.chance(30) {
			version.Resources = nil
		}
	}
	if d.chance(15) {
		slices.Reverse(version.Resources)
	}
	for i, r := range version.Resources {
		if d.chance(20) {
			version.Resources[i] = d.resource(r.Resource)
		}
	}
	if d.chance(20) {
		version.Resources = slices.Insert(version.Resources, d.IntN(len(version.Resources)+1), d.resource(fmt.Sprintf("new%d", d.IntN(3))))
	}
}
