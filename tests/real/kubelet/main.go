// Command kubelet is as much of a kubelet as kube-apiserver needs for exec, attach,
// port-forward, logs and the proxy subresources of nodes and pods.
//
// The streaming is Kubernetes' own (k8s.io/cri-streaming). What a container would be
// is this machine: commands run in the folder -root, ports are those of 127.0.0.1.
// Beside it the "pod" listens over plain HTTP; see web.go.
package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
)

const (
	// How long a stream may be idle, and how long a client may take to open it.
	idle   = 4 * time.Hour
	create = remotecommand.DefaultStreamCreationTimeout
	// How often a followed log is looked at.
	look = 20 * time.Millisecond
)

func main() {
	address := flag.String("address", "127.0.0.1", "IP address of node and pod")
	port := flag.Int("port", 10250, "the kubelet's port")
	podPort := flag.Int("pod-port", 8080, "the pod's port")
	cert := flag.String("tls-cert-file", "", "serving certificate")
	key := flag.String("tls-private-key-file", "", "its key")
	clientCA := flag.String("client-ca-file", "", "CA of the only clients that are let in")
	root := flag.String("root", ".", "folder in which commands run; its file `log` is the container's log")
	flag.Parse()

	pem, err := os.ReadFile(*clientCA)
	if err != nil {
		log.Fatal(err)
	}
	clients := x509.NewCertPool()
	if !clients.AppendCertsFromPEM(pem) {
		log.Fatalf("%s has no certificate", *clientCA)
	}
	at := func(port int) string { return net.JoinHostPort(*address, fmt.Sprint(port)) }
	go func() { log.Fatal(http.ListenAndServe(at(*podPort), web())) }()
	server := http.Server{
		Addr:    at(*port),
		Handler: kubelet(runtime{root: *root}),
		// As a kubelet: SPDY and WebSocket need HTTP/1.1, the rest comes over either.
		TLSConfig: &tls.Config{ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert},
	}
	log.Fatal(server.ListenAndServeTLS(*cert, *key))
}

// kubelet has the paths that kube-apiserver asks for, with and without a pod's UID.
func kubelet(host runtime) http.Handler {
	mux := http.NewServeMux()
	both := func(path, rest string, handler http.HandlerFunc) {
		mux.HandleFunc(path+"/{namespace}/{pod}"+rest, handler)
		mux.HandleFunc(path+"/{namespace}/{pod}/{uid}"+rest, handler)
	}
	both("/exec", "/{container}", func(w http.ResponseWriter, r *http.Request) {
		options, err := remotecommand.NewOptions(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		remotecommand.ServeExec(w, r, host, r.PathValue("pod"), "", r.PathValue("container"), r.URL.Query()["command"],
			options, idle, create, remotecommand.SupportedStreamingProtocols)
	})
	both("/attach", "/{container}", func(w http.ResponseWriter, r *http.Request) {
		options, err := remotecommand.NewOptions(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		remotecommand.ServeAttach(w, r, host, r.PathValue("pod"), "", r.PathValue("container"),
			options, idle, create, remotecommand.SupportedStreamingProtocols)
	})
	both("/portForward", "", func(w http.ResponseWriter, r *http.Request) {
		options, err := portforward.NewV4Options(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		portforward.ServePortForward(w, r, host, r.PathValue("pod"), "", options, idle, create,
			portforward.SupportedProtocols)
	})
	mux.HandleFunc("/containerLogs/{namespace}/{pod}/{container}", host.logs)
	mux.HandleFunc("/pods", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"kind":"PodList","apiVersion":"v1","metadata":{},"items":[]}`)
	})
	mux.Handle("/", web())
	return mux
}

// logs sends the container's log; a followed one ends after the line "END".
func (host runtime) logs(w http.ResponseWriter, r *http.Request) {
	file, err := os.Open(filepath.Join(host.root, "log"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	defer file.Close()
	w.Header().Set("Content-Type", "text/plain")
	for follow := r.FormValue("follow") == "true"; ; time.Sleep(look) {
		news, err := io.ReadAll(file)
		if err != nil {
			log.Print(err)
			return
		}
		w.Write(news)
		http.NewResponseController(w).Flush()
		if !follow || bytes.HasSuffix(news, []byte("END\n")) || r.Context().Err() != nil {
			return
		}
	}
}
