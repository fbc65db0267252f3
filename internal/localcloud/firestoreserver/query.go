package firestoreserver

import (
	"bytes"
	"errors"
	"hash/maphash"
	"time"

	"cloud.google.com/go/firestore/apiv1/firestorepb"

	"exportd/internal/localcloud/firestoreserver/fsquery"
	"exportd/internal/localcloud/firestoreserver/fsstore"
	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

// RunQuery implements the RPC.
func (s *Server) RunQuery(req *firestorepb.RunQueryRequest, stream firestorepb.Firestore_RunQueryServer) (err error) {
	parent, err := fsvalue.ParseParent(req.GetParent())
	if err != nil {
		return err
	}
	db, err := s.databaseOf(parent.Database())
	if err != nil {
		return err
	}
	q, err := fsquery.Parse(parent, req.GetStructuredQuery())
	if err != nil {
		return err
	}
	begun := time.Now()
	explain, planOnly, err := s.explained(req.GetExplainOptions(), q, nil)
	if err != nil {
		return err
	}
	if planOnly {
		return stream.Send(&firestorepb.RunQueryResponse{ExplainMetrics: explain})
	}
	begin := req.GetNewTransaction()
	if begin != nil && begin.GetMode() == nil {
		begin = &firestorepb.TransactionOptions{Mode: &firestorepb.TransactionOptions_ReadOnly_{
			ReadOnly: &firestorepb.TransactionOptions_ReadOnly{},
		}}
	}
	r, err := s.open(stream.Context(), consistency{db: db.id, transaction: req.GetTransaction(), begin: begin, readTime: req.GetReadTime()})
	if err != nil {
		return err
	}
	defer r.close(&err)
	if r.begun != nil {
		if err := stream.Send(&firestorepb.RunQueryResponse{Transaction: r.begun}); err != nil {
			return err
		}
	}
	send := s.sendRows
	if q.FindNearest != nil {
		send = s.findNearest
	}
	n, err := send(db, q, r, stream)
	if err != nil || explain == nil {
		return s.answer(err)
	}
	reads := n.results + n.skipped
	if q.FindNearest != nil {
		reads += (n.entries + 99) / 100 // https://cloud.google.com/firestore/pricing: a read for up to 100 vectors
	}
	// Of the last message, as production sends them.
	if err := measure(explain, time.Since(begun), n, reads, n.results); err != nil {
		return s.answer(err)
	}
	return stream.Send(&firestorepb.RunQueryResponse{ReadTime: r.time(), ExplainMetrics: explain})
}

// sendRows streams the result of q as ready wire bytes.
func (s *Server) sendRows(db database, q *fsquery.Query, r *reading, stream firestorepb.Firestore_RunQueryServer) (n scanned, err error) {
	res, err := s.newRows(stream.Context(), r.view, db, q, nil, false)
	if err != nil {
		return n, err
	}
	defer func() { err = errors.Join(err, res.close()) }()
	f := newFramer(db, q, r.view.Instant())
	defer f.close()
	digest := newDigest(r.txn)
	var deadline time.Time
	if s.opt.MaxStream > 0 {
		deadline = time.Now().Add(s.opt.MaxStream)
	}
	headed := false
	for {
		ok, err := res.next()
		if err != nil {
			return n, err
		}
		if !headed && (res.skipped > 0 || !ok) {
			// The first message tells what the offset skipped; it is also the only one of an empty result.
			headed = true
			if err := stream.Send(&firestorepb.RunQueryResponse{ReadTime: r.time(), SkippedResults: int32(res.skipped)}); err != nil {
				return n, err
			}
		}
		if !ok {
			break
		}
		headed = true
		digest.add(res)
		fr, err := f.frame(&res.current)
		if err != nil {
			return n, err
		}
		if err := stream.SendMsg(fr); err != nil {
			return n, err
		}
		n.results++
		if n.results%256 == 0 {
			if err := s.interrupted(stream.Context().Err(), deadline); err != nil {
				return n, err
			}
		}
	}
	digest.note(s, db, q)
	n.skipped, n.entries = res.skipped, res.steps
	return n, nil
}

// interrupted tells why a long stream must end now, if it must.
func (s *Server) interrupted(err error, deadline time.Time) error {
	switch {
	case err != nil:
		return err
	case s.ctx.Err() != nil:
		return errClosing
	case !deadline.IsZero() && time.Now().After(deadline):
		return errStreamTooLong
	}
	return nil
}

// eachDocument walks all documents that q's collections hold, in no order that callers may rely on.
func (s *Server) eachDocument(v *fsstore.View, db database, q *fsquery.Query, f func(fsvalue.Path, []byte) error) (err error) {
	lower := fsstore.DocumentsBeneath(nil, db.id, q.Parent)
	r := fsstore.Range{DB: db.id, Lower: lower, Upper: fsvalue.PrefixEnd(bytes.Clone(lower))}
	if !q.AllDescendants && q.CollectionID != "" {
		r.Group = q.CollectionID
		r.Lower = fsstore.DocumentPrefix(nil, db.id, q.Parent.Child(q.CollectionID))
		r.Upper = fsvalue.PrefixEnd(bytes.Clone(r.Lower))
	}
	c, err := v.Scan(r)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Err(), c.Close()) }()
	skip := len(fsstore.DocumentsBeneath(nil, db.id, db.name.Root()))
	for c.Next() {
		coll, rest, err := fsvalue.CutPath(db.name, c.Key()[skip:], fsvalue.Ascending)
		if err != nil {
			return err
		}
		id, _, err := fsvalue.CutString(rest)
		if err != nil {
			return err
		}
		if p := coll.Child(id); q.InScope(p) {
			if err := f(p, fsstore.DocumentBody(c.Value())); err != nil {
				return err
			}
		}
	}
	return nil
}

// digest sums up the rows that a read-write transaction was shown. It does nothing for other reads.
type digest struct {
	txn *transaction
	h   maphash.Hash
}

var digestSeed = maphash.MakeSeed()

func newDigest(t *transaction) *digest {
	if t == nil || t.readOnly {
		return nil
	}
	d := &digest{txn: t}
	d.h.SetSeed(digestSeed)
	return d
}

func (d *digest) add(r *rows) {
	if d == nil {
		return
	}
	_, _ = d.h.Write(r.current.name)
	_, _ = d.h.Write(r.current.body)
}

func (d *digest) note(s *Server, db database, q *fsquery.Query) {
	if d == nil {
		return
	}
	d.txn.sawQuery(queryRead{db: db, group: q.CollectionID, digest: d.h.Sum64(), again: func(v *fsstore.View) (uint64, error) {
		return s.queryDigest(v, db, q)
	}})
}

// queryDigest runs q again and sums up its rows.
func (s *Server) queryDigest(v *fsstore.View, db database, q *fsquery.Query) (sum uint64, err error) {
	res, err := s.newRows(s.ctx, v, db, q, nil, false)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, res.close()) }()
	d := &digest{}
	d.h.SetSeed(digestSeed)
	for {
		ok, err := res.next()
		if !ok || err != nil {
			return d.h.Sum64(), err
		}
		d.add(res)
	}
}
