package main

import (
	"encoding/csv"
	"strings"
	"testing"

	"exportd/internal/records"
)

// sandboxKey makes a key of a sandbox, by the profile of an admin.
func (s *service) sandboxKey(t *testing.T) (vars map[string]string, webhookSecret string) {
	t.Helper()
	var made struct {
		Key                   struct{ KeyID string }
		Secret, WebhookSecret string
	}
	decode(t, s.ctl(t, "keys", "create", "--org", s.OrgID, "--sandbox", "--scope", "read,export", "--reason", "tests", "--json").want(t, exitOK).stdout, &made)
	return map[string]string{"EXPORTCTL_URL": s.APIURL, "EXPORTCTL_KEY": made.Key.KeyID, "EXPORTCTL_SECRET": made.Secret}, made.WebhookSecret
}

// sandbox runs the scenarios that take no time, on the real machinery.
func (s *service) sandbox(t *testing.T) {
	vars, _ := s.sandboxKey(t)
	ctl := func(args ...string) result { return call{vars: vars}.run(t.Context(), args...) }
	export := func(scenario string, args ...string) result {
		return ctl(append([]string{"export", "vip-users", "-w", s.WorkspaceID, "-m", s.MediumID, "--no-cache", "--test-scenario", scenario}, args...)...)
	}
	ctl("workspaces").want(t, exitOK).shows(t, records.SandboxWorkspace)
	ctl("users", "-w", s.WorkspaceID, "-m", s.MediumID).want(t, exitOK).shows(t, "Ada Lovelace")

	rows, err := csv.NewReader(strings.NewReader(export("succeed", "-o", "-").want(t, exitOK).stdout)).ReadAll()
	if err != nil || len(rows) != records.SandboxRows+1 || rows[1][0] != "sandbox-000" || rows[records.SandboxRows][0] != "sandbox-119" {
		t.Errorf("the file has %d rows: %v", len(rows)-1, err)
	}
	export("fail-retryable", "-o", "-").want(t, exitJobFailed).says(t, "UNAVAILABLE", "the same request may work later")
	export("fail-final", "-o", "-").want(t, exitJobFailed).says(t, "TOO_MANY_ROWS", "will fail again")
	for _, scenario := range []string{"rate-limit", "unavailable"} { // refused once: the client waits and asks again
		export(scenario, "--format", "jsonl", "-o", "-").want(t, exitOK).shows(t, `"sandbox-119"`)
	}
	export("nope").want(t, exitUsage).says(t, "--test-scenario must be one of [succeed, slow")
	s.ctl(t, "export", "vip-users", "--test-scenario", "slow").want(t, exitUsage).says(t, "is for sandbox keys")
	s.ctl(t, "keys", "list", "--org", s.OrgID).want(t, exitOK).shows(t, vars["EXPORTCTL_KEY"], s.OrgID+" (sandbox)")
	if causes := s.ctl(t, "ops", "causes", "--since", "1h").want(t, exitOK).stdout; strings.Contains(causes, "TOO_MANY_ROWS") {
		t.Errorf("what fails in a sandbox is a cause:\n%s", causes)
	}
	s.ctl(t, "ops", "jobs", "list", "--org", "sandbox~"+s.OrgID, "--error-code", "TOO_MANY_ROWS").want(t, exitOK).shows(t, "failed")
}
