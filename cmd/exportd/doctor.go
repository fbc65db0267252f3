package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"exportd/deployments"
	"exportd/internal/apikey"
	"exportd/internal/command"
	"exportd/internal/config"
	"exportd/internal/doctor"
	"exportd/internal/indexes"
	"exportd/internal/service"
	"exportd/internal/webhook"
)

// doctorWithin bounds all checks together. Google's clients retry what is unavailable for longer.
const doctorWithin = 10 * time.Second

// errUnwell is what doctor ends with, exit code 1, when something is bad.
var errUnwell = errors.New("not everything is as production needs it")

// doctorFlags say what is asked, and how it is told.
type doctorFlags struct {
	asJSON, withoutWorkers bool
	dataDir                string
	data                   bool
	samples                int
	maxReads               int64
}

func doctorCommand(env command.Environment) *cobra.Command {
	var flags doctorFlags
	cmd := &cobra.Command{
		Use: "doctor", Short: "Prove that everything is there that production needs", Args: command.NoArgs,
		Long: `Asks for everything that exportd needs, side by side and within 10 s: indexes, TTL policies,
point-in-time recovery, topics and subscriptions, the bucket and its settings, the keyset, signed
URLs, callbacks, clocks, live workers. A line each, with the command that mends what is bad.
A warning is of a dangerous setting that may be wanted; it changes no exit code.
It changes nothing but an object of a few bytes, which it writes, fetches and deletes.

With --data it looks at the source data instead, for documents that lists and exports do not show as
their owner would expect: without the field that rows are sorted by, with another type there, and VIP
users whose flags of birthdays contradict their birthday. It counts in each workspace and channel, for
a read per 1,000 documents, and goes through VIP users, and through messages where some are missing,
for a read each, up to --max-reads. It changes nothing.

Exit code: 0 all is well, 1 something is bad, 2 the configuration is wrong.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withClients(cmd, env, func(cfg config.Config, c *service.Clients, _ *zap.Logger) error {
				if flags.data {
					return checkData(cmd.Context(), cfg, c, flags, env.Stdout)
				}
				d, err := newDoctor(cmd.Context(), cfg, c, flags)
				if err != nil {
					return err
				}
				defer d.close()
				findings := doctor.Examine(cmd.Context(), doctorWithin, d.checks())
				write := doctor.WriteTable
				if flags.asJSON {
					write = doctor.WriteJSON
				}
				if err := write(env.Stdout, findings); err != nil {
					return err
				}
				if doctor.Count(findings, doctor.Bad) > 0 {
					return errUnwell
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&flags.asJSON, "json", false, "print the findings as JSON")
	cmd.Flags().BoolVar(&flags.withoutWorkers, "without-workers", false, "do not ask for running workers: before they are deployed")
	cmd.Flags().BoolVar(&flags.data, "data", false, "look at the source data: documents that no route shows as they should be")
	cmd.Flags().IntVar(&flags.samples, "samples", 10, "with --data: how many ids to tell of each fault in each workspace and channel")
	cmd.Flags().Int64Var(&flags.maxReads, "max-reads", 1_000_000, "with --data: how many documents to go through at most, a read each")
	cmd.Flags().StringVar(&flags.dataDir, "data-dir", ".data", "in development: the data folder that must be writable, if it is there")
	return cmd
}

// examiner asks for what one configuration needs. Tests change its fields.
type examiner struct {
	cfg      config.Config
	flags    doctorFlags
	c        *service.Clients
	database *indexes.Database
	indexes  []indexes.Index
	ttls     []indexes.TTL
	rules    webhook.Rules
	guard    webhook.GuardConfig
	roots    *x509.CertPool // whom the probe of callbacks trusts; nil is the system's
	now      func() time.Time
}

func newDoctor(ctx context.Context, cfg config.Config, c *service.Clients, flags doctorFlags) (*examiner, error) {
	d := &examiner{cfg: cfg, flags: flags, c: c, now: time.Now}
	file, err := cfg.Datasets.IndexFile(deployments.Indexes)
	if err != nil {
		return nil, err
	}
	if d.indexes, d.ttls, err = indexes.Parse(file); err != nil {
		return nil, err
	}
	if d.rules, err = service.CallbackRules(cfg); err != nil {
		return nil, err
	}
	d.guard = webhook.GuardConfig{Dev: d.rules.Dev}
	d.database, err = indexes.Open(ctx, indexes.Config{ProjectID: cfg.ProjectID, DatabaseID: cfg.DatabaseID, Emulator: cfg.FirestoreHost})
	return d, err
}

func (d *examiner) close() { _ = d.database.Close() } // nothing is under way

func (d *examiner) production() bool { return d.cfg.Env == "production" }

// remote is one of Google's, or what stands in for it.
type remote struct {
	name, addr, setting string
	reach               func(context.Context) error // once for all its checks
}

func newService(name, host, setting, google string) remote {
	s := remote{name: name, addr: google, setting: setting}
	if host != "" {
		s.addr = host
	}
	var once sync.Once
	var err error
	s.reach = func(ctx context.Context) error {
		once.Do(func() { err = dial(ctx, s.addr) })
		return err
	}
	return s
}

// dialWithin bounds the first connection to a remote: what does not answer then is down.
const dialWithin = 3 * time.Second

func dial(ctx context.Context, addr string) error {
	conn, err := (&net.Dialer{Timeout: dialWithin}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("cannot be reached: %w", err)
	}
	return conn.Close()
}

// of makes a check of the remote that is skipped where the remote cannot be reached: one line tells that, not
// thirty.
func (s remote) of(name, remedy string, run func(context.Context) (string, error)) doctor.Check {
	return doctor.Check{Name: name, Remedy: remedy, Where: s.addr, Run: func(ctx context.Context) (string, error) {
		if s.reach(ctx) != nil {
			return "", doctor.Skip("%s at %s cannot be reached", s.name, s.addr)
		}
		return run(ctx)
	}}
}

func (s remote) check() doctor.Check {
	remedy := "let " + s.addr + " be reached from here"
	if !strings.HasSuffix(s.addr, "googleapis.com:443") {
		remedy = "correct " + s.setting + ", or start it: exportd-dev emulators"
	}
	return doctor.Check{Name: s.name, Remedy: remedy, Where: s.addr, Run: func(ctx context.Context) (string, error) {
		return s.addr, s.reach(ctx)
	}}
}

// checks are all, in the order in which they are told.
func (d *examiner) checks() []doctor.Check {
	firestore := newService("Firestore", d.cfg.FirestoreHost, "FIRESTORE_EMULATOR_HOST", "firestore.googleapis.com:443")
	pubsub := newService("Pub/Sub", d.cfg.PubSubHost, "PUBSUB_EMULATOR_HOST", "pubsub.googleapis.com:443")
	storage := newService("Cloud Storage", d.cfg.StorageHost, "STORAGE_EMULATOR_HOST", "storage.googleapis.com:443")
	return slices.Concat(
		[]doctor.Check{{Name: "configuration", Run: func(context.Context) (string, error) {
			return fmt.Sprintf("%s, project %s, database %s, bucket %s", d.cfg.Env, d.cfg.ProjectID, d.cfg.DatabaseID, d.cfg.Bucket), nil
		}}},
		d.ofFirestore(firestore), d.ofPubSub(pubsub), d.ofStorage(storage), d.ofKeys(firestore), d.ofProcesses(firestore, storage), d.ofCallbacks(),
	)
}

// ofKeys asks for the keyset: a record of a real key is opened.
func (d *examiner) ofKeys(s remote) []doctor.Check {
	remedy := "give this process the keyset that sealed them (EXPORTD_KEYSET_FILE, EXPORTD_KMS_KEY); for a new project: exportd setup"
	open := func(ctx context.Context, limit int) (apikey.Sealed, error) {
		keys, err := service.OpenKeys(ctx, d.cfg, d.c, false)
		if err != nil {
			return apikey.Sealed{}, err
		}
		defer keys.Close()
		return keys.CountSealed(ctx, limit)
	}
	return []doctor.Check{
		s.of("keyset", remedy, func(ctx context.Context) (string, error) {
			n, err := open(ctx, 20) // as readiness
			switch {
			case err != nil:
				return "", err
			case n.Opened < n.Sealed:
				return "", fmt.Errorf("%d of %d sealed keys do not open with %s", n.Sealed-n.Opened, n.Sealed, orNone(d.cfg.KeysetFile))
			case n.Sealed == 0:
				return fmt.Sprintf("%s; no sealed key to try it on", orNone(d.cfg.KeysetFile)), nil
			}
			return fmt.Sprintf("%s opens %d sealed keys", orNone(d.cfg.KeysetFile), n.Opened), nil
		}),
		s.of("plain secrets", "exportctl keys rotate KEY; to have them sealed at first use: EXPORTD_ALLOW_PLAIN_SECRETS=true", func(ctx context.Context) (string, error) {
			n, err := open(ctx, 1000)
			if err != nil {
				return "", doctor.Skip("the keyset cannot be used")
			}
			text := fmt.Sprintf("%d of %d keys hold a secret in clear", n.Plain, n.Records)
			if n.Plain > 0 && d.production() {
				return "", errors.New(text)
			}
			return text, nil
		}),
		{Name: "signatures of operators", Remedy: "EXPORTD_PRIVILEGED_V1=false, as soon as no client of operators and admins needs it", Run: func(context.Context) (string, error) {
			if d.cfg.PrivilegedV1 {
				return "", doctor.Warn("EXPORTD_PRIVILEGED_V1 lets keys with ops, admin or platform sign by version 1: whoever overhears such a request can make any other with its headers, for a minute")
			}
			return "by version 2 alone", nil
		}},
	}
}

func orNone(file string) string {
	if file == "" {
		return "no keyset"
	}
	return file
}
