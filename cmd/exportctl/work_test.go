package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"exportd/api/client"
	"exportd/internal/csvrow/csvrowtest"
	"exportd/internal/e2e/e2etest"
)

// rowsIn counts the rows of a file, its head not counted.
func rowsIn(t *testing.T, raw []byte) int {
	t.Helper()
	rows, err := csv.NewReader(bytes.NewReader(raw)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return len(rows) - 1
}

func (s *service) export(t *testing.T) {
	path := filepath.Join(s.folder, "users.csv")
	r := s.ctl(t, "export", "vip-users", "--no-cache", "-o", path, "--json").want(t, exitOK).says(t, "Exported ", " to "+path+"; checksum right.")
	if strings.ContainsAny(r.stderr, "\r\x1b") {
		t.Errorf("no terminal, and yet there is control in: %q", r.stderr)
	}
	var job client.Job
	decode(t, r.stdout, &job)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := rowsIn(t, raw); job.TotalCount == nil || int64(n) != *job.TotalCount {
		t.Errorf("file has %d rows, the job %v", n, job.TotalCount)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("file has mode %v: it holds personal data", info.Mode())
	}

	// To standard output: the same bytes and nothing else.
	if r = s.ctl(t, "export", "vip-users", "-o", "-").want(t, exitOK); r.stdout != string(raw) {
		t.Errorf("standard output has %d bytes, the file %d", len(r.stdout), len(raw))
	}
	// Without a file: a link that works as it is.
	link := strings.TrimSpace(s.ctl(t, "export", "vip-users").want(t, exitOK).stdout)
	if got, err := e2etest.Send(t.Context(), http.MethodGet, link, nil, nil); err != nil || !bytes.Equal(got.Body, raw) {
		t.Errorf("the link gives %d bytes (%v), want %d", len(got.Body), err, len(raw))
	}
	// The filters arrive.
	r = s.ctl(t, "export", "vip-messages", "--label", "refund", "--content-type", "text", "--csv-profile", "excel", "--formula-guard", "off", "-o", "-").want(t, exitOK)
	if rows, err := csvrowtest.Sheet([]byte(r.stdout)); err != nil || len(rows) < 2 {
		t.Errorf("excel export has %d rows, %v, and begins with %.20q", len(rows), err, r.stdout)
	}
	r = s.ctl(t, "export", "vip-users", "--birthday-month", "2", "-o", "-").want(t, exitOK)
	if n := rowsIn(t, []byte(r.stdout)); n == 0 || int64(n) >= *job.TotalCount {
		t.Errorf("%d users are born in February, of %d", n, *job.TotalCount)
	}
	// On a terminal there is a bar, and it is gone at the end.
	r = call{terminal: true}.run(t.Context(), "--profile", s.demo, "export", "vip-messages", "--no-cache", "-o", filepath.Join(s.folder, "m.csv")).want(t, exitOK)
	if last := r.stderr[strings.LastIndex(r.stderr, "\x1b[K")+len("\x1b[K"):]; !strings.HasPrefix(last, "Exported ") {
		t.Errorf("terminal ends with %q", last)
	}
	r.says(t, "Downloading  ", "─")
	if r.stdout != "" {
		t.Errorf("stdout has %q", r.stdout)
	}
	s.ctl(t, "export", "vip-users", "-o", s.folder).want(t, exitUsage).says(t, "is a folder")
	s.ctl(t, "export", "vip-users", "-o", s.folder+"/no/such/x.csv").want(t, exitUsage).says(t, "mkdir -p")
	s.ctl(t, "export", "vip-users", "-o", "-", "--json").want(t, exitUsage)
	s.ctl(t, "export", "vip-users", "-o", "x.csv", "--detach").want(t, exitUsage)
	s.ctl(t, "export", "vip-users", "--formula-guard", "maybe").want(t, exitUsage)
}

// resumeDownload: what has arrived is not fetched again, and what is not of the file is.
func (s *service) resumeDownload(t *testing.T) {
	id := s.submit(t)
	s.ctl(t, "jobs", "watch", id).want(t, exitOK).shows(t, "succeeded")
	path := filepath.Join(s.folder, "resumed.csv")
	s.ctl(t, "jobs", "download", id, "-o", path).want(t, exitOK)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, begun := range map[string][]byte{"half": whole[:len(whole)/2], "garbage": bytes.Repeat([]byte("x"), 500), "all": whole} {
		if err := os.WriteFile(client.PartPath(path, id), begun, 0o600); err != nil {
			t.Fatal(err)
		}
		s.ctl(t, "jobs", "download", id, "-o", path).want(t, exitOK).says(t, "checksum right")
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, whole) {
			t.Errorf("%s: %d bytes (%v), want %d", name, len(got), err, len(whole))
		}
		if _, err := os.Stat(client.PartPath(path, id)); !os.IsNotExist(err) {
			t.Errorf("%s: the part file is still there (%v)", name, err)
		}
	}
}

func (s *service) jobCommands(t *testing.T) {
	var list struct{ Jobs []client.Job }
	decode(t, s.ctl(t, "jobs", "list", "--json", "--state", "succeeded", "-n", "1").want(t, exitOK).stdout, &list)
	if len(list.Jobs) != 1 {
		t.Fatalf("%d jobs, want 1", len(list.Jobs))
	}
	id := list.Jobs[0].JobID
	var job client.Job
	decode(t, s.ctl(t, "jobs", "get", id, "--json").want(t, exitOK).stdout, &job)
	if job.JobID != id || job.CSVURL == nil {
		t.Errorf("jobs get --json shows job %q with link %v", job.JobID, job.CSVURL)
	}
	s.ctl(t, "jobs", "get", id).want(t, exitOK).shows(t, "crc32c", "succeeded")
	s.ctl(t, "jobs", "cancel", id).want(t, exitFailed).says(t, "job "+id+": the job cannot be canceled: it is succeeded")
	s.ctl(t, "ops", "rerun", id, "--reason", "x").want(t, exitFailed).says(t, "it is succeeded")
	s.ctl(t, "ops", "rerun", "--filter", "errorCode=TOO_MANY_ROWS", "--reason", "x", "--yes").want(t, exitOK).says(t, "0 jobs are queued again")
	s.ctl(t, "ops", "jobs", "list", "--org", s.OrgID, "--kind", "vip-users", "--created-after", "2020-01-01").want(t, exitOK).shows(t, s.OrgID, "vip-users")
	s.ctl(t, "ops", "jobs", "list", "--created-before", "2020-01-01").want(t, exitOK).says(t, "No jobs.")
	s.ctl(t, "ops", "jobs", "get", id).want(t, exitOK).shows(t, "Timeline", "submitted", "claimed", "succeeded")
	s.ctl(t, "__complete", "jobs", "get", "").want(t, exitOK).shows(t, id+"\tsucceeded")
	s.ctl(t, "__complete", "ops", "rerun", "").want(t, exitOK).shows(t, id)
	s.ctl(t, "__complete", "jobs", "list", "--state", "").want(t, exitOK).shows(t, "canceled")
	if r := s.ctl(t, "completion", "bash").want(t, exitOK); !strings.Contains(r.stdout, "exportctl") {
		t.Error("completion bash prints no script")
	}
}

// listen runs "callbacks listen" until stop, which returns its exit code.
func (s *service) listen(t *testing.T, secret string) (addr string, out *output, stop func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var stdout, stderr output
	done := make(chan int, 1)
	args := []string{"--profile", s.demo, "callbacks", "listen", "--addr", "127.0.0.1:0"}
	if secret != "" {
		args = append(args, "--secret", secret)
	}
	go func() { done <- run(ctx, call{}.environment(&stdout, &stderr), args) }()
	eventually(t, "a listener", func() bool { return strings.Contains(stderr.String(), "Ctrl-C") })
	_, rest, _ := strings.Cut(stderr.String(), "Listening on ")
	addr, _, _ = strings.Cut(rest, " ")
	return addr, &stdout, func() int { cancel(); return <-done }
}

// callback: listen prints what the service sends, and knows a wrong secret.
func (s *service) callback(t *testing.T) {
	addr, out, stop := s.listen(t, "")
	id := s.submit(t, "--callback-url", addr+"hook?token=1")
	eventually(t, "a callback", func() bool { return strings.Contains(out.String(), "verified  export.succeeded  job "+id) })
	if code := stop(); code != exitOK {
		t.Errorf("listen ends with %d", code)
	}
	s.ctl(t, "ops", "jobs", "get", id).want(t, exitOK).shows(t, "Callback export.succeeded")

	// The secret of before the rotation is the profile's; the new one works as well.
	addr, out, stop = s.listen(t, s.webhookSecret)
	id = s.submit(t, "--callback-url", addr)
	eventually(t, "a callback signed by the new secret too", func() bool { return strings.Contains(out.String(), "verified  export.succeeded  job "+id) })
	stop()

	addr, out, stop = s.listen(t, "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")
	s.submit(t, "--callback-url", addr)
	eventually(t, "a refused callback", func() bool { return strings.Contains(out.String(), "refused   no signature matches") })
	stop()
	s.ctl(t, "callbacks", "listen", "--secret", "hunter2").want(t, exitUsage).says(t, "the webhook secret cannot be one")
}

// failedExports: the source may not be read, an operator sees it and runs what failed again once it may.
func (s *service) failedExports(t *testing.T, id string) {
	s.ctl(t, "jobs", "watch", id).want(t, exitJobFailed).shows(t, "SOURCE_PERMISSION_DENIED")
	s.ctl(t, "jobs", "download", id, "-o", "-").want(t, exitJobFailed).says(t, "SOURCE_PERMISSION_DENIED")
	s.Hosts.Faults(t, `{}`)
	s.ctl(t, "ops", "jobs", "list", "--state", "failed", "--error-code", "SOURCE_PERMISSION_DENIED").want(t, exitOK).shows(t, "SOURCE_PERMISSION_DENIED")
	filter := "state=failed,errorCode=SOURCE_PERMISSION_DENIED"
	s.ctl(t, "ops", "rerun", "--filter", filter, "--dry-run").want(t, exitOK).shows(t, "would be run again")
	r := call{terminal: true, noColor: true, stdin: "y\n"}.run(t.Context(), "--profile", s.demo, "ops", "rerun", "--filter", filter, "--reason", "it may read again")
	r.want(t, exitOK).says(t, " again, at "+s.APIURL+"? [y/N]", " queued again.")
	if strings.Contains(r.stdout+strings.ReplaceAll(r.stderr, "\r\x1b[K", ""), "\x1b") {
		t.Errorf("NO_COLOR is set, and there are colours:\n%q", r.stdout+r.stderr)
	}
	s.ctl(t, "jobs", "watch", id).want(t, exitOK).shows(t, "succeeded")
	s.ctl(t, "ops", "jobs", "get", id).want(t, exitOK).shows(t, "failed     SOURCE_PERMISSION_DENIED", "rerun", "because: it may read again")
	s.ctl(t, "ops", "rerun", id, "--set", "birthdayMonth=13", "--reason", "another month").want(t, exitUsage).says(t, "--birthday-month")
	made := s.ctl(t, "ops", "rerun", id, "--set", "birthdayMonth=5", "--set", "hasBirthday=", "--reason", "another month").want(t, exitOK).says(t, "Job "+id+" is run again as job ")
	other := strings.TrimSuffix(strings.TrimSpace(made.stderr[strings.LastIndex(made.stderr, " "):]), ".")
	s.ctl(t, "jobs", "watch", other).want(t, exitOK).shows(t, "succeeded")
	s.ctl(t, "ops", "jobs", "get", other).want(t, exitOK).shows(t, "rerun of", id, "because: another month")
	eventually(t, "all green", func() bool {
		return strings.Contains(s.ctl(t, "ops", "jobs", "list", "--state", "failed").stderr, "No jobs.")
	})
}

// outage: a restart of the API in the middle is lived through, and told of.
func (s *service) outage(t *testing.T) {
	s.Process.Kill()
	s.ctl(t, "jobs", "list").want(t, exitUnavailable).says(t, "trying again", "cannot reach the service")
}
