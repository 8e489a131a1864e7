// Server is all there is in an image that has nothing else: a small static
// program that answers on the loopback interface.
package main

import (
	"fmt"
	"net/http"
	"os"
)

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "hello from", os.Getenv("GREETING"))
	})
	fmt.Fprintln(os.Stderr, http.ListenAndServe("127.0.0.1:8080", nil)) //nolint:gosec // it has no client but tests
	os.Exit(1)
}
