package main

import (
	"bytes"
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"

	discovery "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
)

const mergedAccept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

// Case is a fleet of servers, each with its own document.
type Case struct {
	Name    string   `json:"name"`
	Servers []Server `json:"servers"`
}

// Server has its document either in a file of the repository or in the case.
type Server struct {
	ID    string                        `json:"id"`
	File  string                        `json:"file,omitempty"`
	Items []discovery.APIGroupDiscovery `json:"items,omitempty"`

	recorded []discovery.APIGroupDiscovery
}

// Vector is a case with what upstream makes of it.
type Vector struct {
	Case
	// Usually one answer; several where servers answer differently.
	Answers []*Answer `json:"answers"`
}

// Answer is what some of the servers answer.
type Answer struct {
	Homes []string        `json:"homes"`
	ETag  string          `json:"etag"`
	Items json.RawMessage `json:"items"`
}

func (s Server) groups() []discovery.APIGroupDiscovery {
	if s.File != "" {
		return s.recorded
	}
	return s.Items
}

// answer asks every server of a case that could have its document itself.
func answer(c Case) (*Vector, error) {
	vector := &Vector{Case: c}
	byETag := map[string]*Answer{}
	for _, home := range c.Servers {
		manager, err := localDiscovery(home.groups())
		if err != nil {
			return nil, fmt.Errorf("server %s: %w", home.ID, err)
		}
		if manager == nil {
			continue
		}
		peers := peers{}
		for _, peer := range c.Servers {
			if peer.ID != home.ID {
				peers[peer.ID] = peer.groups()
			}
		}
		etag, items, err := ask(aggregated.NewPeerAggregatedDiscoveryHandler(home.ID, manager, peers, "/apis"))
		if err != nil {
			return nil, fmt.Errorf("server %s: %w", home.ID, err)
		}
		if known := byETag[etag]; known != nil {
			known.Homes = append(known.Homes, home.ID)
			continue
		}
		byETag[etag] = &Answer{Homes: []string{home.ID}, ETag: etag, Items: items}
		vector.Answers = append(vector.Answers, byETag[etag])
	}
	if len(vector.Answers) == 0 {
		return nil, fmt.Errorf("no server can have its document")
	}
	return vector, nil
}

// peers is what a server knows of the others.
type peers map[string][]discovery.APIGroupDiscovery

func (p peers) GetPeerResources() map[string][]discovery.APIGroupDiscovery { return p }

// localDiscovery makes the manager in which a server keeps its own document, with priorities that give exactly this
// order. It returns nil if no server can have the document because a group has no versions.
func localDiscovery(groups []discovery.APIGroupDiscovery) (aggregated.ResourceManager, error) {
	manager := aggregated.NewResourceManager("apis")
	for i, group := range groups {
		if len(group.Versions) == 0 {
			return nil, nil
		}
		for j, version := range group.Versions {
			manager.AddGroupVersion(group.Name, version)
			gv := metav1.GroupVersion{Group: group.Name, Version: version.Version}
			manager.SetGroupVersionPriority(gv, len(groups)-i, len(group.Versions)-j)
		}
	}
	_, got, err := ask(manager)
	if err != nil {
		return nil, err
	}
	want, err := json.Marshal(groups)
	if err != nil {
		return nil, err
	}
	if len(groups) > 0 && !bytes.Equal(got, want) {
		return nil, fmt.Errorf("own document came out as %s, wanted %s", got, want)
	}
	return manager, nil
}

// ask gets a merged document and returns its ETag without quotes, and its items.
func ask(handler http.Handler) (string, json.RawMessage, error) {
	request := httptest.NewRequest(http.MethodGet, "/apis", nil)
	request.Header.Set("Accept", mergedAccept)
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	if recorder.Code != http.StatusOK {
		return "", nil, fmt.Errorf("got %d: %s", recorder.Code, recorder.Body)
	}
	var list struct {
		Items json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(recorder.Body.Bytes(), &list); err != nil {
		return "", nil, err
	}

	etag := recorder.Header().Get("ETag")
	whole := fmt.Sprintf(`{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","metadata":{},"items":%s}`+"\n", list.Items)
	if whole != recorder.Body.String() {
		return "", nil, fmt.Errorf("the body is more than its items: %s", recorder.Body)
	}
	if hash := fmt.Sprintf(`"%X"`, sha512.Sum512(fmt.Appendf(nil, `{"metadata":{},"items":%s}`, list.Items))); hash != etag {
		return "", nil, fmt.Errorf("the ETag is %s, the hash of the items %s", etag, hash)
	}
	return etag[1 : len(etag)-1], list.Items, nil
}
