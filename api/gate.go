package api

import (
	"context"

	"exportd/internal/dataset"
	"exportd/internal/vip"
	"exportd/jobs"
)

// gate decides whether an org may see the rows that the parameters of a dataset mean.
//
// In a sandbox every workspace and channel is one, as its rows are made up.
func (s *Server) gate(ctx context.Context, d *dataset.Dataset, orgID string, rows jobs.Params) error {
	if !d.Gate.VIP() || jobs.InSandbox(orgID) {
		return nil // the query finds nothing but the org's
	}
	return vip.Gate(ctx, s.records, orgID, rows.Text(dataset.Workspace), rows.Text(dataset.Medium))
}
