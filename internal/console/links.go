package console

import (
	"context"
	"net/http"
	"slices"

	"exportd/api/client"
)

// downloadsShown are the latest of a job, each alike within an hour being one.
const downloadsShown = 20

// linksCard is who has downloaded the file of a job, and what leads to it.
type linksCard struct {
	// Own: csvUrl is a link of the service's own. Live: the file is there, so that links lead to it.
	Own, Live bool
	Total     int
	Latest    []client.Download
	More      bool
}

// May says whether there is something to be revoked: also links of before the setting was taken back.
func (l *linksCard) May() bool {
	return l.Live && (l.Own || slices.ContainsFunc(l.Latest, func(d client.Download) bool { return d.LinkID != nil }))
}

// linksOf reads the downloads of a job that has succeeded.
func (c *Console) linksOf(ctx context.Context, j *client.OpsJob) (*linksCard, error) {
	size := downloadsShown
	answer, err := c.api.OpsListDownloadsWithResponse(ctx, j.JobID, &client.OpsListDownloadsParams{PageSize: &size})
	if err != nil {
		return nil, err
	}
	a := answer.JSON200
	return &linksCard{Own: c.ownLinks, Live: j.State == client.StateSucceeded && j.DeletedAt == nil, Total: a.Total, Latest: a.Downloads, More: a.NextPageToken != nil}, nil
}

// revokeLinks takes back what the form is about: a link, all of a job, or all of an org.
func (c *Console) revokeLinks(ctx context.Context, r *http.Request, t target, fields map[string]any) (err error) {
	if t.Org != "" {
		fields["orgId"] = t.Org
		_, err = c.api.OpsRevokeOrgLinksWithBodyWithResponse(ctx, asJSON, body(fields), c.once(r, ""))
		return err
	}
	if t.Link != "" {
		fields["linkId"] = t.Link
	}
	_, err = c.api.OpsRevokeJobLinksWithBodyWithResponse(ctx, t.IDs[0], asJSON, body(fields), c.once(r, t.IDs[0]))
	return err
}

// afterRevoking is where one is led then: to the job, or to what was done.
func (t target) afterRevoking() string {
	if t.Org != "" {
		return home + "/audit"
	}
	return pageOfJob(t.IDs[0])
}
