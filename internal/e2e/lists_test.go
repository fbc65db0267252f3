package e2e

import (
	"net/http"
	"net/url"
	"slices"
	"testing"

	"exportd/internal/demo"
	"exportd/internal/e2e/e2etest"
)

type workspace struct {
	ID, Name   string
	IsVIP      bool
	ChannelIDs []string
}

type channel struct {
	ID, Name, Platform string
	WorkspaceIDs       []string
}

func workspaces(t *testing.T, c *e2etest.Client) []workspace {
	t.Helper()
	var body struct{ Workspaces []workspace }
	c.Get(t, "/workspaces", nil).Want(t, http.StatusOK).JSON(t, &body)
	return body.Workspaces
}

func channels(t *testing.T, c *e2etest.Client, workspaceID string) []channel {
	t.Helper()
	var body struct{ Channels []channel }
	query := url.Values{}
	if workspaceID != "" {
		query.Set("workspaceId", workspaceID)
	}
	c.Get(t, "/channels", query).Want(t, http.StatusOK).JSON(t, &body)
	return body.Channels
}

// directoryRoutes: each org sees its own workspaces and channels and nothing else's.
func directoryRoutes(t *testing.T, s *e2etest.Stack) {
	mine, theirs := workspaces(t, s.Caller()), workspaces(t, s.Other())
	if len(mine) != 4 || len(theirs) != 2 {
		t.Errorf("workspaces of the two orgs = %d and %d, want 4 and 2", len(mine), len(theirs))
	}
	for _, w := range mine {
		if slices.ContainsFunc(theirs, func(o workspace) bool { return o.ID == w.ID }) {
			t.Errorf("both orgs see workspace %s", w.ID)
		}
		if w.Name == "" {
			t.Errorf("workspace %s has no name", w.ID)
		}
	}
	i := slices.IndexFunc(mine, func(w workspace) bool { return w.ID == s.WorkspaceID })
	if i < 0 || !mine[i].IsVIP || !slices.Contains(mine[i].ChannelIDs, s.MediumID) {
		t.Fatalf("workspaces = %+v, want the VIP workspace %s with channel %s", mine, s.WorkspaceID, s.MediumID)
	}
	all, connected, other := channels(t, s.Caller(), ""), channels(t, s.Caller(), s.WorkspaceID), channels(t, s.Other(), "")
	if len(all) != 5 || len(connected) != 2 || len(other) != 2 {
		t.Errorf("channels = %d, of the workspace %d, of the other org %d; want 5, 2, 2", len(all), len(connected), len(other))
	}
	for _, c := range connected {
		if c.Platform == "" || !slices.Contains(c.WorkspaceIDs, s.WorkspaceID) {
			t.Errorf("channel %+v is not one of workspace %s", c, s.WorkspaceID)
		}
	}
}

// labelsOverview: each count is what the list of messages drills down to.
func labelsOverview(t *testing.T, s *e2etest.Stack) {
	var body struct {
		Labels []struct {
			Label string
			Count int
		}
		Total int
	}
	s.Caller().Get(t, "/vip-labels/overview", s.Messages()).Want(t, http.StatusOK).JSON(t, &body)
	counts := map[string]int{}
	for _, l := range body.Labels {
		if l.Count <= 0 || counts[l.Label] != 0 {
			t.Errorf("label %q has count %d, or is there twice", l.Label, l.Count)
		}
		counts[l.Label] = l.Count
	}
	if len(counts) < 5 {
		t.Errorf("labels = %v, want those of the demo data", counts)
	}
	for _, label := range []string{demo.HazardLabel, demo.EdgeLabel} {
		rows, _ := s.Caller().ListAll(t, "vip-messages", s.Messages("label", label))
		if len(rows) == 0 || len(rows) != counts[label] {
			t.Errorf("label %q: the overview counts %d, the list has %d", label, counts[label], len(rows))
		}
	}
}
