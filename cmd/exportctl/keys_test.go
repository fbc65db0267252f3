package main

import (
	"strings"
	"testing"
)

// keys: a new key works, by the version of the signature that it requires, until it is rotated and revoked.
func (s *service) keys(t *testing.T) {
	var made struct {
		Key    struct{ KeyID, Name string }
		Secret string
	}
	create := []string{"keys", "create", "--org", s.OrgID, "--scope", "read,export", "--name", "billing", "--min-signature-version", "2", "--expires", "2099-01-01", "--reason", "new service"}
	decode(t, s.ctl(t, append(create, "--json", "--ip-range", "127.0.0.0/8", "--callback-host", "*.example.com")...).want(t, exitOK).stdout, &made)
	id := made.Key.KeyID
	vars := func(secret, version string) call {
		return call{vars: map[string]string{"EXPORTCTL_URL": s.APIURL, "EXPORTCTL_KEY": id, "EXPORTCTL_SECRET": secret, "EXPORTCTL_SIGNATURE_VERSION": version}}
	}
	vars(made.Secret, "").run(t.Context(), "workspaces").want(t, exitOK)
	vars(made.Secret, "1").run(t.Context(), "workspaces").want(t, exitAuth).says(t, "requires x-signature-version 2")
	vars(made.Secret, "2").run(t.Context(), "workspaces").want(t, exitOK).shows(t, s.WorkspaceID)
	vars(made.Secret, "2").run(t.Context(), "limits").want(t, exitOK)
	// A request with a body, and one with a query.
	job := strings.TrimSpace(vars(made.Secret, "2").run(t.Context(), "export", "vip-users", "-w", s.WorkspaceID, "-m", s.MediumID, "--detach", "--no-cache").want(t, exitOK).stdout)
	vars(made.Secret, "2").run(t.Context(), "jobs", "cancel", job, "--reason", "a & b").want(t, exitOK)
	s.signedOnce(t, vars(made.Secret, "2"))
	vars(made.Secret, "2").run(t.Context(), "keys", "list").want(t, exitAuth).says(t, "lacks the scope admin")

	s.ctl(t, "keys", "list", "--org", s.OrgID).want(t, exitOK).shows(t, id, "billing", "read,export", "2099-01-01", "127.0.0.0/8,*.example.com,v2", s.OpsAPIKey)
	s.ctl(t, "keys", "list", "--org", "nobody").want(t, exitOK).says(t, "No keys.")
	s.ctl(t, "__complete", "keys", "revoke", "").want(t, exitOK).shows(t, id+"\t"+s.OrgID+" billing")

	// With an overlap both secrets work, without one only the new one does.
	var rotated struct{ Secret string }
	decode(t, s.ctl(t, "keys", "rotate", id, "--overlap", "1h", "--reason", "yearly", "--json").want(t, exitOK).stdout, &rotated)
	for _, secret := range []string{made.Secret, rotated.Secret} {
		vars(secret, "2").run(t.Context(), "workspaces").want(t, exitOK)
	}
	s.ctl(t, "keys", "rotate", id, "--overlap", "0", "--reason", "leaked").want(t, exitUsage).says(t, "--yes")
	r := s.ctl(t, "keys", "rotate", id, "--overlap", "0", "--reason", "leaked", "--yes").want(t, exitOK).shows(t, "secret", "old one until").says(t, "not shown again")
	if strings.Contains(r.stderr, "yourself") || strings.Contains(r.stdout, made.Secret) {
		t.Errorf("rotate says what is not so:\n%s%s", r.stdout, r.stderr)
	}
	eventually(t, "an end of the old secrets", func() bool {
		return vars(made.Secret, "2").run(t.Context(), "workspaces").code == exitAuth && vars(rotated.Secret, "2").run(t.Context(), "workspaces").code == exitAuth
	})

	s.keyBudget(t, id)
	s.ctl(t, "keys", "revoke", id, "--reason", "gone").want(t, exitUsage).says(t, "--yes")
	call{terminal: true, stdin: "n\n"}.run(t.Context(), "--profile", s.demo, "keys", "revoke", id, "--reason", "gone").want(t, exitFailed).says(t, "Disable key "+id+", at "+s.APIURL+"? [y/N]")
	s.ctl(t, "keys", "revoke", id, "--reason", "gone", "--yes").want(t, exitOK).says(t, "Key "+id+" is disabled.")
	s.ctl(t, "keys", "list").want(t, exitOK).shows(t, id+"  disabled")
	history := s.ctl(t, "keys", "get", id).want(t, exitOK).shows(t, "billing", "disabled", "History (UTC)", "created", "new service", "rotated", "yearly", "leaked", "revoked", "gone", "api key "+s.OpsAPIKey)
	if strings.Contains(history.stdout, made.Secret) || strings.Contains(history.stdout, rotated.Secret) {
		t.Error("the history has a secret")
	}
	s.ctl(t, "keys", "get", "key_nope").want(t, exitNotFound).says(t, "API key not found")
	s.keyRefusals(t)

	// Before there is a worker, so that it knows both: callbacks are verified with either.
	decode(t, s.ctl(t, "keys", "rotate", s.APIKey, "--webhook", "--reason", "yearly", "--json").want(t, exitOK).stdout, &rotated)
	s.webhookSecret = rotated.Secret
	s.ctl(t, "keys", "rotate", s.OtherAPIKey, "--webhook", "--overlap", "0", "--reason", "leaked").want(t, exitUsage).says(t, "--yes")
	s.ctl(t, "keys", "rotate", s.OtherAPIKey, "--webhook", "--reason", "yearly").want(t, exitOK).shows(t, "webhook secret  whsec_", "old one until").says(t, "whoever verifies the callbacks")

	// Keys with such scopes sign by version 2 alone, whatever the profile says.
	decode(t, s.ctl(t, "keys", "create", "--org", s.OrgID, "--scope", "admin", "--min-signature-version", "2", "--reason", "admin", "--json").want(t, exitOK).stdout, &made)
	id = made.Key.KeyID
	vars(made.Secret, "").run(t.Context(), "keys", "list").want(t, exitOK).shows(t, id)
	vars(made.Secret, "1").run(t.Context(), "limits").want(t, exitAuth)
	vars(made.Secret, "").run(t.Context(), "keys", "rotate", id, "--reason", "yearly").want(t, exitOK).says(t, "You use this key yourself: put the secret into EXPORTCTL_SECRET too.")
}

// keyBudget: a budget is given, seen by who has it and by admins, and taken away.
func (s *service) keyBudget(t *testing.T, id string) {
	s.ctl(t, "keys", "budget", id, "--reason", "r").want(t, exitUsage).says(t, "--rows-per-day or --reads-per-day is required")
	s.ctl(t, "keys", "budget", id, "--rows-per-day", "many", "--reads-per-day", "0", "--reason", "r").want(t, exitUsage).says(t, "--rows-per-day must be a number", "--reads-per-day must be greater")
	s.ctl(t, "keys", "budget", "key_nope", "--rows-per-day", "none", "--reason", "r").want(t, exitNotFound).says(t, "API key not found")
	s.ctl(t, "keys", "budget", id, "--rows-per-day", "5000", "--reads-per-day", "9", "--reason", "r").want(t, exitOK).shows(t, "5,000 rows a day, 9 reads a day", "0 rows and 0 reads; left are 5,000 rows and 9 reads, until 2")
	s.ctl(t, "keys", "budget", id, "--reads-per-day", "none", "--reason", "it grows").want(t, exitOK).shows(t, "5,000 rows a day", "left are 5,000 rows, until")
	s.ctl(t, "keys", "list", "--org", s.OrgID).want(t, exitOK).shows(t, "5,000 rows a day,today 5,000 rows left")
	s.ctl(t, "keys", "get", id).want(t, exitOK).shows(t, "spent today", "budget changed", "it grows (readsPerDay without limit, was 9)")
	s.ctl(t, "keys", "budget", id, "--rows-per-day", "none", "--reason", "r").want(t, exitOK).says(t, "has no budget")
	if r := s.ctl(t, "keys", "get", id).want(t, exitOK); strings.Contains(r.stdout, "spent today") {
		t.Errorf("a key without a budget has spent of it:\n%s", r.stdout)
	}
	s.ctl(t, "keys", "budget", s.APIKey, "--rows-per-day", "1000000000", "--reason", "r").want(t, exitOK)
	eventually(t, "limits that tell of the budget", func() bool {
		return strings.Contains(s.ctl(t, "limits").want(t, exitOK).stdout, "rows of this key's day")
	})
	s.ctl(t, "keys", "budget", s.APIKey, "--rows-per-day", "none", "--reason", "r").want(t, exitOK)
}

// keyRefusals are what the service does not do, in terms of flags.
func (s *service) keyRefusals(t *testing.T) {
	s.ctl(t, "keys", "create", "--org", s.OrgID, "--scope", "write", "--reason", "r").want(t, exitUsage).says(t, `--scope must be of read, export, ops, view, admin, platform (got "write")`)
	s.ctl(t, "keys", "create", "--org", s.OrgID, "--scope", "read", "--ip-range", "x", "--min-signature-version", "3", "--expires", "2000-01-01", "--reason", "r").
		want(t, exitUsage).says(t, "--ip-range must be ranges", "--min-signature-version must be", "--expires must be in the future")
	s.ctl(t, "keys", "create", "--org", s.OrgID, "--scope", "read", "--rows-per-day", "0", "--reads-per-day", "-1", "--reason", "r").
		want(t, exitUsage).says(t, "--rows-per-day must be", "--reads-per-day must be")
	s.ctl(t, "keys", "rotate", s.APIKey, "--overlap", "1000h", "--reason", "r").want(t, exitUsage).says(t, "--overlap must be")
	s.ctl(t, "keys", "rotate", "key_nope", "--reason", "r").want(t, exitNotFound).says(t, "key key_nope: API key not found", "exportctl keys list")
	s.ctl(t, "keys", "revoke", s.OpsAPIKey, "--reason", "r", "--yes").want(t, exitFailed).says(t, "cannot revoke itself")
	r := s.ctl(t, "keys", "create", "--org", "org_new", "--scope", "read", "--one-use", "--rows-per-day", "5000", "--reads-per-day", "1", "--reason", "r").want(t, exitOK)
	r.shows(t, "org             org_new", "name            exportctl 20", "scopes          read", "expires         never", "signatures      each once", "budget          5,000 rows a day, 1 read a day", "secret          ", "webhook secret  whsec_")
	r.says(t, "not shown again", "exportctl profiles add NAME --url "+s.APIURL+" --key key_")
	if strings.Contains(r.stderr, "whsec_") {
		t.Error("stderr has a secret")
	}
}

func (s *service) limits(t *testing.T) {
	s.ctl(t, "limits").want(t, exitOK).shows(t, "LIMIT", "requests with this key", "exports of your org that wait", "test callbacks of your org", "connections of this address", "connections of all addresses")
	var l limits
	decode(t, s.ctl(t, "limits", "--json").want(t, exitOK).stdout, &l)
	if l.TestCallbacks == nil || l.TestCallbacks.Burst != 5 {
		t.Errorf("limits --json: test callbacks %+v, want 5 at once", l.TestCallbacks)
	}
}

// redeliver: a test callback, callbacks sent again by filter, and receivers.
func (s *service) redeliver(t *testing.T) {
	addr, out, stop := s.listen(t, "")
	id := s.submit(t, "--callback-url", addr+"again")
	origin := strings.TrimSuffix(addr, "/")
	filter := "state=delivered,origin=" + origin
	var dry struct {
		Matched  int
		Complete bool
	}
	eventually(t, "a delivered callback", func() bool {
		decode(t, s.ctl(t, "ops", "callback", "redeliver", "--filter", filter, "--dry-run", "--json").want(t, exitOK).stdout, &dry)
		return dry.Matched == 1 && dry.Complete
	})
	s.ctl(t, "callbacks", "test", id).want(t, exitOK).shows(t, addr+"again", "delivered", "204")
	eventually(t, "a test callback", func() bool { return strings.Contains(out.String(), "verified  export.ping") })

	s.ctl(t, "ops", "callback", "redeliver", "--filter", filter, "--dry-run").want(t, exitOK).says(t, "Dry run: 1 callback would be sent again.")
	s.ctl(t, "ops", "callback", "redeliver", "--filter", filter, "--reason", "lost").want(t, exitUsage).says(t, "--yes")
	s.ctl(t, "ops", "callback", "redeliver", "--filter", filter, "--reason", "lost", "--yes").want(t, exitOK).says(t, "1 callback is on its way again.")
	sent := func() int { return strings.Count(out.String(), "verified  export.succeeded  job "+id) }
	eventually(t, "the callback again", func() bool { return sent() == 2 })
	eventually(t, "its end", func() bool {
		return s.ctl(t, "ops", "callback", "redeliver", id, "--reason", "one").code == exitOK // not while a try is under way
	})
	eventually(t, "the callback for the third time", func() bool { return sent() == 3 })
	stop()
	s.ctl(t, "callbacks", "test", id).want(t, exitFailed).shows(t, "not delivered: connect_failed")
	s.ctl(t, "callbacks", "test", s.submit(t)).want(t, exitFailed).says(t, "has no callbackUrl")

	s.ctl(t, "ops", "callback", "redeliver", "--filter", "state=gone,origin="+origin, "--reason", "x").want(t, exitOK).says(t, "No callback matches.")
	s.ctl(t, "ops", "callback", "redeliver", "--filter", "orgId=a", "--dry-run").want(t, exitUsage).says(t, "--filter state is required")
	s.ctl(t, "ops", "receivers").want(t, exitOK).shows(t, origin, "FAILING SINCE")
	s.ctl(t, "ops", "receivers", origin, "--since", "1h").want(t, exitOK).shows(t, "answer 204", "SUCCEEDED")
	s.ctl(t, "ops", "receivers", "https://nobody.example").want(t, exitOK).says(t, "No callbacks.")
	s.ctl(t, "ops", "receivers", "--since", "9d").want(t, exitUsage).says(t, "at most 7 days")
	s.ctl(t, "ops", "receivers", "list").want(t, exitOK).says(t, "No receiver is suspended.")
	s.ctl(t, "ops", "receivers", "resume", "nope", "--org", s.OrgID, "--reason", "x").want(t, exitUsage).says(t, "ORIGIN must be scheme, host and port")
	s.ctl(t, "ops", "receivers", "resume", origin, "--org", s.OrgID, "--reason", "x").want(t, exitOK).says(t, origin+" gets callbacks of org "+s.OrgID+" again; 0 deliveries")
}
