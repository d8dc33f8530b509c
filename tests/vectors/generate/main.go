// Command vectors writes what Kubernetes' own code answers, for our tests to compare with:
//
//   - merge.jsonl: for documents of several servers, the merged document and its ETag, as every one of the servers
//     would answer it with the Mixed Version Proxy on (k8s.io/apiserver, NewPeerAggregatedDiscoveryHandler);
//   - accept.jsonl: for an Accept header, which form of discovery is answered in which encoding
//     (k8s.io/apiserver, WrapAggregatedDiscoveryToHandler).
//
// Every answer is taken from the handlers' HTTP responses. Run it through ../regenerate.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"k8s.io/klog/v2"
)

func main() {
	root := flag.String("root", ".", "folder of the repository, for recorded documents")
	out := flag.String("out", "", "folder to write to")
	flag.Parse()
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)

	if err := run(*root, *out); err != nil {
		fmt.Fprintln(os.Stderr, "vectors:", err)
		os.Exit(1)
	}
}

func run(root, out string) error {
	cases := append(writtenCases(), randomCases(40)...)
	recorded, err := recordedCases(root)
	if err != nil {
		return err
	}
	lines := make([]any, 0, len(cases)+len(recorded))
	for _, c := range append(recorded, cases...) {
		vector, err := answer(c)
		if err != nil {
			return fmt.Errorf("case %s: %w", c.Name, err)
		}
		lines = append(lines, vector)
	}
	if err := writeLines(filepath.Join(out, "merge.jsonl"), lines); err != nil {
		return err
	}
	accepts, err := acceptVectors()
	if err != nil {
		return err
	}
	return writeLines(filepath.Join(out, "accept.jsonl"), accepts)
}

func writeLines(path string, lines []any) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	buffered := bufio.NewWriter(file)
	for _, line := range lines {
		if err := json.NewEncoder(buffered).Encode(line); err != nil {
			return err
		}
	}
	return buffered.Flush()
}
