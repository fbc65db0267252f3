package client_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"exportd/api/client"
	"exportd/internal/e2e/e2etest"
)

// TestRealService talks to the real binary with demo data.
func TestRealService(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	binary, err := e2etest.Build(t.TempDir(), false)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("example", func(t *testing.T) {
		s := e2etest.Dev(t, binary, t.TempDir(), e2etest.Sizes{Users: 200, Messages: 300})
		for name, value := range map[string]string{
			"URL": s.APIURL, "KEY": s.APIKey, "SECRET": s.Secret, "W": s.WorkspaceID, "M": s.MediumID, "FROM": s.From, "TO": s.To,
		} {
			t.Setenv(name, value)
		}
		t.Chdir(t.TempDir())
		ExampleClient_Export()
		elsewhere(t, root, fmt.Sprintf("messages.csv has %d rows\n", s.Facts.Messages))
		if rows := rowsOf(t, "messages.csv"); rows != s.Facts.Messages {
			t.Errorf("messages.csv has %d rows, want %d", rows, s.Facts.Messages)
		}
	})
	t.Run("restart", func(t *testing.T) { restart(t, binary) })
	t.Run("languages", func(t *testing.T) { languages(t, binary) })
}

// elsewhere runs the README's program in a module of its own, which has the client by the commands in the
// package's documentation. Without a network the sums are this module's.
func elsewhere(t *testing.T, root, want string) {
	t.Helper()
	here := func(name string) string {
		raw, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	edit := regexp.MustCompile(`(?m)^go mod edit .*-replace=exportd=(\S+)$`).FindStringSubmatch(here("README.md"))
	if edit == nil || !strings.Contains(here("api/client/client.go"), "//\t"+edit[0]+"\n") {
		t.Fatalf("the README and the package have no command, or not the same: %q", edit)
	}
	_, program, _ := strings.Cut(here("README.md"), "```go\n")
	program, _, _ = strings.Cut(program, "```")
	folder := t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module example.com/caller\n\ngo 1.26.0\n", "go.sum": here("go.sum"),
		"main.go": "package main\n\nimport (\n\"context\"\n\"fmt\"\n\"log\"\n\"os\"\n\n\"exportd/api/client\"\n)\n\nfunc main() {\n" + program + "}\n",
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	command := strings.Fields(strings.Replace(edit[0], "="+edit[1], "="+root, 1))
	for _, args := range [][]string{command, {"go", "run", "."}} {
		cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
		cmd.Dir, cmd.Env = folder, append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOWORK=off")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %v\n%s", args, err, &stderr)
		}
		if args[1] == "run" && string(out) != want {
			t.Errorf("the program printed %q, want %q", out, want)
		}
	}
}

// restart: kill -9 and a start of the service under an export that waits do not end it.
func restart(t *testing.T, binary string) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // an address to come back to
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	folder := t.TempDir()
	start := func() *e2etest.Process {
		p := e2etest.Start(t, []string{"EXPORTD_LEASE_SECONDS=3"}, e2etest.DevProgram(binary), "run", "--data-dir", folder, "--addr", addr, "--demo-users", "3000", "--demo-messages", "10")
		p.WaitLine(t, time.Minute, func(line string) string {
			if strings.HasPrefix(line, "exportd is ready at ") {
				return line
			}
			return ""
		})
		return p
	}
	first := start()
	var s e2etest.Facts
	raw, err := os.ReadFile(filepath.Join(folder, "demo.json"))
	if err == nil {
		err = json.Unmarshal(raw, &s)
	}
	if err != nil {
		t.Fatal(err)
	}
	caller := connect(t, addr, s.APIKey, s.Secret)
	type outcome struct {
		result *client.Result
		err    error
	}
	down, done := make(chan struct{}), make(chan outcome, 1)
	kill := sync.OnceFunc(func() {
		first.Kill()
		close(down)
	})
	go func() {
		r, err := caller.Export(t.Context(), client.Request{
			Kind: client.KindVipUsers, WorkspaceID: s.WorkspaceID, MediumID: s.MediumID, Profile: client.ProfileRfc4180,
			OnProgress: func(*client.Job) { kill() }, // with the first answer about the job
		})
		done <- outcome{r, err}
	}()
	<-down
	start()
	end := <-done
	if end.err != nil {
		t.Fatalf("Export over a restart = %v", end.err)
	}
	path := filepath.Join(t.TempDir(), "users.csv")
	if err := end.result.Save(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	if rows := rowsOf(t, path); rows != s.Users || int64(rows) != end.result.TotalCount {
		t.Errorf("users.csv has %d rows, want %d and %d", rows, s.Users, end.result.TotalCount)
	}
}

func connect(t *testing.T, addr, key, secret string) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{BaseURL: "http://" + addr, Key: key, Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// rowsOf counts the rows of a CSV file behind its head.
func rowsOf(t *testing.T, path string) int {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return len(rows) - 1
}
