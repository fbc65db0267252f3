package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"exportd/deployments"
	"exportd/internal/command"
	"exportd/internal/config"
	"exportd/internal/dataset"
	"exportd/internal/localcloud"
	"exportd/internal/localcloud/access"
	"exportd/internal/telemetry"
)

// cloudFlags are the flags of commands that run the embedded cloud.
type cloudFlags struct {
	dataDir, firestore, pubsub, storage, control, indexes, roles string
	indexMode, learn                                             string
	strict, inMemory                                             bool
	accounts                                                     []string
}

func (f *cloudFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.dataDir, "data-dir", ".data", "folder for all data, made if missing")
	cmd.Flags().BoolVar(&f.inMemory, "in-memory", false, "keep all data in memory, up to 2 GiB, and write no file; it is gone at the end")
	cmd.MarkFlagsMutuallyExclusive("in-memory", "data-dir")
	cmd.Flags().StringVar(&f.firestore, "firestore", "", "HOST:PORT for Firestore (default: a free port)")
	cmd.Flags().StringVar(&f.pubsub, "pubsub", "", "HOST:PORT for Pub/Sub (default: a free port)")
	cmd.Flags().StringVar(&f.storage, "storage", "", "HOST:PORT for Cloud Storage (default: a free port)")
	cmd.Flags().StringVar(&f.indexes, "indexes", "", "a firestore.indexes.json instead of exportd's own, to see what a missing index does")
	cmd.Flags().StringVar(&f.indexMode, "index-mode", "enforce", "a query whose index is in no index file: enforce refuses it as production does, auto serves it and logs the index, off serves it")
	cmd.Flags().StringVar(&f.learn, "index-learn", "", "a `file` for the index file with what was missing, with --index-mode auto")
	cmd.Flags().BoolVar(&f.strict, "strict", true, "keep Google's limits on wear and time: 100 calls on a connection and an hour of age, queries of 60 s, a change a second to an object")
	cmd.Flags().StringVar(&f.control, "control", "", "HOST:PORT for faults, counters and POST /reset (default: none)")
}

// folder is the data folder, "" without one.
func (f *cloudFlags) folder() string {
	if f.inMemory {
		return ""
	}
	return f.dataDir
}

// place is where the data is, for people.
func (f *cloudFlags) place() string {
	if f.inMemory {
		return "the memory"
	}
	return f.dataDir
}

// start starts the cloud with the indexes that the datasets need.
func (f *cloudFlags) start(ctx context.Context, datasets dataset.Set, log *zap.Logger) (*localcloud.Cloud, error) {
	indexes, err := datasets.IndexFile(deployments.Indexes)
	if err != nil {
		return nil, err
	}
	if f.indexes != "" {
		if indexes, err = os.ReadFile(f.indexes); err != nil {
			return nil, fmt.Errorf("read --indexes: %w", err)
		}
	}
	if f.learn != "" && f.indexMode != "auto" {
		return nil, errors.New("--index-learn needs --index-mode auto")
	}
	var roles *access.Roles
	if f.roles != "" {
		raw, err := os.ReadFile(f.roles)
		if err != nil {
			return nil, fmt.Errorf("read --roles: %w", err)
		}
		if roles, err = access.Parse(raw); err != nil {
			return nil, fmt.Errorf("--roles %s: %w", f.roles, err)
		}
	}
	var accounts [][]byte
	for _, name := range f.accounts {
		raw, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read --service-account: %w", err)
		}
		accounts = append(accounts, raw)
	}
	privateFiles()
	boundGarbage()
	cloud, err := localcloud.Start(ctx, localcloud.Config{
		Roles: roles, ServiceAccounts: accounts, DataDir: f.folder(), InMemory: f.inMemory, FirestoreAddr: f.firestore, PubSubAddr: f.pubsub, StorageAddr: f.storage, ControlAddr: f.control,
		IndexesJSON: indexes, IndexMode: f.indexMode, IndexHint: "start with --index-mode auto", LearnFile: f.learn, Lax: !f.strict, Log: log,
	})
	if errors.Is(err, localcloud.ErrInUse) {
		return nil, fmt.Errorf("%w\n  Is another exportd-dev running? End it, or give another folder: --data-dir DIR", err)
	}
	return cloud, err
}

func emulatorsCommand(env command.Environment) *cobra.Command {
	var flags cloudFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use: "emulators", Short: "Run Firestore, Pub/Sub and Cloud Storage on loopback", Args: command.NoArgs,
		Long: `Runs the embedded Firestore, Pub/Sub and Cloud Storage, which any Google client
understands, until it is interrupted. The data stays in the data folder. With
--control, POST /reset empties it; with --in-memory there is no folder.

  eval "$(exportd-dev emulators | tee /dev/stderr)"     # in a terminal of its own: copy what it prints`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := telemetry.NewLogger(env.Stderr, telemetry.LogConfig{Level: "info", Plain: true})
			if err != nil {
				return err
			}
			datasets, err := config.Datasets(env.Getenv)
			if err != nil {
				return err
			}
			cloud, err := flags.start(cmd.Context(), datasets, log)
			if err != nil {
				return err
			}
			printEndpoints(env.Stdout, cloud.Endpoints(), asJSON)
			return waitForCloud(cmd.Context(), cloud)
		},
	}
	flags.add(cmd)
	cmd.Flags().StringArrayVar(&flags.accounts, "service-account", nil, "a key `file` (JSON) of a service account whose signed URLs are taken; may be given again")
	cmd.Flags().StringVar(&flags.roles, "roles", "", "a `file` of accounts and their permissions, as deployments/permissions.yaml; each gets addresses of its own")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the addresses as JSON")
	return cmd
}

func waitForCloud(ctx context.Context, cloud *localcloud.Cloud) error {
	stop := context.AfterFunc(ctx, func() { _ = cloud.Close(context.WithoutCancel(ctx)) }) // its error is Wait's second Close
	defer stop()
	err := cloud.Wait()
	return errors.Join(err, cloud.Close(context.WithoutCancel(ctx)))
}

func printEndpoints(w io.Writer, e localcloud.Endpoints, asJSON bool) {
	names := slices.Sorted(maps.Keys(e.Accounts))
	if !asJSON {
		fmt.Fprintln(w, exportLine(e))
		for _, name := range names {
			fmt.Fprintf(w, "# as the account %s:\n# %s\n", name, exportLine(e.Accounts[name]))
		}
		return
	}
	vars := map[string]any{}
	for name, value := range hostVars(e) {
		vars[name] = value
	}
	if e.Control != "" {
		vars["CONTROL_HOST"] = e.Control
	}
	accounts := map[string]any{}
	for _, name := range names {
		accounts[name] = hostVars(e.Accounts[name])
	}
	if len(accounts) > 0 {
		vars["accounts"] = accounts
	}
	_ = json.NewEncoder(w).Encode(vars) // strings; a closed stdout is the reader's wish
}

// hostVars are the variables that name the three services. That of Cloud Storage has a scheme: Node's and
// Python's clients need it, Go's takes both.
func hostVars(e localcloud.Endpoints) map[string]string {
	return map[string]string{"FIRESTORE_EMULATOR_HOST": e.Firestore, "PUBSUB_EMULATOR_HOST": e.PubSub, "STORAGE_EMULATOR_HOST": "http://" + e.Storage}
}

func exportLine(e localcloud.Endpoints) string {
	vars := hostVars(e)
	line := "export"
	for _, name := range []string{"FIRESTORE_EMULATOR_HOST", "PUBSUB_EMULATOR_HOST", "STORAGE_EMULATOR_HOST"} {
		line += " " + name + "=" + vars[name]
	}
	return line
}
