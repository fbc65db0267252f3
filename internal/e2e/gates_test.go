package e2e

import (
	"bytes"
	"net/http"
	"testing"

	"exportd/internal/e2e/e2etest"
)

// dataRoutes are those behind the gate of workspace and channel.
var dataRoutes = []struct {
	path   string
	window bool
}{
	{"/vip-users", false}, {"/vip-users/export", false}, {"/vip-messages", true}, {"/vip-messages/export", true}, {"/vip-labels/overview", true},
}

// gates: what the caller may not see is refused, and what belongs to others looks exactly like what does not
// exist.
func gates(t *testing.T, s *e2etest.Stack) {
	c := s.Caller()
	var plain, unconnected string
	for _, w := range workspaces(t, c) {
		if !w.IsVIP {
			plain = w.ID
		}
	}
	connected := map[string]bool{}
	for _, ch := range channels(t, c, s.WorkspaceID) {
		connected[ch.ID] = true
	}
	for _, ch := range channels(t, c, "") {
		if !connected[ch.ID] {
			unconnected = ch.ID
		}
	}
	unknown := "AAAAAAAAAAAAAAAAAAAA"
	for _, route := range dataRoutes {
		ask := func(workspaceID, mediumID string, status int) []byte {
			t.Helper()
			query := s.Users("workspaceId", workspaceID, "mediumId", mediumID)
			if route.window {
				query.Set("from", s.From)
				query.Set("to", s.To)
			}
			r := c.Get(t, route.path, query)
			if r.Status != status {
				t.Errorf("%s with workspace %s, channel %s: %d %.200s, want %d", route.path, workspaceID, mediumID, r.Status, r.Body, status)
			}
			return r.Body
		}
		ask(plain, s.MediumID, http.StatusForbidden)
		ask(s.WorkspaceID, unconnected, http.StatusForbidden)
		noWorkspace, noChannel := ask(unknown, s.MediumID, http.StatusNotFound), ask(s.WorkspaceID, unknown, http.StatusNotFound)
		for _, odd := range []string{"a/b", "..", "__x__", "\x00", "=1+1"} {
			same(t, route.path+" workspace "+odd, ask(odd, s.MediumID, http.StatusNotFound), noWorkspace)
			same(t, route.path+" channel "+odd, ask(s.WorkspaceID, odd, http.StatusNotFound), noChannel)
		}
		same(t, route.path+" other org's workspace", ask(s.OtherWorkspaceID, s.OtherMediumID, http.StatusNotFound), noWorkspace)
		same(t, route.path+" other org's channel", ask(s.WorkspaceID, s.OtherMediumID, http.StatusNotFound), noChannel)
	}
	theirs := s.Other().Submit(t, "vip-users", s.Users("workspaceId", s.OtherWorkspaceID, "mediumId", s.OtherMediumID))
	for _, suffix := range []string{"", "/csv", "/events"} {
		for _, id := range []string{"aaaaaaaaaaaaaaaaaaaaaaaaaa", "no-job", theirs} {
			r := c.Get(t, "/exports/"+id+suffix, nil).Want(t, http.StatusNotFound)
			same(t, "job "+id+suffix, r.Body, c.Get(t, "/exports/bbbbbbbbbbbbbbbbbbbbbbbbbb"+suffix, nil).Body)
		}
	}
	s.Other().Await(t, theirs, jobWithin)
	var page struct{ Jobs []e2etest.Job }
	c.Get(t, "/exports", nil).Want(t, http.StatusOK).JSON(t, &page)
	for _, j := range page.Jobs {
		if j.JobID == theirs {
			t.Errorf("the list of jobs has another org's job %s", theirs)
		}
	}
	if r := c.Get(t, "/channels", s.Users("workspaceId", s.OtherWorkspaceID)); r.Status == http.StatusOK {
		t.Errorf("channels of another org's workspace: %d %s", r.Status, r.Body)
	}
	r := c.Get(t, "/ops/jobs", nil).Want(t, http.StatusForbidden)
	if !bytes.Contains(r.Body, []byte("ops")) {
		t.Errorf("a key without the scope gets %s", r.Body)
	}
}

func same(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s: %s, want as for an unknown one: %s", what, got, want)
	}
}
