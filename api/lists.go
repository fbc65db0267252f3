package api

import (
	"errors"
	"net/http"
	"slices"

	"github.com/gin-gonic/gin"
	"golang.org/x/sync/errgroup"

	"exportd/internal/apikey"
	"exportd/internal/records"
	"exportd/internal/vip"
	"exportd/jobs"
)

// Pages of list routes, in rows.
const (
	pageRows    = 50
	maxPageRows = 200
)

// contentTypes are the kinds of messages there are.
var contentTypes = []string{"text", "postback", "attachment", "other"}

// usersFilter and messagesFilter read what list route and export have in common.
func (p *params) usersFilter() jobs.Filter {
	f := jobs.Filter{
		WorkspaceID: p.text("workspaceId", true), MediumID: p.text("mediumId", true),
		HasBirthday: p.boolean("hasBirthday"), BirthdayMonth: p.integer("birthdayMonth", 1, 12, 0),
	}
	if f.BirthdayMonth != 0 {
		f.HasBirthday = true // implied: requests with and without it share a job
	}
	return f
}

func (p *params) messagesFilter() jobs.Filter {
	f := jobs.Filter{WorkspaceID: p.text("workspaceId", true), MediumID: p.text("mediumId", true)}
	f.From, f.To = p.window()
	f.Label, f.ContentType = p.text("label", false), enum(p, "contentType", contentTypes...)
	return f
}

func (s *Server) listWorkspaces(c *gin.Context, caller *apikey.Key) error {
	p, err := readQuery(c.Request)
	if err != nil {
		return err
	}
	if err := p.finish(); err != nil {
		return err
	}
	list, err := s.records.Workspaces(c.Request.Context(), caller.OrgID)
	if err != nil {
		return err
	}
	writeJSON(c, http.StatusOK, map[string]any{"workspaces": orEmpty(list)})
	return nil
}

func (s *Server) listChannels(c *gin.Context, caller *apikey.Key) error {
	p, err := readQuery(c.Request)
	if err != nil {
		return err
	}
	workspaceID := p.text("workspaceId", false)
	if err := p.finish(); err != nil {
		return err
	}
	ctx := c.Request.Context()
	var workspace vip.Workspace
	if workspaceID != "" {
		if !vip.ValidID(workspaceID) {
			return vip.ErrWorkspaceUnknown
		}
		workspace, err = s.records.Workspace(ctx, workspaceID)
		switch {
		case errors.Is(err, jobs.ErrNotFound), err == nil && workspace.OrgID != caller.OrgID:
			return vip.ErrWorkspaceUnknown
		case err != nil:
			return err
		}
	}
	list, err := s.records.Channels(ctx, caller.OrgID, "")
	if err != nil {
		return err
	}
	if workspaceID != "" {
		// Connected as vip.Gate means it: what is listed here is what it lets through.
		list = slices.DeleteFunc(list, func(ch vip.Channel) bool {
			return !slices.Contains(workspace.ChannelIDs, ch.ID) && !slices.Contains(ch.WorkspaceIDs, workspaceID)
		})
	}
	writeJSON(c, http.StatusOK, map[string]any{"channels": orEmpty(list)})
	return nil
}

func (s *Server) listUsers(c *gin.Context, caller *apikey.Key) error {
	p, err := readQuery(c.Request)
	if err != nil {
		return err
	}
	filter := p.usersFilter()
	limit := p.integer("limit", 1, maxPageRows, pageRows)
	offset := p.integer("offset", 0, maxOffset, 0)
	if err := p.finish(); err != nil {
		return err
	}
	if err := s.gate(c.Request.Context(), caller.OrgID, filter); err != nil {
		return err
	}
	q, key := vip.NewQuery(jobs.KindUsers, filter), listKey(caller.OrgID, jobs.KindUsers, filter)
	var page records.Page
	var total int64
	g, ctx := errgroup.WithContext(c.Request.Context())
	g.Go(func() (err error) {
		page, err = s.pageAt(ctx, key, q, offset, limit)
		return err
	})
	g.Go(func() (err error) {
		total, err = s.total(ctx, key, q)
		return err
	})
	if err := g.Wait(); err != nil {
		return err
	}
	var next *int
	if page.Next != nil {
		n := offset + len(page.Users)
		next = &n
	}
	writeJSON(c, http.StatusOK, map[string]any{"total": total, "nextOffset": next, "users": orEmpty(page.Users)})
	return nil
}

func (s *Server) listMessages(c *gin.Context, caller *apikey.Key) error {
	p, err := readQuery(c.Request)
	if err != nil {
		return err
	}
	filter := p.messagesFilter()
	limit := p.integer("limit", 1, maxPageRows, pageRows)
	after := p.before(filter)
	if err := p.finish(); err != nil {
		return err
	}
	if err := s.gate(c.Request.Context(), caller.OrgID, filter); err != nil {
		return err
	}
	q := vip.NewQuery(jobs.KindMessages, filter)
	page, err := s.records.Page(c.Request.Context(), q, after, 0, limit)
	if err != nil {
		return err
	}
	var next *string
	if page.Next != nil {
		token := q.PageToken(*page.Next)
		next = &token
	}
	writeJSON(c, http.StatusOK, map[string]any{"messages": orEmpty(page.Messages), "nextCursor": next})
	return nil
}

// before reads the cursor of messages. A cursor is one of its query's, so it is only
// judged when the filter is in order.
func (p *params) before(f jobs.Filter) *vip.Position {
	v, given := p.get("before", false)
	if !given || len(p.faults) > 0 {
		return nil
	}
	q := vip.NewQuery(jobs.KindMessages, f)
	position, err := q.ParseBefore(v)
	if err != nil {
		p.fault("before", typeDate, map[string]any{"value": v, "format": "iso"},
			`must be in ISO 8601 date format or a nextCursor of the same request`)
		return nil
	}
	return &position
}

func (s *Server) overview(c *gin.Context, caller *apikey.Key) error {
	p, err := readQuery(c.Request)
	if err != nil {
		return err
	}
	filter := jobs.Filter{WorkspaceID: p.text("workspaceId", true), MediumID: p.text("mediumId", true)}
	filter.From, filter.To = p.window()
	if err := p.finish(); err != nil {
		return err
	}
	if err := s.gate(c.Request.Context(), caller.OrgID, filter); err != nil {
		return err
	}
	a, err := s.labels(c.Request.Context(), caller, filter)
	if err != nil {
		return err
	}
	writeJSON(c, http.StatusOK, map[string]any{"labels": orEmpty(a.counts), "total": a.total})
	return nil
}

// orEmpty makes an empty list of none: callers get [] and not null.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
