package main

import (
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"cloud.google.com/go/firestore"

	"exportd/internal/e2e/e2etest"
	"exportd/internal/localcloud"
	"exportd/internal/localcloud/localcloudtest"
	"exportd/jobs"
)

// damageSample is of the damages of each document; all of them take some minutes.
var damageSample = flag.Int("damage.sample", 6, "try so many damages of each document, 0 for all")

// nonsense is what no command should print: marks of Go's, and what only a damaged document holds.
var nonsense = regexp.MustCompile(`%!|panic|goroutine |<nil>|\bNaN\b|\bInf\b|922337203685477|9,223,372|1e\+?308|(^|[^0-9T:-])-[17]\b|x{500}`)

// quoting is why a record is damaged, as its timeline tells operators: it quotes numbers and times.
var quoting = regexp.MustCompile(`[^"\n]*: invalid document`)

// farTimes are shown as they are where they only say when to look next: they are not believed.
var farTimes = regexp.MustCompile(`\b(0001|2200|9999)-`)

// TestDamagedService runs the commands that show jobs, batches, receivers, keys and statistics against a real
// service, while its documents are damaged one way after the other: each command ends with one of its codes
// and prints nothing that only the damage explains.
func TestDamagedService(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a whole service, which -short leaves out")
	}
	t.Parallel()
	_, hosts := e2etest.Emulators(t, exportdBinary, t.TempDir())
	stack := e2etest.Services(t, exportdBinary, hosts, e2etest.Sizes{Users: 20, Messages: 20}, append(devEnv, "EXPORTD_RATE_KEY_PER_SECOND=0", "EXPORTD_RATE_IP_PER_SECOND=0")...)
	s := &service{Stack: stack, folder: t.TempDir()}
	s.demo = filepath.Join(s.folder, "demo.json")
	raw, err := json.Marshal(stack.Facts)
	if err == nil {
		err = os.WriteFile(s.demo, raw, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	db, err := firestore.NewClient(t.Context(), e2etest.Project, localcloud.GRPCOptions(hosts.Firestore)...)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	queued := func() string { return s.submit(t, "--callback-url", "http://127.0.0.1:1/x") }
	canceled := func() string {
		id := queued()
		s.ctl(t, "ops", "cancel", id, "--reason", "r").want(t, exitOK)
		return id
	}
	first := func(collection string) *firestore.DocumentRef {
		docs, err := db.Collection(collection).Limit(1).Documents(t.Context()).GetAll()
		if err != nil || len(docs) == 0 {
			t.Fatalf("no document in %s, %v", collection, err)
		}
		return docs[0].Ref
	}
	everywhere := []string{"jobs list", "ops jobs list", "ops jobs list --json", "ops stats", "ops batches list", "ops receivers list"}
	for name, kind := range map[string]struct {
		make     func() (ref *firestore.DocumentRef, id string)
		commands []string // with ID for the job's
	}{
		"job": {func() (*firestore.DocumentRef, string) {
			id := queued()
			return db.Collection("ExportJobs").Doc(id), id
		}, []string{"jobs get ID", "jobs manifest ID", "jobs get ID --json", "ops jobs get ID", "jobs watch ID", "jobs download ID -o -"}},
		"ended job": {func() (*firestore.DocumentRef, string) {
			id := canceled()
			return db.Collection("ExportJobs").Doc(id), id
		}, []string{"jobs get ID", "ops jobs get ID", "jobs watch ID", "ops rerun ID --reason r"}},
		"event": {func() (*firestore.DocumentRef, string) {
			id := canceled()
			return first("ExportJobs/" + id + "/events"), id
		}, []string{"ops jobs get ID", "ops jobs get ID --json"}},
		"callback": {func() (*firestore.DocumentRef, string) {
			id := canceled()
			return db.Collection("ExportCallbacks").Doc(jobs.CallbackID(&jobs.Job{ID: id, State: jobs.Canceled})), id
		}, []string{"jobs get ID", "ops jobs get ID", "ops callback redeliver ID --reason r"}},
		"batch": {func() (*firestore.DocumentRef, string) {
			id := strings.TrimSpace(s.ctl(t, "ops", "rerun", "--filter", "errorCode=TOO_MANY_BYTES", "--reason", "none", "--yes", "--detach").want(t, exitOK).stdout)
			return db.Collection("ExportBatches").Doc(id), id
		}, []string{"ops batches get ID", "ops batches get ID --json", "ops batches list"}},
		"pause": {func() (*firestore.DocumentRef, string) {
			s.ctl(t, "ops", "queues", "pause", "callbacks", "--reason", "r").want(t, exitOK)
			return db.Collection("ExportLeases").Doc("queue-callbacks"), ""
		}, []string{"ops stats", "ops stats --json", "ops queues resume callbacks --reason r"}},
	} {
		t.Run(name, func(t *testing.T) {
			ref, _ := kind.make()
			whole, err := ref.Get(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			wounds, codes := localcloudtest.Wounds(whole.Data(), *damageSample), map[int]int{}
			for _, wound := range wounds {
				if wound.Field == "schema" && wound.What == "7" {
					continue // another build's, which this one does not end
				}
				ref, id := kind.make()
				if _, err := ref.Update(context.Background(), wound.Update()); err != nil {
					t.Fatal(err)
				}
				for _, command := range append(kind.commands, everywhere...) {
					if name == "job" && strings.Contains(command, " watch ") || strings.Contains(command, " download ") {
						s.ctl(t, "jobs", "cancel", id) // what is still whole would be followed for ever
					}
					r := s.ctl(t, strings.Fields(strings.ReplaceAll(command, "ID", id))...)
					codes[r.code]++
					judgeDamaged(t, r, name+": "+wound.Field+" = "+wound.What+": "+command, wound)
				}
			}
			t.Logf("%d damages, commands by exit code: %v", len(wounds), codes)
		})
	}
}

// judgeDamaged holds what a command printed against what it may.
func judgeDamaged(t *testing.T, r result, what string, wound localcloudtest.Wound) {
	t.Helper()
	out := quoting.ReplaceAllString(r.stdout+"\n"+r.stderr, "")
	switch r.code {
	case exitOK, exitFailed, exitJobFailed, exitNotFound:
	default:
		t.Errorf("%s: exit code %d: %.300s", what, r.code, out)
	}
	if found := nonsense.FindString(out); found != "" || !utf8.ValidString(out) || len(out) > 256<<10 {
		t.Errorf("%s: prints %q in %d bytes: %.1000s", what, found, len(out), out)
	}
	next := map[string]bool{"wakeAt": true, "notBefore": true, "lease": true, "lease.until": true, "nextAt": true}
	if !next[wound.Field] && farTimes.MatchString(out) {
		t.Errorf("%s: prints a time that cannot be: %.1000s", what, out)
	}
}
