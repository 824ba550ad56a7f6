// Command tocsin is a system-event server and its command line. All of it is in
// internal/cli; here are only the streams, the environment and the exit code.
package main

import (
	"context"
	"os"

	"github.com/tocsin-events/tocsin/internal/cli"
)

func main() {
	os.Exit(cli.Main(context.Background(), os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}
