// Command tocsin is a system-event server and its command line.
package main

import (
	"context"
	"os"

	"github.com/tocsin-events/tocsin/internal/cli"
)

func main() {
	os.Exit(cli.Main(context.Background(), os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}
