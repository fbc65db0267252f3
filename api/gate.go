package api

import (
	"context"
	"errors"

	"exportd/internal/vip"
	"exportd/jobs"
)

// errChannelUnknown: there is no such channel, or it belongs to another org.
var errChannelUnknown = errors.New("channel not found")

// gate decides whether an org may see the rows that a filter means.
func (s *Server) gate(ctx context.Context, orgID string, f jobs.Filter) error {
	err := vip.Gate(ctx, s.records, orgID, f.WorkspaceID, f.MediumID)
	if !errors.Is(err, vip.ErrChannelNotConnected) {
		return err
	}
	// Gate does not tell a channel that the org has from one that it has not; the contract
	// does. The second read is on this way only.
	if !vip.ValidID(f.MediumID) {
		return errChannelUnknown
	}
	channel, lookupErr := s.records.Channel(ctx, f.MediumID)
	switch {
	case errors.Is(lookupErr, jobs.ErrNotFound), lookupErr == nil && channel.OrgID != orgID:
		return errChannelUnknown
	case lookupErr != nil:
		return lookupErr
	}
	return err
}
