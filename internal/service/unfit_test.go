package service

import (
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"exportd/deployments"
	"exportd/internal/apikey"
	"exportd/internal/config"
	"exportd/internal/jobstore"
	"exportd/internal/localcloud"
	"exportd/internal/localcloud/access"
	"exportd/internal/localcloud/localcloudtest"
)

// TestUnfit: a worker or API without rights, without a keyset, with another environment's, or a clock off by
// a minute says so at /readyz and in one line of its log; the worker takes nothing of what waits, and nobody
// asks such an API.
func TestUnfit(t *testing.T) {
	t.Parallel()
	roles, err := access.Parse([]byte(string(deployments.Permissions) + "\n  nobody: []\n"))
	if err != nil {
		t.Fatal(err)
	}
	cloud := localcloudtest.Start(t, func(c *localcloud.Config) { c.Roles = roles })
	dir := t.TempDir()
	home, foreign := filepath.Join(dir, "keyset.json"), filepath.Join(dir, "foreign.json")
	all := cloud.Endpoints()
	_, fleet := connect(t, all, home, zap.NewNop())
	if _, err := fleet.Setup(t.Context()); err != nil {
		t.Fatal(err)
	}
	keys, err := OpenKeys(t.Context(), config.Config{KeysetFile: home, Env: "development"}, fleet, true)
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	if _, err := keys.Create(t.Context(), apikey.Draft{OrgID: "o", Name: "n", Scopes: []apikey.Scope{apikey.ScopeRead}}, apikey.By{Actor: "t", Reason: "t"}); err != nil {
		t.Fatal(err)
	}
	if _, err := apikey.OpenSealer(t.Context(), apikey.KeysetConfig{Path: foreign, Make: true}); err != nil {
		t.Fatal(err)
	}
	minute := func(_ *testing.T, c *Clients) {
		policy := c.Store.Policy()
		c.Store = jobstore.New(jobstore.Config{Client: c.Firestore, Policy: policy, Drift: policy.Skew, Now: func() time.Time { return time.Now().Add(time.Minute) }})
	}
	for _, tc := range []struct {
		name, check string
		as          localcloud.Endpoints
		keyset      string
		harm        func(*testing.T, *Clients)
	}{
		{"without rights", "firestore", all.Accounts["nobody"], home, nil},
		{"without a keyset", "keyset", all.Accounts["worker"], filepath.Join(dir, "none.json"), nil},
		{"another environment's keyset", "keyset", all.Accounts["worker"], foreign, nil},
		{"a clock off by a minute", "clock", all.Accounts["worker"], home, minute},
		{"fit", "", all.Accounts["worker"], home, nil},
	} {
		for _, process := range []string{"worker", "api"} {
			t.Run(tc.name+"/"+process, func(t *testing.T) {
				t.Parallel()
				core, logs := observer.New(zap.InfoLevel)
				as := tc.as
				if process == "api" && tc.name != "without rights" {
					as = all.Accounts["api"]
				}
				cfg, c := connect(t, as, tc.keyset, zap.New(core))
				cfg.Env = "production" // with emulators, which Load refuses
				if tc.harm != nil {
					tc.harm(t, c)
				}
				if process == "api" {
					runUnfitAPI(t, cfg, c, core, logs, tc.check)
				} else {
					runUnfit(t, cfg, c, core, logs, tc.check)
				}
			})
		}
	}
	if _, err := OpenKeys(t.Context(), config.Config{KeysetFile: filepath.Join(dir, "none.json"), Env: "production"}, fleet, false); err == nil || !strings.Contains(err.Error(), "EXPORTD_KEYSET_FILE") {
		t.Errorf("without a keyset a process ends with %v", err)
	}
}

// connect opens the connections of a process.
func connect(t *testing.T, e localcloud.Endpoints, keyset string, log *zap.Logger) (config.Config, *Clients) {
	t.Helper()
	env := map[string]string{
		"FIRESTORE_EMULATOR_HOST": e.Firestore, "PUBSUB_EMULATOR_HOST": e.PubSub, "STORAGE_EMULATOR_HOST": e.Storage,
		"EXPORTD_PROJECT_ID": localcloudtest.Project, "EXPORTD_DRAIN_SECONDS": "0", "EXPORTD_KEYSET_FILE": keyset,
	}
	cfg, err := config.Load(func(name string) string { return env[name] }, nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Open(t.Context(), cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return cfg, c
}

// running runs a process until the test ends, waits until it has logged each of lines, and gives where
// operators ask whether it is ready.
func running(t *testing.T, core zapcore.Core, logs *observer.ObservedLogs, run func(context.Context, *zap.Logger) error, lines ...string) (ready string) {
	t.Helper()
	said := make(chan string, 100)
	log := zap.New(core).WithOptions(zap.Hooks(func(e zapcore.Entry) error { // after core has the line
		select {
		case said <- e.Message:
		default: // nobody waits for so many
		}
		return nil
	}))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, log) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	for lines = append(lines, answered); len(lines) > 0; {
		select {
		case line := <-said:
			lines = slices.DeleteFunc(lines, func(wanted string) bool { return wanted == line })
		case err := <-ended:
			ended <- nil
			t.Fatalf("it has ended: %v", err)
		case <-time.After(time.Minute): // of a loaded machine
			t.Fatalf("it has not said %q", lines)
		}
	}
	addr, _ := logs.FilterMessage(answered).All()[0].ContextMap()["ops_addr"].(string)
	return "http://" + addr + "/readyz"
}

// answered is what a process logs with where operators ask it.
const answered = "operators are answered"

// runUnfit runs a worker that lacks what a check is about, or nothing.
func runUnfit(t *testing.T, cfg config.Config, c *Clients, core zapcore.Core, logs *observer.ObservedLogs, check string) {
	t.Helper()
	told, started := "worker takes no work until it has what it needs; exportd doctor says what mends it", "worker started"
	want := told
	if check == "" {
		want = started
	}
	ready := running(t, core, logs, func(ctx context.Context, log *zap.Logger) error { return RunWorker(ctx, cfg, c, log) }, want)
	for range 3 {
		wantReady(t, ready, check)
	}
	if check == "" {
		return
	}
	about := logs.FilterMessage(told).FilterField(zap.String("check", check)).Len()
	if about != 1 || logs.FilterMessage("process is not ready").Len() != 1 || logs.FilterMessage(started).Len() != 0 {
		t.Errorf("%d lines about %s, %d of the probe, started %d times", about, check, logs.FilterMessage("process is not ready").Len(), logs.FilterMessage(started).Len())
	}
}

// runUnfitAPI runs an API that lacks what a check is about, or nothing.
func runUnfitAPI(t *testing.T, cfg config.Config, c *Clients, core zapcore.Core, logs *observer.ObservedLogs, check string) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ready := running(t, core, logs, func(ctx context.Context, log *zap.Logger) error { return ServeAPI(ctx, cfg, c, log, l, APIOptions{}) })
	for range 3 {
		wantReady(t, ready, check)
	}
	if n := logs.FilterMessage("process is not ready").FilterField(zap.String("check", check)).Len(); check != "" && n != 1 {
		t.Errorf("%d lines about %s, want one", n, check)
	}
}

// wantReady asks a process whether it is ready, or says that a check fails.
func wantReady(t *testing.T, url, check string) {
	t.Helper()
	r, err := http.Get(url) //nolint:noctx // a test's, on loopback
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(r.Body)
	r.Body.Close()
	if check == "" && r.StatusCode != http.StatusOK || check != "" && (r.StatusCode != http.StatusServiceUnavailable || !strings.HasPrefix(string(body), check+" is unavailable")) {
		t.Errorf("readyz: %d %s, want %q", r.StatusCode, body, check)
	}
}
