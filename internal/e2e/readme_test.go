package e2e

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"exportd/internal/e2e/e2etest"
	"exportd/internal/machinetest"
)

// TestReadme: the commands of the README's first section, and those that dev prints, work as they stand in a
// real shell, on a data folder that was filled a year ago and with other sizes asked for.
func TestReadme(t *testing.T) {
	t.Parallel()
	machinetest.Program(t, "openssl")
	home := t.TempDir()
	build := exec.Command("go", "build", "-tags", "nomsgpack", "-o", filepath.Join(home, "bin")+"/", "exportd/cmd/exportctl")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build exportctl: %v\n%s", err, out)
	}
	sizes := e2etest.Sizes{Users: 40, Messages: 400}
	folder := filepath.Join(home, ".data")
	old, hosts := e2etest.Emulators(t, exportd, folder)
	yearAgo := time.Now().AddDate(-1, 0, 0)
	made, err := e2etest.LoadDemoOf(t.Context(), hosts, sizes, yearAgo)
	if err != nil {
		t.Fatal(err)
	}
	old.Kill()

	s := e2etest.Dev(t, exportd, folder, e2etest.Sizes{Users: 7, Messages: 4_000_000})
	if s.Summary.Messages != made.Messages || s.To != yearAgo.UTC().AddDate(0, 0, -1).Format(time.DateOnly) {
		t.Errorf("an old data folder has %d messages to %s, want %d of a year ago", s.Summary.Messages, s.To, made.Messages)
	}
	printed := s.Process.Stdout()
	if !strings.Contains(printed, "--refill-demo") || strings.Contains(printed, "Filling") {
		t.Errorf("dev on a folder of other sizes prints:\n%s", printed)
	}
	line := regexp.MustCompile(`(?m)^export URL=.*$`).FindString(printed)
	out := shell(t, home, line+"\n"+strings.Join(tryIt(t), "\n"))
	if !strings.Contains(out, fmt.Sprintf(`{"totalCount":%d,"csvUrl":"http`, made.Messages)) {
		t.Errorf("the export is not of %d messages:\n%s", made.Messages, out)
	}
	if !regexp.MustCompile(`(?m)"kind":"vip-users".*"state":"succeeded"|"state":"succeeded".*"kind":"vip-users"`).MatchString(out) {
		t.Errorf("the job is not done:\n%s", out)
	}
	wantRows(t, filepath.Join(home, "messages.csv"), made.Messages)

	_, steps, _ := strings.Cut(printed, "1. Paste")
	steps, _, _ = strings.Cut(steps, "\nCtrl-C")
	var commands []string
	for l := range strings.Lines(steps) {
		if regexp.MustCompile(`^(export|vip|curl)\b`).MatchString(l) {
			commands = append(commands, strings.TrimSuffix(l, "\n"))
		}
	}
	if len(commands) != 7 {
		t.Errorf("dev prints %d commands:\n%s", len(commands), steps)
	}
	if err := os.Remove(filepath.Join(home, "messages.csv")); err != nil {
		t.Error(err)
	}
	shell(t, home, strings.Join(commands, "\n"))
	wantRows(t, filepath.Join(home, "messages.csv"), made.Messages)
}

// tryIt gives the shell lines of the README's first section, without the one that runs dev.
func tryIt(t *testing.T) (blocks []string) {
	t.Helper()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(readme), "## Try it\n")
	section, _, _ = strings.Cut(section, "\n## ")
	for _, m := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(section, -1) {
		if m[1] != "make run\n" {
			blocks = append(blocks, m[1])
		}
	}
	if len(blocks) != 2 {
		t.Fatalf("the README's first section has %d blocks of commands besides make run", len(blocks))
	}
	return blocks
}

// shell runs a script in which each command must succeed, and returns what it wrote.
func shell(t *testing.T, dir, script string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", script)
	cmd.Dir, cmd.Env = dir, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, script, out)
	}
	return string(out)
}

func wantRows(t *testing.T, path string, want int) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil || len(rows)-1 != want {
		t.Errorf("%s has %d rows, %v; want %d", filepath.Base(path), len(rows)-1, err, want)
	}
}

// TestDevSaysWhatItDoes: while dev fills a folder, its port answers 503 with what it does, and the same port
// is the API's afterwards. EXPORTD_ADDR is where it listens.
func TestDevSaysWhatItDoes(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0") // an address that is free
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	folder := t.TempDir()
	p := e2etest.Start(t, []string{"EXPORTD_ADDR=" + addr}, e2etest.DevProgram(exportd), "run", "--data-dir", folder, "--demo-users", "10", "--demo-messages", "30000")
	p.WaitLine(t, time.Minute, func(line string) string {
		if strings.HasPrefix(line, "Filling ") {
			return line
		}
		return ""
	})
	r, err := e2etest.Send(t.Context(), http.MethodGet, "http://"+addr+"/readyz", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	var body struct{ Message string }
	if err := json.Unmarshal(r.Body, &body); err != nil || r.Status != http.StatusServiceUnavailable || !strings.Contains(body.Message, "fills "+folder+" with demo data") {
		t.Errorf("while it fills: %d %s, %v", r.Status, r.Body, err)
	}
	p.WaitLine(t, 4*time.Minute, func(line string) string {
		if strings.HasPrefix(line, "exportd is ready at http://"+addr) {
			return line
		}
		return ""
	})
	e2etest.Until(t, time.Minute, "ready", func() bool {
		r, err := e2etest.Send(t.Context(), http.MethodGet, "http://"+addr+"/readyz", nil, nil)
		return err == nil && r.Status == http.StatusOK
	})
	if _, err := os.Stat(filepath.Join(folder, "demo.json")); err != nil {
		t.Error(err)
	}
}
