// Package config reads exportd's settings from the environment.
//
// Settings are one table: each row has its variable, what it means, its default and how it is read. The table
// is what --help prints and what the README shows, and all faults are reported at once, each with its
// variable and what would be right.
package config

import (
	"cmp"
	crand "crypto/rand"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"exportd/internal/dataset"
	"exportd/jobs"
)

// LoopbackAddr is where the API listens in development.
const LoopbackAddr = "127.0.0.1:8080"

// Config is every setting of every command.
type Config struct {
	Env        string // "development" or "production"
	ProjectID  string
	DatabaseID string
	Bucket     string

	FirestoreHost, PubSubHost, StorageHost string // emulators; empty is Google

	BucketLocation string // where setup makes the bucket; "" is anywhere

	Addr string // the API listens here
	// OpsAddr is where a process answers operators; empty: nowhere.
	OpsAddr string
	PProf   bool
	// Console is where the console is: "ops", "public" for the API's port too, or "none"; the others are
	// where its links to logs and traces go.
	Console, ConsoleLogsURL, ConsoleTraceURL string
	SignIn                                   ConsoleSignIn

	LogLevel    string
	LogFormat   string // "json" or "text"
	ReloadFile  string // of settings that are taken anew; "" for none
	WorkerID    string
	SignerEmail string // service account e-mail that signs download URLs

	Wait       time.Duration // how long an export request waits for its job
	URLLife    time.Duration // how long a csvUrl works
	LinksURL   string        // where csvUrl leads if it is the service's own; "" is Cloud Storage
	FileLife   time.Duration
	RecordLife time.Duration
	ReuseFor   time.Duration
	Drain      time.Duration
	LeaseFor   time.Duration

	PITR                bool
	PartRows, MaxRows   int64
	MaxBytes            int64
	Window              int
	JobSlots, PartSlots int
	CallbackSlots       int
	ChunkBytes          int
	RunningJobs, Queued int
	// Requests a second of one address and of one key; 0 is no limit. A burst of 0 is two seconds' worth.
	RateIP, RateKey           int
	RateIPBurst, RateKeyBurst int
	TrustedProxies            []string
	MaxConnections            int
	// KeysetFile seals the secrets of API keys; KMSKey is what it is encrypted by.
	KeysetFile, KMSKey string
	AllowPlainSecrets  bool
	CallbackProbeURL   string // "" asks nothing
	CallbackAllowHTTP  bool
	CallbackAllowCIDRs []string
	CallbackAllowPorts []int
	CallbackOwnHosts   []string
	PrivilegedV1       bool
	// Datasets are those that are built in, and those of EXPORTD_DATASETS_FILE.
	Datasets dataset.Set
}

// Setting is a row of the table.
type Setting struct {
	Var     string
	Default string // as shown; read as if it were given
	Doc     string
	set     func(c *Config, value string) error
}

// Settings is the table, in the order in which it is shown.
func Settings() []Setting {
	return []Setting{
		{"EXPORTD_ENV", "", "`development` or `production`; production refuses emulators and loopback callbacks. Default: development where an emulator is named, else production", oneOf(func(c *Config) *string { return &c.Env }, "", "development", "production")},
		{"EXPORTD_PROJECT_ID", "", "Google Cloud project. Required in production; `exportd-local` in development", text(func(c *Config) *string { return &c.ProjectID })},
		{"EXPORTD_DATABASE_ID", "(default)", "Firestore database", text(func(c *Config) *string { return &c.DatabaseID })},
		{"EXPORTD_BUCKET", "", "Cloud Storage bucket for the files. Default: the project id with `-exports`", text(func(c *Config) *string { return &c.Bucket })},
		{"FIRESTORE_EMULATOR_HOST", "", "host:port of a Firestore emulator; empty is Google's Firestore", hostPort(func(c *Config) *string { return &c.FirestoreHost })},
		{"PUBSUB_EMULATOR_HOST", "", "host:port of a Pub/Sub emulator; empty is Google's Pub/Sub", hostPort(func(c *Config) *string { return &c.PubSubHost })},
		{"STORAGE_EMULATOR_HOST", "", "host:port of a Cloud Storage emulator; empty is Google's Cloud Storage", hostPort(func(c *Config) *string { return &c.StorageHost })},
		{"EXPORTD_BUCKET_LOCATION", "", "where `exportd setup` makes the bucket, as `EU` or `europe-west6`; `doctor` holds the bucket to it. Default: the service's (US), anywhere is right", text(func(c *Config) *string { return &c.BucketLocation })},
		{"EXPORTD_ADDR", "", "host:port the API listens on. Default: `127.0.0.1:8080` in development; in production all addresses, at the port in `PORT`, else 8080", listenAddr(func(c *Config) *string { return &c.Addr })},
		{"EXPORTD_OPS_ADDR", "127.0.0.1:0", "host:port for operators, at which each process answers /livez, /readyz and /metrics; port 0 is a free one, which its log names, and `none` none at all. Keep it from the public", opsAddr},
		{"EXPORTD_PPROF", "false", "profiles of the process at /debug/pprof/ of the port for operators", boolean(func(c *Config) *bool { return &c.PProf })},
		{"EXPORTD_CONSOLE", "ops", "where the API shows operators the console at /console: `ops`, at the port for operators; `public`, at that of the API too; or `none`. Over https, or on the same machine", oneOf(func(c *Config) *string { return &c.Console }, "ops", "public", "none")},
		{"EXPORTD_CONSOLE_LOGS_URL", "", "where the console's link to the logs of a job leads: an https URL (http on this machine) with {jobId} where its id goes; {requestId} and {traceId} may be in it too, behind the host", linkTo(func(c *Config) *string { return &c.ConsoleLogsURL }, "{jobId}", "{requestId}", "{traceId}")},
		{"EXPORTD_CONSOLE_TRACE_URL", "", "where the console's link to the trace of a job's last run leads: the same with {traceId}, 32 hexadecimal digits, as `https://console.cloud.google.com/traces/explorer;traceId={traceId}`; {jobId} and {requestId} may be in it too", linkTo(func(c *Config) *string { return &c.ConsoleTraceURL }, "{traceId}", "{jobId}", "{requestId}")},
		{"EXPORTD_CONSOLE_IAP_AUDIENCE", "", "the backend before which Google's Identity-Aware Proxy says who asks for the console, as `/projects/NUMBER/global/backendServices/NUMBER`: who it names signs in by that. Empty: its header is not looked at", audience},
		{"EXPORTD_CONSOLE_OIDC_ISSUER", "", "https URL of a provider of OpenID Connect by which people may sign in to the console, as `https://accounts.google.com`; its codes are asked for with PKCE", base(func(c *Config) *string { return &c.SignIn.Issuer }, true)},
		{"EXPORTD_CONSOLE_OIDC_CLIENT_ID", "", "how that provider knows the console", text(func(c *Config) *string { return &c.SignIn.ClientID })},
		{"EXPORTD_CONSOLE_OIDC_SECRET_FILE", "", "file with the client's secret, where it has one", text(func(c *Config) *string { return &c.SignIn.SecretFile })},
		{"EXPORTD_CONSOLE_URL", "", "where browsers reach the console, as `https://exports.example.com`; with `/console/sign-in/oidc/callback` it is what the provider must allow to send browsers back to", base(func(c *Config) *string { return &c.SignIn.URL }, false)},
		{"EXPORTD_CONSOLE_ROLE_CLAIM", "groups", "claim of the provider's that holds a person's groups or roles; `realm_access.roles` is one within another", text(func(c *Config) *string { return &c.SignIn.RoleClaim })},
		{"EXPORTD_CONSOLE_VIEWERS", "", "who may look at the console, and change and download nothing: addresses of e-mail that the provider has verified, `@example.com` for all of a domain, groups of the claim; comma-separated", people(func(c *Config) *[]string { return &c.SignIn.Viewers })},
		{"EXPORTD_CONSOLE_OPERATORS", "", "who may besides run again, cancel, deliver again and pause; likewise", people(func(c *Config) *[]string { return &c.SignIn.Operators })},
		{"EXPORTD_CONSOLE_ADMINS", "", "who may besides make, rotate and revoke the keys of all orgs; likewise", people(func(c *Config) *[]string { return &c.SignIn.Admins })},
		{"EXPORTD_CONSOLE_CONTACT", "", "whom to ask, shown to those who sign in and have no role", contact},
		{"EXPORTD_LOG_LEVEL", "info", "`debug`, `info`, `warn` or `error`", oneOf(func(c *Config) *string { return &c.LogLevel }, "debug", "info", "warn", "error")},
		{"EXPORTD_LOG_FORMAT", "json", "`json`, in the form of Google's Cloud Logging and Error Reporting, or `text` for people", oneOf(func(c *Config) *string { return &c.LogFormat }, "json", "text")},
		{ReloadVar, "", "file of lines NAME=value for the settings that say so, which stand before the environment's; looked at every 15 s and on SIGHUP. Lines that are wrong change nothing, and are logged", text(func(c *Config) *string { return &c.ReloadFile })},
		{"EXPORTD_WORKER_ID", "", "name of the worker in leases and logs. Default: host name, process id and five random characters", text(func(c *Config) *string { return &c.WorkerID })},
		{"EXPORTD_SIGNER_EMAIL", "", "service account that signs download URLs. Default: the one exportd runs as", text(func(c *Config) *string { return &c.SignerEmail })},
		{"EXPORTD_WAIT_SECONDS", "10", "how long an export request waits for its job, 0 to 25", duration(func(c *Config) *time.Duration { return &c.Wait }, time.Second, 0, 25)},
		{"EXPORTD_URL_SECONDS", "3600", "how long a csvUrl works, 60 to 43200 (signBlob keys are only sure for 12 h)", duration(func(c *Config) *time.Duration { return &c.URLLife }, time.Second, 60, 43200)},
		{"EXPORTD_LINKS_URL", "", "where callers reach the API, as `https://exports.example.com`: csvUrl is then a link of its own below /files/, which works as long as the file does, leads on to a signed URL of a minute, is on record with who followed it, and can be revoked. The same for all processes; `EXPORTD_KEYSET_FILE` seals the links. Empty: csvUrl is a signed URL", base(func(c *Config) *string { return &c.LinksURL }, false)},
		{"EXPORTD_FILE_DAYS", "7", "how long files are kept, 1 to 365", duration(func(c *Config) *time.Duration { return &c.FileLife }, 24*time.Hour, 1, 365)},
		{"EXPORTD_RECORD_DAYS", "90", "how long job records are kept, 1 to 3650", duration(func(c *Config) *time.Duration { return &c.RecordLife }, 24*time.Hour, 1, 3650)},
		{"EXPORTD_REUSE_SECONDS", "60", "how long a success answers equal requests, 0 to 3600", duration(func(c *Config) *time.Duration { return &c.ReuseFor }, time.Second, 0, 3600)},
		{"EXPORTD_JOB_SLOTS", "4", "jobs (planning, and exports of one part) a worker does at a time, 1 to 64", number(func(c *Config) *int { return &c.JobSlots }, 1, 64)},
		{"EXPORTD_PART_SLOTS", "8", "parts a worker does at a time, 1 to 64", number(func(c *Config) *int { return &c.PartSlots }, 1, 64)},
		{"EXPORTD_CALLBACK_SLOTS", "16", "callbacks a worker has under way at a time, 8 for each of these, 1 to 256; those that take over 250 ms do not count", number(func(c *Config) *int { return &c.CallbackSlots }, 1, 256)},
		{"EXPORTD_PART_ROWS", "50000", "rows of a part, 100 to 10000000; from 50000 on, exports of over a million rows get larger parts", number(func(c *Config) *int64 { return &c.PartRows }, 100, 10_000_000)},
		{"EXPORTD_PART_WINDOW", "32", "parts of one job in flight over all workers, 1 to 1000", number(func(c *Config) *int { return &c.Window }, 1, 1000)},
		{"EXPORTD_CHUNK_BYTES", "2097152", "size of an upload request, about the memory of a slot; 262144 to 67108864", number(func(c *Config) *int { return &c.ChunkBytes }, 256<<10, 64<<20)},
		{"EXPORTD_LEASE_SECONDS", "30", "how long the work of a killed worker stands still, 3 to 600", duration(func(c *Config) *time.Duration { return &c.LeaseFor }, time.Second, 3, 600)},
		{"EXPORTD_DRAIN_SECONDS", "20", "how long work may go on after SIGTERM before it is handed back, 0 to 3600", duration(func(c *Config) *time.Duration { return &c.Drain }, time.Second, 0, 3600)},
		{"EXPORTD_PITR", "false", "point-in-time recovery is on: snapshots are whole minutes and stay readable for 7 days", boolean(func(c *Config) *bool { return &c.PITR })},
		{"EXPORTD_MAX_ROWS", "0", "most rows of an export; 0 is no limit", number(func(c *Config) *int64 { return &c.MaxRows }, 0, 1<<40)},
		{"EXPORTD_MAX_BYTES", "0", "most bytes of a file; 0 is no limit", number(func(c *Config) *int64 { return &c.MaxBytes }, 0, 5<<40)},
		{"EXPORTD_ORG_RUNNING_JOBS", "5", "jobs of one org that run at a time, others wait; 0 is no limit", number(func(c *Config) *int { return &c.RunningJobs }, 0, 10_000)},
		{"EXPORTD_ORG_QUEUED_JOBS", "100", "jobs of one org that may wait, more get 429; 0 is no limit", number(func(c *Config) *int { return &c.Queued }, 0, 100_000)},
		{"EXPORTD_RATE_IP_PER_SECOND", "600", "requests a second of one address, before authentication, and connections that it opens (at once as many as it may hold; then most of its attempts are dropped for 15 s, and longer where it goes on), in each process; trusted proxies open as many as they like; 0 is no limit", number(func(c *Config) *int { return &c.RateIP }, 0, 1_000_000)},
		{"EXPORTD_RATE_IP_BURST", "0", "requests of one address at once; 0 is two seconds' worth", number(func(c *Config) *int { return &c.RateIPBurst }, 0, 10_000_000)},
		{"EXPORTD_RATE_KEY_PER_SECOND", "300", "requests a second of one key, in each process; 0 is no limit", number(func(c *Config) *int { return &c.RateKey }, 0, 1_000_000)},
		{"EXPORTD_RATE_KEY_BURST", "0", "requests of one key at once; 0 is two seconds' worth", number(func(c *Config) *int { return &c.RateKeyBurst }, 0, 10_000_000)},
		{"EXPORTD_MAX_CONNECTIONS", "5000", "connections that the API holds at once, 100 to 100000, at about 20 KiB each when idle; an address alone gets three sevenths, trusted proxies all", number(func(c *Config) *int { return &c.MaxConnections }, 100, 100_000)},
		{"EXPORTD_TRUSTED_PROXIES", "", "networks of load balancers whose X-Forwarded-For is believed, as `169.254.0.0/16`; comma-separated", list(func(c *Config) *[]string { return &c.TrustedProxies })},
		{"EXPORTD_DATASETS_FILE", "", "YAML file of datasets besides VIP users and messages, like deployments/examples/datasets.yaml; the same for all processes", datasets},
		{"EXPORTD_KEYSET_FILE", "", "file of the keyset that seals the secrets of API keys, made by `exportd setup`. Required in production; empty leaves them as they are", text(func(c *Config) *string { return &c.KeysetFile })},
		{"EXPORTD_KMS_KEY", "", "Cloud KMS key that the keyset is encrypted by, as `projects/P/locations/L/keyRings/R/cryptoKeys/K`; empty: the keyset is in clear", kmsKey(func(c *Config) *string { return &c.KMSKey })},
		{"EXPORTD_ALLOW_PLAIN_SECRETS", "false", "in production, keys whose secret is a plain field of their record work too, and are sealed at first use", boolean(func(c *Config) *bool { return &c.AllowPlainSecrets })},
		{"EXPORTD_CALLBACK_PROBE_URL", "https://www.google.com/generate_204", "https URL that `exportd doctor` asks in production, on the way that callbacks take, to see that they get out; `none` asks nothing", probeURL(func(c *Config) *string { return &c.CallbackProbeURL })},
		{"EXPORTD_PRIVILEGED_V1", "false", "keys with the scopes ops, admin or platform may sign by version 1 too; for clients that cannot yet do otherwise: such a request, overheard, is a takeover", boolean(func(c *Config) *bool { return &c.PrivilegedV1 })},
		{"EXPORTD_CALLBACK_OWN_HOSTS", "", "hosts of this service, refused as callback targets; comma-separated", list(func(c *Config) *[]string { return &c.CallbackOwnHosts })},
		{"EXPORTD_CALLBACK_ALLOW_HTTP", "false", "development only: callbacks may go to http URLs", boolean(func(c *Config) *bool { return &c.CallbackAllowHTTP })},
		{"EXPORTD_CALLBACK_ALLOW_CIDRS", "", "development only: networks callbacks may reach, as `127.0.0.0/8`; comma-separated", list(func(c *Config) *[]string { return &c.CallbackAllowCIDRs })},
		{"EXPORTD_CALLBACK_ALLOW_PORTS", "", "development only: ports callbacks may go to besides 443 and 8443, 0 is any; comma-separated", ports(func(c *Config) *[]int { return &c.CallbackAllowPorts })},
	}
}

// Faults are all that is wrong with an environment.
type Faults []string

// Error has one line a fault.
func (f Faults) Error() string { return "configuration:\n  " + strings.Join(f, "\n  ") }

// Load reads the settings through getenv. The error is a Faults with everything that is wrong, unknown
// EXPORTD_ variables in environ (as os.Environ gives it) included: a misspelt setting must not be silently
// without effect.
func Load(getenv func(string) string, environ []string) (Config, error) {
	var c Config
	var faults Faults
	if path := strings.TrimSpace(getenv(ReloadVar)); path != "" {
		getenv, faults = overlay(path, getenv)
	}
	known := map[string]bool{}
	for _, s := range Settings() {
		known[s.Var] = true
		value := cmp.Or(strings.TrimSpace(getenv(s.Var)), s.Default)
		if err := s.set(&c, value); err != nil {
			faults = append(faults, fmt.Sprintf("%s=%q: %v", s.Var, value, err))
		}
	}
	for _, kv := range environ {
		name, _, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, "EXPORTD_") && !known[name] && !strings.HasPrefix(name, "EXPORTD_TEST_") && name != "EXPORTD_REQUIRE_ALL" {
			faults = append(faults, name+": no such setting; exportd --help lists them")
		}
	}
	faults = append(faults, c.listen(getenv("PORT"))...)
	faults = append(faults, c.complete()...)
	if len(faults) > 0 {
		return Config{}, faults
	}
	return c, nil
}

// listen fills in where the API listens: what runs containers tells them the port in PORT.
func (c *Config) listen(port string) (faults Faults) {
	switch {
	case c.Addr != "":
	case !c.production():
		c.Addr = LoopbackAddr
	default:
		port = cmp.Or(strings.TrimSpace(port), "8080")
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return Faults{fmt.Sprintf("PORT=%q: a port from 1 to 65535 is wanted", port)}
		}
		c.Addr = ":" + port
	}
	return nil
}

func (c *Config) emulators() bool {
	return c.FirestoreHost != "" || c.PubSubHost != "" || c.StorageHost != ""
}

func (c *Config) production() bool { return c.Env == "production" || c.Env == "" && !c.emulators() }

// complete fills what depends on other settings and checks what only fits together.
func (c *Config) complete() (faults Faults) {
	if c.production() {
		c.Env = "production"
	} else {
		c.Env = "development"
	}
	if c.Env == "development" {
		c.ProjectID = cmp.Or(c.ProjectID, "exportd-local")
	}
	if c.ProjectID == "" {
		faults = append(faults, "EXPORTD_PROJECT_ID: missing; the id of the Google Cloud project (or name emulators: exportd-dev emulators prints their variables)")
	}
	if c.Env == "production" {
		if c.emulators() {
			faults = append(faults, "EXPORTD_ENV=production: does not go with FIRESTORE_EMULATOR_HOST, PUBSUB_EMULATOR_HOST or STORAGE_EMULATOR_HOST; unset them")
		}
		if c.KeysetFile == "" {
			faults = append(faults, "EXPORTD_KEYSET_FILE: missing; production keeps no secret of an API key in clear (exportd setup makes the file; EXPORTD_KMS_KEY encrypts it)")
		}
		if c.CallbackAllowHTTP || len(c.CallbackAllowCIDRs) > 0 || len(c.CallbackAllowPorts) > 0 {
			faults = append(faults, "EXPORTD_ENV=production: does not go with EXPORTD_CALLBACK_ALLOW_HTTP, _CIDRS or _PORTS; unset them")
		}
	}
	if c.KMSKey != "" && c.KeysetFile == "" {
		faults = append(faults, "EXPORTD_KMS_KEY: without EXPORTD_KEYSET_FILE there is nothing that it could open")
	}
	if c.LinksURL != "" && c.KeysetFile == "" {
		faults = append(faults, "EXPORTD_LINKS_URL: without EXPORTD_KEYSET_FILE there is nothing that seals links")
	}
	if c.Env == "production" && strings.HasPrefix(c.LinksURL, "http:") {
		faults = append(faults, "EXPORTD_ENV=production: does not go with http in EXPORTD_LINKS_URL")
	}
	if c.Bucket == "" {
		c.Bucket = c.ProjectID + "-exports"
	}
	if c.WorkerID == "" {
		host, _ := os.Hostname()
		// Containers may all be "localhost" and their process 1; who rescues what is told apart by this name.
		c.WorkerID = cmp.Or(host, "worker") + "-" + strconv.Itoa(os.Getpid()) + "-" + strings.ToLower(crand.Text()[:5])
	}
	faults = append(faults, c.signInFaults()...)
	if c.RecordLife < c.FileLife {
		faults = append(faults, "EXPORTD_RECORD_DAYS: less than EXPORTD_FILE_DAYS; a record must outlive its file")
	}
	return faults
}

// Policy gives the numbers of the job protocol.
func (c *Config) Policy() jobs.Policy {
	life := 55 * time.Minute // Firestore keeps an hour; reads under way need some of it
	if c.PITR {
		life = 7*24*time.Hour - time.Hour
	}
	return jobs.Policy{
		LeaseFor:   c.LeaseFor,
		RenewEvery: min(5*time.Second, c.LeaseFor/3),
		// 2 s of skew are to be borne; the rest is for a renewal under way.
		Skew:             min(5*time.Second, c.LeaseFor),
		NotifyAgain:      c.LeaseFor / 2,
		MaxAttempts:      8,
		MaxInterruptions: 50,
		BackoffMin:       time.Second,
		BackoffMax:       5 * time.Minute,
		Window:           c.Window,
		SnapshotLife:     life,
		FileLife:         c.FileLife,
		RecordLife:       c.RecordLife,
		SweepAfter:       4 * c.LeaseFor,
		Jitter:           rand.Float64,
	}
}

// Limits gives what one org may have going.
func (c *Config) Limits() jobs.Limits {
	return jobs.Limits{RunningJobs: c.RunningJobs, QueuedJobs: c.Queued, Rows: c.MaxRows, Bytes: c.MaxBytes}
}

func datasets(c *Config, path string) (err error) {
	if c.Datasets = dataset.BuiltIn; path != "" {
		c.Datasets, err = dataset.Load(path)
	}
	return err
}

// Datasets reads that one setting, for programs that need no other. The error is a Faults.
func Datasets(getenv func(string) string) (dataset.Set, error) {
	var c Config
	if err := datasets(&c, strings.TrimSpace(getenv("EXPORTD_DATASETS_FILE"))); err != nil {
		return nil, Faults{err.Error()}
	}
	return c.Datasets, nil
}

func hostPort(field func(*Config) *string) func(*Config, string) error {
	return func(c *Config, v string) error {
		if v == "" {
			return nil
		}
		plain := strings.TrimPrefix(v, "http://")
		if _, _, err := net.SplitHostPort(plain); err != nil {
			return fmt.Errorf("host:port is wanted, as 127.0.0.1:8541")
		}
		*field(c) = plain
		return nil
	}
}

func opsAddr(c *Config, v string) error {
	if v == "none" {
		c.OpsAddr = ""
		return nil
	}
	return listenAddr(func(c *Config) *string { return &c.OpsAddr })(c, v)
}

func listenAddr(field func(*Config) *string) func(*Config, string) error {
	return func(c *Config, v string) error {
		if v == "" {
			return nil
		}
		_, port, err := net.SplitHostPort(v)
		if n, perr := strconv.Atoi(port); err != nil || perr != nil || n < 0 || n > 65535 {
			return fmt.Errorf("host:port is wanted, with a port up to 65535, as 127.0.0.1:8080 or :8080")
		}
		*field(c) = v
		return nil
	}
}
