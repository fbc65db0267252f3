package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"exportd/internal/e2e/e2etest"
)

// service is a real service, at first without a worker, and a folder that has its demo.json and is the
// working directory of nobody.
type service struct {
	*e2etest.Stack
	folder, demo string
	// webhookSecret is the new one of the demo key, the profile has the one before.
	webhookSecret string
}

// TestService runs the commands against a real service: API and, from some point on, a worker, over embedded
// emulators.
func TestService(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a whole service, which -short leaves out")
	}
	_, hosts := e2etest.Emulators(t, exportdBinary, t.TempDir(), "--control", "127.0.0.1:0")
	stack := e2etest.Services(t, exportdBinary, hosts, e2etest.Sizes{Users: 300, Messages: 6000}, devEnv...)
	s := &service{Stack: stack, folder: t.TempDir()}
	s.demo = filepath.Join(s.folder, "demo.json")
	raw, err := json.Marshal(stack.Facts)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.demo, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	// Nobody takes jobs yet: they stay queued for as long as a test wants.
	t.Run("refusals", s.refusals)
	t.Run("lists", s.lists)
	t.Run("interrupt export", s.interruptExport)
	t.Run("interrupt process", s.interruptProcess)
	t.Run("cancel and delete", s.cancelAndDelete)
	t.Run("rerun", s.rerun)
	t.Run("queues", s.queues)
	t.Run("keys", s.keys)
	t.Run("replays", s.replays)
	t.Run("limits", s.limits)

	id := s.submit(t)
	s.Hosts.Faults(t, `{"rules": {"Firestore/RunAggregationQuery": {"errorRate": 1, "code": "PERMISSION_DENIED"}}}`) // the worker's count: the API asks for jobs by queries
	e2etest.Worker(t, exportdBinary, hosts, devEnv...)
	t.Run("failed exports", func(t *testing.T) { s.failedExports(t, id) })
	s.Hosts.Faults(t, `{}`) // where only others are run
	t.Run("export", s.export)
	t.Run("dry run", s.dryRun)
	t.Run("sandbox", s.sandbox)
	t.Run("conformance", s.conformance)
	t.Run("conformance through the service", s.throughService)
	t.Run("resume download", s.resumeDownload)
	t.Run("job commands", s.jobCommands)
	t.Run("callback", s.callback)
	t.Run("redeliver", s.redeliver)
	t.Run("stats", s.stats)
	t.Run("outage", s.outage)
}

var devEnv = []string{
	"EXPORTD_ENV=development", "EXPORTD_CALLBACK_ALLOW_HTTP=true", "EXPORTD_CALLBACK_ALLOW_CIDRS=127.0.0.0/8", "EXPORTD_CALLBACK_ALLOW_PORTS=0",
	"EXPORTD_DRAIN_SECONDS=2",
}

// ctl runs a command with the demo profile.
func (s *service) ctl(t *testing.T, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return call{}.run(ctx, append([]string{"--profile", s.demo}, args...)...)
}

// submit starts a new job and returns its id.
func (s *service) submit(t *testing.T, args ...string) string {
	t.Helper()
	return strings.TrimSpace(s.ctl(t, append([]string{"export", "vip-users", "--no-cache", "--detach"}, args...)...).want(t, exitOK).stdout)
}

func (s *service) refusals(t *testing.T) {
	profile := func(key, secret string) map[string]string {
		return map[string]string{"EXPORTCTL_URL": s.APIURL, "EXPORTCTL_KEY": key, "EXPORTCTL_SECRET": secret}
	}
	mine := profile(s.APIKey, s.Secret)
	for name, test := range map[string]struct {
		vars map[string]string
		args string
		code int
		says string
	}{
		"wrong secret":       {profile(s.APIKey, strings.Repeat("0", 64)), "jobs list", exitAuth, "refuses the key"},
		"disabled key":       {profile(s.DisabledAPIKey, s.DisabledSecret), "workspaces", exitAuth, "refuses the key"},
		"no ops scope":       {mine, "ops jobs list", exitAuth, "lacks the scope ops"},
		"no job":             {mine, "jobs get aaaaaaaaaaaaaaaaaaaaaaaaaa", exitNotFound, "job aaaaaaaaaaaaaaaaaaaaaaaaaa: job not found"},
		"no such workspace":  {mine, "users -w nope -m nope", exitNotFound, "workspace not found"},
		"not VIP":            {mine, "users -w " + s.OtherWorkspaceID + " -m x", exitNotFound, "workspace not found"},
		"parameters missing": {mine, "messages", exitUsage, "--workspace, --medium, --from and --to are missing\n"},
		"bad parameters":     {mine, "export vip-messages -w a -m b --from x --to y --content-type z", exitUsage, `--content-type must be one of [text, postback, attachment, other] (got "z")`},
		"bad month":          {mine, "export vip-users -w a -m b --birthday-month 13", exitUsage, "--birthday-month must be less than or equal to 12"},
		"bad callback":       {mine, "export vip-users -w a -m b --callback-url ftp://x", exitUsage, "--callback-url must be a valid uri"},
		"bad state":          {mine, "jobs list --state nope", exitUsage, `--state must be one of`},
		"no server":          {map[string]string{"EXPORTCTL_URL": "http://127.0.0.1:1", "EXPORTCTL_KEY": "k", "EXPORTCTL_SECRET": "s"}, "workspaces", exitUnavailable, "cannot reach the service"},
		"plain http":         {map[string]string{"EXPORTCTL_URL": "http://exports.example.com", "EXPORTCTL_KEY": "k", "EXPORTCTL_SECRET": "s"}, "labels", exitUsage, "is not https"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := call{vars: test.vars}.run(t.Context(), strings.Fields(test.args)...)
			r.want(t, test.code).says(t, test.says)
			if r.stdout != "" {
				t.Errorf("stdout has %q", r.stdout)
			}
			if strings.Contains(r.stderr, s.Secret) {
				t.Error("stderr has the secret")
			}
		})
	}
}

func (s *service) lists(t *testing.T) {
	s.ctl(t, "workspaces").want(t, exitOK).shows(t, "WORKSPACE", s.WorkspaceID)
	s.ctl(t, "channels", "-w", s.WorkspaceID).want(t, exitOK).shows(t, "PLATFORM", s.MediumID)
	s.ctl(t, "users", "-n", "3").want(t, exitOK).shows(t, "BIRTHDAY").says(t, "3 of ")
	s.ctl(t, "labels").want(t, exitOK).shows(t, "MESSAGES", "refund")
	s.ctl(t, "messages", "-n", "2").want(t, exitOK).shows(t, "TEXT").says(t, "There are more")
	s.ctl(t, "jobs", "list", "--state", "expired").want(t, exitOK).says(t, "No jobs.")

	// More than a page: the rows of all of them, none twice.
	var page struct {
		Messages   []struct{ ID string }
		NextCursor *string
	}
	decode(t, s.ctl(t, "messages", "-n", "450", "--json").want(t, exitOK).stdout, &page)
	ids := map[string]bool{}
	for _, m := range page.Messages {
		ids[m.ID] = true
	}
	if len(page.Messages) != 450 || len(ids) != 450 || page.NextCursor == nil {
		t.Errorf("%d messages, %d of them different, next cursor %v; want 450, 450 and one", len(page.Messages), len(ids), page.NextCursor)
	}
	var users struct {
		Total      int
		Users      []json.RawMessage
		NextOffset *int
	}
	decode(t, s.ctl(t, "users", "--all", "--json").want(t, exitOK).stdout, &users)
	if len(users.Users) != users.Total || users.NextOffset != nil {
		t.Errorf("%d users of %d, next offset %v", len(users.Users), users.Total, users.NextOffset)
	}
}

func decode(t *testing.T, raw string, to any) {
	t.Helper()
	if err := json.Unmarshal([]byte(raw), to); err != nil {
		t.Fatalf("not JSON: %v\n%s", err, raw)
	}
}

// interruptExport: Ctrl-C says which job goes on and how to come back.
func (s *service) interruptExport(t *testing.T) {
	for name, args := range map[string][]string{
		"export": {"export", "vip-users", "--no-cache", "-o", filepath.Join(s.folder, "my file.csv")},
		"watch":  {"jobs", "watch", s.submit(t)},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, interrupt := context.WithCancel(t.Context())
			defer interrupt()
			var stdout, stderr output
			done := make(chan int, 1)
			go func() {
				done <- run(ctx, call{}.environment(&stdout, &stderr), append([]string{"--profile", s.demo}, args...))
			}()
			eventually(t, "a line of progress", func() bool { return strings.Contains(stderr.String(), "Waiting for a worker") })
			interrupt()
			r := result{<-done, stdout.String(), stderr.String()}
			r.want(t, exitInterrupted).says(t, "Interrupted. Job ", " goes on", "Come back:  exportctl --profile "+s.demo+" jobs ")
			if name == "export" {
				r.says(t, "-o '"+s.folder+"/my file.csv'\n")
			}
			if r.stdout != "" {
				t.Errorf("stdout has %q", r.stdout)
			}
		})
	}
}

// interruptProcess does it to a real process with a real signal, and takes the command that it prints at its
// word.
func (s *service) interruptProcess(t *testing.T) {
	p := e2etest.Start(t, []string{"EXPORTCTL_PROFILE=" + s.demo, "HOME=" + s.folder}, exportctlBinary, "export", "vip-users", "--no-cache", "-o", filepath.Join(s.folder, "p.csv"))
	p.WaitLine(t, time.Minute, func(line string) string {
		if strings.Contains(line, "Waiting") {
			return line
		}
		return ""
	})
	p.Signal(syscall.SIGINT)
	if code := p.Wait(t, time.Minute); code != exitInterrupted {
		t.Fatalf("exit code %d, want %d\n%s", code, exitInterrupted, p.Stderr())
	}
	_, rest, ok := strings.Cut(p.Stderr(), "Or end it:  exportctl ")
	if !ok {
		t.Fatalf("no command to end it:\n%s", p.Stderr())
	}
	line, _, _ := strings.Cut(rest, "\n")
	cancel := strings.Fields(line)
	call{vars: map[string]string{"EXPORTCTL_PROFILE": s.demo}}.run(t.Context(), cancel...).want(t, exitOK).says(t, "is canceled")
}

func (s *service) cancelAndDelete(t *testing.T) {
	id := s.submit(t)
	s.ctl(t, "jobs", "cancel", id, "--reason", "no need").want(t, exitOK).says(t, "Job "+id+" is canceled.")
	s.ctl(t, "jobs", "watch", id).want(t, exitJobFailed).shows(t, "canceled")
	s.ctl(t, "jobs", "download", id, "-o", filepath.Join(s.folder, "x.csv")).want(t, exitJobFailed).says(t, "canceled")
	s.ctl(t, "jobs", "delete", id).want(t, exitUsage).says(t, "--yes")
	r := call{terminal: true, stdin: "n\n"}.run(t.Context(), "--profile", s.demo, "jobs", "delete", id)
	r.want(t, exitFailed).says(t, "[y/N]", "Nothing was done.")
	s.ctl(t, "jobs", "get", id).want(t, exitOK).shows(t, "canceled")
	s.ctl(t, "jobs", "delete", id, "--yes").want(t, exitOK)
	s.ctl(t, "jobs", "get", id).want(t, exitNotFound)

	id = s.submit(t)
	s.ctl(t, "ops", "cancel", id).want(t, exitUsage).says(t, "--reason is missing")
	s.ctl(t, "ops", "cancel", id, "--reason", "by hand").want(t, exitOK)
	s.ctl(t, "ops", "cancel", id, "--reason", "again").want(t, exitOK) // as often as one likes
	s.ctl(t, "ops", "jobs", "get", id).want(t, exitOK).shows(t, "Timeline", "submitted", "canceled", "because: by hand", "api key "+s.OpsAPIKey)
}

func (s *service) rerun(t *testing.T) {
	ids := []string{s.submit(t), s.submit(t)}
	for _, id := range ids {
		s.ctl(t, "ops", "cancel", id, "--reason", "night").want(t, exitOK)
	}
	s.ctl(t, "ops", "rerun", ids[0]).want(t, exitUsage).says(t, "--reason is missing")
	s.ctl(t, "ops", "rerun").want(t, exitUsage)
	s.ctl(t, "ops", "rerun", ids[0], "--filter", "state=failed", "--reason", "x").want(t, exitUsage)
	s.ctl(t, "ops", "rerun", ids[0], "--reason", "morning", "--mode", "fresh").want(t, exitOK).says(t, "queued again, with a new snapshot")
	s.ctl(t, "ops", "rerun", ids[0], "--reason", "morning").want(t, exitFailed).says(t, ids[0], "it is queued")
	s.ctl(t, "ops", "cancel", ids[0], "--reason", "night again").want(t, exitOK)

	filter := "state=canceled,workspaceId=" + s.WorkspaceID
	s.ctl(t, "ops", "rerun", "--filter", "state", "--reason", "x").want(t, exitUsage).says(t, "NAME=VALUE")
	s.ctl(t, "ops", "rerun", "--filter", "state=x,foo=y", "--reason", "x", "--yes").want(t, exitUsage).says(t, "--filter state must be one of", "--filter foo is not allowed")
	s.ctl(t, "ops", "rerun", "--filter", "errorCode=TOO_MANY_ROWS", "--reason", "x").want(t, exitOK).says(t, "Nothing to run again.")
	var dry struct{ Matched, Eligible int }
	decode(t, s.ctl(t, "ops", "rerun", "--filter", filter, "--dry-run", "--json").want(t, exitOK).stdout, &dry)
	if dry.Eligible < len(ids) || dry.Matched < dry.Eligible {
		t.Errorf("dry run: %+v, want at least %d", dry, len(ids))
	}
	s.ctl(t, "ops", "rerun", "--filter", filter, "--dry-run").want(t, exitOK).shows(t, "would be run again", "not: deleted by its owner")
	s.ctl(t, "ops", "rerun", "--filter", filter, "--reason", "x").want(t, exitUsage).says(t, "--yes")

	// The worker runs batches: without one it can only be started.
	batch := strings.TrimSpace(s.ctl(t, "ops", "rerun", "--filter", "errorCode=TOO_MANY_BYTES", "--reason", "none", "--yes", "--detach").want(t, exitOK).stdout)
	s.ctl(t, "ops", "batches", "get", batch).want(t, exitOK).shows(t, "errorCode=TOO_MANY_BYTES")
	s.ctl(t, "ops", "batches", "list").want(t, exitOK).shows(t, batch)
	s.ctl(t, "ops", "batches", "get", "nope").want(t, exitNotFound).says(t, "batch nope")
}

func (s *service) queues(t *testing.T) {
	s.ctl(t, "ops", "queues", "pause", "nope", "--reason", "x").want(t, exitUsage).says(t, "exports and callbacks")
	s.ctl(t, "ops", "queues", "pause", "callbacks", "--reason", "their deploy").want(t, exitOK).says(t, "Queue callbacks is paused")
	s.ctl(t, "ops", "queues", "resume", "callbacks", "--reason", "done", "--json").want(t, exitOK).shows(t, `"paused":false`)
}

func (s *service) stats(t *testing.T) {
	s.ctl(t, "ops", "stats").want(t, exitOK).shows(t, "running", "1 worker is alive")
	var stats struct{ States map[string]int }
	decode(t, s.ctl(t, "ops", "stats", "--json").want(t, exitOK).stdout, &stats)
	if stats.States["succeeded"] == 0 {
		t.Errorf("stats: %v, want succeeded jobs", stats.States)
	}
}
