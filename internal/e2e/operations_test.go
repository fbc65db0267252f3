//go:build operations

// Runs the pages of deployments/operations, which takes a minute or two: `make operations`.
package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"exportd/internal/e2e/e2etest"
)

// block is a fence of commands, indented or not; "google" are those that nobody can run here.
var block = regexp.MustCompile("(?ms)^([ ]*)```sh( google)?\n(.*?)^[ ]*```$")

// pages in the order in which one leaves what the next needs.
var pages = []string{"first-deployment", "upgrade", "scaling", "rotation", "move", "recovery", "data", "delete-customer"}

// TestOperations: each page's commands run from top to bottom, in one shell for a page and one home for all.
func TestOperations(t *testing.T) {
	const folder = "../../deployments/operations"
	if files, err := filepath.Glob(folder + "/*.md"); err != nil || len(files) != len(pages)+1 {
		t.Fatalf("%v: pages are %v", err, files)
	}
	home := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-tags", "nomsgpack", "-o", home+"/", "exportd/cmd/exportctl").CombinedOutput(); err != nil {
		t.Fatalf("build exportctl: %v\n%s", err, out)
	}
	_, hosts := e2etest.Emulators(t, exportd, filepath.Join(home, ".data"))
	env := append(hosts.Env(), "EXPORTD_KEYSET_FILE="+filepath.Join(home, "keyset.json"), "EXPORTD_OPS_ADDR=127.0.0.1:0", "EXPORTD_LEASE_SECONDS=3", "EXPORTD_DRAIN_SECONDS=5")
	e2etest.Setup(t, exportd, hosts, env)
	summary, err := e2etest.LoadDemo(t.Context(), hosts, e2etest.Sizes{Users: 40, Messages: 400})
	if err != nil {
		t.Fatal(err)
	}
	api, url := e2etest.API(t, exportd, hosts, env...)
	e2etest.Worker(t, exportd, hosts, env...)
	env = append(env, "URL="+url, "ORG="+summary.OrgID, "HOME="+home, "PATH="+home+":"+filepath.Dir(exportd)+":"+os.Getenv("PATH"),
		"EXPORTCTL_URL="+url, "EXPORTCTL_KEY="+summary.APIKey, "EXPORTCTL_SECRET="+summary.Secret, "EXPORTCTL_SIGNATURE_VERSION=1",
		"WORKSPACE="+summary.WorkspaceID, "MEDIUM="+summary.MediumID, "FROM="+summary.From, "TO="+summary.To)
	ran, marked := 0, 0
	var before map[string]string // jobs of the customer and their states, when its data are deleted
	for _, page := range pages {
		raw, err := os.ReadFile(filepath.Join(folder, page+".md"))
		if err != nil {
			t.Fatal(err)
		}
		var script []string
		for _, m := range block.FindAllStringSubmatch(string(raw), -1) {
			if m[2] != "" {
				marked++
				continue
			}
			ran++
			for line := range strings.Lines(m[3]) {
				script = append(script, strings.TrimPrefix(strings.TrimSuffix(line, "\n"), m[1]))
			}
		}
		if page == "delete-customer" {
			before = jobsOf(t, hosts, summary.OrgID)
		}
		if err := os.WriteFile(filepath.Join(home, "api.log"), []byte(api.Stderr()), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", strings.Join(script, "\n"))
		cmd.Dir, cmd.Env = home, env
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", page, err, out)
		}
		t.Logf("%s: %d lines", page, len(script))
	}
	erased(t, hosts, summary.OrgID, before, api.Stderr())
	t.Logf("%d blocks ran, %d are marked as Google's", ran, marked)
	if ran < 20 || marked < 15 {
		t.Errorf("%d blocks ran, %d are marked", ran, marked)
	}
}

// jobsOf are the jobs that a customer has, with their states.
func jobsOf(t *testing.T, hosts e2etest.Hosts, org string) map[string]string {
	t.Helper()
	db := hosts.OpenFirestore(t)
	docs, err := db.Collection("ExportJobs").Where("orgId", "==", org).Documents(t.Context()).GetAll()
	if err != nil {
		t.Fatal(err)
	}
	states := map[string]string{}
	for _, d := range docs {
		states[d.Ref.ID], _ = d.Data()["state"].(string)
	}
	return states
}

// erased: each job that the customer had was deleted, once and with success, whatever it had come to, and
// none has a file.
func erased(t *testing.T, hosts e2etest.Hosts, org string, before map[string]string, log string) {
	t.Helper()
	deleted := map[int]int{} // by status
	for line := range strings.Lines(log) {
		var entry struct {
			HTTPRequest struct {
				RequestMethod, RequestURL string
				Status                    int
			} `json:"httpRequest"`
		}
		if json.Unmarshal([]byte(line), &entry) == nil && entry.HTTPRequest.RequestMethod == "DELETE" && entry.HTTPRequest.RequestURL == "/exports/:jobId" {
			deleted[entry.HTTPRequest.Status]++
		}
	}
	after := jobsOf(t, hosts, org)
	t.Logf("the customer's jobs were %v and are %v; deletions %v", before, after, deleted)
	if len(before) < 2 || len(deleted) != 1 || deleted[http.StatusNoContent] != len(before) || len(after) != len(before) {
		t.Errorf("%d deletions of %d jobs: %v; %d are left as records", deleted[http.StatusNoContent], len(before), deleted, len(after))
	}
	for id, state := range after {
		if state == "succeeded" {
			t.Errorf("job %s still has its file", id)
		}
	}
}
