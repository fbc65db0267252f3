package firestoreserver

import (
	"context"
	"errors"
	"time"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"exportd/internal/localcloud/firestoreserver/fsstore"
	"exportd/internal/localcloud/firestoreserver/fsvalue"
)

// micros rounds a timestamp down to the microsecond, as read times are taken.
func micros(t *timestamppb.Timestamp) int64 { return t.AsTime().UnixMicro() }

func timestamp(us int64) *timestamppb.Timestamp { return timestamppb.New(time.UnixMicro(us)) }

// consistency is what the read requests say about the instant to read at. At most one field is set.
type consistency struct {
	db uint32 // that the request reads in
	// names are documents that it reads by name; a transaction may have to wait for its turn on them
	names []fsvalue.Path

	transaction []byte
	begin       *firestorepb.TransactionOptions
	readTime    *timestamppb.Timestamp
}

// reading is a read request under way: a view and maybe a transaction.
type reading struct {
	view  *fsstore.View
	txn   *transaction // nil outside of transactions
	begun []byte       // id of the transaction that this request began
}

// open picks the instant of a read. The caller must close the reading.
func (s *Server) open(ctx context.Context, c consistency) (*reading, error) {
	r := &reading{}
	var err error
	switch {
	case c.readTime != nil:
		if err := c.readTime.CheckValid(); err != nil {
			return nil, invalid("invalid read_time: %v", err)
		}
		r.view, err = s.store.At(micros(c.readTime))
	case c.transaction != nil:
		if r.txn, err = s.txns.use(c.transaction, c.db); err != nil {
			return nil, err
		}
		if !r.txn.readOnly {
			if err := s.turns.reserve(ctx, r.txn, c.db, c.names); err != nil {
				return nil, s.answer(err)
			}
		}
		r.view, err = s.transactionView(r.txn)
	case c.begin != nil:
		if r.txn, err = s.begin(c.begin, c.db); err != nil {
			return nil, err
		}
		r.begun = r.txn.id
		r.view, err = s.transactionView(r.txn)
	default:
		r.view, err = s.store.Strong()
	}
	if err != nil {
		return nil, s.answer(err)
	}
	return r, nil
}

func (r *reading) close(err *error) { *err = errors.Join(*err, r.view.Close()) }

func (r *reading) time() *timestamppb.Timestamp { return timestamp(r.view.Instant()) }

// message builds a Document from its stored form; mask nil means all fields.
func message(d *fsstore.Document, mask *fieldMask) (*firestorepb.Document, error) {
	out := &firestorepb.Document{}
	if err := proto.Unmarshal(d.Body, out); err != nil {
		return nil, err
	}
	out.Name = d.Path.String()
	if mask != nil {
		out.Fields = fsvalue.Project(out.Fields, mask.paths)
	}
	return out, nil
}

// fieldMask is a DocumentMask that was present in a request; without paths it selects nothing.
type fieldMask struct{ paths []fsvalue.FieldPath }

func parseMask(m *firestorepb.DocumentMask) (*fieldMask, error) {
	if m == nil {
		return nil, nil
	}
	paths, err := fsvalue.ParseMask(m.GetFieldPaths())
	if err != nil {
		return nil, err
	}
	return &fieldMask{paths}, nil
}
