package api

import (
	"context"
	"errors"

	"exportd/internal/dataset"
	"exportd/internal/vip"
	"exportd/jobs"
)

// errChannelUnknown: there is no such channel, or it belongs to another org.
var errChannelUnknown = errors.New("channel not found")

// gate decides whether an org may see the rows that the parameters of a dataset mean.
func (s *Server) gate(ctx context.Context, d *dataset.Dataset, orgID string, rows jobs.Params) error {
	if !d.Gate.VIP() {
		return nil // the query finds nothing but the org's
	}
	mediumID := rows.Text(dataset.Medium)
	err := vip.Gate(ctx, s.records, orgID, rows.Text(dataset.Workspace), mediumID)
	if !errors.Is(err, vip.ErrChannelNotConnected) {
		return err
	}
	// Gate does not tell a channel that the org has from one that it has not; the contract
	// does. The second read is on this way only.
	if !vip.ValidID(mediumID) {
		return errChannelUnknown
	}
	channel, lookupErr := s.records.Channel(ctx, orgID, mediumID)
	switch {
	case errors.Is(lookupErr, jobs.ErrNotFound), lookupErr == nil && channel.OrgID != orgID:
		return errChannelUnknown
	case lookupErr != nil:
		return lookupErr
	}
	return err
}
