package main

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// send makes a request with headers that "sign" printed.
func (s *service) send(t *testing.T, headers map[string]string, method, path, body string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.APIURL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range headers {
		r.Header.Set(name, value)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	said, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer, string(said)
}

// signedOnce sends what "sign" prints for a key that requires version 2, which the service takes once, for
// that request.
func (s *service) signedOnce(t *testing.T, c call) {
	t.Helper()
	const body = `{"reason": "by hand"}`
	file := filepath.Join(t.TempDir(), "body.json")
	if err := os.WriteFile(file, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
	job := strings.TrimSpace(c.run(t.Context(), "export", "vip-users", "-w", s.WorkspaceID, "-m", s.MediumID, "--detach", "--no-cache").want(t, exitOK).stdout)
	cancel := "/exports/" + job + "/cancel"
	query := "/vip-users?mediumId=" + s.MediumID + "&workspaceId=" + s.WorkspaceID + "&limit=%31"
	for name, tc := range map[string]struct {
		args               []string
		method, path, body string
		status             int
	}{
		"query":         {[]string{query}, "GET", query, "", 200},
		"whole URL":     {[]string{s.APIURL + query}, "GET", query, "", 200},
		"another query": {[]string{query}, "GET", query + "0", "", 401},
		"body":          {[]string{"-X", "post", "--data", "@" + file, cancel}, "POST", cancel, body, 202},
		"body as typed": {[]string{"--data", body, cancel}, "POST", cancel, body, 202},
		"another body":  {[]string{"--data", body, cancel}, "POST", cancel, `{"reason":"by hand"}`, 401},
		"no body":       {[]string{cancel}, "POST", cancel, "", 401},
	} {
		var headers map[string]string
		decode(t, c.run(t.Context(), append([]string{"sign", "--json"}, tc.args...)...).want(t, exitOK).stdout, &headers)
		for _, want := range []int{tc.status, 401} {
			answer, said := s.send(t, headers, tc.method, tc.path, tc.body)
			if answer.StatusCode != want {
				t.Errorf("%s: %s %s = %d %s, want %d", name, tc.method, tc.path, answer.StatusCode, said, want)
			}
		}
	}
}

// replays: exact duplicates of requests that are signed by version 1. An export gets its job again while that
// is alive, and a new one once it was canceled; what operators do is not done twice.
func (s *service) replays(t *testing.T) {
	var headers map[string]string
	decode(t, s.ctl(t, "sign", "--json").want(t, exitOK).stdout, &headers)
	headers["Cache-Control"], headers["Prefer"] = "no-cache", "respond-async"
	export := "/vip-users/export?workspaceId=" + s.WorkspaceID + "&mediumId=" + s.MediumID
	first, said := s.send(t, headers, "GET", export, "")
	job := first.Header.Get("Location")
	if first.StatusCode != http.StatusAccepted {
		t.Fatalf("export = %d %s", first.StatusCode, said)
	}
	if again, said := s.send(t, headers, "GET", export, ""); again.StatusCode != http.StatusAccepted || again.Header.Get("Location") != job {
		t.Errorf("the duplicate = %d %s %s, want %s", again.StatusCode, again.Header.Get("Location"), said, job)
	}
	if other, said := s.send(t, headers, "GET", export+"&hasBirthday=true", ""); other.StatusCode != http.StatusAccepted || other.Header.Get("Location") == job {
		t.Errorf("another export = %d %s %s, want a job of its own", other.StatusCode, other.Header.Get("Location"), said)
	}
	s.ctl(t, "jobs", "cancel", strings.TrimPrefix(job, "/exports/")).want(t, exitOK)
	if again, said := s.send(t, headers, "GET", export, ""); again.StatusCode != http.StatusAccepted || again.Header.Get("Location") == job {
		t.Errorf("the duplicate of a canceled export = %d %s %s, want 202 and another than %s", again.StatusCode, again.Header.Get("Location"), said, job)
	}

	pause := `{"reason":"their deploy"}`
	decode(t, s.ctl(t, "sign", "--ops", "--json").want(t, exitOK).stdout, &headers)
	if answer, said := s.send(t, headers, "POST", "/ops/queues/callbacks/pause", pause); answer.StatusCode != http.StatusUnauthorized {
		t.Errorf("pause by version 1 = %d %s, want 401", answer.StatusCode, said)
	}
	decode(t, s.ctl(t, "sign", "--ops", "--json", "--data", pause, "/ops/queues/callbacks/pause").want(t, exitOK).stdout, &headers)
	for i, want := range []int{http.StatusOK, http.StatusUnauthorized} {
		if answer, said := s.send(t, headers, "POST", "/ops/queues/callbacks/pause", pause); answer.StatusCode != want {
			t.Errorf("pause %d = %d %s, want %d", i, answer.StatusCode, said, want)
		}
	}
	s.ctl(t, "ops", "queues", "resume", "callbacks", "--reason", "done").want(t, exitOK)
}
