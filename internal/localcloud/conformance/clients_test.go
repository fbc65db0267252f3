//go:build conformance

package conformance

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"exportd/internal/localcloud"
	"exportd/internal/localcloud/localcloudtest"
	"exportd/internal/machinetest"
)

// A table of TestClients has what somebody does with a service, by its client, and what production answers.
// What a language does for a row is in testdata/LANGUAGE, or in the Go files here, under the row's name.
//
//go:embed testdata/clients/firestore.indexes.json
var clientIndexes []byte

type clientRow struct {
	Name string `json:"name"`
	// Want is what comes of it, as the row tells it; a text that begins with ~ is a part of one. An error is
	// {"error": code, "message": text}.
	Want any `json:"want"`
	// Rule is where production's rule is, and what it says.
	Rule string `json:"rule"`
	// Google says why something else comes of it on Google's emulator.
	Google string `json:"google"`
	// Refused says why the embedded cloud may refuse it: by UNIMPLEMENTED, or by 400 with a sentence, and by
	// nothing else.
	Refused string `json:"refused"`
}

// outcome is what a language's program writes of a row, on a line of its own.
type outcome struct {
	Name string `json:"name"`
	Got  any    `json:"got"`
}

// clientsLimit is some times what the slowest service takes on a busy machine.
const clientsLimit = 2 * time.Minute

// TestClients has Google's clients do what testdata/clients lists, on the embedded cloud. Each row of Storage
// has a bucket of its own, more than may be made in a minute, so that the limits of wear are left out.
func TestClients(t *testing.T) {
	cloud, err := localcloud.Start(t.Context(), localcloud.Config{InMemory: true, IndexesJSON: clientIndexes, Lax: true, ServiceAccounts: [][]byte{serviceAccount()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cloud.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	e := cloud.Endpoints()
	doRows(t, map[string]string{"firestore": e.Firestore, "pubsub": e.PubSub, "storage": "http://" + e.Storage}, false)
}

// serviceAccount is the key file of an account that signs by itself.
var serviceAccount = sync.OnceValue(func() []byte {
	_, file, err := localcloudtest.KeyFile("signer@demo-clients.iam.gserviceaccount.com")
	if err != nil {
		panic(err)
	}
	return file
})

// doRows has each language do the rows of the services that have a host, side by side.
func doRows(t *testing.T, hosts map[string]string, google bool) {
	t.Helper()
	for _, service := range slices.Sorted(maps.Keys(hosts)) {
		rows := clientRows(t, service)
		t.Run(service+" by Node", func(t *testing.T) {
			t.Parallel()
			right := judgeRows(t, rows, node(t, service, hosts), google)
			if service == "firestore" && !google {
				judgeSystemTests(t, rows, right)
			}
		})
		if service == "pubsub" {
			t.Run(service+" by Python", func(t *testing.T) {
				t.Parallel()
				got := python(t, hosts)
				of := slices.DeleteFunc(slices.Clone(rows), func(r clientRow) bool {
					return !slices.ContainsFunc(got, func(o outcome) bool { return o.Name == r.Name })
				})
				judgeRows(t, of, got, google)
			})
		}
		t.Run(service+" by Go", func(t *testing.T) {
			t.Parallel()
			of := slices.DeleteFunc(slices.Clone(rows), func(r clientRow) bool { return goRows[service][r.Name] == nil })
			judgeRows(t, of, goOutcomes(t, service, hosts[service]), google)
		})
	}
}

func clientRows(t *testing.T, service string) (rows []clientRow) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "clients", service+".json"))
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&rows); err != nil {
		t.Fatal(err)
	}
	for i, r := range rows {
		if r.Name == "" || !strings.Contains(r.Rule, "https://") || slices.ContainsFunc(rows[:i], func(o clientRow) bool { return o.Name == r.Name }) {
			t.Errorf("%s: row %d (%s) has no name of its own, or no rule", service, i, r.Name)
		}
	}
	return rows
}

// node runs the rows of a service with Google's clients for Node, of the versions in testdata/node.
func node(t *testing.T, service string, hosts map[string]string) []outcome {
	t.Helper()
	if _, err := os.Stat(filepath.Join("testdata", "node", "node_modules")); err != nil {
		machinetest.Lacks(t, "Google's clients for Node (npm ci --prefix internal/localcloud/conformance/testdata/node)")
	}
	return program(t, hosts, "node", "node", "run.js", service)
}

// pythonRows are how many rows testdata/python does.
const pythonRows = 14

// python does rows of Pub/Sub with Google's client for Python: gcloud has it, and a Python to run it. Those
// for Firestore and Storage it has not.
func python(t *testing.T, hosts map[string]string) []outcome {
	t.Helper()
	gcloud, err := exec.LookPath("gcloud")
	if err == nil {
		gcloud, err = filepath.EvalSymlinks(gcloud)
	}
	root := filepath.Dir(filepath.Dir(gcloud))
	interpreter, libraries := filepath.Join(root, "platform", "bundledpythonunix", "bin", "python3"), filepath.Join(root, "lib", "third_party")
	_, noPython := os.Stat(interpreter)
	_, noClient := os.Stat(filepath.Join(libraries, "google", "cloud", "pubsub_v1"))
	if err := errors.Join(err, noPython, noClient); err != nil {
		t.Skipf("gcloud has no Python client for Pub/Sub: %v", err) // not every gcloud has
	}
	got := program(t, hosts, "python", interpreter, "pubsub.py", libraries)
	if len(got) != pythonRows {
		t.Errorf("%d rows were done, want %d", len(got), pythonRows)
	}
	return got
}

// program runs a language's program in its folder of testdata, and reads what it writes.
func program(t *testing.T, hosts map[string]string, folder, name string, args ...string) (out []outcome) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), clientsLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = filepath.Join("testdata", folder)
	// No client may look for credentials: nothing needs any, and where there are some they are not for this.
	cmd.Env = append(os.Environ(), "GOOGLE_APPLICATION_CREDENTIALS=", "METADATA_SERVER_DETECTION=none")
	cmd.Env = append(cmd.Env, "SERVICE_ACCOUNT="+string(serviceAccount()))
	for service, host := range hosts {
		cmd.Env = append(cmd.Env, strings.ToUpper(service)+"_EMULATOR_HOST="+host)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	raw, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, stderr.Bytes())
	}
	for lines := bufio.NewScanner(bytes.NewReader(raw)); lines.Scan(); {
		var o outcome
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			t.Fatalf("%s %s wrote %q: %v", name, strings.Join(args, " "), lines.Text(), err)
		}
		out = append(out, o)
	}
	return out
}

// judgeRows holds what came of the rows against what production does, and returns those that are the same.
func judgeRows(t *testing.T, rows []clientRow, got []outcome, google bool) (right map[string]bool) {
	t.Helper()
	made := map[string]any{}
	for _, o := range got {
		made[o.Name] = o.Got
	}
	right = map[string]bool{}
	excused := 0
	for _, r := range rows {
		have, ok := made[r.Name]
		delete(made, r.Name)
		why := r.Refused
		if google {
			why = r.Google
		}
		switch {
		case !ok:
			t.Errorf("%s: there is nothing of that name to do", r.Name)
		case same(have, r.Want):
			right[r.Name] = true
		case why != "" && (google || refusal(have)):
			excused++
			t.Logf("%s: %s, want %s: %s", r.Name, short(have), short(r.Want), why)
		default:
			t.Errorf("%s: %s, want %s: %s", r.Name, short(have), short(r.Want), r.Rule)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(made)) {
		t.Errorf("%s is done, and is no row", name)
	}
	t.Logf("%d of %d rows are as in production, %d of the others are explained", len(right), len(rows), excused)
	return right
}

// refusal says that what came of a row is the embedded cloud's sentence about what it does not do.
func refusal(have any) bool {
	failed, _ := have.(map[string]any)
	message, _ := failed["message"].(string)
	return failed["error"] == "UNIMPLEMENTED" && strings.Contains(message, "not supported by the embedded") ||
		failed["error"] == 400.0 && strings.Contains(message, "is not served here")
}

func short(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(raw[:min(len(raw), 500)])
}

// same compares what JSON has, but for texts of which only a part is wanted.
func same(have, want any) bool {
	switch w := want.(type) {
	case string:
		h, ok := have.(string)
		part, is := strings.CutPrefix(w, "~")
		return ok && (h == w || is && strings.Contains(h, part))
	case []any:
		h, ok := have.([]any)
		return ok && slices.EqualFunc(h, w, same)
	case map[string]any:
		h, ok := have.(map[string]any)
		return ok && maps.EqualFunc(h, w, same)
	}
	return reflect.DeepEqual(have, want)
}

//go:embed testdata/node-system-tests.txt
var systemTests string

// nodeTests are how many system tests Google's client for Node has, with those that are made twice.
const nodeTests = 359

// minSystemTests is how many of nodeTests must have a row that is as in production; nodeTests less
// silentTests have one.
const minSystemTests, silentTests = 343, 16

// judgeSystemTests: each system test of the Node client for Firestore has its row, or asks nothing of a
// server. right are the rows that are as in production.
func judgeSystemTests(t *testing.T, rows []clientRow, right map[string]bool) {
	t.Helper()
	all, passed, wrong, silent := 0, 0, 0, 0
	for line := range strings.Lines(systemTests) {
		name, row, ok := strings.Cut(strings.TrimSpace(line), " = ")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		times := 1
		if strings.HasPrefix(name, "x2 ") {
			times = 2
		}
		all += times
		switch {
		case row == "-":
			silent += times
		case right[row]:
			passed += times
		default:
			wrong += times
			if !slices.ContainsFunc(rows, func(r clientRow) bool { return r.Name == row }) {
				t.Errorf("%s: there is no row %q", name, row)
			}
		}
	}
	if all != nodeTests || silent != silentTests || passed < minSystemTests {
		t.Errorf("%d tests are listed, want %d; %d ask nothing, want %d; %d are right, want %d", all, nodeTests, silent, silentTests, passed, minSystemTests)
	}
	t.Logf("of %d system tests of the Node client %d have a row that is as in production, %d one that is not, and %d ask nothing of a server", all, passed, wrong, silent)
}
