package jobstore

import (
	"context"
	"fmt"
	"time"

	"cloud.google.com/go/firestore"
	"google.golang.org/api/iterator"

	"exportd/internal/telemetry"
	"exportd/jobs"
)

// auditPage bounds what is looked at in a turn: 600 documents in all, and in a database of records that have
// ended 250, which is about 0.4 USD a day at a turn each minute.
func auditPage(a jobs.Audit) int {
	switch a {
	case jobs.AuditRunning:
		return 300
	case jobs.AuditBatches:
		return 50
	}
	return 100
}

// Suspects looks at the stretch's next documents behind after and names those that are damaged, or that
// nobody would look at for longer than a transition lets them sleep. Next is where to go on, "" at the end.
func (s *Store) Suspects(ctx context.Context, a jobs.Audit, after string) (found []jobs.Message, batches []string, next string, err error) {
	col := s.jobs()
	q := col.Query
	switch a {
	case jobs.AuditRunning:
		q = q.Where("state", "==", jobs.Running)
	case jobs.AuditQueued:
		q = q.Where("state", "==", jobs.Queued)
	case jobs.AuditPending:
		col = s.callbacks()
		q = col.Where("state", "==", jobs.CallbackPending).OrderBy("createdAt", firestore.Asc)
	case jobs.AuditCallbacks:
		col = s.callbacks()
		q = col.Query
	case jobs.AuditBatches:
		col = s.batches()
		q = col.Query
	}
	if a != jobs.AuditPending {
		if q = q.OrderBy(firestore.DocumentID, firestore.Asc); after != "" {
			q = q.StartAfter(col.Doc(after))
		}
	}
	// One document at a time: a hundred damaged ones may have a megabyte each.
	docs := q.Limit(auditPage(a)).Documents(ctx)
	defer docs.Stop()
	seen, forgotten := 0, map[string]bool{}
	for {
		doc, err := docs.Next()
		if err == iterator.Done {
			break
		}
		if err != nil {
			return nil, nil, "", fmt.Errorf("look for damaged documents: %w", classify(err))
		}
		seen++
		next = doc.Ref.ID
		switch {
		case a == jobs.AuditBatches:
			if b := s.decodeBatch(doc); s.suspectBatch(b, doc) {
				batches = append(batches, doc.Ref.ID)
			}
		case a >= jobs.AuditPending:
			if s.suspectCallback(doc) {
				found = append(found, callbackMessage(doc.Ref.ID))
			}
		case s.suspectJob(doc, forgotten):
			found = append(found, jobs.Message{JobID: doc.Ref.ID})
		}
	}
	if seen < auditPage(a) || a == jobs.AuditPending {
		next = ""
	}
	return found, batches, next, nil
}

// suspectJob tells of a job that is whole and yet lost; a damaged one is told of when it is ended. Of an
// org's jobs that wait for a place one is enough, which forgotten remembers.
func (s *Store) suspectJob(doc *firestore.DocumentSnapshot, forgotten map[string]bool) bool {
	job := decodeJob(doc)
	if !jobs.ValidID(job.ID) {
		return false
	}
	tx := jobs.NewTx(s.cfg.Policy, s.cfg.Now(), "", job, nil)
	overdue, whole := tx.Overdue(), job.Check(s.cfg.Now()) == nil
	switch {
	case whole && tx.Forgotten() && inShard(doc, job.Shard):
		again := forgotten[job.OrgID]
		forgotten[job.OrgID] = true
		return !again
	case whole && overdue:
		s.damaged(telemetry.JobDocument, doc, "wakeAt is further off than anything puts it")
	case jobs.Readable(job.Schema) && !inShard(doc, job.Shard):
		overdue = true
		s.damaged(telemetry.JobDocument, doc, "shard is none")
	}
	return overdue
}

// inShard reports whether a document is in a shard as queries see it: null, or no field at all, is in none,
// although it reads as 0.
func inShard(doc *firestore.DocumentSnapshot, shard int) bool {
	raw, _ := doc.DataAt("shard")
	return raw == int64(shard)
}

func (s *Store) suspectCallback(doc *firestore.DocumentSnapshot) bool {
	cb := decodeCallback(doc)
	if !jobs.ValidCallbackID(cb.ID) {
		return false
	}
	tx := &jobs.CallbackTx{Policy: s.cfg.Policy, Now: s.cfg.Now().UTC(), Callback: cb}
	overdue := tx.Overdue()
	switch {
	case overdue && cb.Check(s.cfg.Now()) == nil:
		s.damaged(telemetry.CallbackDocument, doc, "wakeAt is further off than anything puts it")
	case cb.State == jobs.CallbackPending && jobs.Readable(cb.Schema) && !inShard(doc, jobs.ShardOf(cb.JobID)):
		overdue = true
		s.damaged(telemetry.CallbackDocument, doc, "shard is none")
	}
	return overdue
}

// suspectBatch is for one that has not ended although its document says otherwise, or that sleeps for longer
// than a page takes.
func (s *Store) suspectBatch(b *jobs.Batch, doc *firestore.DocumentSnapshot) bool {
	raw, _ := doc.DataAt("wakeAt")
	wakeAt, isTime := raw.(time.Time)
	if !jobs.Readable(b.Schema) {
		return false
	}
	if !b.PausedAt.IsZero() {
		return false
	}
	if !b.FinishedAt.IsZero() {
		finished, _ := doc.DataAt("finishedAt")
		return raw != nil || finished == nil
	}
	return !isTime || wakeAt.After(s.cfg.Now().Add(time.Hour))
}
