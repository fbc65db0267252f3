package jobstore

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"cloud.google.com/go/firestore"
	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/api/iterator"

	"exportd/internal/telemetry"
	"exportd/jobs"
)

// maxPassed bounds the jobs that are read for a page of a search, at some 2 KiB each: at 10 a millisecond a
// fifth of a second, for 0.001 USD.
const maxPassed = 2000

// ErrPageToken: the page token is none that List gave.
var ErrPageToken = fmt.Errorf("page token is not one of this list: %w", jobs.ErrInvalid)

// List gives a page of jobs, newest first. ErrPageToken for a token that List did not give.
func (s *Store) List(ctx context.Context, l jobs.List) (jobs.JobPage, error) {
	size := pageSize(l.PageSize)
	q, err := list{
		of: s.jobs(), at: "createdAt", from: l.CreatedAfter, to: l.CreatedBefore, token: l.PageToken, valid: jobs.ValidID,
		values: []value{
			{"orgId", l.OrgID}, {"state", string(l.State)}, {"kind", string(l.Kind)},
			{"params.workspaceId", l.WorkspaceID}, {"error.code", string(l.ErrorCode)}, {"error.cause", l.Cause},
		},
	}.query()
	if err != nil {
		return jobs.JobPage{}, err
	}
	if l.Search.JobID != "" {
		return s.listOne(ctx, l)
	}
	var page jobs.JobPage
	// Deleted jobs are passed over here and not by an index: there are few. So are those that a search does
	// not find; so that small pages are not as many queries, what the first one leaves is read in large ones.
	for read, most := 0, size; len(page.Jobs) < size && read < maxPassed; read, most = read+most, maxPage {
		n, last := 0, "" // documents of this round
		var from *firestore.DocumentSnapshot
		err := each(ctx, q.Limit(most+1), func(doc *firestore.DocumentSnapshot) error {
			n, last = n+1, doc.Ref.ID
			if len(page.Jobs) == size || n > most {
				return nil
			}
			job := s.shownJob(doc)
			page.Next, from = pageToken(createdAt(doc), doc.Ref.ID), doc
			if (l.IncludeDeleted || job.DeletedAt.IsZero()) && l.Search.Fits(job) {
				page.Jobs = append(page.Jobs, job)
			}
			return nil
		})
		if err != nil {
			return jobs.JobPage{}, fmt.Errorf("list jobs: %w", err)
		}
		if n <= most {
			if len(page.Jobs) < size || n == 0 || last == page.Jobs[len(page.Jobs)-1].ID {
				page.Next = ""
			}
			return page, nil
		}
		q = q.StartAfter(from)
	}
	return page, nil
}

// listOne is List of a job by its id.
func (s *Store) listOne(ctx context.Context, l jobs.List) (page jobs.JobPage, err error) {
	j, err := s.Get(ctx, l.Search.JobID)
	if errors.Is(err, jobs.ErrNotFound) || err == nil && (l.PageToken != "" || !l.Fits(j)) {
		return page, nil
	}
	if err == nil {
		page.Jobs = []*jobs.Job{j}
	}
	return page, err
}

func pageToken(at time.Time, id string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatInt(at.UnixMicro(), 36) + "." + id))
}

// createdAt is where a document stands in a list. What is no time stands before or behind all times, as
// Firestore orders types; a page that ends there goes on with the times.
func createdAt(doc *firestore.DocumentSnapshot) time.Time {
	raw, _ := doc.DataAt("createdAt")
	switch at := raw.(type) {
	case time.Time:
		return at
	case nil, bool, int64, float64:
		return time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	return time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)
}

// parsePageToken reads what pageToken gave, for documents whose ids are valid.
func parsePageToken(token string, valid func(id string) bool) (time.Time, string, error) {
	raw, err := base64.RawURLEncoding.DecodeString(token)
	micros, id, ok := strings.Cut(string(raw), ".")
	n, nerr := strconv.ParseInt(micros, 36, 64)
	if err != nil || nerr != nil || !ok || !valid(id) {
		return time.Time{}, "", ErrPageToken
	}
	return time.UnixMicro(n).UTC(), id, nil
}

// count gives the number of documents of a query, from its index.
func (s *Store) count(ctx context.Context, q firestore.Query) (int64, error) {
	return number(ctx, q.NewAggregationQuery().WithCount("n"))
}

// number runs an aggregation that gives "n".
func number(ctx context.Context, q *firestore.AggregationQuery) (int64, error) {
	res, err := q.Get(ctx)
	if err != nil {
		return 0, classify(err)
	}
	v, ok := res["n"].(*firestorepb.Value)
	if !ok {
		return 0, fmt.Errorf("count answered %T", res["n"])
	}
	return v.GetIntegerValue(), nil
}

// Parts gives the parts of the plan in force, by index. Damage says which of them make no sense.
func (s *Store) Parts(ctx context.Context, j *jobs.Job) ([]*jobs.Part, error) {
	total := min(j.PartsTotal, jobs.MaxParts) // whoever wrote the document may have written any number
	if total <= 0 {
		return nil, nil
	}
	col := s.parts(j.ID)
	it := col.OrderBy(firestore.DocumentID, firestore.Asc).
		StartAt(col.Doc(jobs.PartID(j.PlanEpoch, 0))).EndAt(col.Doc(jobs.PartID(j.PlanEpoch, total-1))).Documents(ctx)
	defer it.Stop()
	parts := make([]*jobs.Part, 0, total)
	for {
		doc, err := it.Next()
		if err == iterator.Done {
			return parts, nil
		}
		if err != nil {
			return nil, fmt.Errorf("list parts of job %s: %w", j.ID, classify(err))
		}
		if s.lapsed(doc) {
			continue
		}
		p := decodePart(doc)
		if err := p.Check(j, s.cfg.Now()); err != nil {
			p.Damage = err.Error()
			s.damaged(telemetry.PartDocument, doc, p.Damage)
		}
		parts = append(parts, p)
	}
}

// Progress gives the rows and bytes to show: what finished parts add up to and what those under way have
// reported. Job and parts are read at one instant, so that a part that ends meanwhile is neither missed nor
// counted twice: what is shown never goes back.
func (s *Store) Progress(ctx context.Context, j *jobs.Job) (rows, bytes int64, err error) {
	if j.State == jobs.Running && j.Phase == jobs.PhaseParts {
		err = s.client.RunTransaction(ctx, func(ctx context.Context, tx *firestore.Transaction) error {
			doc, err := tx.Get(s.jobs().Doc(j.ID))
			if err != nil {
				return err
			}
			j = s.shownJob(doc)
			live, err := tx.Documents(s.parts(j.ID).Where("begun", "==", true).Select("rowsDone", "bytesDone", "planEpoch")).GetAll()
			if err != nil {
				return err
			}
			rows, bytes = 0, 0
			for _, doc := range live {
				var p jobs.Part
				if err := decode(doc, &p); err == nil && p.PlanEpoch == j.PlanEpoch && p.RowsDone >= 0 && p.RowsDone <= j.RowsTotal && p.BytesDone >= 0 {
					rows, bytes = rows+p.RowsDone, bytes+p.BytesDone
				}
			}
			return nil
		}, firestore.ReadOnly)
		if err != nil {
			return 0, 0, fmt.Errorf("ask for the progress of job %s: %w", j.ID, classify(err))
		}
	}
	// Not cut to the total: after a restart a smaller snapshot may have fewer rows than were shown already,
	// and what is shown never goes back.
	return max(rows+j.RowsDone, j.RowsFloor), bytes + j.BytesDone, nil
}

// Events gives a job's timeline, oldest first; at most the first 1,000 lines, which are those of some hundred
// attempts.
func (s *Store) Events(ctx context.Context, jobID string) ([]jobs.Event, error) {
	var events []jobs.Event
	err := each(ctx, s.events(jobID).OrderBy(firestore.DocumentID, firestore.Asc).Limit(1000), func(doc *firestore.DocumentSnapshot) error {
		var e jobs.Event
		if s.lapsed(doc) {
			return nil
		}
		err := decode(doc, &e)
		if err == nil {
			err = e.Check(s.cfg.Now())
		}
		if err != nil {
			s.damaged(telemetry.EventDocument, doc, err.Error())
			return nil
		}
		events = append(events, e)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list events of job %s: %w", jobID, err)
	}
	return events, nil
}
