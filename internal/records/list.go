package records

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"cloud.google.com/go/firestore/apiv1/firestorepb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"exportd/internal/vip"
	"exportd/internal/vip/wire"
	"exportd/jobs"
)

// Page is one page of a list.
type Page struct {
	Rows []json.RawMessage
	// Next is where the next page begins: pass it as after. Nil at the end, and where Cut is before the first
	// row.
	Next *vip.Position
	// Cut: the page ended before the row that was too large for it.
	Cut bool
}

// RowEncoder appends the JSON of a row, given the bytes of its document.
type RowEncoder interface {
	AppendRow(dst, doc []byte) ([]byte, error)
}

// MaxDocument is how large a document may be, by the quota page of Firestore.
const MaxDocument = 1 << 20

// errPageFull ends the stream of a page.
var errPageFull = errors.New("the page is full")

// Page returns up to limit rows of q after a position (nil: from the first), behind offset rows that are
// skipped. Skipped rows are billed as reads.
//
// A page ends early before the row with which it would hold more than most bytes, as they are stored or
// answered, whatever is more. With at least MaxDocument it has a row if there is one.
func (r *Reader) Page(ctx context.Context, q vip.Query, after *vip.Position, offset, limit, most int, row RowEncoder) (Page, error) {
	if q.Sandbox {
		return r.sandboxPage(ctx, q, after, offset, limit, row)
	}
	sq, err := r.structured(q, vip.Range{})
	if err != nil {
		return Page{}, err
	}
	if sq.StartAt, err = r.cursor(q, after, false); err != nil {
		return Page{}, err
	}
	sq.Offset = int32(offset)
	limitTo(sq, limit+1) // one more tells whether there is a next page
	var page Page
	err = r.retry(ctx, "list "+q.Collection, func(ctx context.Context) error {
		page = Page{}
		var last *vip.Position
		size := 0
		err := r.each(ctx, r.runRequest(sq, time.Time{}), func(doc []byte) error {
			full := len(page.Rows) == limit
			if page.Cut = !full && size+len(doc) > most; page.Cut || full {
				page.Next = last
				return errPageFull
			}
			p, err := q.PositionOf(doc)
			if err != nil {
				return err
			}
			last = &p
			b, err := row.AppendRow(nil, doc)
			page.Rows = append(page.Rows, b)
			size += max(len(b), len(doc))
			return err
		})
		if errors.Is(err, errPageFull) {
			return nil
		}
		return err
	})
	return page, err
}

// each runs a query without pages and calls row with each document.
func (r *Reader) each(ctx context.Context, req *firestorepb.RunQueryRequest, row func(doc []byte) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := r.runQuery(ctx, req)
	if err != nil {
		return err
	}
	var f frame
	for {
		if err := stream.RecvMsg(&f); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		doc, _, err := wire.Response(f.buf.ReadOnlyData())
		if err == nil && doc != nil {
			err = row(doc)
		}
		f.buf.Free()
		if err != nil {
			return err
		}
	}
}

// First returns the position of the first row of q in rng as of at (zero is now), nil where there is none. It
// costs one read.
func (r *Reader) First(ctx context.Context, q vip.Query, rng vip.Range, at time.Time) (*vip.Position, error) {
	if q.Sandbox {
		return r.sandboxFirst(ctx, q, rng)
	}
	sq, err := r.structured(q, rng)
	if err != nil {
		return nil, err
	}
	limitTo(sq, 1)
	project(sq, q.SortField)
	var first *vip.Position
	err = r.retry(ctx, "first of "+q.Collection, func(ctx context.Context) error {
		return r.each(ctx, r.runRequest(sq, at), func(doc []byte) error {
			p, err := q.PositionOf(doc)
			first = &p
			return err
		})
	})
	return first, err
}

// Count counts the rows of q in rng as of at (zero is now) and returns the time that it counted at, which
// later reads may name. It costs one read for 1,000 rows counted.
func (r *Reader) Count(ctx context.Context, q vip.Query, rng vip.Range, at time.Time) (rows int64, as time.Time, err error) {
	if q.Sandbox {
		return r.sandboxCount(ctx, q, rng, at)
	}
	sq, err := r.structured(q, rng)
	if err != nil {
		return 0, as, err
	}
	req := &firestorepb.RunAggregationQueryRequest{
		Parent: r.root,
		QueryType: &firestorepb.RunAggregationQueryRequest_StructuredAggregationQuery{
			StructuredAggregationQuery: &firestorepb.StructuredAggregationQuery{
				QueryType: &firestorepb.StructuredAggregationQuery_StructuredQuery{StructuredQuery: sq},
				Aggregations: []*firestorepb.StructuredAggregationQuery_Aggregation{{
					Alias:    "n",
					Operator: &firestorepb.StructuredAggregationQuery_Aggregation_Count_{Count: &firestorepb.StructuredAggregationQuery_Aggregation_Count{}},
				}},
			}},
	}
	if !at.IsZero() {
		req.ConsistencySelector = &firestorepb.RunAggregationQueryRequest_ReadTime{ReadTime: timestamppb.New(at)}
	}
	err = r.retry(ctx, "count "+q.Collection, func(ctx context.Context) error {
		rows, as, err = r.aggregate(ctx, req)
		return err
	})
	return rows, as, err
}

func (r *Reader) aggregate(ctx context.Context, req *firestorepb.RunAggregationQueryRequest) (n int64, at time.Time, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := r.stub.RunAggregationQuery(r.outgoing(ctx), req)
	if err != nil {
		return 0, at, err
	}
	n = -1
	for {
		resp, err := stream.Recv()
		switch {
		case err == io.EOF && (n < 0 || at.IsZero()):
			return 0, at, errors.New("count: answer without a result")
		case err == io.EOF:
			return n, at, nil
		case err != nil:
			return 0, at, err
		}
		if v, ok := resp.GetResult().GetAggregateFields()["n"]; ok {
			n = v.GetIntegerValue()
		}
		if t := resp.GetReadTime(); t != nil {
			at = t.AsTime()
		}
	}
}

// SnapshotTime returns the time of a read made now, by the server's clock: every write that was acknowledged
// before the call is visible at it. It costs one read.
func (r *Reader) SnapshotTime(ctx context.Context) (time.Time, error) {
	var at time.Time
	err := r.retry(ctx, "read snapshot time", func(ctx context.Context) (err error) {
		at, err = r.readTime(ctx)
		return err
	})
	return at, err
}

// Ping reads once, without trying again.
func (r *Reader) Ping(ctx context.Context) error {
	if _, err := r.readTime(ctx); err != nil {
		return classify(ctx, "ping", err)
	}
	return nil
}

// readTime asks for a document that does not exist; its absence has a time.
func (r *Reader) readTime(ctx context.Context) (time.Time, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := r.stub.BatchGetDocuments(r.outgoing(ctx), &firestorepb.BatchGetDocumentsRequest{
		Database:  r.root[:len(r.root)-len("/documents")],
		Documents: []string{r.documentName(vip.CollectionWorkspaces, "-")},
	})
	if err != nil {
		return time.Time{}, err
	}
	resp, err := stream.Recv()
	if err != nil {
		return time.Time{}, err
	}
	return resp.GetReadTime().AsTime(), nil
}

// Workspace returns a workspace of an org. One that is missing or another org's is jobs.ErrNotFound.
func (r *Reader) Workspace(ctx context.Context, orgID, id string) (vip.Workspace, error) {
	if jobs.InSandbox(orgID) { // of whatever id: callers have those of their real workspaces
		w := sandboxWorkspaces(orgID)[0]
		w.ID = id
		return w, nil
	}
	return one(ctx, r, vip.CollectionWorkspaces, orgID, id, workspaceFields, (*vip.Decoder).Workspace)
}

// Channel returns a channel of an org. One that is missing or another org's is jobs.ErrNotFound.
func (r *Reader) Channel(ctx context.Context, orgID, id string) (vip.Channel, error) {
	return one(ctx, r, vip.CollectionChannels, orgID, id, channelFields, (*vip.Decoder).Channel)
}

// one reads some fields of a document that an org has. It asks by org and name at once, not by name: another
// org's document is not read, so that neither time nor bill tells that there is one.
func one[T any](ctx context.Context, r *Reader, collection, orgID, id string, fields []string, decode func(*vip.Decoder, []byte) (T, error)) (row T, err error) {
	op := "get from " + collection
	if !vip.ValidID(id) {
		return row, fmt.Errorf("%s: %w", op, jobs.ErrNotFound)
	}
	sq, err := r.structured(vip.Query{Collection: collection, Conditions: []vip.Condition{{Field: "orgId", Op: vip.Equal, Value: orgID}}}, vip.Range{})
	if err != nil {
		return row, err
	}
	both := sq.GetWhere().GetCompositeFilter()
	both.Filters = append(both.Filters, fieldFilter(nameField, firestorepb.StructuredQuery_FieldFilter_EQUAL, &firestorepb.Value{
		ValueType: &firestorepb.Value_ReferenceValue{ReferenceValue: r.documentName(collection, id)}}))
	limitTo(sq, 1)
	project(sq, fields...)
	err = r.retry(ctx, op, func(ctx context.Context) error {
		found := false
		err := r.each(ctx, r.runRequest(sq, time.Time{}), func(doc []byte) (err error) {
			row, err = decode(new(vip.Decoder), doc)
			found = true
			return err
		})
		if err == nil && !found {
			return jobs.ErrNotFound
		}
		return err
	})
	return row, err
}

// ErrTooLarge says that there is more than a list may hold.
var ErrTooLarge = errors.New("more than a list may hold")

// Fields that a workspace or a channel is read for. Others may be as large as a document.
var (
	workspaceFields = []string{"orgId", "name", "isVip", "channelIds"}
	channelFields   = []string{"orgId", "name", "platform", "workspaceIds"}
)

// Workspaces returns the workspaces of an org, by id; ErrTooLarge where they have more than most bytes, as
// Page counts them.
func (r *Reader) Workspaces(ctx context.Context, orgID string, most int) ([]vip.Workspace, error) {
	if jobs.InSandbox(orgID) {
		return sandboxWorkspaces(orgID), nil
	}
	q := vip.Query{Collection: vip.CollectionWorkspaces, Conditions: []vip.Condition{{Field: "orgId", Op: vip.Equal, Value: orgID}}}
	return all(ctx, r, q, workspaceFields, most, (*vip.Decoder).Workspace, (*vip.Workspace).Size)
}

// Channels returns the channels of an org, by id; those that list a workspace, where workspaceID is not
// empty. ErrTooLarge is as of Workspaces.
func (r *Reader) Channels(ctx context.Context, orgID, workspaceID string, most int) ([]vip.Channel, error) {
	if jobs.InSandbox(orgID) {
		return sandboxChannels(orgID), nil
	}
	q := vip.Query{Collection: vip.CollectionChannels, Conditions: []vip.Condition{{Field: "orgId", Op: vip.Equal, Value: orgID}}}
	if workspaceID != "" {
		q.Conditions = append(q.Conditions, vip.Condition{Field: "workspaceIds", Op: vip.ArrayContains, Value: workspaceID})
	}
	return all(ctx, r, q, channelFields, most, (*vip.Decoder).Channel, (*vip.Channel).Size)
}

// all reads some fields of every document of a small query.
func all[T any](ctx context.Context, r *Reader, q vip.Query, fields []string, most int, decode func(*vip.Decoder, []byte) (T, error), sizeOf func(*T) int) ([]T, error) {
	sq, err := r.structured(q, vip.Range{})
	if err != nil {
		return nil, err
	}
	project(sq, fields...)
	var rows []T
	full := false
	err = r.retry(ctx, "list "+q.Collection, func(ctx context.Context) error {
		rows, full = []T{}, false
		var d vip.Decoder
		size := 0
		err := r.each(ctx, r.runRequest(sq, time.Time{}), func(doc []byte) error {
			if full = size+len(doc) > most; full {
				return errPageFull
			}
			row, err := decode(&d, doc)
			rows = append(rows, row)
			size += max(sizeOf(&row), len(doc))
			return err
		})
		if full {
			return nil
		}
		return err
	})
	if full {
		return nil, fmt.Errorf("list %s: %w", q.Collection, ErrTooLarge)
	}
	return rows, err
}
