package jobstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"cloud.google.com/go/firestore"

	"exportd/internal/telemetry"
	"exportd/jobs"
)

func (s *Store) orgLinks(orgID string) *firestore.DocumentRef {
	sum := sha256.Sum256([]byte(orgID))
	return s.client.Collection("ExportLinks").Doc(hex.EncodeToString(sum[:]))
}

func (s *Store) downloads() *firestore.CollectionRef { return s.client.Collection("ExportDownloads") }

// linkGeneration reads which of an org's links are good, 0 where none were ever revoked. By a damaged
// document it is one of the time when that was written: which links were revoked is not known, so all that
// were handed out before are.
func (s *Store) linkGeneration(ctx context.Context, orgID string) (int64, *firestore.DocumentSnapshot, error) {
	docs, err := s.client.GetAll(ctx, []*firestore.DocumentRef{s.orgLinks(orgID)})
	if err != nil {
		return 0, nil, fmt.Errorf("read links of an org: %w", classify(err))
	}
	doc := docs[0]
	if !doc.Exists() {
		return 0, doc, nil
	}
	var l jobs.OrgLinks
	why := salvage(doc, &l)
	if why == "" {
		why = l.Check(s.cfg.Now())
	}
	if why == "" && l.OrgID != orgID {
		why = "orgId is not that of its id"
	}
	if why != "" {
		s.damaged(telemetry.LinksDocument, doc, why)
		return doc.UpdateTime.UnixMilli(), doc, nil
	}
	return l.Generation, doc, nil
}

// LinkGeneration is that of an org's links: those of another are revoked.
func (s *Store) LinkGeneration(ctx context.Context, orgID string) (int64, error) {
	generation, _, err := s.linkGeneration(ctx, orgID)
	return generation, err
}

// RevokeOrgLinks begins another generation of an org's links, which is recorded in the same commit.
func (s *Store) RevokeOrgLinks(ctx context.Context, orgID, actor, reason string) (generation int64, err error) {
	entry := jobs.AuditOfLinks(s.cfg.Now(), orgID, actor, reason) // one, however often this is tried
	err = retry(ctx, func() error {
		last, doc, err := s.linkGeneration(ctx, orgID)
		if err != nil {
			return err
		}
		generation = last + 1
		now := s.cfg.Now().UTC().Truncate(time.Microsecond)
		next := jobs.OrgLinks{OrgID: orgID, Generation: generation, RevokedAt: now, Rev: jobs.NewToken()}
		batch := s.newWrites()
		if doc.Exists() {
			batch.Update(doc.Ref, fields(&next), firestore.LastUpdateTime(doc.UpdateTime))
		} else {
			batch.Create(doc.Ref, next)
		}
		s.addAudit(batch, entry)
		return s.commit(ctx, batch, s.hasRev(doc.Ref, next.Rev))
	})
	if err != nil {
		return 0, fmt.Errorf("revoke links of an org: %w", err)
	}
	return generation, nil
}

// NoteDownloads adds to what is on record. Nothing is read for it: the database adds.
func (s *Store) NoteDownloads(ctx context.Context, downloads ...jobs.Download) error {
	for len(downloads) > 0 {
		n := min(jobs.DownloadsAtOnce, len(downloads))
		batch := s.newWrites()
		for _, d := range downloads[:n] {
			doc := map[string]any{
				"orgId": d.OrgID, "jobId": d.JobID, "ofJob": d.OfJob, "ofOrg": d.OfOrg, "asker": d.Asker, "at": d.At, "expiresAt": d.ExpiresAt, "count": firestore.Increment(d.Count),
			}
			for field, s := range map[string]string{"linkId": d.LinkID, "address": d.Address, "userAgent": d.UserAgent} {
				if s != "" {
					doc[field] = s
				}
			}
			batch.Set(s.downloads().Doc(d.ID()), doc, firestore.MergeAll)
		}
		send, cancel := context.WithTimeout(ctx, s.commitWithin)
		_, err := batch.Commit(send)
		cancel()
		if err != nil {
			return fmt.Errorf("note downloads: %w", classify(err))
		}
		downloads = downloads[n:]
	}
	return nil
}

// Downloads gives a page of a job's, latest first, and how many there are on record. The sum is a read for
// each 1,000 documents.
func (s *Store) Downloads(ctx context.Context, l jobs.DownloadList) (page []jobs.Download, total int64, next string, err error) {
	q, err := list{of: s.downloads(), at: "at", token: l.PageToken, valid: validDownload, values: []value{{"jobId", l.JobID}}}.query()
	if err != nil {
		return nil, 0, "", err
	}
	next, err = eachOfPage(ctx, q, "at", pageSize(l.PageSize), func(doc *firestore.DocumentSnapshot) {
		var d jobs.Download
		why := salvage(doc, &d)
		if why == "" {
			why = d.Check(s.cfg.Now())
		}
		switch {
		case s.gone(doc):
		case why != "":
			s.damaged(telemetry.DownloadDocument, doc, why)
		default:
			page = append(page, d)
		}
	})
	if err != nil {
		return nil, 0, "", fmt.Errorf("list downloads: %w", err)
	}
	if total, err = s.countDownloads(ctx, l.JobID); err != nil {
		return nil, 0, "", err
	}
	return page, total, next, nil
}

func (s *Store) countDownloads(ctx context.Context, jobID string) (int64, error) {
	q := s.downloads().Where("jobId", "==", jobID)
	n, err := number(ctx, q.NewAggregationQuery().WithSum("count", "n"))
	if err != nil {
		return 0, fmt.Errorf("count downloads: %w", err)
	}
	return max(0, n), nil // a damaged count may be anything
}

// validDownload is for ids as jobs.Download.ID gives.
func validDownload(id string) bool {
	raw, err := hex.DecodeString(id)
	return err == nil && len(raw) == 16
}
