// Command exportd-dev is exportd on a developer's machine: Firestore, Pub/Sub and Cloud Storage embedded,
// with demo data, and the service beside them if wanted.
package main

import (
	"os"

	"github.com/spf13/cobra"

	"exportd/internal/command"
)

func main() { os.Exit(command.Run(newCommand)) }

func newCommand(env command.Environment) *cobra.Command {
	return command.Program(env, "exportd-dev", "exportd with an embedded cloud and demo data",
		`exportd-dev embeds Firestore, Pub/Sub and Cloud Storage, on loopback. It has no place
in production.

Start with:  exportd-dev run           everything in one process, with demo data
In parts:    exportd-dev emulators     then exportd setup, exportd api and exportd worker`,
		runCommand(env), emulatorsCommand(env))
}
