package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"

	discoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/endpoints/discovery"
	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
)

// AcceptVector says what an Accept header gets.
type AcceptVector struct {
	Accept string `json:"accept"`
	// merged, nopeer, unaggregated or notAcceptable
	Form   string `json:"form"`
	Media  string `json:"media,omitempty"`
	Pretty bool   `json:"pretty,omitempty"`
}

const v2 = ";g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

// writtenAccepts are headers worth a line of their own; §2 stands for the parameters of aggregated discovery.
var writtenAccepts = []string{
	"", "*/*", "*", "application/json", "application/yaml", "application/vnd.kubernetes.protobuf", "application/json;profile=nopeer",
	"application/json§2", "application/yaml§2", "application/vnd.kubernetes.protobuf§2", "application/cbor§2", "text/html§2",
	"application/json;as=APIGroupDiscoveryList;v=v2;g=apidiscovery.k8s.io",
	"application/json§2;charset=utf-8", "application/json§2;foo=bar", "application/json§2;pretty=1", "application/json§2;pretty=true",
	"application/json§2;stream=watch", "application/yaml§2;stream=watch", "application/json§2;stream=x", "application/json§2;sv=v1", "application/json§2;sv=",
	"application/json§2;profile=nopeer", "application/json;profile=nopeer§2", "application/json ; profile = nopeer ; g=apidiscovery.k8s.io; v =v2;as= APIGroupDiscoveryList",
	`application/json§2;profile="nopeer"`, "application/json§2;profile=NoPeer", "application/json§2;Profile=nopeer", "application/json§2;profile=", "application/json§2;profile= ", "application/json§2;profile=foo",
	"application/json§2;profile=foo;profile=nopeer", "application/json§2;profile=nopeer;profile=foo", "application/json§2;profile=nopeer;profile=", "application/json§2;profile=nopeer;profile==",
	"application/json§2,application/json§2;profile=nopeer", "application/json§2;profile=nopeer,application/json§2,application/json",
	"application/json§2;profile=nopeer;q=0.1,application/json§2;q=0.9", "application/json§2;profile=nopeer;q= 1,application/json§2;q=0.9",
	"application/json,application/json§2", "application/json,application/json§2;q=0.1", "application/json§2;q=0", "application/json§2;q=0,application/json",
	"application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
	"application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json",
	"application/json§2,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json",
	"application/vnd.kubernetes.protobuf§2;profile=nopeer", "application/yaml§2;profile=nopeer", "*/*§2", "application/*§2", "*/*§2;profile=nopeer", "application/*§2;profile=nopeer", "*§2", "*/json§2", "text/*§2",
	"Application/JSON§2", "application/json;G=apidiscovery.k8s.io;V=v2;As=APIGroupDiscoveryList", "application/json;g=apidiscovery.k8s.io;v=v2;as=apigroupdiscoverylist", "application/json;g=apidiscovery.k8s.io;v=v2",
	"application/json;g=;v=v2;as=APIGroupDiscoveryList", "application/json;g=apidiscovery.k8s.io=;v=v2;as=APIGroupDiscoveryList", "application/json;g=apidiscovery.k8s.io=x;v=v2;as=APIGroupDiscoveryList",
	"application/json;g= ", "application/json;as=Table", "application/json;as=Table,application/json", "application/json/x§2", "application§2", "application/§2", "/json§2", ",,application/json§2,", "text/html", "application/json;;;", ";", ",", " ",
	"application/json\t§2", "application/json§2;q=Inf,application/yaml§2", "application/yaml§2,application/json§2;q=1e400", "application/yaml§2;q=0.5,application/json§2;q=nan", "application/yaml§2;q=-1,application/json§2;q=0",
	"application/yaml;q=0.9,application/json;q=0.8", "*/*,application/yaml", "application/*;q=0.1,application/vnd.kubernetes.protobuf;q=0.1",
}

// acceptVectors asks upstream's handler for /apis about written and random headers.
func acceptVectors() ([]any, error) {
	handler := apisHandler()
	headers := []string{}
	for _, header := range writtenAccepts {
		headers = append(headers, strings.ReplaceAll(header, "§2", v2))
	}
	source := rand.New(rand.NewPCG(9110, 12))
	for range 250 {
		headers = append(headers, randomAccept(source))
	}
	vectors := []any{}
	for _, header := range headers {
		vector, err := askForm(handler, header)
		if err != nil {
			return nil, fmt.Errorf("Accept %q: %w", header, err)
		}
		vectors = append(vectors, vector)
	}
	return vectors, nil
}

// apisHandler serves /apis as kube-apiserver does. The three documents can be told apart.
func apisHandler() http.Handler {
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, metav1.Unversioned)
	scheme.AddUnversionedTypes(metav1.Unversioned, &metav1.Status{}, &metav1.APIGroupList{})
	unaggregated := discovery.NewRootAPIsHandler(discovery.DefaultAddresses{}, serializer.NewCodecFactory(scheme))

	local := aggregated.NewResourceManager("apis")
	local.AddGroupVersion("own", discoveryv2.APIVersionDiscovery{Version: "v1"})
	others := peers{"b": parseGroups("others:v1")}
	return aggregated.WrapAggregatedDiscoveryToHandler(unaggregated, local, aggregated.NewPeerAggregatedDiscoveryHandler("a", local, others, "/apis"))
}

func askForm(handler http.Handler, accept string) (*AcceptVector, error) {
	request := httptest.NewRequest(http.MethodGet, "/apis", nil)
	request.Header.Set("Accept", accept)
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	body, err := io.ReadAll(recorder.Body)
	if err != nil {
		return nil, err
	}
	if recorder.Code == http.StatusNotAcceptable {
		return &AcceptVector{Accept: accept, Form: "notAcceptable"}, nil
	}
	if recorder.Code != http.StatusOK {
		return nil, fmt.Errorf("got %d: %s", recorder.Code, body)
	}
	media, _, isAggregated := strings.Cut(recorder.Header().Get("Content-Type"), ";g=")
	vector := &AcceptVector{Accept: accept, Media: media, Form: "unaggregated"}
	switch {
	case isAggregated && strings.Contains(string(body), "others"):
		vector.Form = "merged"
	case isAggregated:
		vector.Form = "nopeer"
	}
	vector.Pretty = isAggregated && media == "application/json" && strings.Contains(string(body), "\n ")
	return vector, nil
}

func randomAccept(source *rand.Rand) string {
	pick := func(options ...string) string { return options[source.IntN(len(options))] }
	clauses := []string{}
	for range 1 + source.IntN(1+source.IntN(12)) {
		clause := pick("application/json", "application/json", "application/yaml", "application/vnd.kubernetes.protobuf", "*/*", "application/*", "text/html", "*")
		parameters := strings.Split(pick(v2, v2, v2, "", ";g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList", ";g=apidiscovery.k8s.io;v=v2")[0:], ";")
		for range source.IntN(3) {
			parameters = append(parameters, pick("profile=nopeer", "profile=nopeer", "profile=foo", "pretty=1", "q=0.5", "q=0.9", "q=0", "q=x", " q=0.7", "q= 0.7", "stream=watch", "sv=v1", "foo", "a=b=c"))
		}
		source.Shuffle(len(parameters), func(i, j int) { parameters[i], parameters[j] = parameters[j], parameters[i] })
		for _, parameter := range parameters {
			if parameter != "" {
				clause += pick(";", ";", "; ", " ;") + parameter
			}
		}
		clauses = append(clauses, clause)
	}
	return strings.Join(clauses, pick(",", ", ", " ,"))
}
