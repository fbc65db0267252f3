package api

import (
	"errors"
	"net/http"
	"slices"

	"github.com/gin-gonic/gin"

	"exportd/internal/apikey"
	"exportd/internal/dataset"
	"exportd/internal/vip"
	"exportd/jobs"
)

// Pages of list routes, in rows.
const (
	pageRows    = 50
	maxPageRows = 200
)

func (s *Server) listWorkspaces(c *gin.Context, caller *apikey.Key) error {
	p, err := readQuery(c.Request)
	if err != nil {
		return err
	}
	if err := p.finish(); err != nil {
		return err
	}
	list, leave, err := listAll(c.Request.Context(), s, caller, func(most int) ([]vip.Workspace, error) {
		return s.records.Workspaces(c.Request.Context(), caller.OrgID, most)
	})
	if err != nil {
		return err
	}
	defer leave()
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
		workspace, err = s.records.Workspace(ctx, caller.OrgID, workspaceID)
		switch {
		case errors.Is(err, jobs.ErrNotFound), err == nil && workspace.OrgID != caller.OrgID:
			return vip.ErrWorkspaceUnknown
		case err != nil:
			return err
		}
	}
	list, leave, err := listAll(ctx, s, caller, func(most int) ([]vip.Channel, error) {
		return s.records.Channels(ctx, caller.OrgID, "", most)
	})
	if err != nil {
		return err
	}
	defer leave()
	if workspaceID != "" {
		// Connected as vip.Gate means it: what is listed here is what it lets through.
		list = slices.DeleteFunc(list, func(ch vip.Channel) bool {
			return !slices.Contains(workspace.ChannelIDs, ch.ID) && !slices.Contains(ch.WorkspaceIDs, workspaceID)
		})
	}
	writeJSON(c, http.StatusOK, map[string]any{"channels": orEmpty(list)})
	return nil
}

// list answers the list route of a dataset.
func (s *Server) list(d *dataset.Dataset) endpoint {
	if d.List.Cursor == "" {
		return func(c *gin.Context, caller *apikey.Key) error { return s.listByOffset(c, caller, d) }
	}
	return func(c *gin.Context, caller *apikey.Key) error { return s.listByCursor(c, caller, d) }
}

// listByOffset pages by offset, and tells a total.
func (s *Server) listByOffset(c *gin.Context, caller *apikey.Key, d *dataset.Dataset) error {
	p, err := readQuery(c.Request)
	if err != nil {
		return err
	}
	rows := p.rows(d)
	limit := p.integer("limit", 1, maxPageRows, pageRows)
	offset := p.integer("offset", 0, maxOffset, 0)
	if err := p.finish(); err != nil {
		return err
	}
	if err := s.gate(c.Request.Context(), d, caller.OrgID, rows); err != nil {
		return err
	}
	key := listKey(caller.OrgID, d, rows)
	page, total, leave, err := s.pageAt(c.Request.Context(), caller, key, d, d.Query(caller.OrgID, rows), offset, limit)
	if err != nil {
		return err
	}
	defer leave()
	var next *int
	if page.Next != nil {
		n := offset + len(page.Rows)
		next = &n
	}
	writeJSON(c, http.StatusOK, map[string]any{"total": total, "nextOffset": next, d.List.Rows: orEmpty(page.Rows)})
	return nil
}

// listByCursor pages by the place of the last row.
func (s *Server) listByCursor(c *gin.Context, caller *apikey.Key, d *dataset.Dataset) error {
	p, err := readQuery(c.Request)
	if err != nil {
		return err
	}
	rows := p.rows(d)
	limit := p.integer("limit", 1, maxPageRows, pageRows)
	after := p.cursor(d, caller.OrgID, rows)
	if err := p.finish(); err != nil {
		return err
	}
	if err := s.gate(c.Request.Context(), d, caller.OrgID, rows); err != nil {
		return err
	}
	q := d.Query(caller.OrgID, rows)
	page, leave, err := s.page(c.Request.Context(), caller, d, q, after, 0, limit)
	if err != nil {
		return err
	}
	defer leave()
	var next *string
	if page.Next != nil {
		token := q.PageToken(*page.Next)
		next = &token
	}
	writeJSON(c, http.StatusOK, map[string]any{d.List.Rows: orEmpty(page.Rows), "nextCursor": next})
	return nil
}

// cursor reads where a page begins. A cursor is one of its query's, so it is only judged when the other
// parameters are in order.
func (p *params) cursor(d *dataset.Dataset, orgID string, rows jobs.Params) *vip.Position {
	name := d.List.Cursor
	v, given := p.get(name, false)
	if !given || len(p.faults) > 0 {
		return nil
	}
	q := d.Query(orgID, rows)
	byTime := takesTimes(d)
	position, err := q.ParsePageToken(v)
	if err != nil && byTime {
		if t, _, ok := parseDate(v); ok {
			position, err = vip.OlderThan(t)
		}
	}
	switch {
	case err == nil:
		return &position
	case byTime:
		p.fault(name, typeDate, map[string]any{"value": v, "format": "iso"},
			`must be in ISO 8601 date format or a nextCursor of the same request%s`, whyNoDate(v))
	default:
		p.fault(name, typeOnly, map[string]any{"value": v}, `must be a nextCursor of the same request`)
	}
	return nil
}

func (s *Server) overview(c *gin.Context, caller *apikey.Key) error {
	p, err := readQuery(c.Request)
	if err != nil {
		return err
	}
	d := dataset.VIPMessages
	filter := jobs.Params{dataset.Workspace: p.text(dataset.Workspace, true), dataset.Medium: p.text(dataset.Medium, true)}
	filter[jobs.ParamFrom], filter[jobs.ParamTo] = p.window(d.Window)
	if err := p.finish(); err != nil {
		return err
	}
	if err := s.gate(c.Request.Context(), d, caller.OrgID, filter); err != nil {
		return err
	}
	a, err := s.labels(c.Request.Context(), caller, filter)
	if err != nil {
		return err
	}
	if a.weight() > smallPage {
		leave, err := s.acquireLarge(c.Request.Context(), caller)
		if err != nil {
			return err
		}
		defer leave()
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
