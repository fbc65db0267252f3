package inmemory

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"exportd/jobs"
)

// LinkGeneration is that of an org's links.
func (s *Store) LinkGeneration(_ context.Context, orgID string) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.links[orgID], nil
}

// RevokeOrgLinks begins another generation of an org's links.
func (s *Store) RevokeOrgLinks(_ context.Context, orgID, actor, reason string) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.links[orgID]++
	s.record(jobs.AuditOfLinks(s.now(), orgID, actor, reason))
	return s.links[orgID], nil
}

// NoteDownloads adds to what is on record.
func (s *Store) NoteDownloads(_ context.Context, downloads ...jobs.Download) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range downloads {
		d.Count += s.downloads[d.ID()].Count
		s.downloads[d.ID()] = d
	}
	return nil
}

// Downloads gives a page of a job's, latest first, and how many there are on record.
func (s *Store) Downloads(_ context.Context, l jobs.DownloadList) (out []jobs.Download, total int64, next string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []jobs.Download
	for _, d := range s.downloads {
		if d.JobID == l.JobID && !s.lapsed(d.ExpiresAt) {
			all, total = append(all, d), total+d.Count
		}
	}
	slices.SortFunc(all, func(a, b jobs.Download) int { return cmp.Or(a.At.Compare(b.At), strings.Compare(a.ID(), b.ID())) })
	found, next, err := page(all, l.PageSize, l.PageToken, func(d *jobs.Download) (time.Time, string) { return d.At, d.ID() })
	for _, d := range found {
		out = append(out, *d)
	}
	return out, total, next, err
}
