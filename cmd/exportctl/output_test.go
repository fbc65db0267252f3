package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/jedib0t/go-pretty/v6/text"

	"exportd/api/client"
)

// fixture decodes a file of testdata: an answer as the service gives it.
func fixture[T any](t *testing.T, name string) *T {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	v := new(T)
	if err := json.Unmarshal(raw, v); err != nil {
		t.Fatal(err)
	}
	return v
}

func fixtureJobs(t *testing.T) itemList {
	t.Helper()
	l := fixture[struct {
		Jobs          []json.RawMessage
		NextPageToken *string
	}](t, "jobs.json")
	return itemList{"jobs", l.Jobs, l.NextPageToken}
}

// TestTables compares what fixed answers look like without a terminal and on one.
func TestTables(t *testing.T) {
	t.Parallel()
	for name, show := range map[string]func(t *testing.T, a *app){
		"job": func(t *testing.T, a *app) { a.list(jobFacts(fixture[client.Job](t, "job.json"))) },
		"jobs": func(t *testing.T, a *app) {
			if err := showItems(a, fixtureJobs(t), jobWords, jobColumns, jobRow); err != nil {
				t.Error(err)
			}
		},
		"opsjobs": func(t *testing.T, a *app) {
			if err := showItems(a, fixtureJobs(t), jobWords, opsJobColumns, opsJobRow); err != nil {
				t.Error(err)
			}
		},
		"opsjob":      func(t *testing.T, a *app) { a.showOpsJob(fixture[client.OpsJobDetail](t, "opsjob.json"), false) },
		"opsjobparts": func(_ *testing.T, a *app) { a.showOpsJob(manyParts(), false) },
		"stats":       func(t *testing.T, a *app) { a.showStats(fixture[client.Stats](t, "stats.json")) },
		"dryrun":      func(t *testing.T, a *app) { a.showDryRun(fixture[client.DryRun](t, "dryrun.json"), ofJobs) },
		"manifest":    func(t *testing.T, a *app) { a.showManifest(fixture[client.Manifest](t, "manifest.json")) },
		"unguarded": func(t *testing.T, a *app) {
			m := fixture[client.Manifest](t, "manifest.json")
			m.GuardedCells = 0
			a.showManifest(m)
		},
		"limits":    func(t *testing.T, a *app) { a.showLimits(fixture[limits](t, "limits.json")) },
		"nolimits":  func(_ *testing.T, a *app) { a.showLimits(&limits{}) },
		"histories": func(t *testing.T, a *app) { a.showHistories(*fixture[[]client.ReceiverHistory](t, "histories.json")) },
		"history": func(t *testing.T, a *app) {
			a.showReceiver(&(*fixture[[]client.ReceiverHistory](t, "histories.json"))[0])
		},
		"receivers": func(t *testing.T, a *app) { a.showReceivers(*fixture[[]client.Receiver](t, "receivers.json")) },
		"ping":      func(t *testing.T, a *app) { a.list(pingFacts(fixture[client.Ping](t, "ping.json"))) },
		"keys":      func(t *testing.T, a *app) { a.showKeys(*fixture[[]client.APIKey](t, "keys.json")) },
		"newkey": func(t *testing.T, a *app) {
			keys := *fixture[[]client.APIKey](t, "keys.json")
			a.showNewKey(profile{URL: "https://exports.example.com"}, &keys[0], strings.Repeat("5ec2e7", 10)+"beef", "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")
		},
		"hostile": func(_ *testing.T, a *app) {
			a.table([]column{{name: "NAME"}, {name: "TEXT", flexible: true}}, hostileRows)
		},
	} {
		for _, terminal := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				var stdout, stderr output
				a := &app{environment: call{terminal: terminal}.environment(&stdout, &stderr)}
				show(t, a)
				got := stdout.String() + stderr.String()
				file := name + ".txt"
				if terminal {
					file = name + ".terminal.txt"
					for line := range strings.Lines(got) {
						if w := text.StringWidthWithoutEscSequences(strings.TrimSuffix(line, "\n")); w > 100 && name != "job" && !strings.HasPrefix(name, "opsjob") && name != "newkey" {
							t.Errorf("%d columns on a terminal of 100: %s", w, line)
						}
					}
					got = strings.ReplaceAll(got, "\x1b", "ESC")
				}
				golden(t, file, got)
			})
		}
	}
}

var hostileRows = [][]cell{
	{words("escape"), words("\x1b[2J\x1b]0;title\x07 red")},
	{words("return"), words("good\rbad\nnext\ttab\x00nul\x7f")},
	{words("c1"), words("\u009b31m")},
	{words("direction"), words("user\u202etxt.exe\u2066 \u200bzero width")},
	{words("not utf-8"), words("a\xff\xfeb")},
	{words("harmless"), words("Ünï 大竹 ❤️ a\u00a0b \\x1b")},
	{words("long"), words(strings.Repeat("ab", 300))},
	{words("wide"), words(strings.Repeat("大", 120))},
}

func TestNoColor(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		vars     map[string]string
		terminal bool
		want     bool
	}{
		"terminal": {nil, true, true},
		"pipe":     {nil, false, false},
		"NO_COLOR": {map[string]string{"NO_COLOR": "1"}, true, false},
		"dumb":     {map[string]string{"TERM": "dumb"}, true, false},
	} {
		a := &app{environment: call{vars: test.vars}.environment(nil, nil)}
		if got := a.painter(test.terminal).paint(red, "x") != "x"; got != test.want {
			t.Errorf("%s: coloured %v, want %v", name, got, test.want)
		}
	}
}

// FuzzClean: whatever comes, a terminal gets text and nothing that it obeys.
func FuzzClean(f *testing.F) {
	for _, row := range hostileRows {
		f.Add(row[1].text)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := clean(s, false)
		if !utf8.ValidString(got) {
			t.Fatalf("clean(%q) = %q, not UTF-8", s, got)
		}
		for _, r := range got {
			if r < ' ' || r >= 0x7f && r < 0xa0 || r >= 0x200b && r <= 0x200f || r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0xfeff {
				t.Fatalf("clean(%q) = %q, which has %U", s, got, r)
			}
		}
		if again := clean(got, false); again != got {
			t.Fatalf("clean(%q) = %q, and that becomes %q", s, got, again)
		}
	})
}

func TestNumbers(t *testing.T) {
	t.Parallel()
	for got, want := range map[string]string{
		thousands(0): "0", thousands(999): "999", thousands(1000): "1,000", thousands(-1234567): "-1,234,567",
		size(999): "999 B", size(1000): "1.0 kB", size(11_018_346): "11.0 MB", size(5e15): "5000.0 TB",
		duration(-time.Second): "0s", duration(6 * time.Millisecond): "6ms", duration(1540 * time.Millisecond): "1.5s",
		duration(83 * time.Second): "1m23s", duration(3*time.Hour + 59*time.Second): "3h1m", duration(72 * time.Hour): "3d",
		plural(1, "job", "jobs"): "1 job", plural(1200, "job", "jobs"): "1,200 jobs",
		quote("a-b_c/d.csv"): "a-b_c/d.csv", quote("it's"): `'it'\''s'`, quote(""): "''", quote("$(x)"): "'$(x)'",
		money(value(1.5)).text: "1.50", money(value("NaN")).text: "NaN", money(value(1e21)).text: "1e+21", money(nil).text: "",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func value(v any) *any { return &v }

func TestPrintJSON(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		terminal bool
		want     string
	}{{false, `{"b":1,"a":[1.0,"x"]}` + "\n"}, {true, "{\n  \"b\": 1,\n  \"a\": [\n    1.0,\n    \"x\"\n  ]\n}\n"}} {
		var stdout output
		a := &app{environment: call{terminal: test.terminal}.environment(&stdout, nil)}
		if err := a.printJSON([]byte(`{"b": 1, "a": [1.0, "x"]}`)); err != nil || stdout.String() != test.want {
			t.Errorf("terminal %v: %q, %v, want %q", test.terminal, stdout.String(), err, test.want)
		}
	}
	if err := (&app{}).printJSON([]byte("<html>")); err == nil {
		t.Error("HTML passes for JSON")
	}
}
