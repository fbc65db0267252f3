package vip

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"exportd/internal/panics"
	"exportd/jobs"
)

// Why a caller may not see a workspace's rows.
var (
	// ErrWorkspaceUnknown: there is no such workspace, or it belongs to another org.
	ErrWorkspaceUnknown = errors.New("workspace not found")
	// ErrNotVIP: the workspace is not a VIP workspace.
	ErrNotVIP = errors.New("workspace is not a VIP workspace")
	// ErrChannelUnknown: there is no such channel, or it belongs to another org.
	ErrChannelUnknown = errors.New("channel not found")
	// ErrChannelNotConnected: the channel is not connected to the workspace.
	ErrChannelNotConnected = errors.New("channel is not connected to the workspace")
)

// Refused reports whether err says why a caller may not see rows, and is not that of reading.
func Refused(err error) bool {
	return errors.Is(err, ErrWorkspaceUnknown) || errors.Is(err, ErrNotVIP) || errors.Is(err, ErrChannelUnknown) || errors.Is(err, ErrChannelNotConnected)
}

// Directory looks up the workspaces and channels of an org, side by side. One that is missing or another
// org's is jobs.ErrNotFound, by the same work.
type Directory interface {
	Workspace(ctx context.Context, orgID, id string) (Workspace, error)
	Channel(ctx context.Context, orgID, id string) (Channel, error)
}

// Gate decides whether an org may read the rows of a workspace on a channel (mediumID): nil, one of the
// errors of this package, or an error of dir, which is asked for both at once.
//
// Connected means that the workspace lists the channel or the channel lists the workspace: the two lists are
// written one after the other, and a caller should not be refused in between.
func Gate(ctx context.Context, dir Directory, orgID, workspaceID, mediumID string) error {
	if !ValidID(workspaceID) {
		return ErrWorkspaceUnknown
	}
	var w Workspace
	var err error
	c, cerr := Channel{}, jobs.ErrNotFound
	var both sync.WaitGroup // side by side: each is a round trip, and how long it takes tells nothing
	both.Go(func() {
		err = panics.Do(func() (err error) { w, err = dir.Workspace(ctx, orgID, workspaceID); return err })
	})
	if ValidID(mediumID) {
		c, cerr = dir.Channel(ctx, orgID, mediumID)
	}
	both.Wait()
	switch {
	case errors.Is(err, jobs.ErrNotFound):
		return ErrWorkspaceUnknown
	case err != nil:
		return fmt.Errorf("look up workspace: %w", err)
	case orgID == "" || w.OrgID != orgID:
		return ErrWorkspaceUnknown
	case !w.IsVIP:
		return ErrNotVIP
	}
	switch {
	case errors.Is(cerr, jobs.ErrNotFound):
		return ErrChannelUnknown
	case cerr != nil:
		return fmt.Errorf("look up channel: %w", cerr)
	case c.OrgID != orgID:
		return ErrChannelUnknown
	case slices.Contains(w.ChannelIDs, mediumID), slices.Contains(c.WorkspaceIDs, workspaceID):
		return nil
	}
	return ErrChannelNotConnected
}
