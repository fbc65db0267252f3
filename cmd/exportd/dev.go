package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"exportd/deployments"
	"exportd/internal/config"
	"exportd/internal/demo"
	"exportd/internal/localcloud"
	"exportd/internal/telemetry"
)

// cloudFlags are the flags of commands that run the embedded cloud.
type cloudFlags struct{ dataDir, firestore, pubsub, storage, control, indexes string }

func (f *cloudFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.dataDir, "data-dir", ".data", "folder for all data, made if missing")
	cmd.Flags().StringVar(&f.firestore, "firestore", "", "HOST:PORT for Firestore (default: a free port)")
	cmd.Flags().StringVar(&f.pubsub, "pubsub", "", "HOST:PORT for Pub/Sub (default: a free port)")
	cmd.Flags().StringVar(&f.storage, "storage", "", "HOST:PORT for Cloud Storage (default: a free port)")
	cmd.Flags().StringVar(&f.indexes, "indexes", "", "a firestore.indexes.json instead of exportd's own, to see what a missing index does")
	cmd.Flags().StringVar(&f.control, "control", "", "HOST:PORT for faults and counters (default: none)")
}

func (f *cloudFlags) start(ctx context.Context, log *zap.Logger) (*localcloud.Cloud, error) {
	indexes := deployments.Indexes
	if f.indexes != "" {
		var err error
		if indexes, err = os.ReadFile(f.indexes); err != nil {
			return nil, fmt.Errorf("read --indexes: %w", err)
		}
	}
	return localcloud.Start(ctx, localcloud.Config{
		DataDir: f.dataDir, FirestoreAddr: f.firestore, PubSubAddr: f.pubsub, StorageAddr: f.storage, ControlAddr: f.control,
		IndexesJSON: indexes, Log: log,
	})
}

func emulatorsCommand(env environment) *cobra.Command {
	var flags cloudFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use: "emulators", Short: "Run Firestore, Pub/Sub and Cloud Storage on loopback", Args: noArgs,
		Long: `Runs the embedded Firestore, Pub/Sub and Cloud Storage, which any Google client
understands, until it is interrupted. The data stays in the data folder.

  eval "$(exportd emulators | tee /dev/stderr)"     # in a terminal of its own: copy what it prints`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := telemetry.NewLogger(env.stderr, "info", true)
			if err != nil {
				return err
			}
			cloud, err := flags.start(cmd.Context(), log)
			if err != nil {
				return err
			}
			printEndpoints(env.stdout, cloud.Endpoints(), asJSON)
			return waitForCloud(cmd.Context(), cloud)
		},
	}
	flags.add(cmd)
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
	vars := map[string]string{
		"FIRESTORE_EMULATOR_HOST": e.Firestore, "PUBSUB_EMULATOR_HOST": e.PubSub, "STORAGE_EMULATOR_HOST": e.Storage,
	}
	if e.Control != "" {
		vars["CONTROL_HOST"] = e.Control
	}
	if asJSON {
		_ = json.NewEncoder(w).Encode(vars) // strings; a closed stdout is the reader's wish
		return
	}
	fmt.Fprintf(w, "export FIRESTORE_EMULATOR_HOST=%s PUBSUB_EMULATOR_HOST=%s STORAGE_EMULATOR_HOST=%s\n", e.Firestore, e.PubSub, e.Storage)
}

// demoFile is what demo.json holds: everything that a client of the demo needs.
type demoFile struct {
	APIURL string `json:"apiUrl"`
	demo.Summary
	FirestoreHost string `json:"firestoreEmulatorHost"`
	PubSubHost    string `json:"pubsubEmulatorHost"`
	StorageHost   string `json:"storageEmulatorHost"`
	ControlHost   string `json:"controlHost,omitempty"`
}

type devFlags struct {
	cloudFlags
	addr            string
	users, messages int
}

func devCommand(env environment) *cobra.Command {
	var flags devFlags
	cmd := &cobra.Command{
		Use: "dev", Short: "Run everything in one process, with demo data", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return dev(cmd.Context(), env, flags) },
	}
	flags.add(cmd)
	cmd.Flags().StringVar(&flags.addr, "addr", "127.0.0.1:8080", "HOST:PORT for the API")
	cmd.Flags().IntVar(&flags.users, "demo-users", 0, fmt.Sprintf("users to make in a new data folder (default %d)", demo.DefaultUsers))
	cmd.Flags().IntVar(&flags.messages, "demo-messages", 0, fmt.Sprintf("messages to make in a new data folder (default %d)", demo.DefaultMessages))
	return cmd
}

// dev runs the embedded cloud, the API and a worker until ctx ends or one of them fails.
func dev(ctx context.Context, env environment, flags devFlags) (err error) {
	// The environment before anything else: all its faults at once, and nothing is started for
	// a wrong one. The addresses are not known yet.
	if _, err := devConfig(env, localcloud.Endpoints{Firestore: ":0", PubSub: ":0", Storage: ":0"}); err != nil {
		return err
	}
	level := env.getenv("EXPORTD_LOG_LEVEL")
	if level == "" {
		level = "warn" // a terminal that shows what to do next should not scroll away
	}
	log, err := telemetry.NewLogger(env.stderr, level, true)
	if err != nil {
		return config.Faults{err.Error()}
	}
	// The port first: a taken one is the likeliest fault and must leave no trace.
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", flags.addr)
	if err != nil {
		return fmt.Errorf("listen on --addr %s: %w", flags.addr, err)
	}
	defer l.Close()
	cloud, err := flags.start(ctx, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cloud.Close(context.WithoutCancel(ctx))) }()
	cfg, err := devConfig(env, cloud.Endpoints())
	if err != nil {
		return err
	}
	cfg.KeysetFile = cmp.Or(cfg.KeysetFile, filepath.Join(flags.dataDir, "keyset.json"))
	c, err := openClients(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if err := c.setup(ctx); err != nil {
		return err
	}
	facts, err := loadDemo(ctx, env, flags, cfg, c, cloud.Endpoints(), "http://"+l.Addr().String())
	if err != nil {
		return err
	}
	printNextSteps(env.stdout, flags.dataDir, facts)
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return serveAPI(gctx, cfg, c, log, l) })
	g.Go(func() error { return runWorker(gctx, cfg, c, log) })
	g.Go(func() error {
		select {
		case <-gctx.Done():
			return nil
		case <-cloud.Done():
			return cloud.Wait()
		}
	})
	return g.Wait()
}

// devConfig is the environment's configuration with the embedded cloud's addresses.
func devConfig(env environment, e localcloud.Endpoints) (config.Config, error) {
	own := map[string]string{
		"EXPORTD_ENV": "development", "FIRESTORE_EMULATOR_HOST": e.Firestore, "PUBSUB_EMULATOR_HOST": e.PubSub, "STORAGE_EMULATOR_HOST": e.Storage,
		// On one machine a callback's receiver is on loopback; production never has these.
		"EXPORTD_CALLBACK_ALLOW_HTTP": "true", "EXPORTD_CALLBACK_ALLOW_CIDRS": "127.0.0.0/8", "EXPORTD_CALLBACK_ALLOW_PORTS": "0",
		// The demo has no deploys to wait for: work under way is handed back soon.
		"EXPORTD_DRAIN_SECONDS": "2",
	}
	return config.Load(func(name string) string {
		if v, ok := own[name]; ok && (env.getenv(name) == "" || strings.HasSuffix(name, "_EMULATOR_HOST")) {
			return v
		}
		return env.getenv(name)
	}, env.environ)
}

// loadDemo fills a new data folder and writes demo.json, which only its owner can read.
func loadDemo(ctx context.Context, env environment, flags devFlags, cfg config.Config, c *clients, e localcloud.Endpoints, apiURL string) (demoFile, error) {
	target, closeTarget, err := demo.DialEmulator(ctx, e.Firestore, cfg.ProjectID)
	if err != nil {
		return demoFile{}, err
	}
	defer closeTarget()
	keys, err := openKeys(ctx, cfg, c, true)
	if err != nil {
		return demoFile{}, err
	}
	defer keys.Close()
	path := filepath.Join(flags.dataDir, "demo.json")
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		fmt.Fprintf(env.stdout, "Filling %s with demo data, once.\n", flags.dataDir)
	}
	begun := time.Now()
	summary, err := demo.Load(ctx, target, demo.Options{Seed: 1, Users: flags.users, Messages: flags.messages, Now: time.Now(), Secrets: secretsOf(keys)})
	if err != nil {
		return demoFile{}, fmt.Errorf("load demo data: %w", err)
	}
	if summary.Loaded {
		fmt.Fprintf(env.stdout, "Done in %s: %d users and %d messages in the demo workspace.\n", time.Since(begun).Round(100*time.Millisecond), summary.Users, summary.Messages)
	}
	facts := demoFile{APIURL: apiURL, Summary: summary, FirestoreHost: e.Firestore, PubSubHost: e.PubSub, StorageHost: e.Storage, ControlHost: e.Control}
	body, err := json.MarshalIndent(facts, "", "  ")
	if err != nil {
		return facts, fmt.Errorf("encode demo.json: %w", err)
	}
	// Written whole and then renamed: a program that waits for it never reads half.
	if err := os.WriteFile(path+".new", append(body, '\n'), 0o600); err != nil {
		return facts, fmt.Errorf("write demo.json: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return facts, fmt.Errorf("write demo.json: %w", err)
	}
	return facts, nil
}

// printNextSteps shows commands that work as they are.
func printNextSteps(w io.Writer, dataDir string, f demoFile) {
	query := fmt.Sprintf("workspaceId=%s&mediumId=%s&from=%s&to=%s", f.WorkspaceID, f.MediumID, f.From, f.To)
	fmt.Fprintf(w, `
exportd is ready at %[1]s   (keys and addresses: %[2]s)

1. Paste this once; it signs requests with the demo key:

vip() { local d="$(date -u +%%Y-%%m-%%dT%%H:%%M:%%SZ)"; curl -sS -H "x-api-key: %[3]s" -H "x-date: $d" -H "x-signature: $(printf %%s "$d" | openssl dgst -sha256 -hmac '%[4]s' -r | cut -c1-64)" "$@"; }

2. List messages, newest first:

vip '%[1]s/vip-messages?%[5]s&limit=3'

3. Export all of them, and download the file:

vip '%[1]s/vip-messages/export?%[5]s'
curl -sS -o messages.csv "$(vip '%[1]s/vip-messages/export?%[5]s' | sed 's/.*"csvUrl":"\([^"]*\)".*/\1/')" && head -n 3 messages.csv

4. Export as a job, and poll it:

vip -H 'Prefer: respond-async' '%[1]s/vip-users/export?workspaceId=%[6]s&mediumId=%[7]s'
vip '%[1]s/exports'

Ctrl-C stops it; the data stays in %[8]s.
`, f.APIURL, filepath.Join(dataDir, "demo.json"), f.APIKey, f.Secret, query, f.WorkspaceID, f.MediumID, dataDir)
}
