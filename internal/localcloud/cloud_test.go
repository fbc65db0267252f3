package localcloud_test

import (
	"context"
	"encoding/json"
	"errors"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"exportd/internal/localcloud"
	"exportd/internal/localcloud/fault"
	"exportd/internal/localcloud/localcloudtest"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(killDir); dir != "" {
		log.Fatal(serveAndBeKilled(dir))
	}
	goleak.VerifyTestMain(m, localcloudtest.LeakOptions()...)
}

func start(t *testing.T, cfg localcloud.Config) *localcloud.Cloud {
	t.Helper()
	if cfg.DataDir == "" {
		cfg.DataDir = t.TempDir()
	}
	c, err := localcloud.Start(t.Context(), cfg)
	if err != nil {
		t.Fatalf("Start() = %v", err)
	}
	t.Cleanup(func() {
		if err := c.Close(context.Background()); err != nil {
			t.Errorf("Close() = %v", err)
		}
	})
	return c
}

func TestFolderIsPrivateAndLocked(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new", "data")
	c := start(t, localcloud.Config{DataDir: dir})
	for _, sub := range []string{"", "firestore", "pubsub", "storage"} {
		info, err := os.Stat(filepath.Join(dir, sub))
		if err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("Stat(%q) = %v, %v; want mode 0700", sub, info, err)
		}
	}
	if _, err := localcloud.Start(t.Context(), localcloud.Config{DataDir: dir}); !errors.Is(err, localcloud.ErrInUse) || !strings.Contains(err.Error(), dir) {
		t.Errorf("second Start() = %v, want ErrInUse with the folder's name", err)
	}
	if err := c.Close(t.Context()); err != nil {
		t.Fatalf("Close() = %v", err)
	}
	start(t, localcloud.Config{DataDir: dir})
}

func TestStartErrors(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	addr := taken.Addr().String()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatalf("write: %v", err)
	}
	for name, c := range map[string]struct {
		cfg  localcloud.Config
		want string
	}{
		"no folder":         {localcloud.Config{}, "no data folder"},
		"folder is a file":  {localcloud.Config{DataDir: file}, file},
		"port taken":        {localcloud.Config{DataDir: t.TempDir(), StorageAddr: addr}, "listen for Cloud Storage: " + addr + " is taken"},
		"not loopback":      {localcloud.Config{DataDir: t.TempDir(), PubSubAddr: "0.0.0.0:0"}, "not on loopback"},
		"any interface":     {localcloud.Config{DataDir: t.TempDir(), PubSubAddr: ":0"}, "not on loopback"},
		"bad address":       {localcloud.Config{DataDir: t.TempDir(), FirestoreAddr: "127.0.0.1"}, "missing port"},
		"bad indexes":       {localcloud.Config{DataDir: t.TempDir(), IndexesJSON: []byte("{")}, "index"},
		"bad fault rule":    {localcloud.Config{DataDir: t.TempDir(), Faults: fault.Config{Rules: map[string]fault.Rule{"x": {}}}}, `rule "x"`},
		"control elsewhere": {localcloud.Config{DataDir: t.TempDir(), ControlAddr: "192.0.2.1:0"}, "not on loopback"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := localcloud.Start(t.Context(), c.cfg)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("Start() = %v, want one line with %q", err, c.want)
			}
			if name == "port taken" && !errors.Is(err, syscall.EADDRINUSE) {
				t.Errorf("Start() = %v, want EADDRINUSE in the chain", err)
			}
			if c.cfg.DataDir == "" || c.cfg.DataDir == file {
				return
			}
			start(t, localcloud.Config{DataDir: c.cfg.DataDir}) // nothing is left locked or bound
		})
	}
}

func TestWaitReturnsAfterClose(t *testing.T) {
	t.Parallel()
	c := start(t, localcloud.Config{})
	waited := make(chan error, 1)
	go func() { waited <- c.Wait() }()
	if err := c.Close(t.Context()); err != nil {
		t.Fatalf("Close() = %v", err)
	}
	if err := <-waited; err != nil {
		t.Errorf("Wait() = %v, want nil", err)
	}
}

func TestControl(t *testing.T) {
	t.Parallel()
	if e := start(t, localcloud.Config{}).Endpoints(); e.Control != "" {
		t.Errorf("the control endpoint is %q without being asked for", e.Control)
	}
	c := start(t, localcloud.Config{ControlAddr: "127.0.0.1:0"})
	base := "http://" + c.Endpoints().Control
	client := &http.Client{}
	t.Cleanup(client.CloseIdleConnections)
	call := func(method, path, body string) (int, *http.Response) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, base+path, strings.NewReader(body))
		if err != nil {
			t.Fatalf("NewRequest() = %v", err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatalf("%s %s = %v", method, path, err)
		}
		t.Cleanup(func() { _ = resp.Body.Close() })
		return resp.StatusCode, resp
	}
	if code, _ := call(http.MethodPut, "/faults", `{"seed":7,"rules":{"Storage/*":{"errorRate":1,"code":"RESOURCE_EXHAUSTED"}}}`); code != http.StatusOK {
		t.Fatalf("PUT /faults = %d", code)
	}
	resp, err := client.Get("http://" + c.Endpoints().Storage + "/storage/v1/b?project=p")
	if err != nil {
		t.Fatalf("GET buckets: %v", err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusTooManyRequests {
		t.Errorf("GET buckets = %d, want the injected 429", resp.StatusCode)
	}
	_, resp = call(http.MethodGet, "/counters", "")
	var counters fault.Counters
	if err := json.NewDecoder(resp.Body).Decode(&counters); err != nil {
		t.Fatalf("decode counters: %v", err)
	}
	if got := counters.Methods["Storage/Bucket"]; got != (fault.Count{Calls: 1, Faults: 1}) {
		t.Errorf("counters = %+v, want one call with one fault", got)
	}
}
