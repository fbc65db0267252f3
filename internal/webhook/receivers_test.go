package webhook

import (
	"bufio"
	"bytes"
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"exportd/internal/machinetest"
)

// TestReceivers runs the receivers shown to customers and calls each of them.
func TestReceivers(t *testing.T) {
	t.Parallel()
	tests := []struct{ interpreter, file string }{
		{"go", "go/main.go"},
		{"python3", "python/receiver.py"},
		{"node", "node/receiver.mjs"},
	}
	for _, tt := range tests {
		t.Run(tt.interpreter, func(t *testing.T) {
			t.Parallel()
			current, previous := randomSecret(), randomSecret()
			url := startReceiver(t, tt.interpreter, tt.file, previous)
			d := Delivery{ID: "msg_job1_succeeded", Timestamp: time.Now(), URL: url + "cb?token=1", Body: []byte(`{"name":"日本 ünï","n":1}`), Secrets: []Secret{current, previous}}
			sender := NewSender(SenderConfig{Rules: devRules, Guard: NewGuard(GuardConfig{Dev: devRules.Dev})})

			if a := sender.Send(t.Context(), d); a.Status != http.StatusNoContent || !a.Delivered() {
				t.Errorf("Send = %+v, want 204", a)
			}
			refusals := map[string]func(*Delivery){
				"other secret": func(d *Delivery) { d.Secrets = []Secret{current} },
				"too old":      func(d *Delivery) { d.Timestamp = time.Now().Add(-6 * time.Minute) },
				"too new":      func(d *Delivery) { d.Timestamp = time.Now().Add(6 * time.Minute) },
			}
			for name, change := range refusals {
				bad := d
				change(&bad)
				if a := sender.Send(t.Context(), bad); a.Status != http.StatusUnauthorized {
					t.Errorf("%s: Send = %+v, want 401", name, a)
				}
			}
			assertForgeriesRefused(t, d)
		})
	}
}

// assertForgeriesRefused sends what Send cannot be brought to send.
func assertForgeriesRefused(t *testing.T, d Delivery) {
	t.Helper()
	signature, err := Sign(d.ID, d.Timestamp, d.Body, d.Secrets...)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	tests := map[string]struct {
		id, stamp, signature string
		body                 []byte
		want                 int
	}{
		"genuine":         {d.ID, unixSeconds(d.Timestamp), signature, d.Body, 204},
		"other body":      {d.ID, unixSeconds(d.Timestamp), signature, append(bytes.Clone(d.Body), '\n'), 401},
		"other id":        {d.ID + "x", unixSeconds(d.Timestamp), signature, d.Body, 401},
		"other timestamp": {d.ID, unixSeconds(d.Timestamp.Add(time.Second)), signature, d.Body, 401},
		"no signature":    {d.ID, unixSeconds(d.Timestamp), "", d.Body, 401},
		"no id":           {"", unixSeconds(d.Timestamp), signature, d.Body, 401},
		"no timestamp":    {d.ID, "", signature, d.Body, 401},
		"bad timestamp":   {d.ID, "1e9", signature, d.Body, 401},
		"other version":   {d.ID, unixSeconds(d.Timestamp), strings.ReplaceAll(signature, "v1,", "v1a,"), d.Body, 401},
		"garbage":         {d.ID, unixSeconds(d.Timestamp), "v1,%%% v1, , \xff", d.Body, 401},
	}
	for name, tt := range tests {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.URL, bytes.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		for header, value := range map[string]string{HeaderID: tt.id, HeaderTimestamp: tt.stamp, HeaderSignature: tt.signature} {
			if value != "" {
				req.Header.Set(header, value)
			}
		}
		res, err := client.Do(req)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		_ = res.Body.Close()
		if res.StatusCode != tt.want {
			t.Errorf("%s: status %d, want %d", name, res.StatusCode, tt.want)
		}
	}
}

// startReceiver starts a receiver on a free port and returns its URL.
func startReceiver(t *testing.T, interpreter, file string, secret Secret) string {
	t.Helper()
	path := machinetest.Program(t, interpreter)
	args := []string{filepath.Join("testdata", "receivers", file)}
	if interpreter == "go" {
		// Not "go run": its child would outlive the end of the test.
		binary := filepath.Join(t.TempDir(), "receiver")
		if out, err := exec.CommandContext(t.Context(), path, "build", "-o", binary, args[0]).CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", file, err, out)
		}
		path, args = binary, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // t.Context would end before Cleanup
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(os.Environ(), "WEBHOOK_SECRET="+secret.Reveal(), "PORT=0")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // killed: always an error
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("%s said nothing: %v", file, err)
	}
	url, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	if !ok {
		t.Fatalf("%s said %q", file, line)
	}
	return url
}
