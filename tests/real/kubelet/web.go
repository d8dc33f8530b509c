package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/gorilla/websocket"
)

// web is what the pod serves, and the kubelet too, for the proxy subresources and behind port-forward:
//
//	/request...  what came in, as JSON: method, target, headers, remote address
//	/echo        the body, as it comes
//	/bytes?n=N   N bytes; byte i is i mod 251
//	/ws          a WebSocket that sends back what it gets
func web() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") })
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		// A small client sends all before it reads: the answer may begin before that.
		http.NewResponseController(w).EnableFullDuplex()
		w.Header().Set("Content-Type", "application/octet-stream")
		io.Copy(w, r.Body)
	})
	mux.HandleFunc("/bytes", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.FormValue("n"))
		if err != nil {
			http.Error(w, fmt.Sprint("n: ", err), http.StatusBadRequest)
			return
		}
		bytes := make([]byte, n)
		for i := range bytes {
			bytes[i] = byte(i % 251)
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Write(bytes)
	})
	mux.HandleFunc("/ws", func(w http.ResponseWriter, r *http.Request) {
		upgrader := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
		connection, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer connection.Close()
		for {
			kind, message, err := connection.ReadMessage()
			if err != nil || connection.WriteMessage(kind, message) != nil {
				return
			}
		}
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Before the mux, which would clean the path.
		if !strings.HasPrefix(r.RequestURI, "/request") {
			mux.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(map[string]any{
			"method": r.Method, "target": r.RequestURI, "headers": r.Header, "remote": r.RemoteAddr,
		})
	})
}
