package jobs

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// maxRevokedLinks bounds the links of a job that are revoked one by one, at 30 bytes each. Who has more to
// revoke revokes all.
const maxRevokedLinks = 100

// LinkVoid says by the job why a link to its file no longer leads there, "" if it does. Which file that is,
// object says, and whether it is still there, who looks.
func (j *Job) LinkVoid(linkID, object string, generation int64) string {
	switch {
	case !j.DeletedAt.IsZero():
		return "the export was deleted"
	case j.State != Succeeded:
		return "the export has no file: it is " + string(j.State)
	case j.Result.Object != object:
		return "the file is of another run"
	case j.revoked(linkID, generation):
		return "the link was revoked"
	}
	return ""
}

// revoked reports whether a link was revoked, for itself or with all of the job's.
func (j *Job) revoked(linkID string, generation int64) bool {
	return j.LinksRevoked != generation || slices.Contains(j.RevokedLinks, linkID)
}

// RevokeLinks takes back links to the job's file: one, or all that were handed out so far. Files that have
// been downloaded stay where they are.
func (tx *Tx) RevokeLinks(linkID, reason string) error {
	if err := tx.check(); err != nil {
		return err
	}
	j := tx.Job
	if j.State != Succeeded {
		return &TransitionError{JobID: j.ID, State: j.State, To: j.State}
	}
	which := "all links to the file"
	switch {
	case linkID == "":
		j.LinksRevoked++
		j.RevokedLinks = nil // what is of an earlier generation needs no name
	case slices.Contains(j.RevokedLinks, linkID):
		return nil
	case len(j.RevokedLinks) >= maxRevokedLinks:
		return fmt.Errorf("job %s has %d revoked links: %w", j.ID, len(j.RevokedLinks), ErrTooManyLinks)
	default:
		which = "link " + linkID
		j.RevokedLinks = append(slices.Clone(j.RevokedLinks), linkID)
	}
	tx.event(EventLinksRevoked, "", which, reason)
	tx.Audited(AuditRevokeLinks, reason)
	return nil
}

// ValidLink reports whether s has the form of a link's id.
func ValidLink(s string) bool { return ValidID(s) }

// OrgLinks are the links of an org: those of another generation are revoked. There is no document for an org
// of which none ever were, and one that is there stays.
type OrgLinks struct {
	OrgID      string    `firestore:"orgId"`
	Generation int64     `firestore:"generation"`
	RevokedAt  time.Time `firestore:"revokedAt"`
	Rev        string    `firestore:"rev"`
}

// Check says what is wrong with a document, "" if nothing is.
func (l *OrgLinks) Check(now time.Time) string {
	c := NewChecks(now)
	c.That(ValidOrg(l.OrgID), "orgId is none")
	c.That(l.Generation >= 1 && l.Generation <= maxCount, "generation is none")
	c.Happened("revokedAt", l.RevokedAt)
	c.Text("rev", l.Rev)
	return c.What()
}

// AuditOfLinks is the entry of an org's links that are revoked.
func AuditOfLinks(now time.Time, orgID, actor, reason string) *AuditEntry {
	return NewAudit(now, actor, AuditRevokeOrgLinks, orgID, "", reason, -1)
}

// Download is who has followed a link to a file, from where: all times within an hour that are alike but for
// when, so that a loop is one document.
type Download struct {
	OrgID string `firestore:"orgId"`
	JobID string `firestore:"jobId"`
	// LinkID is the link's, "" where the job's own route was asked.
	LinkID string `firestore:"linkId,omitempty"`
	// OfJob and OfOrg are the generations that the link is of.
	OfJob int64 `firestore:"ofJob,omitempty"`
	OfOrg int64 `firestore:"ofOrg,omitempty"`
	// Asker is whom the link was given to, as actors of events are named.
	Asker     string `firestore:"asker"`
	Address   string `firestore:"address,omitempty"` // "" of those that are no longer told apart
	UserAgent string `firestore:"userAgent,omitempty"`
	// Count is how often, At when last.
	Count     int64     `firestore:"count"`
	At        time.Time `firestore:"at"`
	ExpiresAt time.Time `firestore:"expiresAt"`
}

const (
	// DownloadLife is for how long downloads are on record: as long as what operators did, as both are asked
	// for when something has got out.
	DownloadLife = AuditLife
	// DownloadsAtOnce are written by one commit, which may hold 500 writes: all of them, or none.
	DownloadsAtOnce = 200
	// maxAgent is what is kept of a program's name.
	maxAgent = 200
)

// Revoked reports whether the link was revoked since, for itself, with all of the job's, or with all of the
// org's, whose links are of a generation now. The job is nil where it is no more.
func (d *Download) Revoked(j *Job, ofOrg int64) bool {
	return d.LinkID != "" && (d.OfOrg != ofOrg || j != nil && j.revoked(d.LinkID, d.OfJob))
}

// NewDownload is one, of now, by a link of the job's generation.
func NewDownload(j *Job, linkID, asker, address, userAgent string, now time.Time) Download {
	return Download{
		OrgID: j.OrgID, JobID: j.ID, LinkID: linkID, OfJob: j.LinksRevoked, Asker: clip(asker, maxAgent), Address: address, UserAgent: clip(userAgent, maxAgent),
		Count: 1, At: now.UTC().Truncate(time.Microsecond), ExpiresAt: now.UTC().Truncate(time.Hour).Add(time.Hour + DownloadLife),
	}
}

// ID is the document's.
func (d *Download) ID() string {
	sum := sha256.New()
	for _, part := range []string{d.JobID, d.LinkID, d.Asker, d.Address, d.UserAgent, strconv.FormatInt(d.At.Truncate(time.Hour).Unix(), 10)} {
		_, _ = fmt.Fprintf(sum, "%d %s", len(part), part) // never fails
	}
	return hex.EncodeToString(sum.Sum(nil)[:16])
}

// Check says what is wrong with a document, "" if nothing is.
func (d *Download) Check(now time.Time) string {
	c := NewChecks(now)
	c.That(ValidOrg(d.OrgID), "orgId is none")
	c.That(ValidID(d.JobID), "jobId is none")
	c.That(d.LinkID == "" || ValidLink(d.LinkID), "linkId is none")
	c.That(d.Asker != "", "asker is missing")
	for name, s := range map[string]string{"asker": d.Asker, "address": d.Address, "userAgent": d.UserAgent} {
		c.c.text(name, s, maxAgent)
	}
	c.That(d.Count >= 1 && d.Count <= maxCount, "count is none")
	c.Count("ofJob", d.OfJob)
	c.Count("ofOrg", d.OfOrg)
	c.That(!d.At.IsZero(), "at is missing")
	c.Happened("at", d.At)
	return c.What()
}

// DownloadList selects downloads of a job, latest first.
type DownloadList struct {
	JobID     string
	PageSize  int // at most 100, which is also the default
	PageToken string
}
